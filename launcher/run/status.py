"""What a run says of itself, kept in step: to who watches, to the record that others read, and to the events."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from launcher.engines.command import Secret
from launcher.errors import ServeError
from launcher.run.events import Events
from launcher.run.health.watchdog import Pulse
from launcher.run.instances import PULSE, RECORD, Claim
from launcher.run.notify import Notifier
from launcher.run.record import SERVING, STARTING, STOPPING, Record, now_s
from launcher.run.secrets import write_private


@dataclass(frozen=True)
class Ready:
    """A server that answers.

    Attributes:
        base_url: such as ``http://127.0.0.1:8000``.
        served_name: the model's name in the API.
        seconds: from the start of the process to the first completion.
        facts: what the engine's log said, by name (``weights_gib``, ``kv_tokens`` ...; data/phases.yaml lists them).
        log: the file of the engine's output.
        demo: whether the model is the one with random weights.
        secret: where the API key is to be found, or None; not the key.
    """

    base_url: str
    served_name: str
    seconds: float
    facts: dict[str, float | int]
    log: str
    demo: bool
    secret: Secret | None


class Observer(Protocol):
    """Who shows what happens. Calls must not block: a terminal may be stopped while a server serves."""

    def line(self, text: str) -> None:
        """A line of the engine's output, without control characters and without the key."""

    def phase(self, name: str, elapsed_s: float) -> None:
        """Another phase of the start begins, so many seconds after the process was started."""

    def ready(self, report: Ready) -> None:
        """A completion came back."""

    def note(self, text: str) -> None:
        """In a sentence: what was decided, and why."""

    def stopping(self, why: str) -> None:
        """In a sentence: why the engine is being stopped or has ended, or what stopping it took."""


class Status:
    """One run as others see it: its observer, those who read the record, and the service manager.

    A record or an event that cannot be written (a full disk) does not stop a server that runs; the record is written
    again as soon as that is possible, and also when somebody damaged it.
    """

    def __init__(self, held: Claim, record: Record, observer: Observer, manager: Notifier) -> None:
        """Write the first record.

        Raises:
            ServeError: it cannot be written: nothing is started on a full disk.
        """
        self.record, self.observer, self.events = record, observer, Events(held.folder)
        self.manager = manager
        self._held = held
        self._pulse: Pulse | None = None
        held.record(record)
        self._seen = self._stamp()

    def update(self, **changes: Any) -> None:
        """Change fields of the record; a change of state is dated."""
        if changes.get("state", self.record.state) != self.record.state:
            changes["since_s"] = now_s()
        self.record = replace(self.record, **changes)
        self._write()

    def keep(self) -> None:
        """Hold the name again if its folder was taken away; write the record again if it is not as it was left."""
        if self._held.renew():
            self._seen = None
            with contextlib.suppress(ServeError):
                self._held.begin(self.record.run)
        if self._seen is None or self._stamp() != self._seen:
            self._write()

    def phase(self, name: str, elapsed_s: float) -> None:
        """Another phase of the start."""
        self.observer.phase(name, elapsed_s)
        self.manager.status(f"starting: {name}")
        self.update(state=STARTING, detail=name)

    def ready(self, report: Ready) -> None:
        """The server answers."""
        self.update(state=SERVING, detail="", facts=report.facts)
        self.events.add(
            "ready", f"ready after {report.seconds:.1f} s", seconds=round(report.seconds, 2), **report.facts
        )
        self.manager.ready(f"serving {report.served_name} at {report.base_url}")
        self.observer.ready(report)

    def stopping(self, why: str) -> None:
        """The engine is being stopped, for good."""
        self.update(state=STOPPING, detail=why)
        self.note("stopping", why)

    def pulse(self, pulse: Pulse) -> None:
        """What the server does, for ``serve ps``; it is not worth a word where it cannot be written."""
        if pulse != self._pulse:
            self._pulse = pulse
            with contextlib.suppress(ServeError):
                write_private(self._held.folder / PULSE, json.dumps(asdict(pulse)))

    def note(self, event: str, text: str, **facts: Any) -> None:
        """Something was decided: an event, and a line for who watches."""
        self.events.add(event, text, **facts)
        (self.observer.stopping if event in {"stopping", "ended"} else self.observer.note)(text)

    def _write(self) -> None:
        self._seen = None
        with contextlib.suppress(ServeError):
            self._held.record(self.record)
            self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = (self._held.folder / RECORD).stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
