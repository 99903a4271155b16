"""What is progress of a load, on real processes and real logs, and on histories with a clock of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from launcher.run.health.stall import Activity
from tests.run.conftest import PATIENCE_S, until

LOGS = Path(__file__).parent.parent / "data" / "engine-logs"
SPINS = "while True: pass"
SLEEPS = "import time; time.sleep(600)"
POLLS = "import subprocess, time\nwhile True: subprocess.run(['true']); open('/proc/stat').read(); time.sleep(0.5)"
# a tool is what is not called python: here a shell that computes
TOOL = ["sh", "-c", "while :; do :; done"]
SHORT_TOOL = ["sh", "-c", "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done"]
READS = "import os, time\nwhile True: os.read(os.open('/dev/zero', 0), 1 << 20); time.sleep(0.1)"
GROWS = "import time\nkept = []\nwhile True: kept.append(bytearray(1 << 21)); time.sleep(0.1)"
FORKS = "import subprocess, time\nwhile True: subprocess.Popen(['sleep', '600']); time.sleep(1)"


class Load:
    """A process tree and what is seen of it."""

    def __init__(self, program: str) -> None:
        self.popen = subprocess.Popen([sys.executable, "-c", program])
        self.root = psutil.Process(self.popen.pid)
        self.activity = Activity(self.processes)

    def processes(self) -> list[psutil.Process]:
        return [self.root, *self.root.children(recursive=True)]

    def sample(self) -> float:
        time.sleep(1.1)
        self.activity.sample()
        return self.activity.quiet_s

    def end(self) -> None:
        for process in self.processes():
            process.kill()
        self.popen.wait(PATIENCE_S)


@pytest.fixture
def load() -> Iterator[Callable[[str], Load]]:
    loads: list[Load] = []

    def start(program: str) -> Load:
        loads.append(Load(program))
        return loads[-1]

    yield start
    for each in loads:
        each.end()


@pytest.mark.parametrize("program", [SPINS, SLEEPS, POLLS], ids=["spins", "sleeps", "polls"])
def test_to_compute_or_to_wait_is_no_progress(load: Callable[[str], Load], program: str) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    stalled = load(child)
    until(lambda: stalled.sample() >= 5, "a stall")


def test_a_stopped_load_makes_no_progress(load: Callable[[str], Load]) -> None:
    stalled = load(READS)
    stalled.sample()
    stalled.root.suspend()
    until(lambda: stalled.sample() >= 3, "a stall")


@pytest.mark.parametrize(
    ("program", "seen"),
    [
        (READS, "MB read or written"),
        (GROWS, "MB more memory"),
        (FORKS, "processes: "),
        (f"import subprocess; subprocess.run({TOOL!r})", "s of CPU time by compilers"),
        (f"import subprocess\nwhile True: subprocess.run({SHORT_TOOL!r})", "s of CPU time by compilers"),
    ],
    ids=["reads", "grows", "starts processes", "compiles", "compiles in many short processes"],
)
def test_progress(load: Callable[[str], Load], program: str, seen: str) -> None:
    loading = load(program)
    until(lambda: loading.sample() == 0 and seen in loading.activity.last, seen)
    quiet = [loading.sample() for _ in range(4)]
    assert max(quiet) < 5  # on a machine that is busy with other things a sample may miss it


def test_compilers_are_counted_for_a_server_too(load: Callable[[str], Load]) -> None:
    loading = load(f"import subprocess; subprocess.run({TOOL!r})")
    until(lambda: loading.activity.compiling_s() > 0.5, "the work of a tool")
    assert load(SPINS).activity.compiling_s() < 0.1


class Silent:
    """A load of which only the log is seen."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.activity = Activity(list, clock=lambda: self.now_s)

    def after(self, seconds: float, *lines: str) -> float:
        for line in lines:
            self.activity.line(line)
        self.now_s += seconds
        self.activity.sample()
        return self.activity.quiet_s


def test_silence_adds_up_and_a_phase_or_a_new_line_ends_it() -> None:
    silent = Silent()
    assert [silent.after(5) for _ in range(3)] == [5, 10, 15]
    assert silent.after(5, "Loading weights took 2.42 seconds") == 0
    assert silent.activity.last == "the log line 'Loading weights took 2.42 seconds'"
    assert silent.after(5) == 5
    silent.activity.phase("compiling")
    assert silent.after(5) == 0
    assert silent.activity.last == "the phase 'compiling'"


def test_the_time_in_which_we_were_stopped_ourselves_does_not_count() -> None:
    assert Silent().after(86400) == 30


def test_looks_without_time_between_them_are_one() -> None:
    silent = Silent()
    assert silent.after(0.1, "a line") == 0
    assert silent.activity.last == "its start"
    assert [silent.after(0.5), silent.after(0.5)] == [0, 0]
    assert silent.activity.last == "the log line 'a line'"


@pytest.mark.parametrize(
    "line",
    [
        '(APIServer pid=731) INFO:     127.0.0.1:{n} - "GET /health HTTP/1.1" 503 Service Unavailable',
        '[2026-11-20 13:11:{n}] INFO:     127.0.0.1:43672 - "POST /v1/completions HTTP/1.1" 503 Service Unavailable',
        "(EngineCore pid=9) INFO [shm_broadcast.py:68] No available shared memory broadcast block found in {n} seconds",
        "(APIServer pid=9) DEBUG [utils.py:1449] Waiting for 1 local, {n} remote core engine proc(s) to start.",
        "[2026-11-20 13:11:{n} TP0] the same again",
        "INFO 11-{n} 13:11:05,123 the same again",
        "Capturing CUDA graphs (FULL):  47%|████▋     | 24/51 [00:{n}<00:01, 13.9{n}it/s]",
    ],
)
def test_a_line_that_says_nothing_new_is_no_progress(line: str) -> None:
    silent = Silent()
    silent.after(5, line.format(n=10))
    assert silent.after(5, *(line.format(n=n) for n in range(11, 60))) >= 5


def test_a_bar_that_advances_is_progress() -> None:
    silent = Silent()
    for done in range(1, 51):
        assert silent.after(5, f"Capturing batches (bs=256):   {2 * done}%|▏         | {done}/50 [00:06<06:13]") == 0


@pytest.mark.parametrize("log", sorted(LOGS.glob("*.log")), ids=lambda log: log.stem)
def test_a_real_log_is_progress_once(log: Path) -> None:
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    silent = Silent()
    silent.after(5, *lines)
    assert silent.activity.quiet_s == 0
    assert silent.after(5, *lines[-400:]) == 5
    assert silent.after(5, "something new") == 0


def test_memory_of_lines_is_bounded() -> None:
    silent = Silent()
    for number in range(5000):
        silent.activity.line(f"line {number}")
    assert len(silent.activity._lines) == 1000
