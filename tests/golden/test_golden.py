"""Every preset renders to what the golden files say."""

import difflib
from pathlib import Path

import pytest
from generate import SCHEMA, schema_text

from tests.golden.cases import FOLDER, files, targets, text

SIX = ("balanced", "eagle3", "fp8_hopper", "high_performance", "memory_optimized", "ultra_low_memory")


@pytest.mark.parametrize(("path", "expected"), files().items(), ids=lambda value: getattr(value, "stem", ""))
def test_presets_render_as_the_golden_files_say(path: Path, expected: str) -> None:
    told = path.read_text() if path.exists() else ""
    difference = difflib.unified_diff(told.splitlines(), expected.splitlines(), "golden", "now", lineterm="")
    assert told == expected, "\n".join([*difference, "", "if this is meant: make golden"])


def test_no_golden_file_is_left_over() -> None:
    assert set(FOLDER.glob("*.txt")) == set(files())


@pytest.mark.parametrize("preset", SIX)
@pytest.mark.parametrize("name", [name for name in targets() if "cpu" not in name])
def test_each_of_the_six_starts_on_every_gpu_release(preset: str, name: str) -> None:
    assert "error" not in text(preset, targets()[name])


def test_the_schema_is_the_vocabulary() -> None:
    assert SCHEMA.read_text() == schema_text(), "make schema"
