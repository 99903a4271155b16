"""What happens, told to somebody who may be slow to take it: a terminal that is stopped, a connection that hangs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from launcher.run.output.handover import Handover
from launcher.run.status import Observer, Ready

_WAITING_BYTES = 1 << 20  # some thousand lines, which a terminal shows in seconds: all else waits behind them


class Relay(Observer):
    """Hands everything on to another observer, in a thread of its own, so that nobody ever waits for that one.

    Lines of the engine may be left out, the oldest first; one line says how many. All else is told, in its order. An
    observer that raises an OSError, as a terminal that is gone does, has had its chance.
    """

    def __init__(self, observer: Observer) -> None:
        """For an observer that is called by nobody else from now on."""
        self._observer = observer
        self._calls = Handover("relay", _WAITING_BYTES, self._missed)

    def line(self, text: str) -> None:
        """A line of the engine's output."""
        self._put(partial(self._observer.line, text), len(text.encode()), 1)

    def phase(self, name: str, elapsed_s: float) -> None:
        """Another phase begins."""
        self._put(partial(self._observer.phase, name, elapsed_s))

    def ready(self, report: Ready) -> None:
        """A completion came back."""
        self._put(partial(self._observer.ready, report))

    def note(self, text: str) -> None:
        """What was decided, and why."""
        self._put(partial(self._observer.note, text))

    def stopping(self, why: str) -> None:
        """Why the engine is being stopped or has ended."""
        self._put(partial(self._observer.stopping, why))

    def close(self, timeout_s: float) -> bool:
        """Wait until all is told; false if the time was too short.

        The thread may then be stuck in a write for ever, and an exit in order wait for what it holds: ``os._exit`` does
        not.
        """
        return self._calls.close(timeout_s)

    def _put(self, call: Callable[[], object], size_bytes: int = 0, lines: int = 0) -> None:
        self._calls.put(partial(_told, call), size_bytes, lines)

    def _missed(self, lines: int, _size_bytes: int) -> None:
        _told(partial(self._observer.line, f"serve: {lines:,} lines came faster than they were taken; see the log"))


def _told(call: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        call()
