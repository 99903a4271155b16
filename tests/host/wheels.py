"""Tiny wheels that stand in for engines, so that installations can be tried for real."""

from __future__ import annotations

import email
import hashlib
import importlib.metadata
import io
import tarfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


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


def of_installed(folder: Path, name: str) -> None:
    """Writes the wheel of a package that this Python has, and of all that it requires."""
    for each in _closure(name, {}).values():
        _repack(folder, each)


def _closure(
    name: str, found: dict[str, importlib.metadata.Distribution]
) -> dict[str, importlib.metadata.Distribution]:
    if canonicalize_name(name) not in found:
        this = found[canonicalize_name(name)] = importlib.metadata.distribution(name)
        for text in this.requires or ():
            required = Requirement(text)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                _closure(required.name, found)
    return found


def _repack(folder: Path, package: importlib.metadata.Distribution) -> None:
    """Programs that an installer has made of entry points are left out; a program of its own is one of its scripts."""
    made = {each.name for each in package.entry_points}
    stem = f"{canonicalize_name(package.name).replace('-', '_')}-{package.version}"
    tags = email.message_from_string(package.read_text("WHEEL") or "").get_all("Tag", [])
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*(each.split("-") for each in tags), strict=True))
    names = []
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w") as archive:
        for file in package.files or ():
            path = Path(str(file))
            if path.name in ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json") or path.suffix == ".pyc":
                continue
            if path.parts[0] == "..":
                if path.name in made:
                    continue
                path = Path(f"{stem}.data/scripts") / path.name
            elif path.parts[0].endswith(".dist-info"):
                path = Path(f"{stem}.dist-info", *path.parts[1:])
            archive.write(str(file.locate()), str(path))
            names.append(str(path))
        record = f"{stem}.dist-info/RECORD"
        archive.writestr(record, "".join(f"{each},,\n" for each in [*names, record]))
