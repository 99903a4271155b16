"""An engine's output: all of it into a file, line by line to whoever shows it, the API key in neither."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from launcher.run.secrets import writing

TAIL_LINES = 50
_CHUNK_BYTES = 1 << 16
_LINE_BYTES = 1 << 14  # longer lines are cut where they are shown, not in the file
_SCRUBBED = b"[api key]"
# Escape sequences (ECMA-48: CSI, then the string-carrying ones, then the short ones), other control characters but the
# tab, and Unicode's reordering controls: what can change a terminal or what a reader believes to see.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)"
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)

_BAR = re.compile(r"(.*?):?\s*\d+%(?:\||\s)")  # as tqdm draws it

# What Python and nanobind say of a process that ended by force: up to 65 lines, after the cause, which they would push
# out of the tail.
_EPILOGUE = re.compile(
    r"nanobind: |^ - leaked |resource_tracker|warnings\.warn\('resource_tracker|See https://nanobind"
)


def clean(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return _CONTROL.sub("", text)


def progress_bar(text: str) -> str | None:
    """What a line of a progress bar counts (``Capturing CUDA graphs``), or None for any other line."""
    match = _BAR.match(text)
    return match[1] if match else None


class Log:
    """Copies a pipe to a file (mode 0600) and hands each line on, in a thread of its own.

    The file receives the bytes as they come, less the key. `on_line` receives text without control characters and blank
    lines, cut at 16 KiB; a carriage return ends a line too, because progress bars use it so. Memory stays bounded
    whatever comes. If the file cannot be written any more, reading goes on, so that the engine is never blocked by it.

    Attributes:
        path: the file.
        tail: the last lines handed on, at most 50.
    """

    def __init__(self, path: Path, key: str | None, on_line: Callable[[str], None]) -> None:
        """Open the file; that of the run before is kept beside it as ``.previous``.

        Raises:
            ServeError: it cannot be opened.
        """
        self.path = path
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._key = key.encode() if key else b""
        self._on_line = on_line
        self._rest = b""
        self._within_long_line = False
        self._full = False
        with writing(path):
            if path.exists():
                path.replace(path.with_name(path.name + ".previous"))
            self._file = open(  # noqa: SIM115 - closed by the thread that writes it
                path, "wb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)
            )
        self._thread: threading.Thread | None = None

    def follow(self, stream: IO[bytes]) -> None:
        """Read the stream to its end, in the background."""
        self._thread = threading.Thread(target=self._read, args=(stream,), name="log", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Wait until all that was written is read; the stream ends when its last writer has ended."""
        if self._thread:
            self._thread.join(timeout_s)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while chunk := os.read(stream.fileno(), _CHUNK_BYTES):
                self.feed(chunk)
        self.close()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        data = self._rest + chunk
        if self._key:
            data = data.replace(self._key, _SCRUBBED)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if not end and len(data) > _LINE_BYTES:
            end = len(data) - len(self._key)  # the start of a key may stand at the end
        self._rest = data[end:]
        self._take(data[:end])

    def close(self) -> None:
        """Take what came without an end of line, and close the file."""
        self._take(self._rest)
        self._file.close()

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self._write(data)
        lines = re.split(rb"[\r\n]+", data)
        if self._within_long_line:
            del lines[0]
        self._within_long_line = not data.endswith((b"\r", b"\n"))
        for line in lines:
            text = clean(line[:_LINE_BYTES].decode(errors="replace")).rstrip()
            if text:
                self._hand_on(text + (" ..." if len(line) > _LINE_BYTES else ""))

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            if not self._full:
                self._full = True
                self._hand_on(f"serve: {self.path} cannot be written: {error.strerror}; the engine runs on")

    def _hand_on(self, text: str) -> None:
        if _EPILOGUE.search(text):
            self._on_line(text)
            return
        if self.tail and (bar := progress_bar(text)) and bar == progress_bar(self.tail[-1]):
            self.tail.pop()  # the same bar a moment later: it must not push the cause of a failure out of the tail
        self.tail.append(text)
        self._on_line(text)
