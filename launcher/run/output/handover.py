"""What one thread leaves another to do, without ever waiting for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

_ITEM_BYTES = 256  # what a call takes in memory besides its data
# A flood of output must not take the processor, nor Python's lock, from those who serve: a quarter of one is enough to
# show more than anybody can read.
_STINT_S = 0.002
_SHARE = 0.25
_PAUSE_S = 0.1  # at most: what comes next may be worth knowing


class Handover:
    """Calls, made in the order in which they were put, by a thread of its own.

    Calls that carry data may be left out, the oldest first, when more data waits than the limit allows: memory stays
    bounded, and what was said last is said in the end. All others are made, however long it takes. The thread takes at
    most a quarter of a processor unless it is being waited for.
    """

    def __init__(self, name: str, limit_bytes: int, missed: Callable[[int, int], object]) -> None:
        """Start the thread, which ends with the process.

        Args:
            name: the thread's.
            limit_bytes: of data that waits.
            missed: called by the thread, where calls were left out, with the number of their lines and bytes.
        """
        self._limit_bytes, self._missed = limit_bytes, missed
        self._waiting: deque[tuple[Callable[[], object], int, int]] = deque()
        self._waiting_bytes = self._missed_lines = self._missed_bytes = 0
        self._changed = threading.Condition()
        self._idle, self._closed = True, False
        self._hurry = threading.Event()
        self._rested_s = 0.0  # the thread's own processor time by then
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def put(self, call: Callable[[], object], size_bytes: int = 0, lines: int = 0) -> None:
        """Have a call made; what it returns is ignored. With a size it may be left out."""
        with self._changed:
            self._waiting.append((call, size_bytes, lines))
            self._waiting_bytes += _weight(size_bytes)
            while self._waiting_bytes > self._limit_bytes:
                self._leave_out()
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all calls are made; false if the time was too short."""
        self._hurry.set()
        try:
            with self._changed:
                return self._changed.wait_for(self._done, timeout_s)
        finally:
            self._hurry.clear()

    def close(self, timeout_s: float) -> bool:
        """As `flush`; the thread ends as soon as all calls are made."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        return self.flush(timeout_s)

    def pace(self) -> None:
        """For a call that takes long, to be called by it often: rests when more waits and our share is used up."""
        spent_s = time.thread_time() - self._rested_s
        if spent_s > _STINT_S:
            if self._waiting_bytes:
                self._hurry.wait(min(spent_s / _SHARE - spent_s, _PAUSE_S))
            self._rested_s += spent_s

    def _done(self) -> bool:
        return self._idle and not (self._waiting or self._missed_bytes)

    def _leave_out(self) -> None:
        """The oldest call with data; the few without are stepped over."""
        place = next(index for index, (_, size_bytes, _) in enumerate(self._waiting) if size_bytes)
        _, size_bytes, lines = self._waiting[place]
        del self._waiting[place]
        self._waiting_bytes -= _weight(size_bytes)
        self._missed_bytes += size_bytes
        self._missed_lines += lines

    def _work(self) -> None:
        while call := self._next():
            call()
            self.pace()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            if not (self._waiting or self._missed_bytes):
                self._idle = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._missed_bytes or self._closed)
            if missed_bytes := self._missed_bytes:
                missed = partial(self._missed, self._missed_lines, missed_bytes)
                self._missed_lines = self._missed_bytes = 0
                self._idle = False
                return missed
            if not self._waiting:
                return None
            call, size_bytes, _ = self._waiting.popleft()
            self._waiting_bytes -= _weight(size_bytes)
            self._idle = False
            return call


def _weight(size_bytes: int) -> int:
    return size_bytes + _ITEM_BYTES if size_bytes else 0
