"""A log on disk: the newest bytes in ``engine.log``, those before in ``engine.log.1`` and so on, bounded in all."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from launcher.run.output import logtimes
from launcher.run.output.logtimes import Times
from launcher.run.secrets import writing

FILES = 4
FILE_BYTES = 16 << 20  # 64 MiB in all, and at most 6 MiB of times beside them
_RETRY_S = 1.0


def numbered(path: Path, number: int) -> Path:
    """The file of a log that was rotated so many times."""
    return path.with_name(f"{path.name}.{number}") if number else path


class RotatingFile:
    """The writing end, for several threads. A run begins with a file of its own; those before it keep theirs.

    A disk that is full, or whatever else keeps the file from being written, raises nothing: what comes meanwhile is
    lost and counted, writing is tried again once a second, and the file then says how much is missing where.

    Attributes:
        written_bytes: since the run began, with those that have been rotated away since.
        lost_bytes: that the file does not have and does not tell of yet.
    """

    def __init__(self, path: Path, tell: Callable[[str], object], clock: Callable[[], float] = time.time) -> None:
        """Rotate, and begin the file (mode 0600).

        Args:
            path: the newest file.
            tell: called from the writing thread with a sentence when the file cannot be written, and when it can again.
            clock: gives Unix seconds.

        Raises:
            ServeError: it cannot be opened.
        """
        self._path, self._tell, self._clock = path, tell, clock
        self._lock = threading.Lock()
        self._closed = False
        self._size_bytes = self.written_bytes = self.lost_bytes = 0
        self._within_line = False
        self._retry_s = 0.0
        self._why = ""
        with writing(path):
            self._begin(self._rotated(), begins=True)

    def write(self, data: bytes) -> None:
        """Append the data, or count it as lost."""
        with self._lock:
            if self._closed or (self.lost_bytes and not self._resume()):
                self.lost_bytes += len(data)
            else:
                self._append(data)

    def mark(self, line: bytes) -> None:
        """Append a line of our own, whatever came before it."""
        with self._lock:
            within_line = self._within_line
        self.write(b"\n" * within_line + line)

    def close(self) -> None:
        """Say what is missing, if that can be said by now, and close the file; what comes later is lost."""
        with self._lock:
            if self._closed:
                return
            if self.lost_bytes:
                self._retry_s = 0.0
                self._resume()
            self._end()
            self._closed = True

    def _resume(self) -> bool:
        """Whether it can be written again; then it has been told what is missing."""
        if time.monotonic() < self._retry_s:
            return False
        lost_bytes, self.lost_bytes = self.lost_bytes, 0
        told = f"serve: {lost_bytes:,} bytes of output are missing here: {self._why}\n"
        self._append(b"\n" * self._within_line + told.encode())
        if self.lost_bytes:  # not even this line
            self.lost_bytes = lost_bytes
            return False
        self._tell(f"{self._path} is written again; {lost_bytes:,} bytes are missing in it")
        return True

    def _append(self, data: bytes) -> None:
        done = 0
        try:
            if not os.fstat(self._descriptor).st_nlink:  # somebody removed the file
                self._renew(begins=True)  # nothing older than what comes now is this run's
            while done < len(data):
                room = 0 if self._times.full else FILE_BYTES - self._size_bytes
                fits = len(data) - done <= room
                end = len(data) if fits else data.rfind(b"\n", done, done + room) + 1 or done + room
                while done < end:
                    self._times.add(self._size_bytes, self._clock())
                    count = os.write(self._descriptor, data[done:end])
                    done += count
                    self._size_bytes += count
                    self.written_bytes += count
                    self._within_line = data[done - 1 : done] != b"\n"
                if not fits:
                    self._renew(begins=False)
        except OSError as error:
            self.lost_bytes += len(data) - done
            self._retry_s = time.monotonic() + _RETRY_S
            self._why = error.strerror or str(error)
            self._tell(f"{self._path} cannot be written: {self._why}; the engine runs on")

    def _renew(self, *, begins: bool) -> None:
        fresh = self._rotated()
        self._end()
        self._begin(fresh, begins=begins)

    def _rotated(self) -> int:
        """The descriptor of a new file in the place of the newest.

        All or nothing as far as that can be: what fails mostly is the making of a file, and that comes first.
        """
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)  # follows no link
        try:
            oldest = numbered(self._path, FILES - 1)
            for each in (oldest, logtimes.beside(oldest)):
                # not replaced: ext4 writes a file to the disk at once where it replaces another (auto_da_alloc)
                each.unlink(missing_ok=True)
            for number in range(FILES - 1, 0, -1):
                newer, older = numbered(self._path, number - 1), numbered(self._path, number)
                for source, target in ((newer, older), (logtimes.beside(newer), logtimes.beside(older))):
                    with contextlib.suppress(FileNotFoundError):
                        source.replace(target)
            fresh.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _begin(self, descriptor: int, *, begins: bool) -> None:
        self._descriptor, self._size_bytes = descriptor, 0
        self._times = Times(self._path, os.fstat(descriptor).st_ino, begins=begins)

    def _end(self) -> None:
        os.close(self._descriptor)
        self._times.close()
