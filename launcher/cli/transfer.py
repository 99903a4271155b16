"""A transfer as people see it: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from launcher.cli import show
from launcher.models.pull import Observer, gigabytes

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_S = 10.0


def observer(*, json: bool = False) -> Observer:
    """What fits the standard error; nothing is shown beside JSON."""
    if json:
        return Observer()
    return Terminal() if sys.stderr.isatty() else Plain()


class Plain(Observer):
    """Lines on the standard error: how much is there, and how fast more comes."""

    def note(self, text: str) -> None:
        """Say what happened."""
        print(f"serve: {show.line(text)}", file=sys.stderr, flush=True)

    def begin(self, name: str, total_bytes: int, there_bytes: int) -> None:
        """Remember where it began."""
        self._name, self._total_bytes = name, total_bytes
        self._last_bytes, self._last_s = there_bytes, time.monotonic()

    def progress(self, there_bytes: int) -> None:
        """Say it, if the last time is a while ago."""
        past_s = time.monotonic() - self._last_s
        if past_s < LINE_S:
            return
        rate = max(0.0, (there_bytes - self._last_bytes) / past_s)
        left = f", {(self._total_bytes - there_bytes) / rate:.0f} s left" if rate else ""
        share = there_bytes / max(self._total_bytes, 1)
        self.note(
            f"{self._name}: {gigabytes(there_bytes)} of {gigabytes(self._total_bytes)} ({share:.0%}), "
            f"{gigabytes(round(rate))}/s{left}"
        )
        self._last_bytes, self._last_s = there_bytes, time.monotonic()


class Terminal(Plain):
    """A bar with size, rate and time left."""

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        from rich.console import Console  # noqa: PLC0415 - rich is for terminals

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None

    def note(self, text: str) -> None:
        """Say what happened, above the bar."""
        self._console.print(f"serve: {show.line(text)}", markup=False)

    def begin(self, name: str, total_bytes: int, there_bytes: int) -> None:
        """Draw the bar; what is there already does not count for the rate."""
        from rich.progress import (  # noqa: PLC0415 - see above
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._bar.add_task(show.line(name), total=total_bytes, completed=there_bytes)
        self._bar.start()

    def progress(self, there_bytes: int) -> None:
        """Move it."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=there_bytes)

    def end(self) -> None:
        """Take it away."""
        if self._bar:
            self._bar.stop()
            self._bar = None
