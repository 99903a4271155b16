"""A process and its descendants, on real processes."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from launcher.errors import ServeError
from launcher.run.processes.process import Process, describe
from tests.run.conftest import until

SLEEP = "import time; time.sleep(300)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
# A parent that ends at once; its child is in a session of its own and deaf.
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}], start_new_session=True)"


def python(program: str) -> Process:
    return run([sys.executable, "-c", program])


def run(argv: list[str], **environment: str) -> Process:
    return Process(argv, {**os.environ, **environment}, "test")


def told(process: Process) -> bytes:
    """All that it writes; it has ended then, and nothing had to be killed."""
    with process.output as output:
        written = output.read()
    until(lambda: process.poll() is not None, "its end")
    assert process.stop() == []
    return written


def ended(process: Process) -> int:
    until(lambda: process.poll() is not None, "its end")
    return process.poll() or 0


def test_it_has_a_session_of_its_own_and_no_input() -> None:
    process = python(
        "import os, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read())); sys.stderr.write('e')"
    )
    assert told(process) == b"True ''\ne"
    assert process.poll() == 0


def test_it_gets_its_arguments_and_its_environment_to_the_byte() -> None:
    words = ["", " ", "a\nb", "$HOME", "\udcff", "=", "1 2"]
    environment = {"PATH": os.environ["PATH"], "EMPTY": "", "EQUALS": "a=b=", "LINES": "a\nb", "\udcfe": "\udcff"}
    argv = ["sh", "-c", "cat /proc/$$/cmdline /proc/$$/environ; :", *words]
    process = Process(argv, environment, "test")
    expected = [*argv, *(f"{name}={value}" for name, value in environment.items())]
    assert told(process) == b"".join(os.fsencode(word) + b"\0" for word in expected)


def test_an_environment_larger_than_a_pipe_arrives() -> None:
    large = {f"LARGE_{number}": "x" * 100_000 for number in range(5)}
    assert told(run(["sh", "-c", "echo $LARGE_0$LARGE_4 | wc -c"], **large)) == b"200001\n"


def test_it_has_no_descriptor_of_ours() -> None:
    inherited, other = os.pipe()
    os.set_inheritable(inherited, True)
    process = run(["ls", "-l", "/proc/self/fd"])
    written = told(process).decode()
    os.close(inherited)
    os.close(other)
    links = [line.partition(" -> ") for line in written.splitlines() if " -> " in line]
    held = {before.split()[-1]: target for before, _, target in links}
    assert held.pop("3").endswith("/fd")  # the folder that ls reads
    assert sorted(held) == ["0", "1", "2"]
    assert held["0"] == "/dev/null"
    assert held["1"] == held["2"]
    assert held["1"].startswith("pipe:")


def test_its_signals_are_as_after_a_login_and_its_limits_are_ours() -> None:
    previous = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGHUP, signal.SIGUSR2)]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    process = run(["cat", "/proc/self/status", "/proc/self/limits"])
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in previous:
        signal.signal(number, handler)
    written = told(process).decode()
    fields = dict(line.split(":", 1) for line in written.splitlines() if ":" in line)
    assert {name: int(fields[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == dict.fromkeys(
        ("SigBlk", "SigIgn", "SigCgt"), 0
    )
    soft, _hard = resource.getrlimit(resource.RLIMIT_CORE)
    core = next(line.split() for line in written.splitlines() if line.startswith("Max core file size"))
    assert core[4] == ("unlimited" if soft == resource.RLIM_INFINITY else str(soft))


def test_its_output_holds_a_mebibyte_while_nobody_reads() -> None:
    process = run(["head", "-c", "1048576", "/dev/zero"])
    assert ended(process) == 0
    assert fcntl.fcntl(process.output, fcntl.F_GETPIPE_SZ) == 1 << 20
    assert told(process) == bytes(1 << 20)


def test_its_output_ends_with_its_last_writer_and_not_with_the_guard() -> None:
    process = run(["sh", "-c", "sleep 300 >/dev/null 2>&1 & echo said"])
    with process.output as output:
        assert output.read() == b"said\n"
    assert len(process.descendants()) == 1
    process.stop(grace_s=30)


@pytest.mark.parametrize("status", [0, 3, 255, -signal.SIGTERM, -signal.SIGSEGV, -signal.SIGKILL, -40])
def test_its_exit_status_is_known(status: int) -> None:
    end = f"os._exit({status})" if status >= 0 else f"os.kill(os.getpid(), {-status})"
    process = python(f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {end}")
    with process.output:
        assert ended(process) == status
    process.stop()
    assert process.poll() == status


def test_its_exit_status_outlives_a_guard_that_nobody_listened_to() -> None:
    process = run(["sh", "-c", "exit 7"])
    guard = psutil.Process(process.guard_pid)
    until(lambda: guard.status() == psutil.STATUS_ZOMBIE, "the guard's end")
    assert told(process) == b""
    assert process.poll() == 7


def test_its_end_is_noticed_without_asking() -> None:
    process = run(["sh", "-c", "sleep 300 & read line; exec sleep 300"])
    with process.output:
        assert select.select([process.changed], [], [], 0.2)[0] == []
        os.kill(process.pid, signal.SIGKILL)
        assert select.select([process.changed], [], [], 60)[0] == [process.changed]
        assert process.poll() == -9
        assert len(process.stop(grace_s=0)) == 1
    assert process.changed == -1


def test_term_is_enough_for_those_that_listen() -> None:
    process = python(f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).wait()")
    with process.output:
        until(lambda: len(process.descendants()) == 2, "its child")
        assert process.stop(grace_s=30) == []
    assert process.descendants() == []
    assert describe(process.poll() or 0) == "killed by SIGTERM"


def test_term_comes_once_to_each() -> None:
    process = python("""
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"term\\n"))
os.fork()
if os.fork() == 0:
    os.setsid()
