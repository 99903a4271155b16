"""A process and its descendants, on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from launcher.errors import ServeError
from launcher.run.process import Process, describe

SLEEP = "import time; time.sleep(300)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
# A parent that ends at once; its child is in a session of its own and deaf.
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}], start_new_session=True)"


def python(program: str) -> Process:
    return Process([sys.executable, "-c", program], dict(os.environ))


def test_it_has_a_session_of_its_own_and_no_input() -> None:
    process = python(
        "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read())); sys.stderr.write('e')"
    )
    with process.output as output:
        assert output.read() == b"True ''\ne"
    assert process.stop() == []
    assert process.poll() == 0


def test_term_is_enough_for_those_that_listen() -> None:
    process = python(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).wait()")
    with process.output:
        while len(process.descendants()) < 2:
            time.sleep(0.01)
        assert process.stop(grace_s=30) == []
    assert process.descendants() == []
    assert describe(process.poll() or 0) == "killed by SIGTERM"


def test_the_deaf_are_killed_after_the_grace() -> None:
    process = python(DEAF)
    with process.output as output:
        assert output.readline() == b"up\n"
        start_s = time.monotonic()
        killed = process.stop(grace_s=0.5)
        assert time.monotonic() - start_s >= 0.5
    assert len(killed) == 1
    assert killed[0].endswith(f"(pid {process.pid})")
    assert process.poll() == -9


def test_the_grace_ends_when_asked_to() -> None:
    process = python(DEAF)
    with process.output as output:
        output.readline()
        assert len(process.stop(grace_s=600, pause=lambda _seconds: True)) == 1


def test_an_orphan_in_another_session_is_found_and_killed() -> None:
    process = python(ORPHAN)
    with process.output as output:
        assert output.readline() == b"up\n"
        while process.poll() is None:
            time.sleep(0.01)
        (orphan,) = process.descendants()
        assert orphan.ppid() == os.getpid()
        assert len(process.stop(grace_s=0.2)) == 1
    assert not psutil.pid_exists(orphan.pid)


def test_children_from_before_are_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as other:
        process = python(SLEEP)
        with process.output:
            assert [each.pid for each in process.descendants()] == [process.pid]
            process.stop(grace_s=0)
        assert other.poll() is None
        other.kill()


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ServeError, match="cannot be started: No such file") as caught:
        Process(["no/such/engine"], {})
    assert (caught.value.where, caught.value.code) == ("no/such/engine", 1)


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (137, "exit status 137"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert describe(status) == words
