"""Files that are written whole or not at all, and the data files that come with this program."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NEW_FILE = 0o666  # what open() asks for; the umask takes away from it


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within, an OSError names this file: that of a write or a read names none, or a temporary one of ours."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def write_whole(path: Path, text: str, mode: int | None = None) -> None:
    """Puts a text into a file, or leaves what was there; on the disk when this returns. The folder has to be there.

    Args:
        path: of the file.
        text: all of it.
        mode: who may read it, whatever the umask; as for any new file unless given.

    Raises:
        OSError: it cannot be written; the error names the file.
    """
    with naming(path):
        _write_whole(path, text, mode)


def _write_whole(path: Path, text: str, mode: int | None) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(descriptor, _NEW_FILE & ~_umask() if mode is None else mode)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def load_data(path: Path) -> Any:
    """What a YAML file of this program's own holds; files of users are `launcher.config.yamlfile`'s to read."""
    import yaml  # noqa: PLC0415 - not needed for --help

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open("rb") as file:
        return yaml.load(file, loader)  # noqa: S506 - a safe loader, the compiled one where there is one


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
