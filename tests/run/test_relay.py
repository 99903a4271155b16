"""An observer that is slow, stuck or gone, and one who tells it things and must not wait."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import sys
import threading
import time
from functools import partial

from launcher.run.output.handover import Handover
from launcher.run.relay import Relay
from launcher.run.status import Observer, Ready
from tests.run.conftest import PATIENCE_S, TESTS, until

REPORT = Ready("http://127.0.0.1:8000", "fake", 1.0, {}, "engine.log", demo=False, secret=None)


class Told(Observer):
    """Remembers what it is told, once it is let."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.told: list[tuple[str, object]] = []
        self.free = threading.Event()
        if not stuck:
            self.free.set()

    def take(self, what: str, value: object) -> None:
        self.free.wait(PATIENCE_S)
        self.told.append((what, value))

    def line(self, text: str) -> None:
        self.take("line", text)

    def phase(self, name: str, elapsed_s: float) -> None:
        self.take("phase", (name, elapsed_s))

    def ready(self, report: Ready) -> None:
        self.take("ready", report)

    def note(self, text: str) -> None:
        self.take("note", text)

    def stopping(self, why: str) -> None:
        self.take("stopping", why)


def test_all_is_told_in_its_order() -> None:
    observer = Told()
    relay = Relay(observer)
    for number in range(1000):
        relay.line(f"line {number}")
    relay.phase("loading", 1.5)
    relay.line("between")
    relay.ready(REPORT)
    relay.note("a note")
    relay.stopping("why")
    assert relay.close(PATIENCE_S)
    assert observer.told == [
        *(("line", f"line {number}") for number in range(1000)),
        ("phase", ("loading", 1.5)),
        ("line", "between"),
        ("ready", REPORT),
        ("note", "a note"),
        ("stopping", "why"),
    ]


def test_nobody_waits_for_an_observer_that_is_stuck_and_only_lines_are_lost() -> None:
    observer = Told(stuck=True)
    relay = Relay(observer)
    relay.phase("loading", 0.0)
    for number in range(20_000):
        relay.line(f"{number:0100d}")
        if number % 5000 == 0:
            relay.note(f"{number}")
    relay.stopping("why")
    assert not relay.close(0.01)
    assert observer.told == []
    observer.free.set()
    assert relay.close(PATIENCE_S)
    texts = [str(value) for what, value in observer.told if what == "line"]
    shown = [int(text) for text in texts if not text.startswith("serve: ")]
    (missed,) = [text for text in texts if text.startswith("serve: ")]
    assert missed.endswith(" lines came faster than they were taken; see the log")
    assert len(shown) + int(missed.split()[1].replace(",", "")) == 20_000
    assert shown == list(range(20_000 - len(shown), 20_000))
    assert len(shown) > 2500
    others = [each for each in observer.told if each[0] != "line"]
    assert others == [
        ("phase", ("loading", 0.0)),
        *(("note", f"{number}") for number in range(0, 20_000, 5000)),
        ("stopping", "why"),
    ]


def test_what_waits_is_bounded_by_what_it_takes_in_memory_however_short_the_lines() -> None:
    observer = Told(stuck=True)
    relay = Relay(observer)
    for _ in range(10_000):
        relay.line("x")
    observer.free.set()
    assert relay.close(PATIENCE_S)
    assert 4000 < len(observer.told) < 4100  # 1 MiB of 257 bytes each


class Gone(Told):
    def line(self, text: str) -> None:
        raise OSError(5, "Input/output error", text)


def test_a_terminal_that_is_gone_ends_nothing() -> None:
    observer = Gone()
    relay = Relay(observer)
    relay.line("one")
    relay.stopping("why")
    assert relay.close(PATIENCE_S)
    assert observer.told == [("stopping", "why")]


STOPPED = """
import os, sys
from launcher.cli.progress import observer
from launcher.run.relay import Relay

relay = Relay(observer())
relay.phase("loading", 0.0)
for number in range(1_000):
    relay.line(f"line {number}")
relay.stopping("the last word")
os.write(1, b"%r\\n" % relay.close(0.2))  # not by print: rich has it go where its live line is
sys.stdin.readline()
os.write(1, b"%r\\n" % relay.close(60))
"""


def test_a_stopped_terminal_keeps_nobody_and_has_all_when_it_goes_on() -> None:
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), "TERM": "xterm"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=inner,
        text=True,
    )
    os.close(inner)
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "False\n"  # nobody has read the terminal yet
    seen = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(terminal, 65536):
                seen.extend(chunk)
        except OSError:  # the other side is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    print(file=process.stdin, flush=True)
    assert process.communicate(timeout=PATIENCE_S)[0] == "True\n"
    reader.join(PATIENCE_S)
    os.close(terminal)
    assert b"line 999" in seen
    assert seen.rstrip().endswith(b"serve: the last word")


def test_a_call_that_takes_no_data_is_made_before_long_whatever_waits() -> None:
    made: list[int] = []
    calls = Handover("test", 1000, lambda _lines, size_bytes: made.append(-size_bytes))
    stuck = threading.Event()
    calls.put(lambda: stuck.wait(PATIENCE_S))
    for number in range(5):
        calls.put(partial(made.append, number), 400, 1)
        calls.put(partial(made.append, number + 100))
    calls.put(lambda: made.append(5), 10_000, 1)  # more than the limit alone
    assert not calls.flush(0)
    stuck.set()
    assert calls.flush(PATIENCE_S)
    assert made == [-12_000, 100, 101, 102, 103, 104]


def test_a_thread_that_waits_sleeps_and_ends_with_its_work() -> None:
    before = threading.active_count()
    relay = Relay(Told())
    relay.line("one")
    assert threading.active_count() == before + 1
    used_s = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - used_s < 0.2
    assert relay.close(PATIENCE_S)
    until(lambda: threading.active_count() == before, "its end")


def test_a_flood_takes_a_part_of_one_processor_and_all_of_it_when_somebody_waits() -> None:
    spent: list[tuple[float, float, int]] = []
    calls = Handover("test", 1 << 30, lambda _lines, _size_bytes: None)

    def work() -> None:
        sum(range(5000))
        rests = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw  # how often it gave the processor away
        spent.append((time.thread_time(), time.monotonic(), rests))

    for _ in range(4000):
        calls.put(work, 1)
    until(lambda: len(spent) > 2000, "half of them")
    (used_s, begin_s, rests), (all_used_s, end_s, all_rests) = spent[0], spent[2000]
    assert (all_used_s - used_s) / (end_s - begin_s) < 0.4  # a busy machine makes it less
    half = len(spent)
    assert calls.flush(PATIENCE_S)
    assert len(spent) == 4000
    assert (spent[-1][2] - spent[half][2]) / (4000 - half) < (all_rests - rests) / 2000 / 2