os.write(1, b"up\\n")
while True:
    time.sleep(600)
""")
    with process.output as output:
        assert [output.readline() for _ in range(4)] == [b"up\n"] * 4
        assert len(process.stop(grace_s=1)) == 4
        assert output.read() == b"term\n" * 4


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
        assert ended(process) == 0
        (orphan,) = process.descendants()
        assert orphan.ppid() == process.guard_pid
        assert len(process.stop(grace_s=0.2)) == 1
    assert not psutil.pid_exists(orphan.pid)
    assert not psutil.pid_exists(process.guard_pid)


def test_a_stopped_engine_is_killed_after_the_grace() -> None:
    process = run(["sh", "-c", "sleep 300 & kill -STOP $! $$"])
    with process.output:
        until(lambda: [each.status() for each in process.descendants()] == ["stopped"] * 2, "their stop")
        assert len(process.stop(grace_s=0.2)) == 2


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
        Process(["no/such/engine"], {}, "test")
    assert (caught.value.where, caught.value.code) == ("no/such/engine", 1)


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text("what")
    with pytest.raises(ServeError, match="cannot be started: Permission denied"):
        Process([str(program)], {}, "test")
    program.chmod(0o700)
    with pytest.raises(ServeError, match="cannot be started: Exec format error"):
        Process([str(program)], {}, "test")


def test_the_environments_own_path_is_searched(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text("#!/bin/sh\necho found")
    program.chmod(0o700)
    assert told(run(["engine"], PATH=str(tmp_path))) == b"found\n"
    with pytest.raises(ServeError, match="cannot be started: No such file"):
        run(["engine"])


def test_one_after_the_other_leaves_nothing_behind(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(psutil.Process().children(recursive=True))

    before = held()
    for number in range(50):
        if number % 5 == 4:
            with pytest.raises(ServeError):
                Process([str(tmp_path)], {}, "test")
            continue
        process = run(["sh", "-c", "sleep 300 & exec sleep 300"] if number % 2 else ["true"])
        with process.output:
            process.stop(grace_s=0)
        assert held() == before


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (137, "exit status 137"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")],
)
def test_a_status_in_words(status: int, words: str) -> None:
    assert describe(status) == words
