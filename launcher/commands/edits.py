"""Changes to a file's text: made, shown as a difference, written."""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from launcher.commands.source import Source, read
from launcher.errors import FAILED, ServeError

Edit = tuple[int, int, str]  # from an offset to another, and what takes the place of what is there


def apply(source: Source, edits: Iterable[Edit]) -> str:
    """The text after the edits, which may come in any order; the same edit twice counts once.

    Raises:
        ServeError: two of them change the same characters in different ways.
    """
    pieces: list[str] = []
    at = 0
    for start, end, text in sorted(dict.fromkeys(edits), key=lambda edit: edit[:2]):
        if start < at:
            line, column = source.place(start)
            where = f"{source.path}:{line}:{column}"
            raise ServeError("two changes meet here", where=where, fix="make one of them by hand first")
        pieces += [source.text[at:start], text]
        at = end
    return "".join([*pieces, source.text[at:]])


def diff(source: Source, text: str) -> str:
    """The unified difference between a file and what is to become of it, or ""."""
    before, after = source.text.splitlines(keepends=True), text.splitlines(keepends=True)
    lines = difflib.unified_diff(before, after, source.path, source.path)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def write(source: Source, text: str) -> None:
    """Replaces a file by the text: wholly or not at all, with its mode and owner, through a link to it.

    Raises:
        ServeError: the file is no longer what was read, or it cannot be written.
    """
    path = Path(source.path).resolve()
    if read(path).text != source.text:
        raise ServeError("has changed since it was read", where=source.path, fix="run the command again", code=FAILED)
    made: Path | None = None
    try:
        status = path.stat()
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".serve-", delete=False) as file:
            made = Path(file.name)
            file.write(text.encode())
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
            with contextlib.suppress(PermissionError):  # only root gives files away
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except OSError as error:
        if made is not None:
            made.unlink(missing_ok=True)
        what = f"cannot be written: {error.strerror}"
        raise ServeError(what, where=source.path, fix="the file is as it was", code=FAILED) from None
