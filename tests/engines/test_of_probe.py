"""Catalogs made from what an installed engine's own parser said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.engines.target import Target
from launcher.errors import ServeError

RELEASE = Release("vllm", "0.99.0")
RECORD = {
    "aliases": ["-x"],
    "negations": ["--no-some-flag"],
    "type": "int",
    "nargs": "+",
    "choices": ["1", "2"],
    "default": "1",
    "deprecated": True,
    "successor": "--other",
    "repeats": True,
}


def said(**changes: Any) -> dict[str, Any]:
    return {"release": "0.99.0", "distribution": "vllm", "flags": {"--some-flag": RECORD | changes}, "unknown": []}


def test_a_probe_is_a_catalog(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(said()))
    known = catalog.of_probe(path, RELEASE)
    (flag,) = known.flags.values()
    assert flag.spellings == ("--some-flag", "-x", "--no-some-flag")
    assert (flag.type, flag.nargs, flag.choices, flag.enforced, flag.repeats) == ("int", "+", ("1", "2"), True, True)
    assert known.find("--some_flag") == flag
    assert flag.refusal(("3",)) == "'3' is none of 1, 2"


def test_a_target_has_the_flags_that_were_probed(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    path.write_text(json.dumps(said()))
    assert list(Target(RELEASE, "cuda", "python", "vllm", probe=path).flags.flags) == ["--some-flag"]
    known = Release("vllm", "0.33.0")
    assert Target(known, "cuda", "python", "vllm").flags is catalog.load(known)
    with pytest.raises(ServeError, match="not known"):
        _ = Target(RELEASE, "cuda", "python", "vllm").flags


CHANGES: list[dict[str, Any]] = [
    {"type": "colour"},
    {"type": ["int"]},
    {"nargs": "many"},
    {"nargs": {}},
    {"aliases": 1},
    {"aliases": [1]},
    {"aliases": "-x"},
    {"choices": [None]},
    {"default": 1},
    {"successor": {"a": 1}},
    {"refused": 1},
]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "[" * 100_000,
        '{"release": "0.99.0", "flags": {}}',
        '{"release": "0.99.0", "flags": []}',
        '{"release": "0.99.0", "flags": {"--a": null}}',
        '{"release": "0.99.0", "flags": {"a": {}}}',
        '{"release": "0.98.0", "flags": {"--a": {}}}',
        *(json.dumps(said(**change)) for change in CHANGES),
    ],
)
def test_a_damaged_or_foreign_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flags.json"
    path.write_text(text)
    with pytest.raises(ServeError, match=r"the flags that vLLM 0\.99\.0 itself declared cannot be read") as caught:
        catalog.of_probe(path, RELEASE)
    assert caught.value.where == str(path)
    assert caught.value.fix.endswith("serve engines install vllm@0.99.0")


def test_a_file_that_is_none_or_too_large_is_told(tmp_path: Path) -> None:
    large = tmp_path / "flags.json"
    with large.open("wb") as file:
        file.write(json.dumps(said()).encode())
        file.truncate(10**9)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for path in (large, tmp_path / "bytes", tmp_path / "nothing", tmp_path):
        with pytest.raises(ServeError, match="cannot be read"):
            catalog.of_probe(path, RELEASE)
