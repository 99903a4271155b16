"""`serve check`: files against a release; every problem with its line; nothing is started."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.config import presets
from tests.cli.conftest import ROOT, Program

FILES = {name: ROOT / "presets" / f"{name}.yaml" for name in presets.names()}
ENGINES = ("vllm@0.24.0", "vllm@0.33.0", "sglang@0.5.17", "sglang@0.5.23")


def test_every_preset_that_ships_passes_on_a_release_that_can_serve_it(serve: Program) -> None:
    told = serve("check", *map(str, FILES.values()), "--engine", "sglang@0.5.17", "--json")
    assert (told.code, told.files) == (0, ())
    rows = json.loads(told.out)
    assert [Path(row["file"]) for row in rows] == list(FILES.values())
    assert all(row["ok"] and row["engine"] == "sglang@0.5.17" and not row["errors"] and row["argv"] for row in rows)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["balanced", "high_performance", "memory_optimized", "fp8_hopper", "ultra_low_memory"])
def test_a_release_without_gpu_or_with_is_judged(serve: Program, name: str, engine: str) -> None:
    told = serve("check", str(FILES[name]), "--engine", engine)
    assert told.code == 0
    assert told.out == f"{FILES[name]}: ok for {engine}\n"


def test_a_preset_of_one_engine_says_what_the_other_lacks(serve: Program) -> None:
    told = serve("check", str(FILES["examples/l40s-qwen2.5-vl-7b"]), "--engine", "vllm@0.33.0")
    assert told.code == 1
    assert "scheduling longest_prefix: vLLM has no such order" in told.out


def test_all_problems_with_their_lines(serve: Program) -> None:
    good, bad = serve.file("port: 9000\n", "good.yaml"), serve.file("prot: 1\nport: x\n\nkv_cache: fp9\n", "bad.yaml")
    told = serve("check", good, bad, "--engine", "vllm@0.33.0")
    assert (told.code, told.err, told.files) == (1, "", ())
    lines = told.out.splitlines()
    assert lines[:2] == ["good.yaml: ok for vllm@0.33.0", "bad.yaml: 3 wrong"]
    assert [line.split(":")[1] for line in lines[2:] if line.startswith("  bad.yaml")] == ["1", "2", "4"]
    rows = json.loads(serve("check", good, bad, "--engine", "vllm@0.33.0", "--json").out)
    assert [row["ok"] for row in rows] == [True, False]
    assert {tuple(error) for error in rows[1]["errors"]} == {("where", "what", "fix")}


def test_flags_of_a_file_are_checked_against_the_release(serve: Program) -> None:
    file = serve.file("args: {sglang: {--torchao-config: int4wo-128}}\n")
    assert serve("check", file, "--engine", "sglang@0.5.17").code == 0
    told = serve("check", file, "--engine", "sglang@0.5.23")
    assert told.code == 1
    assert "mine.yaml:1: SGLang 0.5.23 has no flag --torchao-config" in told.out
    assert "write --weights int4" in told.out


def test_the_callers_own_variables_do_not_count(serve: Program) -> None:
    assert serve("check", serve.file("port: 9000\n"), environment={"SERVE_PORT": "x", "SERVE_PROT": "1"}).code == 0


def test_a_file_that_is_none(serve: Program) -> None:
    told = serve("check", "nope.yaml")
    assert told.code == 1
    assert told.out.splitlines() == [
        "nope.yaml: 1 wrong",
        "  nope.yaml: cannot be read: No such file or directory",
        "    -> give the path of a YAML file",
    ]


def test_an_engine_that_is_none(serve: Program) -> None:
    told = serve("check", serve.file("port: 1\n"), "--engine", "vlm")
    assert (told.code, told.out) == (2, "")
    assert told.err == "serve: --engine: 'vlm' is not an engine\n  -> did you mean 'vllm'?\n"
