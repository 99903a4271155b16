"""The lock of an instance's folder: who holds it is the kernel's word (flock), what stands in it is the holder's.

In its file stand, in one line of a fixed length, the holder's pid, its start in clock ticks since boot, the boot, and
the instance's state. The line is written over in place, which a full disk does not keep from.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from launcher import settings
from launcher.errors import FAILED, ServeError
from launcher.run.output.logtimes import open_regular
from launcher.run.record import boot, started
from launcher.run.secrets import writing

LOCK = "lock"
LINE_BYTES = 120


def take(place: Path) -> int | None:
    """A descriptor that holds the folder's lock; None if another process does. The folder is made if there is none.

    A folder that ``serve rm`` took away between opening and locking is not the one that others will look into.

    Raises:
        ServeError: it cannot be written, or is no regular file.
    """
    path = place / LOCK
    while True:
        with writing(path):
            settings.private_folder(place)
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
                raise ServeError("is no regular file", where=str(path), fix="remove it", code=FAILED)
            # not inherited by the engine (PEP 446)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        os.close(descriptor)


def line(state: str) -> bytes:
    """What this process writes into a lock that it holds."""
    text = f"{os.getpid()} {started(os.getpid())} {boot()} {state}"
    return f"{text:<{LINE_BYTES - 1}}\n".encode()


def look(place: Path) -> tuple[int | None, str]:
    """The pid of who holds a folder's lock (None if nobody does, 0 if it cannot be known who), and the last state.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    try:
        with os.fdopen(open_regular(place / LOCK), "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            words = file.read(LINE_BYTES).decode(errors="replace").split()
    except FileNotFoundError:
        return None, ""
    return _holder(words) if held else None, "".join(words[3:4])


def _holder(words: list[str]) -> int:
    match words:
        case [pid, start, boot_id, *_] if boot_id == boot() and pid.isdecimal() and start.isdecimal():
            return int(pid) if started(int(pid)) == int(start) else 0
    return 0
