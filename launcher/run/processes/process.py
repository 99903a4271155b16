"""How an engine's process lives and dies: its own session, all of its descendants known, none left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

from launcher.errors import FAILED, ServeError
from launcher.run.processes.guarding import Guard

GRACE_S = 15.0
_KILL_S = 30.0  # a process in an uninterruptible system call (a GPU driver's) may take seconds to die
_POLL_S = 0.05
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Process:
    """One engine and everything that it starts, below a guard (guard.py) that ends it all if this process dies.

    On Linux the guard is a child subreaper, so a descendant whose parent ends becomes a child of the guard, whatever
    session or group it moved to, and stays findable. This process is one too, for when the guard is killed. Children
    that it had before, and those in its own session, are left alone.

    Attributes:
        pid: the engine's first process, which leads a session and a group.
        guard_pid: the guard.
        output: what all of them write, to both streams; it ends when the last of them has ended.
    """

    def __init__(self, argv: list[str], environment: dict[str, str], name: str) -> None:
        """Start it: no input, output and errors in one pipe, no other descriptors, default signals.

        Args:
            argv: the program, looked up in the environment's PATH, and its arguments.
            environment: all of it.
            name: the instance's, for who lists processes.

        Raises:
            ServeError: the program cannot be executed.
        """
        _become_subreaper()
        self._others = set(psutil.Process().children())
        self._guard = Guard(name, environment)
        self._tree = psutil.Process(self._guard.pid)
        self.guard_pid, self.output, self.pid = self._guard.pid, self._guard.output, 0
        try:
            self.pid = self._guard.run(argv, environment)
        except ServeError:
            self.stop(grace_s=0)
            self.output.close()
            raise

    @property
    def changed(self) -> int:
        """A descriptor that becomes readable when the engine's first process or the guard ends; -1 after `stop`."""
        return self._guard.changed

    def poll(self) -> int | None:
        """None while the engine's first process runs, else its exit status, negative for a signal.

        -9 as well when the guard is killed: that takes it along.
        """
        return self._guard.poll()

    @property
    def unguarded(self) -> bool:
        """Whether the guard was killed, as of the last `poll`; it ends by itself when nothing is left to guard."""
        return self._guard.was_killed

    def descendants(self) -> list[psutil.Process]:
        """Everything alive that came from the engine, itself included, the guard not."""
        return [process for process in self._found() if _lives(process)]

    def listens(self, port: int) -> bool:
        """Whether a process of the engine's own listens on the port, and not somebody who was there first.

        For any thread: it looks without reaping.
        """
        with contextlib.suppress(psutil.Error):
            for process in self._tree.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in _tcp(process)):
                        return True
        return False

    def stop(self, grace_s: float = GRACE_S, pause: Callable[[float], bool] | None = None) -> list[str]:
        """End the engine and all of its descendants: TERM, a bounded wait, KILL. Returns when all have ended.

        TERM goes to the engine's group and to descendants outside of it, which would otherwise have to be killed.

        Args:
            grace_s: seconds between TERM and KILL; 0 kills at once.
            pause: sleeps for the seconds given, or less; true ends the grace.

        Returns:
            The processes that had to be killed, such as ``python3 (pid 4711)``.

        Raises:
            ServeError: something survives KILL.
        """
        deadline_s = time.monotonic() + grace_s
        if grace_s > 0:
            _send(self.descendants(), signal.SIGTERM)
        while (left := self.descendants()) and time.monotonic() < deadline_s:
            if (pause or _sleep)(_POLL_S):
                break
        killed = {process.pid: _name(process) for process in left}
        deadline_s = time.monotonic() + _KILL_S
        self._guard.wake()
        while True:
            guarded = self._guard.alive()  # first, because what it still has becomes ours when it ends
            found = self._found()
            if not (guarded or found):
                break
            left = [process for process in found if _lives(process)]
            if time.monotonic() > deadline_s:
                names = ", ".join(_name(process) for process in left or [self._tree])
                raise ServeError(f"still alive {_KILL_S:.0f} s after SIGKILL: {names}", code=FAILED)
            killed.update((process.pid, _name(process)) for process in left)
            _send(found, signal.SIGKILL)
            _reap(found)
            _sleep(_POLL_S)
        self._guard.close()
        return list(killed.values())

    def _found(self) -> list[psutil.Process]:
        """All descendants, also those that have ended and are not reaped: their groups may hold who forked meanwhile.

        When the guard has ended, they are below children of this process that are in other sessions than itself.
        """
        if self._guard.alive():
            return list(self._tree.children(recursive=True))
        found = []
        for child in set(psutil.Process().children()) - self._others:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(child.pid) != os.getsid(0):
                    found += [child, *child.children(recursive=True)]
        return found


def describe(status: int) -> str:
    """An exit status in words: ``exit status 1``, ``killed by SIGKILL``."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _become_subreaper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _send(processes: list[psutil.Process], number: signal.Signals) -> None:
    """To their groups, once to each, which leaves a fork no gap. A session of descendants has no other members."""
    groups = set()
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(process.pid))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def _reap(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


def _tcp(process: psutil.Process) -> list[Any]:
    # psutil 6 renamed it, and 5.9 is what older distributions have
    connections = getattr(process, "net_connections", None) or process.connections
    return list(connections("tcp"))


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return f"{process.name()} (pid {process.pid})"
    except psutil.Error:
        return f"pid {process.pid}"


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
