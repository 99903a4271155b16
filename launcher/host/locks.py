"""Locks: every package that an environment of a release gets, pinned by hash, for one platform and one Python.

A lock is a requirements file whose first line says what it is for. Those of `data/` are installed by themselves where
they fit exactly; a lock of the user's own is named at the installation.
"""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.errors import FAILED, ServeError
from launcher.files import write_whole

DATA = Path(__file__).parent / "data"
_HEAD = re.compile(
    r"# (?P<distribution>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*) for (?P<runtime>cpu|cuda[0-9.]*) "
    r"on (?P<machine>\w+), Python (?P<python>3\.\d+)"
)
_MADE = "# Made by `serve engines lock`, installed by `serve engines install`: every package, each with its hashes."
_BYTES = 2**24  # the largest so far has 0.4 MB


@dataclass(frozen=True)
class Scope:
    """What a lock is for.

    Attributes:
        distribution: the package that holds the engine.
        version: the engine's release, without a local part.
        runtime: ``cpu``, or ``cuda13.0``: the CUDA that its torch brings; ``cuda`` where that is not known.
        machine: the processor's architecture, such as ``x86_64``.
        python: such as ``3.12``.
    """

    distribution: str
    version: str
    runtime: str
    machine: str
    python: str

    def __str__(self) -> str:
        return f"{self.distribution}=={self.version} for {self.runtime} on {self.machine}, Python {self.python}"

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return "cpu" if self.runtime == "cpu" else "cuda"

    @property
    def file_name(self) -> str:
        """What its lock is called."""
        return f"{self.distribution}-{self.version}-{self.runtime}-{self.machine}-py{self.python}.lock"


@dataclass(frozen=True)
class Lock:
    """The packages of one environment.

    Attributes:
        scope: what it is for.
        requirements: the lines of a requirements file.
    """

    scope: Scope
    requirements: str

    @property
    def packages(self) -> int:
        """How many there are."""
        return len(re.findall(r"^[\w.-]+==", self.requirements, re.MULTILINE))

    @property
    def digest(self) -> str:
        """By which an environment knows what it was made of."""
        return hashlib.sha256(self.requirements.encode()).hexdigest()


def scope(release: Release, device: str, distribution: str, python: str) -> Scope:
    """What a lock has to be for, to be installed on this machine."""
    known = device == "cuda" and release in catalog.known(release.engine)
    runtime = f"cuda{catalog.facts(release).cuda}" if known else device
    minor = ".".join(python.split(".")[:2])
    return Scope(distribution, release.version, runtime, platform.machine(), minor)


def shipped(wanted: Scope, folder: Path = DATA) -> Lock | None:
    """The lock that we ship for exactly this, or None."""
    path = folder / wanted.file_name
    return read(path) if path.is_file() else None


def locked_first(pythons: tuple[str, ...], release: Release, device: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The same versions of Python, those for which we ship a lock of one of the packages first."""

    def without(python: str) -> bool:
        return not any((DATA / scope(release, device, name, python).file_name).is_file() for name in names)

    return tuple(sorted(pythons, key=without))


def read(path: Path) -> Lock:
    """A lock from its file.

    Raises:
        ServeError: there is none, or it holds something else than packages with hashes.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        fix = "serve engines lock ENGINE makes one"
        raise ServeError(f"this lock cannot be read: {error}", where=str(path), fix=fix) from None
    first, _, rest = text.partition("\n")
    head = _HEAD.fullmatch(first)
    if not head:
        what = "this is no lock: its first line does not say what it is for"
        raise ServeError(what, where=str(path), fix="serve engines lock ENGINE makes one")
    _refuse_addresses(rest, path)
    return Lock(Scope(**head.groupdict()), rest)


def write(lock: Lock, path: Path) -> Path:
    """Writes a lock, whole or not at all."""
    try:
        write_whole(path, f"# {lock.scope}\n{lock.requirements}")
    except OSError as error:
        raise ServeError(f"cannot be written: {error.strerror}", where=str(path), fix="--output FILE") from None
    return path


def of_resolution(wanted: Scope, text: str) -> Lock:
    """The lock that `uv pip compile` gave.

    Raises:
        ServeError: it leads to an address, which another host may not have.
    """
    _refuse_addresses(text, None)
    return Lock(wanted, f"{_MADE}\n{text}")


def _refuse_addresses(text: str, path: Path | None) -> None:
    """A lock names packages and hashes; an option of pip's or an address in it would be followed as well."""
    for number, line in enumerate(text.splitlines(), 2):
        body = line.strip()
        if body.startswith("#") or not body:
            continue
        option = body.startswith("-") and not re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", body)
        if option or "://" in body or " @ " in body:
            place = f"{path}:{number}" if path else ""
            what = f"a lock holds packages with their hashes alone, not {body!r}"
            raise ServeError(what, where=place, fix="serve engines lock ENGINE makes one", code=FAILED)
