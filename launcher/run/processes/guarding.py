"""The supervisor's end of a guard: the program of guard.py started, told what to run, and listened to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from launcher.errors import FAILED, ServeError
from launcher.run.signals import STOPS

_OUTPUT_BYTES = 1 << 20  # what the engine can write while its reader pauses; more would take privileges (pipe(7))
_SAID_BYTES = 256
_LAST_WORDS_BYTES = 1 << 16
_SOURCE = Path(__file__).with_name("guard.py").read_bytes()  # now: an upgrade may replace the file while a server runs


class Guard:
    """A guard that runs, and the socket that it shares with this process alone.

    Attributes:
        pid: its process.
        was_killed: whether it ended, as far as `poll` knows, without telling how the engine did.
        output: what the engine and all below it write, to both streams; it ends when the last of them has ended.
    """

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        """Start it; it waits for what to run.

        Raises:
            ServeError: this process has no descriptors or memory left, or its Python is gone.
        """
        self._status: int | None = None
        self.was_killed = False
        self._said = b""
        try:
            self._process, self._line = _started(name, environment)
        except OSError as error:
            raise _not_started(error.strerror or str(error), sys.executable) from None
        self.pid = self._process.pid
        self.output = cast("IO[bytes]", self._process.stdout)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a user without privileges who has many pipes
                fcntl.fcntl(self.output, fcntl.F_SETPIPE_SZ, _OUTPUT_BYTES)

    @property
    def changed(self) -> int:
        """A descriptor that becomes readable when the engine's first process or the guard ends; -1 when closed."""
        return self._line.fileno()

    def run(self, argv: list[str], environment: dict[str, str]) -> int:
        """Have it start the engine; the pid.

        Raises:
            ServeError: the program cannot be executed, or the guard has ended.
        """
        words = [*argv, *(f"{key}={value}" for key, value in environment.items())]
        listed = b"".join(os.fsencode(word) + b"\0" for word in words)
        with contextlib.suppress(OSError):  # it has ended already, which the next lines find out
            self._line.sendall(b"%d %d\n" % (len(listed), len(argv)) + listed)
        while self._listen() and b"\n" not in self._said:
            pass
        self._line.setblocking(False)
        if pid := self._number("pid"):
            return pid
        if error := self._number("error"):
            raise _not_started(os.strerror(error), argv[0])
        raise _not_started(": ".join(["its guard ended", *self._last_words()]), sys.executable)

    def poll(self) -> int | None:
        """The exit status of the engine's first process; -9 when the guard has ended without telling one."""
        if self._status is None:
            listening = self._listen()
            self._status = self._number("exit")
            if self._status is None and not listening:
                self._status = -signal.SIGKILL
                self.was_killed = True
        return self._status

    def alive(self) -> bool:
        """Whether it has not ended; when it ends, it is reaped here."""
        return self._process.poll() is None

    def wake(self) -> None:
        """Have it go on if it was stopped (SIGSTOP), so that it ends when nothing is left below it."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Forget it, when it has ended; `poll` still answers."""
        self.poll()
        self._line.close()

    def _listen(self) -> bool:
        """Take what it has said meanwhile; false when it has ended."""
        try:
            words = self._line.recv(_SAID_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._said += words
        return bool(words)

    def _number(self, word: str) -> int | None:
        """What it has said after a word."""
        lines = (line.split() for line in self._said.decode().splitlines())
        return next((int(number) for first, number in lines if first == word), None)

    def _last_words(self) -> list[str]:
        os.set_blocking(self.output.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            return os.read(self.output.fileno(), _LAST_WORDS_BYTES).decode(errors="replace").splitlines()[-1:]
        return []


def _started(name: str, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    # What tells whose it is and what a Python is found with, but neither the key nor what an engine preloads.
    own = {key: value for key, value in environment.items() if key.startswith(("SERVE_", "LD_LIBRARY_PATH"))}
    line, end = socket.socketpair()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # inherited, so that its first moments are covered too
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-", "serve-guard", name, str(end.fileno())],
            env=own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[end.fileno()],
        )
    except OSError:
        line.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        end.close()
    source = cast("IO[bytes]", process.stdin)
    with contextlib.suppress(BrokenPipeError), source:
        source.write(_SOURCE)
    return process, line


def _not_started(why: str, where: str) -> ServeError:
    return ServeError(f"the engine cannot be started: {why}", where=where, code=FAILED)
