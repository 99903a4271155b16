"""The demo model is a whole checkpoint, the same on every host, and is mended when it is damaged."""

from __future__ import annotations

import json
import math
import stat
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from launcher.models import demo


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make(tmp_path_factory.mktemp("models") / "demo")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length)), 8 + length


@pytest.mark.parametrize("name", ["model.safetensors", "draft/model.safetensors"])
def test_weights_are_a_valid_safetensors_file(model: Path, name: str) -> None:
    header, start = read_header(model / name)
    assert header.pop("__metadata__") == {"format": "pt"}
    end = 0
    for entry in header.values():
        assert entry["dtype"] == "BF16"
        assert entry["data_offsets"] == [end, end + 2 * math.prod(entry["shape"])]
        end = entry["data_offsets"][1]
    assert (model / name).stat().st_size == start + end
    assert start % 8 == 0


@pytest.mark.parametrize("name", ["model.safetensors", "draft/model.safetensors"])
def test_every_matrix_can_be_quantized_in_groups_of_128(model: Path, name: str) -> None:
    header, _ = read_header(model / name)
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    assert all(size % 128 == 0 for shape in shapes for size in shape)


def test_weights_are_finite_and_spread(model: Path) -> None:
    header, start = read_header(model / "model.safetensors")
    begin, end = header["model.layers.0.mlp.down_proj.weight"]["data_offsets"]
    data = (model / "model.safetensors").read_bytes()[start + begin : start + end]
    values = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in range(0, len(data), 2)]
    deviation = math.sqrt(sum(value * value for value in values) / len(values))
    assert deviation == pytest.approx(demo.CONFIG["intermediate_size"] ** -0.5, rel=0.02)
    assert max(map(abs, values)) < 0.2


def test_vocabulary_covers_every_byte_and_every_token_the_model_can_sample(model: Path) -> None:
    tokenizer = read_json(model / "tokenizer.json")
    vocabulary = tokenizer["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(demo.CONFIG["vocab_size"]))
    assert [vocabulary[character] for character in demo.byte_alphabet()] == list(range(256))
    for token in tokenizer["added_tokens"]:
        assert vocabulary[token["content"]] == token["id"]
    assert {token["content"] for token in tokenizer["added_tokens"]} >= {"<|im_start|>", "<|im_end|>"}


def test_special_tokens_agree_in_every_file(model: Path) -> None:
    end = read_json(model / "config.json")["eos_token_id"]
    assert end in read_json(model / "generation_config.json")["eos_token_id"]
    names = {token["id"]: token["content"] for token in read_json(model / "tokenizer.json")["added_tokens"]}
    assert read_json(model / "tokenizer_config.json")["eos_token"] == names[end]


def test_says_that_it_is_nonsense(model: Path) -> None:
    assert "nonsense" in (model / "README.md").read_text(encoding="utf-8")


def test_is_the_same_wherever_it_is_made(model: Path, tmp_path: Path) -> None:
    other = demo.make(tmp_path / "elsewhere")
    files = [path.relative_to(model) for path in model.rglob("*") if path.is_file()]
    assert len(files) == 8
    for name in files:
        assert (other / name).read_bytes() == (model / name).read_bytes()


def test_whole_model_is_left_alone(tmp_path: Path) -> None:
    made = demo.make(tmp_path / "demo")
    before = {path.name: path.stat().st_mtime_ns for path in made.iterdir()}
    demo.make(made)
    assert {path.name: path.stat().st_mtime_ns for path in made.iterdir()} == before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "draft/model.safetensors"])
def test_damaged_model_is_made_again(tmp_path: Path, name: str) -> None:
    made = demo.make(tmp_path / "demo")
    whole = (made / name).read_bytes()
    (made / name).write_bytes(whole[: len(whole) // 2])
    assert (demo.make(made) / name).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert not (made / "damaged").exists()


def test_two_at_once_leave_one_whole_model(tmp_path: Path) -> None:
    threads = [threading.Thread(target=demo.make, args=(tmp_path / "demo",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read_header(tmp_path / "demo" / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_others_may_read_it(tmp_path: Path) -> None:
    made = demo.make(tmp_path / "demo")
    assert stat.S_IMODE(made.stat().st_mode) == 0o755


def test_draft_fits_the_model(model: Path) -> None:
    config, draft = read_json(model / "config.json"), read_json(model / "draft" / "config.json")
    assert draft["architectures"] == ["LlamaForCausalLMEagle3"]
    assert (draft["hidden_size"], draft["vocab_size"]) == (config["hidden_size"], config["vocab_size"])
    layers = draft["eagle_config"]["eagle_aux_hidden_state_layer_ids"]
    assert max(layers) + 1 < config["num_hidden_layers"]  # SGLang reads the state after each
    header, _ = read_header(model / "draft" / "model.safetensors")
    assert header["fc.weight"]["shape"] == [config["hidden_size"], len(layers) * config["hidden_size"]]


def test_lies_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    assert demo.draft_folder() == demo.folder() / "draft"
    assert demo.make() == demo.folder() == tmp_path / "data" / "models" / f"demo-{demo.VERSION}"
