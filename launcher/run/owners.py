"""Whose a process is: which instance's run it came from, found out long after that run.

Either of two things tells it:

- its environment: `MARKER` names the instance's folder and the run. All descendants inherit the variable, but
  setproctitle writes a process's title over its environment (the core process of vLLM, the scheduler of SGLang). And
  anybody can set it, as a shell does that is given an engine's environment. So the run must be one that there was, of
  this boot and user, the process no older than it, and the leader of its session must not be somebody else's: an engine
  never belongs to the session of a terminal;
- its session: the number is the recorded engine's pid, and the process is of this boot and no older than that engine.
  While a session has a member, the kernel gives its number to no other process; but it may have done so since. So a
  process whose environment is whole and bears no mark is never ours by its session alone.

A process that has another file system than ours where the state folder is (in a container) is not ours.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.run import instances
from launcher.run.instances import Instance
from launcher.run.record import boot

MARKER = "SERVE_RUN"  # in an engine's environment: the instance's folder, a colon, the run
_MARK = re.compile(rb"(?:^|\0)%b=([^\0]*):([^\0:]*)\0" % MARKER.encode())


@dataclass(frozen=True)
class Running:
    """A process that has not ended.

    Attributes:
        pid: its number.
        parent: its parent's pid.
        session: the number of its session.
        start: when it started, in clock ticks since boot, so that a reused pid is not trusted.
    """

    pid: int
    parent: int
    session: int
    start: int


class Owners:
    """The instances of this user, to ask which of them a process belongs to.

    Attributes:
        instances: all of them, by name.
    """

    def __init__(self) -> None:
        """Read the records; a damaged one, or one that may not be read, tells nothing."""
        self._folder = (settings.state_folder() / "instances").resolve()
        self.instances = {each.name: each for each in instances.every()}

    def of(self, process: Running) -> str | None:
        """The name of the instance, or None for a foreign process."""
        if not process.session:
            return None  # a session from outside of this container: an engine has begun one of its own
        name = self._told(process)
        leader = running(process.session) if name else None
        if leader and leader.pid != process.pid and self._told(leader) != name:
            return None
        return name if name and self._shared_with(process) else None

    def _told(self, process: Running) -> str | None:
        """What its environment or its session says."""
        environment = _read(process.pid, "environ")
        if mark := _MARK.search(environment):
            folder = Path(os.fsdecode(mark[1]))
            ours = folder.parent.resolve() == self._folder and folder.name in self.instances
            return folder.name if ours and self._ran(folder.name, os.fsdecode(mark[2]), process) else None
        if _whole(environment):
            return None
        return next((name for name, instance in self.instances.items() if _of_session(process, instance)), None)

    def _ran(self, name: str, run: str, process: Running) -> bool:
        """Whether there was such a run when the process started, and it was its user's."""
        place = self.instances[name].folder
        begun = instances.runs(place).get(run)
        return (
            begun is not None and begun.boot == boot() and process.start >= begun.start and _same_user(process, place)
        )

    def _shared_with(self, process: Running) -> bool:
        """Whether the folder is for that process what it is for us."""
        try:
            return self._folder.samefile(f"/proc/{process.pid}/root{self._folder}")
        except OSError:
            return False


def every_process() -> Iterator[Running]:
    """All processes that can be seen from here; none without Linux's /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        if process := running(int(folder.name)):
            yield process


def running(pid: int) -> Running | None:
    """One process, or None if it has ended: fields 3, 4, 6 and 22 of /proc/PID/stat (proc_pid_stat(5))."""
    state, *fields = _read(pid, "stat").rpartition(b")")[2].split() or [b"X"]
    return None if state in {b"Z", b"X"} else Running(pid, int(fields[0]), int(fields[2]), int(fields[18]))


def ancestors() -> set[int]:
    """The pids of this process and of those above it."""
    found: set[int] = set()
    process = running(os.getpid())
    while process:
        found.add(process.pid)
        process = running(process.parent)
    return found


def _of_session(process: Running, instance: Instance) -> bool:
    record = instance.record
    if record is None or record.engine_start is None or record.boot != boot():
        return False
    if process.session != record.engine_pid or process.start < record.engine_start:
        return False
    leader = running(process.session)
    if leader and leader.start != record.engine_start:
        return False  # the number was given to another process, whose session this is
    return _same_user(process, instance.folder)


def _same_user(process: Running, place: Path) -> bool:
    try:
        return Path(f"/proc/{process.pid}").stat().st_uid == place.stat().st_uid
    except OSError:
        return False


def _whole(environment: bytes) -> bool:
    """Whether it is as a process gets it: variables, each ended by NUL, and nothing else."""
    *words, rest = environment.split(b"\0")
    return bool(words) and not rest and all(b"=" in word for word in words)


def _read(pid: int, name: str) -> bytes:
    """A file of /proc/PID; nothing if the process is gone or another user's."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
