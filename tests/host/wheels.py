"""Tiny wheels that stand in for engines, so that installations can be tried for real."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path


def write(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, str],
    requires: tuple[str, ...] = (),
    *,
    tag: str = "py3-none-any",
) -> str:
    """Writes a wheel and returns its hash, as a requirements file has it."""
    distribution = name.replace("-", "_")
    information = f"{distribution}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Requires-Dist: {each}" for each in requires),
    ]
    content = {
        **files,
        f"{information}/METADATA": "\n".join(metadata) + "\n",
        f"{information}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in [*content, f"{information}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{distribution}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**content, f"{information}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return "sha256:" + hashlib.sha256(wheel.read_bytes()).hexdigest()


def write_source(folder: Path, name: str, version: str, backend: str) -> None:
    """Writes a source archive that is built by a program of its own."""
    top = f"{name}-{version}"
    content = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    with tarfile.open(folder / f"{top}.tar.gz", "w:gz") as archive:
        for path, text in content.items():
            member = tarfile.TarInfo(f"{top}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
