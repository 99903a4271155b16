"""Signals as events to wait for, so that nothing is interrupted half-way and nothing polls."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections import deque
from types import FrameType
from typing import Any

# A person's second word. TERM and HUP come twice by themselves: from two who stop a server, from shell and kernel.
IMPATIENT = (signal.SIGINT, signal.SIGQUIT)
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Signals:
    """Within the context, the signals of `STOPS` are read by `wait`; the end of a child and `wake` end a wait too.

    Only for the main thread. A SIGHUP that is already ignored (``nohup``) stays so. Children started within the context
    have the default dispositions again, because a handler does not survive exec.
    """

    def __enter__(self) -> Signals:  # noqa: PYI034 - typing.Self is of Python 3.11
        self._pending: deque[int] = deque()
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._previous_descriptor = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        self._previous: dict[int, Any] = {}
        for number in (*STOPS, signal.SIGCHLD):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, _noted)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_descriptor)
        os.close(self._readable)
        writable, self._writable = self._writable, -1  # a thread may still call wake
        os.close(writable)

    def wait(self, timeout_s: float | None = None, also: int = -1) -> int | None:
        """The next signal to stop, or None: a child ended, `wake` was called, or the time is over.

        Args:
            timeout_s: seconds at most; None for as long as it takes.
            also: a descriptor that ends the wait when it is readable, if it is not negative.
        """
        descriptors = [self._readable] + ([also] if also >= 0 else [])
        if not self._pending and self._readable in select.select(descriptors, [], [], timeout_s)[0]:
            with contextlib.suppress(BlockingIOError):
                self._pending.extend(number for number in os.read(self._readable, 4096) if number in STOPS)
        return self._pending.popleft() if self._pending else None

    def wake(self) -> None:
        """End the wait of the main thread, from any thread."""
        with contextlib.suppress(OSError):  # a full pipe wakes as well; a closed one has nobody waiting
            os.write(self._writable, b"\0")


def _noted(_number: int, _frame: FrameType | None) -> None:
    """What is done about a signal stands where it is waited for: Python writes its number to the wake-up descriptor."""
