"""All packages of a lock as wheels in a folder, and the lock that pins just those files."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

from launcher.host import packages
from launcher.host.packages import Echo

_CHUNK_BYTES = 1 << 20


def fetch(requirements: str, python: Path, folder: Path, indexes: tuple[str, ...], echo: Echo) -> None:
    """Fetches the packages of a requirements file with hashes; what comes as source is built.

    pip does it, in an environment of its own: uv keeps no wheels.

    Args:
        requirements: every package with its version and hashes.
        python: an interpreter that has pip.
        folder: where the wheels go.
        indexes: further indexes than the user's settings name.
        echo: takes lines of progress.

    Raises:
        ServeError: one is not to be had, or is another file than the one that was pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:  # as large as the wheels: not in /tmp
        asked = Path(scratch, "requirements.txt")
        asked.write_text(requirements, encoding="utf-8")
        words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--require-hashes", "--no-cache-dir"]
        words += ["--disable-pip-version-check", "--no-input", "--wheel-dir", str(folder), "--requirement", str(asked)]
        words += [word for index in indexes for word in ("--extra-index-url", index)]
        environment = packages.for_pip() | {"TMPDIR": scratch}
        packages.run(words, folder, "fetching the packages", echo, environment, program=str(python))


def pinned(folder: Path) -> str:
    """The wheels of a folder as a requirements file with their hashes."""
    lines = []
    for path in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(path.name)
        lines.append(f"{canonicalize_name(name)}=={version} --hash=sha256:{_digest(path)}\n")
    return "".join(lines)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
