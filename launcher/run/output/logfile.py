"""A log read back, while it is written or later: its last lines, those since a time, those to come."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from launcher.errors import FAILED, ServeError
from launcher.run.output import logtimes
from launcher.run.output.lines import Splitter, latest
from launcher.run.output.rotation import FILES, numbered

_BLOCK_BYTES = 1 << 16
_POLL_S = 0.1


def lines(path: Path, tail: int | None = None, since_s: float | None = None) -> Iterator[str]:
    """What a log says: of the run that is or was the last one, or of all since a time.

    Memory stays the same however long the log is; the last lines are looked for from its end.

    Args:
        path: its newest file, an instance's ``engine.log``.
        tail: so many of the last lines, or all.
        since_s: Unix seconds; lines of up to 10 seconds before may come as well.

    Yields:
        Lines without control characters, cut at 16 KiB; of a progress bar the last state. None where there is no log.

    Raises:
        ServeError: code 1 if the log is there and cannot be read.
    """
    return follow(path, lambda: True, tail, since_s)


def follow(
    path: Path, ended: Callable[[], bool], tail: int | None = None, since_s: float | None = None
) -> Iterator[str]:
    """As `lines`, and then what comes, from file to file, until `ended` says that nothing will, and all is read."""
    is_last = ended()  # asked before each look, so that nothing is written after the last one
    stored, splitter = _Stored(path), Splitter()
    try:
        start, skipped = stored.first(tail, since_s)
        while True:
            found = stored.lines(start, splitter)
            yield from islice(latest(chain(found, splitter.end()) if is_last else found), skipped, None)
            if is_last:
                return
            while not (is_last := ended()) and not stored.outdated():
                time.sleep(_POLL_S)
            newer = _Stored(path)
            if (place := newer.after(stored)) is None:
                yield from splitter.end()
                yield "serve: more was written than the log keeps; lines are missing here"
            start, skipped = place or 0, 0
            stored.close()  # not before: the number of an open file is not given to another
            stored = newer
    finally:
        stored.close()


def excerpt(path: Path, size_bytes: int, first_bytes: int, last_bytes: int) -> list[str]:
    """The last bytes of a log as lines; of more than the two bounds together, the first and the last of them.

    Raises:
        ServeError: it cannot be read.
    """
    with contextlib.closing(_Stored(path)) as stored:
        begin, splitter = max(0, stored.size_bytes - size_bytes), Splitter()
        end, again = begin + first_bytes, stored.line_start(stored.size_bytes - last_bytes)
        if again <= end:
            return [*latest(chain(stored.lines(begin, splitter), splitter.end()))]
        left_out = f"serve: {again - end:,} bytes of the log are left out here"
        parts = stored.lines(begin, splitter, end), splitter.end(), [left_out], stored.lines(again, splitter)
        return [*latest(chain(*parts, splitter.end()))]


@dataclass(frozen=True)
class _File:
    path: Path
    descriptor: int
    inode: int
    begin: int  # where its bytes lie in the whole
    end: int


class _Stored:
    """The files of a log as they are at one moment, read as one.

    Attributes:
        size_bytes: of all of them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found: dict[int, tuple[Path, int]] = {}  # newest first: what is rotated meanwhile is found twice, not missed
        for number in range(FILES):
            each = numbered(path, number)
            try:
                descriptor = logtimes.open_regular(each)
            except FileNotFoundError:
                continue
            except OSError as error:
                if number:
                    continue  # what is damaged back there does not hide the newest
                raise _unreadable(each, error) from None
            if found.setdefault(os.fstat(descriptor).st_ino, (each, descriptor)) != (each, descriptor):
                os.close(descriptor)
        begins = [logtimes.header(numbered(path, number)) for number in range(FILES)]
        self._files: list[_File] = []
        self._runs: list[int] = []
        self.size_bytes = 0
        for inode, (each, descriptor) in reversed(found.items()):
            begin, self.size_bytes = self.size_bytes, self.size_bytes + os.fstat(descriptor).st_size
            self._files.append(_File(each, descriptor, inode, begin, self.size_bytes))
            if (inode, True) in begins:
                self._runs.append(begin)

    def close(self) -> None:
        for file in self._files:
            os.close(file.descriptor)

    def first(self, tail: int | None, since_s: float | None) -> tuple[int, int]:
        """Where to begin, and how many of the lines from there are too many."""
        begin = self._since(since_s) if since_s is not None else self._runs[-1] if self._runs else 0
        if tail is None:
            return begin, 0
        span = _BLOCK_BYTES
        while tail:
            start = self.line_start(self.size_bytes - span) if self.size_bytes - span > begin else begin
            splitter = Splitter()
            count = sum(1 for _ in latest(chain(self.lines(start, splitter), splitter.end())))
            if count >= tail or start == begin:
                return start, max(0, count - tail)
            span *= 4
        return self.size_bytes, 0

    def lines(self, begin: int, splitter: Splitter, end: int | None = None) -> Iterator[str]:
        """From one place to another, or to the end; a line that has not ended stays in the splitter."""
        for place, block in self._blocks(begin, self.size_bytes if end is None else end):
            if place in self._runs:
                yield from splitter.end()  # a run that was killed may have left a line without an end
            yield from splitter.feed(block)

    def line_start(self, place: int) -> int:
        """The first place from there on at which a line begins."""
        if place <= 0:
            return 0
        for at, block in self._blocks(place - 1, self.size_bytes):
            if b"\n" in block:
                return at + block.index(b"\n") + 1
        return self.size_bytes

    def outdated(self) -> bool:
        """Whether the newest file is another by now, or has another size."""
        try:
            newest = self._path.lstat()
        except OSError:
            return False  # it is being rotated, or there is none
        known = [(file.inode, file.end - file.begin) for file in self._files[-1:]]
        return (newest.st_ino, newest.st_size) not in known

    def after(self, before: _Stored) -> int | None:
        """The place here that was the end there, or None if it has been rotated away."""
        if not before._files:
            return 0
        last = before._files[-1]
        for file in self._files:
            if file.inode == last.inode:
                place = file.begin + last.end - last.begin
                return place if place <= file.end else file.begin  # somebody has emptied it
        return None

    def _since(self, since_s: float) -> int:
        for file in reversed(self._files):
            if older := logtimes.older_bytes(file.path, file.inode, file.end - file.begin, since_s):
                return file.begin + older
        return 0

    def _blocks(self, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The bytes from one place to another with their places; none crosses from one file to the next."""
        for file in self._files:
            place, stop = max(begin, file.begin), min(end, file.end)
            while place < stop:
                try:
                    block = os.pread(file.descriptor, min(_BLOCK_BYTES, stop - place), place - file.begin)
                except OSError as error:
                    raise _unreadable(file.path, error) from None
                if not block:
                    break  # somebody has shortened it
                yield place, block
                place += len(block)


def _unreadable(path: Path, error: OSError) -> ServeError:
    return ServeError(f"cannot be read: {error.strerror}", where=str(path), code=FAILED)
