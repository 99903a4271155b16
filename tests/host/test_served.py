"""What an engine's own files say of a model, in environments made of a few of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.engines.release import Release
from launcher.engines.target import Checkpoint, Target
from launcher.host import served

REGISTRY = """
_TEXT_GENERATION_MODELS = {
    "Qwen3ForCausalLM": ("qwen3", "Qwen3ForCausalLM"),
    "LongNamedForCausalLM": (
        "long",
        "LongNamedForCausalLM",
    ),
}
_PREVIOUSLY_SUPPORTED_MODELS = {"OldForCausalLM": "0.9.2"}
"""
PLUGINS = "vllm.general_plugins"
LIBRARY = '("gpt_neo", "GPTNeoForCausalLM"),\n("qwen3", "Qwen3Config"),'


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return environment(tmp_path, "vllm", {"vllm/model_executor/models/registry.py": REGISTRY})


def environment(folder: Path, engine: str, files: dict[str, str]) -> Target:
    site = folder / "lib" / "python3.11" / "site-packages"
    own = {
        "vllm/transformers_utils/config.py": 'chatglm="ChatGLMConfig",',
        "vllm-1.dist-info/entry_points.txt": "[vllm.general_plugins]\n",
    }
    for name, text in {**own, "transformers/models/auto/modeling_auto.py": LIBRARY, **files}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    version = {"vllm": "0.33.0", "sglang": "0.5.23"}[engine]
    return Target(Release(engine, version), "cuda", str(folder / "bin" / "python"), engine)


def model(*architectures: str, kind: str = "qwen3", own_code: bool = False) -> Checkpoint:
    return Checkpoint("/models/mine", "mine", architectures, model_type=kind, own_code=own_code)


def said(checkpoint: Checkpoint, target: Target, trusted: bool = False, **variables: str) -> str:
    return "; ".join(each.what for each in served.problems(checkpoint, target, variables, trusted=trusted))


@pytest.mark.parametrize("name", ["Qwen3ForCausalLM", "LongNamedForCausalLM", "GPTNeoForCausalLM"])
def test_classes_of_the_engine_and_of_the_library_are_known(name: str, target: Target) -> None:
    assert said(model(name), target) == ""


@pytest.mark.parametrize("name", ["NoSuchForCausalLM", "OldForCausalLM", "NoSuchForConditionalGeneration"])
def test_a_class_that_nobody_has_is_told(name: str, target: Target) -> None:
    assert said(model(name), target) == f"vLLM 0.33.0 has no class for mine ({name})"


@pytest.mark.parametrize("names", [(), ("NoSuchModel",), ("NoSuchForCausalLM", "SomeModel")])
def test_what_is_not_certain_is_left_to_the_engine(names: tuple[str, ...], target: Target) -> None:
    assert said(model(*names), target) == ""


def test_plugins_bring_classes_of_their_own(target: Target, tmp_path: Path) -> None:
    assert said(model("NoSuchForCausalLM"), target, VLLM_PLUGINS="mine") == ""
    environment(
        tmp_path, "vllm", {"mine-1.dist-info/entry_points.txt": "[vllm.general_plugins]\nmine = mine:register\n"}
    )
    assert said(model("NoSuchForCausalLM"), target) == ""


def test_code_of_a_checkpoint_s_own_has_to_be_trusted(target: Target) -> None:
    theirs = model("MineForCausalLM", kind="mine", own_code=True)
    assert said(theirs, target).startswith("mine brings code of its own")
    assert "no class" not in said(theirs, target)
    assert said(theirs, target, trusted=True) == ""
    assert said(model("MineForCausalLM", own_code=True), target).startswith("mine brings code of its own")
    assert said(model("MineForCausalLM", own_code=True), target, trusted=True) == ""
    assert said(model("Qwen3ForCausalLM", kind="chatglm", own_code=True), target) == ""  # the engine has that class
    assert said(model("Qwen3ForCausalLM", own_code=True), target) == ""  # and the library this one


def test_sglang_names_its_classes_in_the_modules(tmp_path: Path) -> None:
    files = {"sglang/srt/models/qwen3.py": "class Qwen3ForCausalLM(nn.Module):", "sglang/srt/configs/a.py": ""}
    target = environment(tmp_path, "sglang", files)
    assert said(model("Qwen3ForCausalLM"), target) == ""
    assert said(model("NoSuchForCausalLM"), target) == "SGLang 0.5.23 has no class for mine (NoSuchForCausalLM)"


def test_an_engine_whose_files_lie_elsewhere_is_asked_nothing(tmp_path: Path) -> None:
    target = Target(Release("vllm", "0.33.0"), "cuda", str(tmp_path / "bin" / "python"), "vllm")
    assert said(model("NoSuchForCausalLM", kind="mine", own_code=True), target) == ""
