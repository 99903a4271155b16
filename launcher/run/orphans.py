"""Processes of runs that nobody supervises any more, and their end; who else holds GPU memory.

A run's supervisor and guard end its engine when they end. Killed both at once, they cannot, and what is left keeps the
GPU's memory. No process is an orphan while a supervisor holds its instance's lock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from launcher.engines.confidential import command_line
from launcher.host import gpu_memory
from launcher.run.output.lines import clean
from launcher.run.owners import Owners, ancestors, every_process, running

_POLL_S = 0.05
_COMMAND_CHARACTERS = 160


@dataclass(frozen=True)
class Orphan:
    """A process of a run of ours that has no supervisor.

    Attributes:
        pid: the process.
        start: when it started, in clock ticks since boot, so that a reused pid is not trusted.
        instance: the name of the run's instance.
        user: who owns it.
        command: its argv as one text, without control characters and what looks like a secret, cut.
        gpu_bytes: GPU memory that it holds; None where the driver tells of none.
    """

    pid: int
    start: int
    instance: str
    user: str
    command: str
    gpu_bytes: int | None = None


@dataclass(frozen=True)
class Holder:
    """A process that holds memory of a GPU.

    Attributes:
        pid: as the driver tells it.
        user: who owns it; empty where it cannot be seen from here (another container's).
        command: as of an `Orphan`; empty where it cannot be seen.
        used_bytes: None where the driver does not say.
        gpu: the GPU's uuid.
        instance: the instance of ours that it belongs to; None for a foreign process.
    """

    pid: int
    user: str
    command: str
    used_bytes: int | None
    gpu: str
    instance: str | None


@dataclass(frozen=True)
class Reaped:
    """What became of orphans: those that have ended, and those that have not, each with the reason."""

    ended: tuple[Orphan, ...]
    left: tuple[tuple[Orphan, str], ...]


def find(claimed: str | None = None) -> list[Orphan]:
    """The processes of earlier runs whose supervisor is gone.

    Args:
        claimed: an instance whose lock this process itself holds and for which it has started nothing yet.
    """
    owners = Owners()
    supervised = {name for name, each in owners.instances.items() if name != claimed and (each.alive or each.trouble)}
    # an engine may start serve, and a shell with its environment another instance: both inherit the mark
    spared = ancestors() | {each.supervisor for each in owners.instances.values() if each.supervisor}
    found = [(each, owners.of(each)) for each in every_process() if each.pid not in spared]
    ours = [(process, name) for process, name in found if name and name not in supervised]
    memory: dict[int, int] = {}
    for use in gpu_memory.held() if ours else ():
        memory[use.pid] = memory.get(use.pid, 0) + (use.used_bytes or 0)
    return [
        Orphan(process.pid, process.start, name, *told, memory.get(process.pid))
        for process, name in ours
        if (told := _told(process.pid))
    ]


def holders() -> list[Holder]:
    """Every process that holds memory of a GPU of this host, ours and foreign; costs nothing without a GPU."""
    found = gpu_memory.held()
    if not found:
        return []
    owners = Owners()
    listed = []
    for each in found:
        process = running(each.pid)
        user, command = _told(each.pid) or ("", "")
        instance = owners.of(process) if process else None
        listed.append(Holder(each.pid, user, command, each.used_bytes, each.uuid, instance))
    return listed


def reap(orphans: list[Orphan], timeout_s: float = 10.0) -> Reaped:
    """Kill orphans, each only if it is still the same process, and wait for their end.

    They get no TERM: nobody is left whom they could serve, and SGLang would drain without end.

    Args:
        orphans: from `find`.
        timeout_s: how long to wait for those that are killed.
    """
    failed = {orphan.pid: why for orphan in orphans if (why := _kill(orphan))}
    deadline_s = time.monotonic() + timeout_s
    while (left := [each for each in orphans if _same(each)]) and time.monotonic() < deadline_s:
        if all(each.pid in failed for each in left):
            break
        time.sleep(_POLL_S)
    late = f"it has not ended {timeout_s:.0f} s after SIGKILL"
    reasons = tuple((each, failed.get(each.pid, late)) for each in left)
    return Reaped(tuple(each for each in orphans if each not in left), reasons)


def _told(pid: int) -> tuple[str, str] | None:
    """The user and the command of a process, or None if it has ended or cannot be seen."""
    import psutil  # noqa: PLC0415 - only where there is somebody to name

    try:
        process = psutil.Process(pid)
        command = command_line(process.cmdline()) or process.name()
        return process.username(), clean(command)[:_COMMAND_CHARACTERS]
    except psutil.Error:
        return None


def _same(orphan: Orphan) -> bool:
    process = running(orphan.pid)
    return process is not None and process.start == orphan.start


def _kill(orphan: Orphan) -> str:
    """SIGKILL for one process; why it could not be sent, or nothing."""
    try:
        with _signals_to(orphan.pid) as send:
            if _same(orphan):
                send(signal.SIGKILL)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return f"it is {orphan.user}'s, and this user may not end it"
    return ""


@contextlib.contextmanager
def _signals_to(pid: int) -> Iterator[Callable[[int], None]]:
    """How to signal the process that has the pid now, and no other that gets it later.

    Without descriptors of processes (Python built for an old kernel, such as conda's) a gap of microseconds remains.
    """
    if not hasattr(os, "pidfd_open"):
        yield functools.partial(os.kill, pid)
        return
    descriptor = os.pidfd_open(pid)
    try:
        yield functools.partial(signal.pidfd_send_signal, descriptor)
    finally:
        os.close(descriptor)
