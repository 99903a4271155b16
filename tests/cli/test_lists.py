"""`serve keys`, `serve presets`, `serve engines`: for people at 80 columns, for pipes, and as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import termios

import pytest

from launcher.config import presets
from launcher.config.keys import KEYS
from tests.cli.conftest import Program


def on_terminal(serve: Program, columns: int, *words: str) -> str:
    """What a terminal of so many columns is sent."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in serve.environment().items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(serve.argv(*words), env=environment, cwd=serve.folder, stdout=slave, stdin=slave)
    os.close(slave)
    told = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the terminal's other end is closed
            break
        if not part:
            break
        told += part
    os.close(master)
    assert process.wait(60) == 0
    return told.decode().replace("\r\n", "\n")


def test_keys(serve: Program) -> None:
    told = serve("keys")
    assert told.code == 0
    for key in KEYS:
        (line,) = [line for line in told.out.splitlines() if line.split()[:1] == [key.name]]
        assert key.help in line
        assert key.type.metavar in line
    assert "--timeout" in told.out


def test_keys_as_json(serve: Program) -> None:
    rows = json.loads(serve("keys", "--json").out)
    assert [row["name"] for row in rows] == [key.name for key in KEYS]
    assert {tuple(row) for row in rows} == {("name", "values", "default", "option", "variable", "group", "help")}


def test_the_schema_for_editors(serve: Program) -> None:
    schema = json.loads(serve("keys", "--schema").out)
    assert "context_length" in schema["properties"]


def test_presets(serve: Program) -> None:
    told = serve("presets", "list").out
    assert all(f"\n{name} " in f"\n{told}" for name in presets.names())
    rows = json.loads(serve("presets", "list", "--json").out)
    assert [row["name"] for row in rows] == list(presets.names())
    assert all(row["description"] for row in rows)


def test_one_preset_with_what_it_extends(serve: Program) -> None:
    told = serve("presets", "show", "ultra_low_memory").out
    lines = {line.split()[0]: line for line in told.splitlines() if line.strip()}
    assert "presets/balanced.yaml:" in lines["weights"]
    assert "presets/memory_optimized.yaml:" in lines["kv_cache"]
    value = json.loads(serve("presets", "show", "ultra_low_memory", "--json").out)
    assert value["keys"]["max_concurrency"]["value"] == 4
    assert value["keys"]["weights"]["layer"] == "preset"
    assert value["keys"]["weights"].keys() == {"value", "layer", "origin", "overrode"}


def test_a_preset_of_ones_own(serve: Program) -> None:
    told = serve("presets", "show", serve.file("extends: balanced\ncontext_length: 4k\n"))
    assert "4096" in told.out
    assert "auto (presets/balanced.yaml:" in told.out


@pytest.mark.parametrize("words", [("presets", "show", "balancd"), ("presets", "show", "none.yaml")])
def test_a_preset_that_is_none(serve: Program, words: tuple[str, ...]) -> None:
    told = serve(*words)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("serve: PRESET: ")
    assert "  -> " in told.err


def test_engines(serve: Program) -> None:
    assert serve("engines", "list").out == "no engine is installed; run: serve engines install vllm\n"
    assert json.loads(serve("engines", "list", "--json").out) == []
    serve.holds_vllm("0.32.0")
    (row,) = json.loads(serve("engines", "list", "--json").out)
    assert (row["release"], row["from"], row["flags"]) == ("vllm@0.32.0", "beside", "built in")
    assert "vllm@0.32.0" in serve("engines", "list").out


def test_a_choice_is_shown_and_taken_back(serve: Program) -> None:
    serve.holds_vllm("0.32.0")
    used = serve("engines", "use", "vllm@0.32.0")
    assert (used.code, used.out) == (0, "engine: vllm and engine: auto mean vllm@0.32.0 from now on\n")
    (row,) = json.loads(serve("engines", "list", "--json").out)
    assert row["meant_by"] == ["vllm", "auto"]
    assert "vllm, auto" in serve("engines", "list").out
    assert serve("engines", "use", "auto").code == 0
    (row,) = json.loads(serve("engines", "list", "--json").out)
    assert row["meant_by"] == []


def test_verify_tells_what_fails_and_what_to_do(serve: Program) -> None:
    serve.holds_vllm("0.32.0")  # the fake one, which has no torch
    told = serve("engines", "verify", "--json")
    (found,) = json.loads(told.out)
    assert (told.code, found["level"], found["subject"]) == (1, "error", "vllm@0.32.0")
    assert found["fix"]
    assert serve("engines", "verify", "vllm").out.startswith("error    vllm@0.32.0: ")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("install", "vlm"), "ENGINE: 'vlm' is not an engine"),
        (("install", "vllm@x.y"), "'x.y' is not a version"),
        (("install", "vllm", "--device", "tpu"), "--device: 'tpu' is no device"),
        (("install", "vllm", "--python", "two"), "--python: 'two' is no version of Python"),
        (("install", "sglang", "--device", "cpu"), "SGLang has no packages"),
        (("remove", "vllm"), "vLLM is not installed"),
        (("install", "vllm", "--lock", "no.lock"), "no.lock: this lock cannot be read"),
        (("upgrade", "vllm@0.33.0"), "ENGINE: an upgrade is to the newest release"),
        (("upgrade", "sglang", "--device", "cpu"), "SGLang has no packages"),
        (("use", "vllm"), "'vllm' names no version"),
        (("use", "vllm@0.33.0"), "vLLM 0.33.0 is not installed"),
        (("lock", "vllm@0.10.2", "--device", "cuda"), "the flags of vLLM 0.10.2 are not known"),
        (("verify",), "no engine is installed"),
        (("verify", "sglang"), "sglang is not installed"),
        (("bundle", "out.zip", "--device", "cpu"), "out.zip: this is no name of an archive"),
        (("bundle", "out.tar.gz", "--device", "cpu", "--model", "."), ".: this folder holds no model"),
    ],
)
def test_engines_that_cannot_be(serve: Program, words: tuple[str, ...], what: str) -> None:
    told = serve("engines", *words)
    assert (told.code, told.out, told.files) == (2, "", ())
    assert what in told.err
    assert "\n  -> " in told.err


@pytest.mark.parametrize(
    "words",
    [
        ("keys",),
        ("presets", "list"),
        ("presets", "show", "eagle3"),
        ("explain", "demo", "--preset", "ultra_low_memory"),
    ],
)
@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_is_never_too_narrow(serve: Program, words: tuple[str, ...], columns: int) -> None:
    told = on_terminal(serve, columns, *words)
    rows = [line for line in told.splitlines() if "─" in line or line.startswith("    ")]
    assert rows
    assert max(map(len, rows)) <= columns


def test_flags_are_not_broken_on_a_narrow_terminal(serve: Program) -> None:
    told = on_terminal(serve, 80, "explain", "demo", "--preset", "ultra_low_memory", "--engine", "vllm@0.32.0")
    for words in ("--max-num-batched-tokens 1024", "--max-cudagraph-capture-size 4", "presets/balanced.yaml:"):
        assert words in told


def test_a_pipe_gets_one_line_a_row(serve: Program) -> None:
    told = serve("explain", "m/m", "--preset", "ultra_low_memory", "--engine", "vllm@0.33.0").out
    assert len([line for line in told.splitlines() if "--max-num-batched-tokens 1024" in line]) == 1
