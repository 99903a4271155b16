"""The record of a running instance: who holds its name, and where its server and its log are."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.engines.command import NAME, Secret
from launcher.errors import ServeError
from launcher.run.secrets import resolve_key, write_private, writing


@dataclass(frozen=True)
class Instance:
    """A named server on this host.

    Attributes:
        name: the instance's name.
        supervisor_pid: the process that owns it.
        supervisor_start: when that process started, in clock ticks since boot, so that a reused pid is not trusted.
        engine_pid: the engine's first process; its process group has the same number.
        base_url: where the server answers.
        served_name: the model's name in the API.
        model: what the engine was given.
        release: such as ``vllm@0.33.0``.
        log: the file of the engine's output.
        key_source: ``env``, ``file``, ``auto`` or None; the key itself is never recorded.
        key_path: the file that holds the key, if one does.
    """

    name: str
    supervisor_pid: int
    supervisor_start: int
    engine_pid: int
    base_url: str
    served_name: str
    model: str
    release: str
    log: str
    key_source: str | None = None
    key_path: str | None = None

    @property
    def secret(self) -> Secret | None:
        """Where a client finds the key; a file that is gone is an error then, not made anew."""
        if self.key_source is None:
            return None
        return Secret("file", Path(self.key_path)) if self.key_path else Secret("env")

    @property
    def alive(self) -> bool:
        """Whether the supervisor that wrote the record still runs."""
        return started(self.supervisor_pid) == self.supervisor_start


@dataclass(frozen=True)
class Claim:
    """A name that is held by this process, and the folder that goes with it."""

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        """Where the engine's output goes."""
        return self.folder / "engine.log"

    def record(self, instance: Instance) -> None:
        """Say to others what runs under the name."""
        write_private(self.folder / "record.json", json.dumps(dataclasses.asdict(instance), indent=2) + "\n")


@contextlib.contextmanager
def claim(name: str) -> Iterator[Claim]:
    """Hold a name until the end of the context; the kernel gives it back if this process is killed.

    Raises:
        ServeError: the name is none, or another process holds it.
    """
    folder = _folder(name)
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)  # not inherited by the engine (PEP 446)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(name) from None
        record = folder / "record.json"
        record.unlink(missing_ok=True)  # of a run that was killed
        try:
            yield Claim(name, folder)
        finally:
            record.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def refuse_taken(name: str) -> None:
    """Writes nothing; of two that start at one moment, `claim` refuses the second.

    Raises:
        ServeError: the name is none, or an instance runs under it.
    """
    if find(name):
        raise _taken(name)


def find(name: str) -> Instance | None:
    """The instance that runs under a name, or None."""
    try:
        instance = Instance(**json.loads((_folder(name) / "record.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # never started, ended, or not a record
    return instance if instance.alive else None


def running() -> list[Instance]:
    """Every instance that runs, by name."""
    records = settings.state_folder().glob("instances/*/record.json")
    found = [find(record.parent.name) for record in sorted(records)]
    return [instance for instance in found if instance]


def address(name: str | None = None) -> tuple[str, str | None]:
    """The base URL and the API key of a running instance; without a name, of the only one.

    Raises:
        ServeError: there is none, there are several to choose from, or its key cannot be read.
    """
    alive = running()
    wanted = [each for each in alive if name in (None, each.name)]
    names = ", ".join(each.name for each in alive)
    if len(wanted) > 1:
        raise ServeError(f"several instances are running: {names}", fix="name one")
    if not wanted:
        what = f"no instance named {name!r} is running" if name else "no instance is running"
        raise ServeError(what, fix=f"running: {names}" if names else "serve launch starts one; or give a server's URL")
    return wanted[0].base_url, resolve_key(wanted[0].secret) if wanted[0].secret else None


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc_pid_stat(5)); None if gone.

    Not a wall-clock time: that one changes when the clock is set.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # from field 3 on; the name before them may hold anything
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _folder(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise ServeError(f"{name!r} is no name for an instance", fix="letters, digits, and . _ - within, at most 63")
    return settings.state_folder() / "instances" / name


def _taken(name: str) -> ServeError:
    holder = find(name)
    where = f"{holder.base_url}, process {holder.supervisor_pid}" if holder else ""
    return ServeError(f"an instance named {name!r} is running", where=where, fix="stop it, or choose another --name")
