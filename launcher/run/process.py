"""How an engine's process lives and dies: its own session, all of its descendants known, none left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any, cast

import psutil

from launcher.errors import FAILED, ServeError

GRACE_S = 15.0
_KILL_S = 30.0  # a process in an uninterruptible system call (a GPU driver's) may take seconds to die
_POLL_S = 0.05
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Process:
    """One engine and everything that it starts.

    On Linux this process becomes a child subreaper, so a descendant whose parent ends becomes a child of this process,
    whatever session or group it moved to, and stays findable. Children that this process had before are left alone.
    """

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        """Start it: its own session and process group, no input, output and errors in one pipe.

        Raises:
            ServeError: the program cannot be executed.
        """
        _become_subreaper()
        self._others = set(psutil.Process().children())
        try:
            self._popen = subprocess.Popen(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise ServeError(f"the engine cannot be started: {error.strerror}", where=argv[0], code=FAILED) from None
        self.pid = self._popen.pid
        self.output = cast("IO[bytes]", self._popen.stdout)

    def poll(self) -> int | None:
        """None while the engine's first process runs, else its exit status, negative for a signal."""
        return self._popen.poll()

    def descendants(self) -> list[psutil.Process]:
        """Everything alive that came from the engine, itself included; adopted children that have ended are reaped."""
        self.poll()
        alive = []
        for child in psutil.Process().children():
            if child not in self._others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    alive += [child, *child.children(recursive=True)]
                    if child.pid != self.pid and child.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(child.pid, os.WNOHANG)
        return [process for process in alive if _lives(process)]

    def listens(self, port: int) -> bool:
        """Whether a process of the engine's own listens on the port, and not somebody who was there first.

        For any thread: it looks without reaping.
        """
        with contextlib.suppress(psutil.Error):
            engine = psutil.Process(self.pid)
            for process in (engine, *engine.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in _tcp(process)):
                        return True
        return False

    def stop(self, grace_s: float = GRACE_S, pause: Callable[[float], bool] | None = None) -> list[str]:
        """End the engine and all of its descendants: TERM, a bounded wait, KILL. Returns when none is left.

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
            self._send(self.descendants(), signal.SIGTERM)
        while (left := self.descendants()) and time.monotonic() < deadline_s:
            if (pause or _sleep)(_POLL_S):
                break
        killed = {process.pid: _name(process) for process in left}
        deadline_s = time.monotonic() + _KILL_S
        while left := self.descendants():
            if time.monotonic() > deadline_s:
                names = ", ".join(_name(process) for process in left)
                raise ServeError(f"still alive {_KILL_S:.0f} s after SIGKILL: {names}", code=FAILED)
            killed.update((process.pid, _name(process)) for process in left)
            self._send(left, signal.SIGKILL)
            _sleep(_POLL_S)
        return list(killed.values())

    def _send(self, processes: list[psutil.Process], number: signal.Signals) -> None:
        """To the whole group at once, which leaves a fork no gap, if it still has a member; then to the rest."""
        outside = [process for process in processes if _group(process) != self.pid]
        if len(outside) < len(processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        for process in outside:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)


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


def _group(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _tcp(process: psutil.Process) -> list[Any]:
    # psutil 6 renamed it, and 5.9 is what older distributions have
    connections = getattr(process, "net_connections", None) or process.connections
    return list(connections("tcp"))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
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
