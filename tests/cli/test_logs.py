"""`serve logs`: what is shown of which run, and that a log can do nothing to a terminal."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.run.output.rotation import RotatingFile
from tests.cli.conftest import PATIENCE_S, Program


@pytest.fixture
def folder(serve: Program) -> Path:
    folder = serve.home / "state" / "instances" / "demo"
    folder.mkdir(parents=True)
    return folder


def run(folder: Path, *chunks: bytes) -> RotatingFile:
    log = RotatingFile(folder / "engine.log", print)
    for chunk in chunks:
        log.write(chunk)
    return log


@pytest.fixture
def follower(serve: Program, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`serve logs -f` of an instance whose supervisor is this process."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(folder, b"one\ntwo\n")
        process = subprocess.Popen(
            serve.argv("logs", "demo", "-f", "--tail", "1"),
            env=serve.environment(),
            cwd=serve.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        yield process
    process.kill()
    process.communicate()


def test_the_last_run_is_shown_and_earlier_ones_when_a_time_is_given(serve: Program, folder: Path) -> None:
    run(folder, b"first run\n")
    run(folder, b"second run\n", b"and its end")
    assert serve("logs", "demo").out == "second run\nand its end\n"
    assert serve("logs", "demo", "--tail", "1").out == "and its end\n"
    assert serve("logs", "demo", "--tail", "0").out == ""
    for since in ("5m", "1.5h", "2d", "90s", "2020-01-01", "2020-01-01T10:00", "2020-01-01T10:00:00Z"):
        assert serve("logs", "demo", "--since", since).out == "first run\nsecond run\nand its end\n"
    assert serve("logs", "demo", "--since", "2200-01-01T10:00+02:00").out == ""
    assert serve("logs", "demo", "--since", "1h", "--tail", "2").out == "second run\nand its end\n"


def test_it_follows_until_the_server_ends(folder: Path, follower: subprocess.Popen[bytes]) -> None:
    assert follower.stdout
    assert follower.stdout.readline() == b"two\n"
    with (folder / "engine.log").open("ab") as log:
        log.write(b"three\n")
    assert follower.stdout.readline() == b"three\n"
    run(folder, b"four\n")  # in another file
    assert follower.stdout.readline() == b"four\n"
    assert follower.poll() is None
    with (folder / "engine.log").open("ab") as log:
        log.write(b"the last, without an end")
    (folder / "lock").unlink()  # as after the supervisor's end: nobody holds it
    assert follower.communicate(timeout=PATIENCE_S) == (b"the last, without an end\n", b"")
    assert follower.returncode == 0


def test_nobody_needs_to_wait_for_it_to_end(follower: subprocess.Popen[bytes]) -> None:
    assert follower.stdout
    follower.stdout.readline()
    follower.send_signal(2)
    assert follower.communicate(timeout=PATIENCE_S) == (b"", b"")
    assert follower.returncode == 130


def test_a_reader_that_leaves_ends_it(folder: Path, follower: subprocess.Popen[bytes]) -> None:
    assert follower.stdout
    follower.stdout.readline()
    follower.stdout.close()
    while follower.poll() is None:
        with (folder / "engine.log").open("ab") as log:
            log.write(b"more\n")
        time.sleep(0.1)
    assert follower.returncode == 141
    assert follower.stderr
    assert follower.stderr.read() == b""


def test_following_what_does_not_run_is_reading(serve: Program, folder: Path) -> None:
    run(folder, b"one\n")
    assert serve("logs", "demo", "--follow").out == "one\n"


def test_a_log_can_do_nothing_to_a_terminal(serve: Program, folder: Path) -> None:
    run(
        folder, bytes(range(256)) * 200, b"\n\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b31m\n", b"x" * 3_000_000 + b"\nend\n"
    )
    out = serve("logs", "demo").out
    lines = out.split("\n")
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert lines[-4:] == ["red\ufffd31m", "x" * 16384 + " ...", "end", ""]


def test_a_terminal_that_knows_no_unicode_gets_question_marks(serve: Program, folder: Path) -> None:
    run(folder, "50%|█████     |\n".encode())
    assert serve("logs", "demo", environment={"PYTHONIOENCODING": "ascii"}).out == "50%|?????     |\n"


def test_an_instance_that_wrote_nothing_has_no_lines(serve: Program, folder: Path) -> None:
    assert (serve("logs", "demo").code, serve("logs", "demo").out) == (0, "")
    assert folder.exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["other"], "serve: there is no instance named 'other'\n"),
        (["../demo"], "serve: '../demo' is no name for an instance\n"),
        (["demo", "--since", "soon"], "serve: --since: 'soon' is no time\n"),
        (["demo", "--since", ""], "serve: --since: '' is no time\n"),
        (["demo", "--since", "10"], "serve: --since: '10' is no time\n"),
        (["demo", "--since", "0001-01-01"], "serve: --since: '0001-01-01' is no time\n"),
        (["demo", "--since", "-5m"], "serve: --since: '-5m' is no time\n"),
        (["demo", "--tail", "-1"], "serve: Invalid value for '--tail'"),
        ([], "serve: Missing argument 'NAME'"),
    ],
)
def test_what_cannot_be_shown_is_said(serve: Program, folder: Path, words: list[str], error: str) -> None:
    assert folder.exists()
    result = serve("logs", *words)
    assert result.code == 2
    assert result.err.startswith(error)


def test_a_log_that_is_none_is_an_error(serve: Program, folder: Path) -> None:
    os.mkfifo(folder / "engine.log")
    result = serve("logs", "demo")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"serve: {folder / 'engine.log'}: cannot be read: not a regular file\n"
