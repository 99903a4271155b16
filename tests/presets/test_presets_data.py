"""The shipped presets as data: what every file must have, before any of them is resolved."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import yaml

from launcher import settings
from launcher.config import keys

FOLDER = settings.share_folder("presets")
FILES = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("examples/*.yaml")])
SIX = {"balanced", "high_performance", "memory_optimized", "ultra_low_memory", "fp8_hopper", "eagle3"}
EXAMPLES = {
    "rtx3060-8gb",
    "rtx3080-12gb",
    "rtx4090-24gb",
    "a100-40gb",
    "a100-80gb",
    "h100-80gb",
    "l40s-qwen2.5-vl-7b",
    "qwen3-vl-8b-eagle3",
    "internvl2-8b-two-gpus",
}


def read(path: Path) -> dict[str, object]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def test_all_are_there() -> None:
    assert {path.stem for path in FILES if path.parent == FOLDER} == SIX
    assert {path.stem for path in FILES if path.parent != FOLDER} == EXAMPLES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestFile:
    def test_the_first_line_names_the_schema(self, path: Path) -> None:
        schema = "schema.json" if path.parent == FOLDER else "../schema.json"
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first == f"# yaml-language-server: $schema={schema}"

    def test_only_keys_of_the_vocabulary(self, path: Path) -> None:
        assert set(read(path)) <= {*keys.settable(), "description", "extends"}

    def test_the_description_is_one_sentence(self, path: Path) -> None:
        text = read(path)["description"]
        assert isinstance(text, str)
        assert "\n" not in text
        assert text.endswith(".")

    def test_every_key_is_explained_above_it(self, path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        for above, line in itertools.pairwise(lines):
            if (match := re.match(r"(\w+):", line)) and match[1] not in ("description", "extends"):
                assert above.startswith("# "), f"{path.name}: no comment above {match[1]}"

    def test_lines_fit_a_screen(self, path: Path) -> None:
        assert max(map(len, path.read_text(encoding="utf-8").splitlines())) <= 120


@pytest.mark.parametrize("path", [path for path in FILES if path.parent != FOLDER], ids=lambda path: path.stem)
def test_an_example_names_a_model_or_builds_on_a_preset_that_does(path: Path) -> None:
    data = read(path)
    base = read(FOLDER / f"{data['extends']}.yaml") if "extends" in data else {}
    assert data.get("model") or base.get("model")


def test_what_the_six_are_for() -> None:
    """The owner's intents: four bits and a fallback for a CPU, no quantization, fp8, a draft model."""
    presets = {name: read(FOLDER / f"{name}.yaml") for name in SIX}
    assert presets["balanced"]["weights"] == ["int4", "fp8"]
    assert presets["high_performance"]["weights"] == "none"
    assert (presets["memory_optimized"]["extends"], presets["memory_optimized"]["kv_cache"]) == ("balanced", "fp8")
    assert presets["ultra_low_memory"]["extends"] == "memory_optimized"
    assert "weights" not in presets["ultra_low_memory"]  # int8 would be larger
    assert presets["fp8_hopper"]["weights"] == "fp8"
    assert presets["eagle3"]["model"] == "Qwen/Qwen3-VL-8B-Instruct"
    assert presets["eagle3"]["speculative"] == {
        "method": "eagle3",
        "draft_model": "taobao-mnn/Qwen3-VL-8B-Instruct-Eagle3",
        "steps": 3,
    }
    assert presets["eagle3"]["args"] == {
        "sglang": {"--speculative-eagle-topk": 6, "--speculative-num-draft-tokens": 16}
    }
