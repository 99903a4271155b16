"""When the bytes of a log file were written: a small text file beside it, such as ``engine.log.times``.

Its first line is ``INODE BEGINS``: the log file that it belongs to, and 1 if a run begins with that file, else 0. Each
further line is ``UNIX_SECONDS OFFSET``: what lies from this offset to the next was written within `EVERY_S` after that
time. It is a help to reading and no more: where it is missing or damaged, more is shown than was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

EVERY_S = 10
MOST = 1 << 16  # entries: 1.5 MiB, a week of a server that is never silent for long
_ROW_BYTES = 64


def beside(log: Path) -> Path:
    """The file of times of a log file."""
    return log.with_name(f"{log.name}.times")


class Times:
    """Writes them. Whatever fails is left out and tried again with the next entry."""

    def __init__(self, log: Path, inode: int, *, begins: bool) -> None:
        """Begin the file.

        Args:
            log: the log file.
            inode: its number.
            begins: whether a run begins with it.
        """
        self._descriptor: int | None = None
        self._entries, self._last_s = 0, 0.0
        self._unwritten = b"%d %d\n" % (inode, begins)
        with contextlib.suppress(OSError):
            beside(log).unlink(missing_ok=True)
            self._descriptor = os.open(beside(log), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            self._write(self._descriptor, b"")

    @property
    def full(self) -> bool:
        """Whether the log is to go on in another file."""
        return self._entries >= MOST

    def add(self, offset: int, now_s: float) -> None:
        """Bytes are about to be written there. A clock that was set, either way, begins an entry too."""
        if self._descriptor is None or (self._entries and abs(now_s - self._last_s) < EVERY_S):
            return
        with contextlib.suppress(OSError):
            self._write(self._descriptor, b"%d %d\n" % (now_s, offset))
            self._last_s = now_s
            self._entries += 1

    def close(self) -> None:
        """Nothing is added any more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, descriptor: int, row: bytes) -> None:
        os.write(descriptor, self._unwritten + row)
        self._unwritten = b""


def header(log: Path) -> tuple[int, bool] | None:
    """The number of the log file that the times beside it belong to, and whether a run begins with it."""
    inode, begins = next(_rows(log), (0, 0))
    return (inode, begins == 1) if inode else None


def older_bytes(log: Path, inode: int, size_bytes: int, since_s: float) -> int:
    """How many bytes at the beginning of a log file are older than a time in Unix seconds; 0 where nothing is known.

    What follows may be older by `EVERY_S`. If the clock was set in between, what was written last counts.
    """
    rows = _rows(log)
    if next(rows, (0, 0))[0] != inode:
        return 0
    end, is_old = 0, False
    for written_s, offset in rows:
        if is_old:
            end = offset
        is_old = written_s + 1 + EVERY_S <= since_s  # the fractions of its second are cut off
    return min(size_bytes if is_old else end, size_bytes)


def open_regular(path: Path) -> int:
    """A descriptor to read a file; links, pipes and whatever else may lie there are refused.

    Raises:
        OSError: there is none, or it is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # the opening of a pipe would wait
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _rows(log: Path) -> Iterator[tuple[int, int]]:
    with contextlib.suppress(OSError), os.fdopen(open_regular(beside(log)), "rb") as file:
        while line := file.readline(_ROW_BYTES):
            words = line.split()
            if len(words) == 2 and all(word.isdigit() for word in words):  # noqa: PLR2004 - two to a row
                yield int(words[0]), int(words[1])
