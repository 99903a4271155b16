"""`serve explain`: every argument with its origin and what it overrode, the same values that a dry run has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from launcher.config import presets
from tests.cli.conftest import Program


def explain(serve: Program, *words: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    told = serve("explain", *words, "--json", environment=environment)
    assert (told.code, told.err, told.files) == (0, "", ())
    value: dict[str, Any] = json.loads(told.out)
    return value


def test_all_five_layers_with_what_each_overrode(serve: Program) -> None:
    one = serve.file("extends: balanced\ncontext_length: 1k\nport: 1001\n", "one.yaml")
    two = serve.file("\ncontext_length: 2k\nport: 2002\n", "two.yaml")
    words = ("org/m", "--config", one, "--config", two, "--engine", "vllm@0.33.0", "--context-length", "4k")
    value = explain(
        serve, *words, "--weights", "none", environment={"SERVE_CONTEXT_LENGTH": "3k", "SERVE_PORT": "3003"}
    )
    by_key = {each["key"]: each for each in value["arguments"]}
    context = by_key["context_length"]
    assert (context["value"], context["layer"], context["origin"]) == (4096, "command line", "--context-length")
    told = [(each["value"], each["layer"], each["origin"].rpartition("/")[2]) for each in context["overrode"]]
    assert told[:3] == [
        (3072, "environment", "SERVE_CONTEXT_LENGTH"),
        (2048, "file", "two.yaml:2"),
        (1024, "file", "one.yaml:2"),
    ]
    assert told[3][:2] == ("auto", "preset")
    assert told[3][2].startswith("balanced.yaml:")
    assert [each["origin"] for each in by_key["port"]["overrode"]] == ["two.yaml:3", "one.yaml:3", "default"]
    text = serve("explain", *words, "--weights", "none", environment={"SERVE_CONTEXT_LENGTH": "3k"}).out
    (line,) = [line for line in text.splitlines() if line.startswith("--max-model-len 4096")]
    assert "3072 (SERVE_CONTEXT_LENGTH); 2048 (two.yaml:2); 1024 (one.yaml:2); auto (presets/balanced.yaml:" in line


def test_a_flag_of_the_engine_over_a_key_of_a_preset(serve: Program) -> None:
    value = explain(
        serve, "org/m", "--preset", "ultra_low_memory", "--engine", "sglang@0.5.17", "--max-running-requests", "9"
    )
    (argument,) = [each for each in value["arguments"] if each["words"][0] == "--max-running-requests"]
    assert (argument["key"], argument["value"], argument["origin"]) == ("max_concurrency", 9, "--max-running-requests")
    assert [each["value"] for each in argument["overrode"]] == [4]


def test_args_over_a_key(serve: Program) -> None:
    file = serve.file("max_concurrency: 4\nargs: {vllm: {--max-num-seqs: 5000}}\n")
    value = explain(serve, "org/m", "--config", file, "--engine", "vllm@0.33.0")
    (argument,) = [each for each in value["arguments"] if each["words"][0] == "--max-num-seqs"]
    assert argument["words"] == ["--max-num-seqs", "5000"]
    assert [each["origin"] for each in argument["overrode"]] == ["mine.yaml:1"]
    assert any("gives way to" in each["text"] for each in value["decisions"])


@pytest.mark.parametrize("name", presets.names())
def test_every_argument_of_every_preset_has_an_origin(serve: Program, name: str) -> None:
    words = ("--preset", name, "--engine", "sglang@0.5.17") if "two-gpus" not in name else ("--preset", name)
    value = explain(serve, *words)
    for each in value["arguments"]:
        assert each["origin"], each
        assert each["key"], each
    told = serve("launch", *words, "--dry-run", "--json")
    assert json.loads(told.out) == value


def test_what_was_decided_is_said(serve: Program) -> None:
    told = serve("explain", "demo", "--preset", "balanced", "--engine", "vllm@0.32.0").out
    assert "- weights: int4 passed over:" in told
    assert "random weights: its answers mean nothing" in told
    assert "- model: none was named" in serve("explain").out


def test_what_is_refused_at_a_launch_is_refused_here(serve: Program) -> None:
    told = serve("explain", "demo", "--tp-size", "4", "--engine", "vllm")
    assert (told.code, told.out, told.files) == (2, "", ())
    assert "write --tensor-parallel 4" in told.err
