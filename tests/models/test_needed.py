"""Which files of a repository are fetched, on listings like those of real repositories."""

from __future__ import annotations

import pytest

from launcher.errors import ServeError
from launcher.models.needed import needed
from launcher.models.repository import File

SMALL = ("config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja", "LICENSE", "README.md")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")


def names(*paths: str, include: tuple[str, ...] = ()) -> set[str]:
    return {file.path for file in needed(tuple(File(path, 1) for path in paths), include)}


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        (SHARDS, ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "original/consolidated.00.pth")),
        (SHARDS, ("consolidated.safetensors", "consolidated-00001-of-00002.safetensors")),
        (("consolidated.safetensors", "params.json", "tekken.json"), ("demo.png",)),
        (
            SHARDS,
            ("model.gguf", "onnx/model.onnx", "onnx/config.json", "tf_model.h5", "flax_model.msgpack", "rust_model.ot"),
        ),
        (("pytorch_model.bin",), ("model.pth", "training_args.bin", "optimizer.bin", "model.ckpt")),
        (("model.pth",), ("model-Q4_K_M.gguf",)),
        (("model-Q4_K_M.gguf",), (".gitattributes", ".eval_results/x.yaml")),
        (("modeling_internvl.py", "configuration.py", *SHARDS), ("examples/image1.jpg", "assets/demo.mp4")),
        (
            ("1_Pooling/config.json", "vision/model.safetensors"),
            ("checkpoint-500/model.safetensors", "rng_state_0.pth"),
        ),
        (("qwen.tiktoken", "merges.txt", "vocab.json", "spiece.model", "mel_filters.npz"), ()),
    ],
)
def test_needed(kept: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert names(*SMALL, *kept, *left) == {*SMALL, *kept}


def test_include_decides_alone() -> None:
    assert names("a-Q4.gguf", "a-Q8.gguf", "config.json", include=("*Q4*", "*.json")) == {"a-Q4.gguf", "config.json"}
    with pytest.raises(ServeError, match=r"no file .* '\*Q5\*'"):
        names("a-Q4.gguf", include=("*Q5*",))


def test_many_gguf_files_are_many_models() -> None:
    with pytest.raises(ServeError, match="2 GGUF files") as caught:
        names("a-Q4.gguf", "a-Q8.gguf")
    assert caught.value.fix.endswith("--include 'a-Q4.gguf'")
    with pytest.raises(ServeError, match="2 GGUF files") as caught:
        names("a-Q4.gguf", "a-Q8.gguf", "config.json")
    assert caught.value.fix.endswith("--include '*.json'")


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a\0b"])
def test_a_path_out_of_the_repository_is_refused(path: str) -> None:
    with pytest.raises(ServeError, match="no repository can hold"):
        File(path, 1)


@pytest.mark.parametrize("told", ["../../x", "ABC", "", "0" * 63])
def test_a_hash_that_is_none_is_refused(told: str) -> None:
    if told:
        with pytest.raises(ServeError, match="that is none"):
            File("x", 1, sha256=told)
