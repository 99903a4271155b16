"""Bytes of an engine's output as lines that can be shown, whatever the bytes are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LINE_BYTES = 1 << 14  # longer lines are cut where they are shown, not in the file
# Escape sequences (ECMA-48: CSI, then the string-carrying ones, then the short ones), other control characters but the
# tab, and Unicode's reordering controls: what can change a terminal or what a reader believes to see.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)

_BAR = re.compile(r"(.*?):?\s*\d+%(?:\||\s)")  # as tqdm draws it
# Of uvicorn's access log: what our watchdog asks every few seconds would be most of an idle server's log.
_POLL = re.compile(r'"GET /(?:health|metrics) HTTP/[\d.]+" 200')
_BAR_CHARACTERS = 300  # a bar fits a terminal; the pattern takes quadratic time on 16 KiB of digits


def clean(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return text if text.isprintable() else _CONTROL.sub("", text)


def progress_bar(text: str) -> str | None:
    """What a line of a progress bar counts (``Capturing CUDA graphs``), or None for any other line."""
    match = _BAR.match(text, 0, _BAR_CHARACTERS) if "%" in text else None
    return match[1] if match else None


def latest(lines: Iterable[str]) -> Iterator[str]:
    """The lines that tell something, none of which is empty.

    Of a progress bar that follows itself that is the last state, and nothing of an access log that a question after the
    server's health or metrics was answered.
    """
    held, held_bar = "", None
    for text in lines:
        if _POLL.search(text):
            continue
        bar = progress_bar(text)
        if held and not (bar and bar == held_bar):
            yield held
        held, held_bar = text, bar
    if held:
        yield held


class Splitter:
    """Cuts bytes that come in chunks into lines of text without control characters; blank lines are left out.

    A carriage return ends a line too, because progress bars use it so. A line longer than 16 KiB is given as soon as it
    is that long, and what follows of it is skipped: no more than that is ever held.
    """

    def __init__(self, *, within_line: bool = False) -> None:
        """Where the first bytes lie within a line, the rest of that line is left out."""
        self._rest = b""
        self._skipping = within_line

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that end in the chunk; to be read to the end before the next call."""
        first, *others = chunk.replace(b"\r", b"\n").split(b"\n")
        piece = self._rest + first
        for following in others:
            if not self._skipping and (text := _shown(piece)):
                yield text
            self._skipping, piece = False, following
        self._rest = b"" if self._skipping else piece
        if len(self._rest) > LINE_BYTES:
            yield from self.skip()

    def skip(self) -> Iterator[str]:
        """The line that has not ended, as far as it has come; what follows of it is skipped."""
        text = _shown(self._rest)
        self._rest, self._skipping = b"", True
        if text:
            yield text

    def end(self) -> Iterator[str]:
        """The line that has not ended, as far as it has come; what follows is another line."""
        yield from self.skip()
        self._skipping = False


def _shown(line: bytes) -> str:
    text = clean(line[:LINE_BYTES].decode(errors="replace")).rstrip()
    return f"{text} ..." if text and len(line) > LINE_BYTES else text
