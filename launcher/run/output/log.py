"""An engine's output: all of it into a file, line by line to whoever shows it, no secret in either."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

from launcher.errors import ServeError
from launcher.run.output.handover import Handover
from launcher.run.output.lines import LINE_BYTES, Splitter, latest
from launcher.run.output.logfile import excerpt
from launcher.run.output.rotation import RotatingFile
from launcher.run.output.scrub import Scrubber

TAIL_LINES = 50
_PIPE_BYTES = 1 << 20  # what Linux grants without privileges; it bridges the moments in which other threads run
_CHUNK_BYTES = 1 << 18
_WAITING_BYTES = 2 << 20  # some seconds of work for who takes the lines
_RECENT_BYTES = 1 << 18
_ATTEMPT_FIRST_BYTES, _ATTEMPT_LAST_BYTES = 2 << 20, 6 << 20

# What Python and nanobind say of a process that ended by force: up to 65 lines, after the cause, which they would push
# out of the tail.
_EPILOGUE = re.compile(
    r"nanobind: |^ - leaked |resource_tracker|warnings\.warn\('resource_tracker|See https://nanobind"
)


class Log:
    """Copies pipes to a rotating file and hands each line on, without delaying who writes into them.

    One thread reads, scrubs, and writes the file. Another makes lines: text without control characters and blank lines,
    cut at 16 KiB. Where they are taken more slowly than they come, the oldest are left out and one line says how many;
    the file has them. Memory stays bounded whatever comes.

    Attributes:
        path: the newest file.
    """

    def __init__(self, path: Path, secrets: Mapping[str, str], on_line: Callable[[str], object]) -> None:
        """Begin a run's file; those of the runs before are kept as `RotatingFile` does.

        Args:
            path: the newest file.
            secrets: what is replaced wherever it stands, each with what stands there then.
            on_line: called from a thread of the log's own with each line of the output, and with lines of ours, which
                begin with ``serve:``, where something is missing.

        Raises:
            ServeError: the file cannot be opened.
        """
        self.path = path
        self._secrets, self._on_line = secrets, on_line
        self._splitter = Splitter()
        self._lines = Handover("log lines", _WAITING_BYTES, self._missed)
        self._file = RotatingFile(path, lambda text: self._lines.put(partial(on_line, f"serve: {text}")))
        self._recent = _Recent()
        self._attempt_bytes = self._line_bytes = 0
        self._reader: threading.Thread | None = None

    @property
    def tail(self) -> deque[str]:
        """The last lines that were read, at most 50, whether they have been handed on or not.

        Of a progress bar only the last state, and none of what a process says after it failed: neither pushes the cause
        out.
        """
        return deque((text for text in self._recent.lines() if not _EPILOGUE.search(text)), TAIL_LINES)

    def follow(self, stream: IO[bytes]) -> None:
        """Read a pipe to its end, in the background, and close it."""
        self._reader = threading.Thread(target=self._read, args=(stream,), name="log", daemon=True)
        self._reader.start()

    def mark(self, line: str) -> None:
        """Write a line of ours, with which another attempt of the run begins."""
        scrubber = Scrubber(self._secrets)
        self._file.mark(scrubber.feed(f"{line}\n".encode(errors="replace")))
        self._attempt_bytes = self._file.written_bytes
        self._recent.clear()

    def evidence(self) -> list[str]:
        """What was read since the last mark: the first 2 MiB and the last 6 MiB of it.

        What the file does not have is taken from memory, which has the last 256 KiB.
        """
        lines: list[str] = []
        with contextlib.suppress(ServeError):
            size_bytes = self._file.written_bytes - self._attempt_bytes
            lines = excerpt(self.path, size_bytes, _ATTEMPT_FIRST_BYTES, _ATTEMPT_LAST_BYTES)
        return [*lines, *self._recent.lines(self._file.lost_bytes)] if lines else [*self._recent.lines()]

    def finish(self, timeout_s: float) -> None:
        """Wait until all that was written is read and handed on; the pipe ends when its last writer has ended."""
        deadline_s = time.monotonic() + timeout_s
        if self._reader:
            self._reader.join(timeout_s)
        self._lines.flush(max(0.0, deadline_s - time.monotonic()))

    def close(self) -> None:
        """Close the file, and end our thread as soon as all lines are handed on."""
        self._lines.close(0)
        self._file.close()

    def _read(self, stream: IO[bytes]) -> None:
        scrubber, buffer = Scrubber(self._secrets), bytearray(_CHUNK_BYTES)
        with stream:
            _widen(stream)
            while count := os.readv(stream.fileno(), [buffer]):
                self._take(scrubber.feed(bytes(memoryview(buffer)[:count])))
        self._take(scrubber.end())
        self._lines.put(partial(self._hand_on, self._splitter.end))
        self._line_bytes = 0

    def _take(self, data: bytes) -> None:
        if not data:
            return
        self._file.write(data)
        self._recent.add(data)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end or self._line_bytes <= LINE_BYTES:  # nothing is shown of the rest of a long line: it takes no place
            self._lines.put(partial(self._hand_on, partial(self._splitter.feed, data)), len(data), data.count(b"\n"))
        self._line_bytes = len(data) - end if end else self._line_bytes + len(data)

    def _hand_on(self, lines: Callable[[], Iterator[str]]) -> None:
        for text in lines():
            self._on_line(text)
            self._lines.pace()

    def _missed(self, lines: int, size_bytes: int) -> None:
        self._hand_on(self._splitter.skip)
        self._on_line(f"serve: {lines:,} lines ({size_bytes:,} bytes) came too fast to be shown; see {self.path}")


class _Recent:
    """The last bytes that came, for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        with self._lock:
            self._chunks: deque[bytes] = deque()
            self._size_bytes, self._begins_within = 0, False

    def add(self, chunk: bytes) -> None:
        with self._lock:
            self._chunks.append(chunk)
            self._size_bytes += len(chunk)
            while self._size_bytes - len(self._chunks[0]) >= _RECENT_BYTES:
                self._begins_within = not self._chunks[0].endswith((b"\n", b"\r"))
                self._size_bytes -= len(self._chunks.popleft())

    def lines(self, last_bytes: int = _RECENT_BYTES) -> Iterator[str]:
        """All that is there, or so much of it."""
        with self._lock:
            data, begins_within = b"".join(self._chunks), self._begins_within
        data = data[max(0, len(data) - last_bytes) :]
        splitter = Splitter(within_line=begins_within and b"\n" in data)
        return latest(chain(splitter.feed(data), splitter.end()))


def _widen(stream: IO[bytes]) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a user may have used up what is granted
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
