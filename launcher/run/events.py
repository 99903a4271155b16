"""What was decided about an instance, and when: one JSON object a line, for people and programs to read afterwards."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

NAME = "events.jsonl"
_LIMIT_BYTES = 1 << 20  # then a new file begins and one old one stays: some ten thousand events


class Events:
    """The events of one instance. They never stop a server: on a full disk they are not written."""

    def __init__(self, folder: Path) -> None:
        """Of the instance in this folder."""
        self._path = folder / NAME

    def add(self, event: str, text: str, **facts: Any) -> None:
        """Write one down.

        Args:
            event: its kind in a word, such as ``ready`` or ``restart``.
            text: a sentence; never a secret.
            facts: what a program reads; JSON.
        """
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, "text": text, **facts}, default=str) + "\n"
        with contextlib.suppress(OSError):
            if self._path.exists() and self._path.stat().st_size > _LIMIT_BYTES:
                self._path.replace(self._path.with_name(NAME + ".1"))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)


def read(folder: Path, last: int) -> list[dict[str, Any]]:
    """The last events of an instance, oldest first; what is no event (a line cut by a full disk) is left out."""
    found: list[dict[str, Any]] = []
    for name in (NAME + ".1", NAME):
        try:
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and {"time", "event", "text"} <= event.keys():
                    found.append(event)
    return found[-last:]
