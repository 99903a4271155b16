"""Whether a load makes progress: a start may take an hour and be well, and be silent for minutes while it compiles.

Progress is what a hung process does not do: say something new, read or write much, start or end processes, let a
compiler work, grow. Computing alone is none of it.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from launcher.files import load_data

RULES = Path(__file__).parent / "data" / "stall.yaml"
# Rates, so that what an engine does that waits adds up to nothing. Measured on vLLM 0.32.0: in a start with compilation
# these saw nothing for 6 s at most, while its log was silent for a minute; an engine that waits for requests, or is
# stopped, reads and writes less than 1 kB in 5 s.
_IO_BYTES_PER_S = 1 << 16
_TOOLS_S_PER_S = 0.1
_GROWN_BYTES = 1 << 24
_LEAST_GAP_S = 1.0  # a rate over less says nothing
_GAP_S = 30.0  # longer, and this process was stopped itself: nobody stalled
_LINES_KEPT = 1000
_READ_CHARACTERS = 300
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class _Rules:
    noise: re.Pattern[str]
    own: re.Pattern[str]
    tools: re.Pattern[str]
    volatile: re.Pattern[str]


@dataclass(frozen=True)
class _Usage:
    """What one process has used since it was born.

    Attributes:
        tools_s: CPU seconds of its ended children, and its own if it is a tool.
        io_bytes: read and written, its ended children included (Linux adds those, proc_pid_io(5)).
        memory_bytes: resident now.
    """

    tools_s: float = 0.0
    io_bytes: int = 0
    memory_bytes: int = 0


class Activity:
    """How long a load has shown no progress.

    Attributes:
        quiet_s: seconds without progress, as of the last sample.
        last: the last progress in words.
    """

    def __init__(
        self, descendants: Callable[[], list[psutil.Process]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Of the processes that the function gives; the clock is in seconds."""
        self.quiet_s = 0.0
        self.last = "its start"
        self._descendants, self._clock = descendants, clock
        self._time_s = clock()
        self._said = ""
        self._lines: dict[str, None] = {}
        self._usage: dict[int, _Usage] = {}
        self._settled: set[int] = set()
        self._peaks: dict[int, int] = {}

    def line(self, text: str) -> None:
        """Take a line of the log; for the thread that reads it."""
        text = text[:_READ_CHARACTERS]
        rules = load_rules()
        key = rules.volatile.sub("", text)
        if key in self._lines or rules.noise.search(text):
            return
        if len(self._lines) >= _LINES_KEPT:
            del self._lines[next(iter(self._lines))]
        self._lines[key] = None
        self._said = f"the log line {text[:_SHOWN_CHARACTERS]!r}"

    def phase(self, name: str) -> None:
        """Another phase begins; for any thread."""
        self._said = f"the phase {name!r}"

    def sample(self) -> None:
        """Look at the processes; every few seconds, in one thread."""
        gap_s = self._clock() - self._time_s
        if gap_s < _LEAST_GAP_S:
            return
        self._time_s += gap_s
        usage = {process.pid: used for process in self._descendants() if (used := _used(process))}
        said, self._said = self._said, ""
        seen = self._compare(usage, gap_s)
        if said or seen:
            self.quiet_s, self.last = 0.0, said or seen
        else:
            self.quiet_s += min(gap_s, _GAP_S)

    def compiling_s(self) -> float:
        """CPU seconds of compilers and other tools since the engine's start; for any thread."""
        return sum(used.tools_s for process in self._descendants() if (used := _used(process)))

    def _compare(self, usage: dict[int, _Usage], gap_s: float) -> str:
        """What has happened since the last sample, in words, or nothing."""
        before, self._usage = self._usage, usage
        settled, self._settled = self._settled, usage.keys() & before.keys()  # a process that only polls is gone sooner
        pairs = [(before.get(pid, _Usage()), now) for pid, now in usage.items()]
        tools_s = sum(now.tools_s - then.tools_s for then, now in pairs)
        io_bytes = sum(now.io_bytes - then.io_bytes for then, now in pairs)
        grown_bytes = sum(max(0, now.memory_bytes - self._peaks.get(pid, 0)) for pid, now in usage.items())
        if grown_bytes >= _GROWN_BYTES:
            self._peaks = {pid: max(now.memory_bytes, self._peaks.get(pid, 0)) for pid, now in usage.items()}
        if tools_s >= _TOOLS_S_PER_S * gap_s:
            return f"{tools_s:.1f} s of CPU time by compilers or by processes that have ended"
        if io_bytes >= _IO_BYTES_PER_S * gap_s:
            return f"{io_bytes / 1e6:.1f} MB read or written"
        if grown_bytes >= _GROWN_BYTES:
            return f"{grown_bytes / 1e6:.0f} MB more memory"
        if settled != self._settled:
            return f"processes: {len(self._settled - settled)} new, {len(settled - self._settled)} ended"
        return ""


def _used(process: psutil.Process) -> _Usage | None:
    """None if it is gone, or not ours to look at."""
    try:
        with process.oneshot():
            cpu, io = process.cpu_times(), process.io_counters()
            own = cpu.user + cpu.system if _is_tool(process) else 0.0
            ended = cpu.children_user + cpu.children_system
            return _Usage(own + ended, io.read_chars + io.write_chars + io.read_bytes, process.memory_info().rss)
    except (psutil.Error, OSError):
        return None


def _is_tool(process: psutil.Process) -> bool:
    rules = load_rules()
    return not rules.own.search(process.name().lower()) or bool(rules.tools.search(" ".join(process.cmdline())))


@functools.cache
def load_rules() -> _Rules:
    """What counts."""
    said = load_data(RULES)
    noise = re.compile("|".join(f"(?:{pattern})" for pattern in said["noise"]))
    return _Rules(noise, *(re.compile(said[name]) for name in ("own", "tools", "volatile")))
