"""A wheel of this very program, made of its files wherever they lie: an installation, or a checkout.

It holds what the project's own build puts into one, without the build's program, which a GPU host does not have.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import launcher
from launcher.errors import ServeError
from launcher.settings import share_folder

NAME = "serve-launcher"
SHARED = ("presets", "deploy", "systemd")
_KEPT = ("METADATA", "entry_points.txt")  # of what is installed; the rest says how it was installed
_WHEEL = "Wheel-Version: 1.0\nGenerator: serve engines bundle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write(folder: Path) -> Path:
    """Writes the wheel into a folder.

    Raises:
        ServeError: this program runs from files that nobody has installed.
    """
    installed = distribution()
    stem = f"{NAME.replace('-', '_')}-{installed.version}"
    information, path = f"{stem}.dist-info", folder / f"{stem}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, data: bytes, mode: int = 0o644) -> None:
            entry = zipfile.ZipInfo(name)  # without a time, so that the same files make the same wheel
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | mode) << 16
            archive.writestr(entry, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            record.append(f"{name},sha256={digest},{len(data)}\n")

        for name, file in _files():
            add(name, file.read_bytes(), stat.S_IMODE(file.stat().st_mode) & 0o755)
        for name in _KEPT:
            add(f"{information}/{name}", (installed.read_text(name) or "").encode())
        for licence in installed.metadata.get_all("License-File") or ():
            if text := installed.read_text(f"licenses/{licence}"):
                add(f"{information}/licenses/{licence}", text.encode())
        add(f"{information}/WHEEL", _WHEEL.encode())
        archive.writestr(zipfile.ZipInfo(f"{information}/RECORD"), "".join(record) + f"{information}/RECORD,,\n")
    return path


def distribution() -> importlib.metadata.Distribution:
    """What is installed of this program: its metadata.

    Raises:
        ServeError: nothing is.
    """
    try:
        return importlib.metadata.distribution(NAME)
    except importlib.metadata.PackageNotFoundError:
        place = str(Path(launcher.__file__).parent)
        raise ServeError("serve is not installed, it only runs", where=place, fix="pip install .") from None


def _files() -> Iterator[tuple[str, Path]]:
    """The package and what it shares, by their names in a wheel."""
    package = Path(launcher.__file__).parent
    roots = [(package.name, package), *((f"{package.name}/share/{name}", share_folder(name)) for name in SHARED)]
    for place, root in roots:
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and "__pycache__" not in parts and (root != package or parts[0] != "share"):
                yield "/".join((place, *parts)), path
