"""A launch as people see it: the engine's log, the phase it is in, and how to use the server when it is ready."""

from __future__ import annotations

import dataclasses
import json as json_text
import os
import shlex
import sys
from typing import TYPE_CHECKING, TextIO

from launcher.run.health.client import asked_by_us
from launcher.run.output.lines import progress_bar
from launcher.run.status import Observer, Ready

if TYPE_CHECKING:
    from rich.progress import Progress


def observer(*, json: bool = False) -> Plain:
    """A live display where the standard error is a terminal, plain lines elsewhere.

    Args:
        json: the ready report is one JSON object in a line instead of text.
    """
    return Terminal(json=json) if sys.stderr.isatty() else Plain(json=json)


class Plain(Observer):
    """Lines without escape codes: the ready report to the standard output, all else to the standard error."""

    def __init__(self, *, json: bool = False) -> None:
        """Nothing is shown yet."""
        self._json = json

    def note(self, text: str) -> None:
        """Say something of our own."""
        _write(sys.stderr, f"serve: {text}")

    def line(self, text: str) -> None:
        """Show a line of the engine's."""
        if not _noise(text):
            _write(sys.stderr, text)

    def phase(self, name: str, elapsed_s: float) -> None:
        """Say which phase begins."""
        self.note(f"{name} ({elapsed_s:.0f} s)")

    def ready(self, report: Ready) -> None:
        """Say where the server is, and how to ask it."""
        if self._json:
            told = dataclasses.asdict(report) | {"secret": _key_place(report)}
            _write(sys.stdout, json_text.dumps({"ready": True, **told}))
        else:
            _write(sys.stdout, f"{summary(report)}\n{curl(report)}")

    def stopping(self, why: str) -> None:
        """Say why the engine stops."""
        self.note(why)

    def end(self) -> None:
        """Leave nothing half drawn."""


class Terminal(Plain):
    """The log dimmed above one live line: a spinner, the phase, and the seconds so far."""

    def __init__(self, *, json: bool = False) -> None:
        """The live line appears with the first phase."""
        super().__init__(json=json)
        from rich.console import Console  # noqa: PLC0415 - rich is for terminals

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Progress | None = None

    def line(self, text: str) -> None:
        """Show a line of the engine's, dimmed."""
        if not _noise(text):
            self._console.print(text, style="dim", markup=False)

    def phase(self, name: str, elapsed_s: float) -> None:  # noqa: ARG002 - the live line counts the seconds itself
        """Show the phase in the live line."""
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - see above

        if self._live is None:
            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._live = Progress(*columns, console=self._console, transient=True)
            self._live.add_task(name)
            self._live.start()
        self._live.update(self._live.task_ids[0], description=name)

    def ready(self, report: Ready) -> None:
        """Replace the live line by the report."""
        self._end_live()
        super().ready(report)

    def stopping(self, why: str) -> None:
        """Replace the live line by the reason."""
        self._end_live()
        super().stopping(why)

    def end(self) -> None:
        """Take the live line away."""
        self._end_live()

    def _end_live(self) -> None:
        if self._live is not None:
            self._live.stop()


def left_over(*, reap: bool) -> list[str]:
    """What holds a GPU or was left by earlier runs of ours, in sentences; the latter ended if that is asked."""
    from launcher.run import orphans  # noqa: PLC0415

    notes, left = [], orphans.find()
    if left and reap:
        done = orphans.reap(left)
        notes += [f"ended process {each.pid}, left by {each.instance}: {each.command}" for each in done.ended]
        notes += [f"process {each.pid}, left by {each.instance}, could not be ended: {why}" for each, why in done.left]
    elif left:
        notes += [f"process {each.pid} was left by a run of {each.instance}: {each.command}" for each in left]
        notes.append("--reap ends them before the start; so does serve stop NAME")
    for each in orphans.holders():
        if each.instance is None:
            size = f"{each.used_bytes / 2**30:.1f} GiB" if each.used_bytes else "memory"
            notes.append(f"process {each.pid} ({each.user or 'unseen'}) holds {size} of {each.gpu}: {each.command}")
    return notes


def summary(report: Ready) -> str:
    """One line: the address, the model, how long it took, and what the engine said about its memory."""
    model = report.served_name + (" (random weights: its answers mean nothing)" if report.demo else "")
    facts = [f"after {report.seconds:.1f} s"]
    if weights_gib := report.facts.get("weights_gib"):
        facts.append(f"weights {weights_gib:.2f} GiB")
    if kv_tokens := report.facts.get("kv_tokens"):
        facts.append(f"KV cache {kv_tokens:,} tokens")
    return f"ready: {report.base_url} serves {model}, {', '.join(facts)}"


def curl(report: Ready) -> str:
    """A command to copy; it names where the key is, never the key."""
    request = {"model": report.served_name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32}
    words = ["curl", shlex.quote(f"{report.base_url}/v1/chat/completions"), "-H 'Content-Type: application/json'"]
    if place := _key_place(report):
        words.append(f'-H "Authorization: Bearer {place}"')
    return " ".join([*words, "-d", shlex.quote(json_text.dumps(request))])


def _key_place(report: Ready) -> str | None:
    """What a shell puts in place of the key."""
    if report.secret is None:
        return None
    return f"$(cat {shlex.quote(str(report.secret.path))})" if report.secret.path else "$SERVE_API_KEY"


def _noise(text: str) -> bool:
    """Whether the line says nothing to a reader: the launcher's own questions, ten a second; an unfinished bar."""
    return asked_by_us(text) or (progress_bar(text) is not None and "100%" not in text)


def _write(stream: TextIO, text: str) -> None:
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # Nobody reads any more (``serve launch | head``): the server goes on, and what comes later goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
