"""A program that stands between a supervisor and its engine: when the supervisor dies, the engine's processes die too.

    python3 -I -S - serve-guard NAME DESCRIPTOR <guard.py

It is the parent of the engine and a child subreaper (prctl(2)), so whatever the engine starts stays below it, in any
session or group. The descriptor is a stream socket that it shares with the supervisor alone. There it is told what to
start, and tells ``pid N`` or ``error ERRNO``, then ``exit STATUS`` (negative for a signal) when the engine's first
process has ended. The kernel closes the supervisor's end however the supervisor dies, and that is what the guard waits
for: it kills every descendant, again and again until it has no child, and therefore no descendant, left. It ends when
the last one has ended, in peace too.

It uses the standard library alone, and little of that: one runs beside every engine. The supervisor hands it the source
on its standard input, so that a server outlives the files of an upgrade. TERM, INT, HUP and QUIT come blocked.
"""

# ruff: noqa: PTH123, PTH208 - pathlib would be half of its start
from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys

_NAME = "serve-guard"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_S = 0.1  # between two rounds of killing; the end of a child cuts it short


def main(line: int) -> None:
    """Start what the supervisor asks for, and stay until nothing of it is left.

    Args:
        line: the descriptor of the socket.
    """
    os.set_inheritable(line, False)
    _prctl(_PR_SET_NAME, _NAME.encode())
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    argv, environment = _order(line)
    engine, failure = _start(argv, environment)
    for output in (1, 2):  # the engine's alone from now on: who reads it waits for the end of the last writer
        os.dup2(nothing, output)
    os.close(nothing)
    _tell(line, f"error {failure}" if failure else f"pid {engine}")
    _watch(line, readable, engine)


def _order(line: int) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The engine's argv and environment: a line of two numbers, bytes and arguments, then words that end with NUL."""
    with os.fdopen(line, "rb", closefd=False) as stream:
        size, count = (int(number) for number in stream.readline().split() or (0, 0))
        words = stream.read(size)
    if not size or len(words) < size:
        sys.exit(1)  # the supervisor has died meanwhile
    listed = words.split(b"\0")[:-1]
    pairs = (word.partition(b"=") for word in listed[count:])
    return listed[:count], {name: value for name, _, value in pairs}


def _start(argv: list[bytes], environment: dict[bytes, bytes]) -> tuple[int, int]:
    """The engine's pid, and 0 or the error number of why it is none."""
    guard = os.getpid()
    reader, writer = os.pipe()
    try:
        engine = os.fork()
    except OSError as error:
        return 0, error.errno or -1
    if engine == 0:
        try:
            _become(argv, environment, guard)
        except OSError as error:
            os.write(writer, b"%d" % (error.errno or -1))
        finally:
            os._exit(127)
    os.close(writer)
    failure = os.read(reader, 16)  # ends when exec closes it
    os.close(reader)
    return engine, int(failure or 0)


def _become(argv: list[bytes], environment: dict[bytes, bytes], guard: int) -> None:
    os.setsid()
    # The kernel kills the engine's first process with the guard, also where supervisor and guard are killed together.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:
        os._exit(1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvpe(argv[0], argv, environment)  # noqa: S606 - no shell is meant


def _watch(line: int, readable: int, engine: int) -> None:
    supervised = True
    while _reap(line, engine):
        awaited = [readable, line] if supervised else [readable]
        ready = select.select(awaited, [], [], None if supervised else _PAUSE_S)[0]
        if readable in ready:
            os.read(readable, 4096)
        supervised = supervised and line not in ready
        if not supervised:
            for group in _groups(engine):
                _kill(group)


def _reap(line: int, engine: int) -> bool:
    """Take note of the children that have ended; whether there are others."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        if pid == engine:
            if sys.platform != "linux":
                _kill(engine)  # without a subreaper, what its group left behind could not be found later
            _tell(line, f"exit {os.waitstatus_to_exitcode(status)}")


def _groups(engine: int) -> set[int]:
    """The process groups of all descendants; without Linux's /proc, that of the engine.

    A signal to a group leaves a fork no gap. There is nobody else in them: the engine has a session of its own, which
    nobody can join, and so have descendants that left it.
    """
    children: dict[int, list[int]] = {}
    group: dict[int, int] = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return {engine}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                _state, parent, number = stat.read().rpartition(b")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        children.setdefault(int(parent), []).append(pid)
        group[pid] = int(number)
    found = []
    left = [os.getpid()]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return {group[pid] for pid in found} - {os.getpgrp()}


def _kill(group: int) -> None:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        os.killpg(group, signal.SIGKILL)


def _tell(line: int, words: str) -> None:
    """Say something to the supervisor; all that is ever said fits into the socket, so a deaf one delays nothing."""
    with contextlib.suppress(OSError):  # it has died, which the loop finds out
        os.write(line, words.encode() + b"\n")


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[3]))
