"""What is left when a supervisor, a guard or an engine is killed, on engines that do not want to end."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launcher.run.processes.process import Process
from launcher.run.signals import STOPS
from tests.run.conftest import PATIENCE_S, TESTS, until

if TYPE_CHECKING:
    from tests.run.conftest import Host

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
FAULTS = int(os.environ.get("SERVE_FAULTS", "9"))

# A supervisor and nothing else: it shows what the engine writes, and how it ended.
SUPERVISOR = """
import json, os, select, sys
from launcher.run.processes.process import Process

process = Process(json.loads(sys.argv[1]), dict(os.environ), "name")
print(process.pid, process.guard_pid, flush=True)
while process.changed not in select.select([process.changed, process.output], [], [])[0]:
    os.write(1, os.read(process.output.fileno(), 65536))
status = process.poll()
process.stop(grace_s=0)
print("ended:", status, flush=True)
"""

# Deaf to TERM. A FIFO ends for its reader when the last of its processes has ended, however short-lived they are.
ENGINE = """
import os, signal, sys, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
alive = os.open(os.environ["FAKE_ALIVE"], os.O_WRONLY)

def up():
    os.write(1, b"up\\n")

"""
ENGINES = {
    "a daemon that forked twice": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                up()
                time.sleep(600)
            os._exit(0)
        os.wait()
        time.sleep(600)
    """,
    "children in other groups and sessions": """
        for leave in (os.setsid, os.setpgrp, int):
            if os.fork() == 0:
                leave()
                time.sleep(600)
        time.sleep(0.3)
        up()
        time.sleep(600)
    """,
    "two that start each other anew": """
        while True:
            parent = os.getpid()
            if os.fork() == 0:
                os.setsid()
                up()
                while os.getppid() == parent:
                    time.sleep(0.01)
            else:
                os.wait()
    """,
    "one that is never long the same process": """
        if os.fork() == 0:
            os.setsid()
            up()
            for _ in range(10_000):
                if os.fork():
                    os._exit(0)
                time.sleep(0.003)
        time.sleep(600)
    """,
    "one that starts others without a pause": """
        for number in range(1_000):
            if os.fork() == 0:
                os.setsid()
                time.sleep(600)
            if number == 3:
                up()
            time.sleep(0.001)
        time.sleep(600)
    """,
    "stopped processes": """
        if os.fork() == 0:
            os.setsid()
            os.kill(os.getpid(), signal.SIGSTOP)
        os.waitpid(-1, os.WUNTRACED)
        up()
        os.kill(os.getpid(), signal.SIGSTOP)
    """,
}


