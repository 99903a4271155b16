"""What a supervisor writes down about its run, for others to read; and the clock and pids that it is written in."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.engines.command import Secret

_MOST_BYTES = 1 << 20  # a hundred times a real one
STARTING, SERVING, STOPPING, STOPPED, FAILED = STATES = ("starting", "serving", "stopping", "stopped", "failed")


@dataclass(frozen=True)
class Record:
    """What the supervisor wrote about its run. Not the API key, and nothing that a reader has to trust to be alive.

    Attributes:
        name: the instance's name.
        run: the run's identity; the engine and all of its descendants carry it in ``SERVE_RUN``.
        boot: the boot that the pids and seconds below belong to.
        state: what the supervisor was doing when it wrote this, one of `STATES`; `Instance.state` is the truth.
        detail: the phase of a start, or why the run ended, in a sentence.
        engine_pid, engine_start: the engine's first process, also its session and process group, and when it started in
            clock ticks since boot, so that a reused pid is not trusted.
        started_s, since_s: seconds since boot (CLOCK_BOOTTIME: a clock that is set does not change them) at the start
            of the run, and at the last change of state.
        base_url, host, port, served_name, model, release, preset: of the command.
        argv: the engine's command line, which never holds the key.
        log: the file of the engine's output.
        key_source, key_path: where a client finds the key.
        request: what to launch again, for ``serve restart``.
        attempts: how often the engine was started in this run.
        facts: what the engine's log said of what it granted.
        reason: of a failure, a line each: its cause, the lines of the log that decide, why it is not started again.
        fix: what to do about a failure.
    """

    name: str
    run: str = ""
    boot: str = ""
    state: str = STARTING
    detail: str = ""
    engine_pid: int | None = None
    engine_start: int | None = None
    started_s: float = 0.0
    since_s: float = 0.0
    base_url: str = ""
    host: str = ""
    port: int = 0
    served_name: str = ""
    model: str = ""
    release: str = ""
    preset: str | None = None
    argv: tuple[str, ...] = ()
    log: str = ""
    key_source: str | None = None
    key_path: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    facts: Mapping[str, float | int] = field(default_factory=dict)
    reason: tuple[str, ...] = ()
    fix: str = ""

    @property
    def secret(self) -> Secret | None:
        """Where a client finds the key; a file that is gone is an error then, not made anew."""
        if self.key_source is None:
            return None
        return Secret("file", Path(self.key_path)) if self.key_path else Secret("env")


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)); None if gone.

    Not a wall-clock time: that one changes when the clock is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # from field 3 on; the name before them may hold anything
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def boot() -> str:
    """The identity of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def now_s() -> float:
    """Seconds since boot, those in which the host slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(path: Path) -> Record | None:
    """What a version of this program, perhaps another one, wrote; unknown fields are left out."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            found = json.loads(file.read(_MOST_BYTES))
        known = {each.name for each in dataclasses.fields(Record)}
        record = Record(**{name: value for name, value in found.items() if name in known})
    except PermissionError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None  # never started, or damaged
    if not _sound(record):
        return None
    return dataclasses.replace(record, argv=tuple(map(str, record.argv)), reason=tuple(map(str, record.reason)))


def _sound(record: Record) -> bool:
    """Whether what others reckon with is of its type; a record may come from anywhere."""
    numbers = (record.started_s, record.since_s, record.port, record.engine_pid or 0, record.engine_start or 0)
    texts: tuple[Any, ...] = (
        record.name,
        record.run,
        record.boot,
        record.state,
        record.detail,
        record.base_url,
        record.served_name,
    )
    texts += (record.model, record.release, record.log, record.preset or "", record.key_path or "", record.fix)
    return (
        all(isinstance(each, int | float) for each in numbers)
        and all(isinstance(each, str) for each in texts)
        and isinstance(record.request, dict)
        and isinstance(record.facts, dict)
        and isinstance(record.argv, list | tuple)
        and isinstance(record.reason, list | tuple)
    )
