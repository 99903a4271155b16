"""What every command shares: help, the version, how misuse is told, and how little is loaded for it."""

from __future__ import annotations

import fcntl
import re
import shlex
import subprocess

import pytest

import launcher
from launcher.config.keys import KEYS
from tests.cli.conftest import Program

COMMANDS = ("launch", "explain", "check", "smoke", "keys", "presets", "engines")
HEAVY = {"rich", "requests", "psutil", "huggingface_hub", "pydantic_core", "email", "asyncio", "http"}


def test_the_version(serve: Program) -> None:
    assert serve("--version").out == f"serve {launcher.__version__}\n"


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_help_names_every_command_and_where_to_start(serve: Program, words: tuple[str, ...]) -> None:
    told = serve(*words)
    assert told.code == (0 if words else 2)
    assert told.out.startswith("Usage: serve [OPTIONS] COMMAND")
    assert all(f"\n  {command} " in told.out for command in COMMANDS)
    assert "serve engines install vllm; serve launch demo" in told.out
    assert told.files == ()


@pytest.mark.parametrize("command", ["launch", "explain"])
def test_help_of_a_launch_has_every_key_once(serve: Program, command: str) -> None:
    told = serve(command, "--help")
    assert told.out.startswith(f"Usage: serve {command} [MODEL] [ENGINE FLAGS] [OPTIONS]\n")
    for key in KEYS:
        assert len(re.findall(rf"^  {key.option}(?= )", told.out, re.MULTILINE)) == 1, key.name
    assert max(map(len, told.out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(serve: Program, command: str) -> None:
    told = serve(command, "--help")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith(f"Usage: serve {command} ")


@pytest.mark.parametrize(
    ("words", "what", "help_of"),
    [
        (("bogus",), "No such command 'bogus'", "serve"),
        (("keys", "--bogus"), "No such option", "serve keys"),
        (("keys", "extra"), "unexpected extra argument", "serve keys"),
        (("engines", "install"), "Missing argument", "serve engines install"),
        (("launch", "--preset"), "'--preset' requires an argument", "serve launch"),
        (("launch", "--json=1"), "does not take a value", "serve launch"),
        (("presets", "shw"), "No such command 'shw'", "serve presets"),
    ],
)
def test_misuse_is_told_as_every_other_error(serve: Program, words: tuple[str, ...], what: str, help_of: str) -> None:
    told = serve(*words)
    assert (told.code, told.out, told.files) == (2, "", ())
    first, second = told.err.splitlines()
    assert first.startswith("serve: ")
    assert what in first
    assert second == f"  -> see: {help_of} --help"


@pytest.mark.parametrize("group", ["presets", "engines"])
def test_a_group_without_its_command_shows_its_help(serve: Program, group: str) -> None:
    told = serve(group)
    assert (told.code, told.err) == (2, "")
    assert told.out.startswith(f"Usage: serve {group} ")


def test_an_argument_that_is_no_text(serve: Program) -> None:
    told = serve("launch", "--served-name", b"\xff\xfe", "--dry-run")
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("serve: argument 3: ")
    assert "is not UTF-8 text" in told.err


@pytest.mark.parametrize("words", [("--help",), ("launch", "demo", "--preset", "balanced", "--dry-run")])
def test_nothing_heavy_is_loaded_before_it_is_needed(serve: Program, words: tuple[str, ...]) -> None:
    argv = serve.argv(*words)
    argv[1:1] = ["-X", "importtime"]
    told = subprocess.run(argv, env=serve.environment(), capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines() if "|" in line}
    assert "typer" in loaded
    assert loaded & (HEAVY - ({"pydantic_core", "email"} if "launch" in words else set())) == set()


PRINTING = [
    ("keys",),  # by rich
    ("keys", "--schema"),  # by print, more than one buffer of it
    ("presets", "show", "balanced", "--json"),  # by print, less than one
    ("launch", "--help"),  # by typer
    ("presets",),  # by us: its help, because the command is missing
]


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
@pytest.mark.parametrize("reader", ["| true", "2>&1 | true", ">&-", ">&- 2>&-"])
def test_output_that_nobody_reads(serve: Program, words: tuple[str, ...], reader: str) -> None:
    program = f"sleep 0.2 && {shlex.join(serve.argv(*words))}"
    script = f"( {program} ) {reader}; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(
        ["bash", "-c", script], env=serve.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stdout, told.stderr) == (141, "", "")


def test_output_of_which_the_first_line_is_read(serve: Program) -> None:
    argv = serve.argv("keys", "--schema")
    with subprocess.Popen(argv, env=serve.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)  # so that it waits for us with the rest
        assert process.stdout.readline() == b"{\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_error_is_told_where_nobody_reads_the_output(serve: Program) -> None:
    script = f"{shlex.join(serve.argv('launch', '--bogus'))} >&-"
    told = subprocess.run(["bash", "-c", script], env=serve.environment(), capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "has no flag --bogus" in told.stderr


def test_a_full_disk_behind_the_output(serve: Program) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            serve.argv("keys"), env=serve.environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "serve: standard output cannot be written: No space left on device\n"


def test_a_name_that_no_file_can_have(serve: Program) -> None:
    done = serve("launch", "a" * 300, "--dry-run")
    assert done.code == 1
    assert done.err.startswith("serve: aaa")
    assert "File name too long" in done.err
    assert "Traceback" not in done.err


def test_what_a_terminal_would_obey_is_not_told_back(serve: Program) -> None:
    done = serve("launch", "demo", "--config", "c/\x1b[31mred\x1b]0;x\x07.yaml")
    assert done.code == 2
    assert "\x1b" not in done.err
    assert "\x07" not in done.err