class Kept:
    """An engine below the guard of a supervisor that is a process of its own."""

    def __init__(self, host: Host, engine: str) -> None:
        fifo = host.folder / "alive"
        os.mkfifo(fifo)
        self._alive = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        argv = [sys.executable, "-c", ENGINE + textwrap.dedent(ENGINES[engine])]
        self.supervisor = host.start(
            [sys.executable, "-c", SUPERVISOR, json.dumps(argv)],
            {"FAKE_ALIVE": str(fifo), "SERVE_RUN": "/instances/name:1"},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.supervisor.stdout
        self.output = self.supervisor.stdout
        self.engine, self.guard = (int(pid) for pid in self.output.readline().split())
        while self.output.readline() != b"up\n":
            assert self.supervisor.poll() is None

    def kill(self, victim: str) -> None:
        if victim == "supervisor's group":
            os.killpg(self.supervisor.pid, signal.SIGKILL)
        else:
            pids = {"supervisor": self.supervisor.pid, "guard": self.guard, "engine": self.engine}
            os.kill(pids[victim], signal.SIGKILL)

    def gone(self) -> bool:
        try:
            return os.read(self._alive, 1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.output.close()
        os.close(self._alive)


@pytest.mark.parametrize("victim", ["supervisor", "supervisor's group", "guard", "engine"])
@pytest.mark.parametrize("engine", ENGINES)
def test_whoever_is_killed_nothing_is_left(host: Host, engine: str, victim: str) -> None:
    kept = Kept(host, engine)
    assert not kept.gone()
    kept.kill(victim)
    until(kept.gone, "the end of the engine's processes")
    until(lambda: not host.processes(), "the end of the guard")
    status = kept.supervisor.wait(PATIENCE_S)
    said = kept.output.read().decode().splitlines()
    kept.close()
    if victim.startswith("supervisor"):
        assert status == -9
    else:
        assert (status, said[-1]) == (0, "ended: -9")


def test_supervisor_and_guard_killed_at_once_leave_what_can_be_recognized(host: Host) -> None:
    kept = Kept(host, "children in other groups and sessions")
    for number in (signal.SIGSTOP, signal.SIGKILL):
        os.kill(kept.guard, number)
        os.kill(kept.supervisor.pid, number)
    kept.supervisor.wait(PATIENCE_S)
    until(lambda: len(host.processes()) == 3, "the end of the engine's first process, which goes with the guard")
    left = host.processes()
    assert kept.engine not in {process.pid for process in left}
    assert {process.environ()["SERVE_RUN"] for process in left} == {"/instances/name:1"}
    assert sorted(os.getsid(process.pid) == kept.engine for process in left) == [False, True, True]
    host.end()
    until(kept.gone, "their end")
    kept.close()


def test_the_guard_outlives_the_signals_of_terminals_and_service_managers() -> None:
    process = Process(["sleep", "300"], dict(os.environ), "test")
    for number in STOPS:
        os.kill(process.guard_pid, number)
    status = Path(f"/proc/{process.guard_pid}/status")
    wanted = sum(1 << number - 1 for number in STOPS)
    until(lambda: int(status.read_text().partition("ShdPnd:")[2].split()[0], 16) == wanted, "signals that wait")
    with process.output:
        os.kill(process.pid, signal.SIGTERM)
        until(lambda: process.poll() is not None, "its end")
        assert process.poll() == -15
        assert process.stop() == []


def test_a_stopped_guard_delays_nothing() -> None:
    process = Process(["sleep", "300"], dict(os.environ), "test")
    os.kill(process.guard_pid, signal.SIGSTOP)
    with process.output:
        assert process.stop(grace_s=30) == []
    assert not psutil.pid_exists(process.guard_pid)


def test_what_its_supervisor_runs_besides_is_no_part_of_the_engine() -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as before:
        process = Process(["sleep", "300"], dict(os.environ), "test")
        with process.output, subprocess.Popen(["sleep", "300"]) as after:
            assert [each.pid for each in process.descendants()] == [process.pid]
            os.kill(process.guard_pid, signal.SIGKILL)
            until(lambda: process.poll() is not None, "the guard's end")
            process.stop(grace_s=0)
            for other in (before, after):
                assert other.poll() is None
                other.kill()
                assert other.wait() == -9


def test_the_guard_is_small_says_what_it_is_and_does_not_hold_the_key() -> None:
    process = Process(["sleep", "300"], {**os.environ, "SERVE_RUN": "run", "VLLM_API_KEY": "sk-known"}, "my-name")
    guard = psutil.Process(process.guard_pid)
    with process.output:
        assert guard.name() == "serve-guard"
        assert guard.cmdline()[-3:-1] == ["serve-guard", "my-name"]
        environment = guard.environ()
        assert environment["SERVE_RUN"] == "run"
        assert "VLLM_API_KEY" not in environment
        assert guard.memory_info().rss < 16e6
        held = sorted(str(each.readlink()).partition(":")[0] for each in Path(f"/proc/{guard.pid}/fd").iterdir())
        assert held == ["/dev/null"] * 3 + ["pipe", "pipe", "socket"]
        process.stop(grace_s=0)


def test_a_server_starts_while_its_launcher_is_replaced(host: Host) -> None:
    copy = host.folder / "old"
    shutil.copytree(TESTS.parent / "launcher", copy / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
import os, shutil, time
from launcher.run.processes.process import Process
shutil.rmtree({str(copy)!r})
process = Process(["echo", "up"], dict(os.environ), "name")
print(process.output.read())
while process.poll() is None:
    time.sleep(0.01)
print(process.stop(), process.poll())
"""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=host.folder, capture_output=True, check=True
    )
    assert said.stdout == b"b'up\\n'\n[] 0\n"


@pytest.mark.parametrize(
    ("program", "why"),
    [("exit 1", "its guard ended"), ("echo no encodings; exit 1", "its guard ended: no encodings"), (None, "No such")],
)
def test_a_python_that_cannot_run_a_guard_is_an_error(host: Host, program: str | None, why: str) -> None:
    python = host.folder / "python"
    if program:
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o700)
    start = f"""
import os, sys
from launcher.errors import ServeError
from launcher.run.processes.process import Process
sys.executable = {str(python)!r}
try:
    Process(["true"], dict(os.environ), "name")
except ServeError as error:
    print(error.what, error.where, error.code, len(os.listdir("/proc/self/fd")))
"""
    said = subprocess.run(
        [sys.executable, "-c", start], env=host.environment({}), capture_output=True, text=True, check=True
    )
    what, _, rest = said.stdout.partition(f" {python} ")
    assert what.startswith(f"the engine cannot be started: {why}")
    assert rest == "1 4\n"


def test_random_kills_of_a_launch_leave_nothing(host: Host) -> None:
    """SERVE_FAULTS says how many; each victim has its share."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what is left of a tree becomes our child
    this = psutil.Process()
    before = set(this.children(recursive=True))

    def left() -> list[psutil.Process]:
        found = {each for each in this.children(recursive=True) if each not in before}
        return [each for each in (*found, *host.processes()) if each.is_running() and each.status() != "zombie"]

    seed = time.time_ns()
    draw = random.Random(seed)  # noqa: S311 - no secret
    for number in range(FAULTS):
        name, at_s = ("supervisor", "guard", "engine")[number % 3], draw.uniform(0, 4)
        fault = f"seed {seed}, fault {number}: {name} killed after {at_s:.2f} s"
        server = host.launch({"FAKE_GRANDCHILD": "1", "FAKE_START_S": "1"})
        time.sleep(at_s)
        victim = until(functools.partial(role, name, server.process.pid), fault)
        victim.kill()
        status = server.process.wait(PATIENCE_S)
        assert status == (-9 if name == "supervisor" else 1), fault + server.err
        until(lambda: not left(), f"the end of all: {fault}")


def role(name: str, supervisor: int) -> psutil.Process | None:
    """A part of a launch, when it is there."""
    found = psutil.Process(supervisor)
    if name == "supervisor":
        return found
    guard = next((each for each in found.children() if each.name() == "serve-guard"), None)
    return guard if name == "guard" or guard is None else next(iter(guard.children()), None)
