"""`serve releases`, and what a preset becomes on each of them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from launcher.engines import catalog
from launcher.engines.release import TITLES, Release
from tests.cli.conftest import Program
from tests.cli.test_lists import on_terminal
from tests.engines import rendering

KNOWN = {engine: [release.version for release in catalog.known(engine)] for engine in TITLES}


def blocks(serve: Program, *words: str) -> list[dict[str, Any]]:
    told: dict[str, Any] = json.loads(serve("presets", "show", *words, "--releases", "--json").out)
    assert told["host"] == {"gpus": 8, "capability": 9.0}
    return list(told["blocks"])


def test_the_table_is_newest_first(serve: Program) -> None:
    told = serve("releases")
    assert told.code == 0
    first_words = [line.split()[0] for line in told.out.splitlines() if line[:1].isdigit()]
    assert first_words == [*reversed(KNOWN["vllm"]), *reversed(KNOWN["sglang"])]
    (line,) = [line for line in told.out.splitlines() if line.startswith("0.33.0 ")]
    assert "3.11-3.14" in line
    assert "2.14.0" in line
    assert "default (cuda)" in line


def test_one_engine(serve: Program) -> None:
    told = serve("releases", "sglang").out
    assert "SGLang" in told
    assert "vLLM" not in told
    rows = json.loads(serve("releases", "sglang", "--json").out)
    assert [row["release"] for row in rows] == [f"sglang@{version}" for version in reversed(KNOWN["sglang"])]


def test_flags_as_json_are_those_of_the_catalogs(serve: Program) -> None:
    rows = {row["release"]: row for row in json.loads(serve("releases", "--json").out)}
    assert set(rows) == {f"{engine}@{version}" for engine, versions in KNOWN.items() for version in versions}
    for engine in TITLES:
        for before, now in pairwise(catalog.known(engine)):
            row, flags, then = rows[str(now)], catalog.load(now), catalog.load(before)
            assert row["before"] == before.version
            usable = {spelling for spelling, flag in flags.spellings.items() if not flag.refused}
            was_usable = {spelling for spelling, flag in then.spellings.items() if not flag.refused}
            assert row["flags"] == len(usable & set(flags.flags))
            assert set(row["gone"]) == (was_usable & set(then.flags)) - usable
            assert set(row["new"]) == (usable & set(flags.flags)) - was_usable
            assert {*row["deprecated"], *row["changed"]} <= usable & was_usable
    assert rows["vllm@0.32.0"]["default_for"] == ["cpu"]


def test_what_a_release_changed(serve: Program) -> None:
    row = json.loads(serve("releases", "sglang@0.5.20", "--json").out)
    assert row["before"] == "0.5.19"
    assert "--cuda-graph-max-bs" in row["gone"]
    told = serve("releases", "sglang@0.5.20").out
    assert "Python >=3.10; torch ==2.13.0" in told
    (line,) = [line for line in told.splitlines() if line.startswith("gone ") and "--cuda-graph-max-bs " in line]
    assert "use --cuda-graph-max-bs-decode" in line
    assert len([line for line in told.splitlines() if line.startswith("new ")]) == len(row["new"])
    assert row["changed"]["--quantization"] == "no longer takes marlin"
    assert row["changed"]["--hicache-storage-prefetch-retry-max-attempts"] == "default 8, was 4"
    assert row["deprecated"] == {}
    row = json.loads(serve("releases", "sglang@0.5.22", "--json").out)
    assert row["deprecated"] == {"--enable-dp-attention": "use --attn-dp-size <dp-size>"}


def test_the_oldest_release_has_none_before_it(serve: Program) -> None:
    told = serve("releases", f"vllm@{KNOWN['vllm'][0]}")
    assert told.code == 0
    assert "no older release is known" in told.out


def test_what_is_installed_here(serve: Program) -> None:
    assert "installed (" not in serve("releases").out
    serve.holds_vllm("0.32.0")
    (line,) = [line for line in serve("releases").out.splitlines() if "installed (" in line]
    assert line.startswith("0.32.0 ")
    assert json.loads(serve("releases", "vllm@0.32.0", "--json").out)["installed_for"] == ["cuda"]


@pytest.mark.parametrize("name", ["vlm", "vllm@x", "vllm@0.1.0"])
def test_releases_that_are_none(serve: Program, name: str) -> None:
    told = serve("releases", name)
    assert (told.code, told.out) == (2, "")
    assert "\n  -> " in told.err


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_fits_a_terminal(serve: Program, columns: int) -> None:
    lines = on_terminal(serve, columns, "releases").splitlines()
    rows = [line for line in lines if line[:1].isdigit() or "─" in line]
    assert max(map(len, rows)) <= columns
    assert {line.split()[0] for line in rows} >= {*KNOWN["vllm"], *KNOWN["sglang"]}


@pytest.mark.parametrize("preset", ["balanced", "ultra_low_memory", "examples/internvl2-8b-two-gpus"])
def test_a_preset_is_rendered_for_every_release_once(serve: Program, preset: str) -> None:
    found = blocks(serve, preset)
    rendered = {
        engine: [v for block in found if block["engine"] == engine for v in block["releases"]] for engine in TITLES
    }
    named = {block["engine"] for block in found}
    assert all(rendered[engine] == KNOWN[engine] for engine in named)
    assert all(bool(block["argv"]) != bool(block["errors"]) for block in found)


def test_the_commands_are_those_of_a_launch(serve: Program) -> None:
    found = blocks(serve, "eagle3")
    for block in found:
        for version in block["releases"]:
            made, errors = rendering.attempt(lambda: rendering.command(f"{block['engine']}@{version}", preset="eagle3"))  # noqa: B023 - called at once
            assert (made.argv if made else None) == block["argv"]
            assert bool(errors) == bool(block["errors"])


def test_only_what_changes_is_told_again(serve: Program) -> None:
    file = serve.file("model: org/model\ncuda_graphs: 4\n")
    told = serve("presets", "show", file, "--releases", "--engine", "sglang").out
    assert told.count("--model-path org/model") == 1
    assert "  - --cuda-graph-max-bs 4\n  + --cuda-graph-max-bs-decode 4\n" in told
    assert "8 GPUs of compute capability 9.0" in told


def test_refused_releases_say_why_and_stand_together(serve: Program) -> None:
    file = serve.file("model: org/model\nargs: {sglang: {--torchao-config: fp8wo}}\n")
    *_, last = blocks(serve, file, "--engine", "sglang")
    assert (last["releases"][0], last["releases"][-1]) == ("0.5.18", KNOWN["sglang"][-1])
    assert "--torchao-config" in last["errors"][0]["what"]
    told = serve("presets", "show", file, "--releases", "--engine", "sglang").out
    assert (
        f"SGLang 0.5.18 to {KNOWN['sglang'][-1]}: refused\n  mine.yaml:2: SGLang has no flag --torchao-config\n" in told
    )


def test_a_preset_for_one_engine(serve: Program) -> None:
    file = serve.file("engine: vllm\nmodel: org/model\n")
    assert {block["engine"] for block in blocks(serve, file)} == {"vllm"}
    assert {block["engine"] for block in blocks(serve, file, "--engine", "sglang")} == {"sglang"}
    (block,) = blocks(serve, serve.file("engine_version: 0.33.0\nmodel: org/model\n"))
    assert (block["engine"], block["releases"]) == ("vllm", ["0.33.0"])
    (block,) = blocks(serve, file, "--engine", "sglang@0.5.23")
    assert block["releases"] == ["0.5.23"]


def test_the_host_does_not_count(serve: Program) -> None:
    words = ("presets", "show", "balanced", "--releases")
    told = serve(*words)
    serve.holds_vllm("0.32.0")
    assert serve(*words, environment={"SERVE_ENGINE": "vllm", "SERVE_CONTEXT_LENGTH": "4k"}) == told


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("balanced", "--engine", "vllm"), "--engine: "),
        (("balanced", "--releases", "--engine", "vlm"), "--engine: "),
        (("balanced", "--releases", "--engine", "vllm@0.1.0"), "the flags of vLLM 0.1.0 are not known"),
        (("balancd", "--releases"), "PRESET: "),
    ],
)
def test_what_cannot_be_rendered(serve: Program, words: tuple[str, ...], place: str) -> None:
    told = serve("presets", "show", *words)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith(f"serve: {place}")
    assert "\n  -> " in told.err


def test_releases_compare_as_versions() -> None:
    for engine, versions in KNOWN.items():
        assert versions == sorted(versions, key=lambda version: Release(engine, version))
