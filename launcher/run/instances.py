"""Named servers of this host: who holds a name, what is known of it, and in which state it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.engines.command import NAME, checked_name
from launcher.errors import ServeError
from launcher.host import users
from launcher.run import lock
from launcher.run.lock import LOCK
from launcher.run.record import FAILED, SERVING, STARTING, STATES, STOPPED, STOPPING, Record, boot, now_s, read, started
from launcher.run.secrets import resolve_key, write_private, writing

RECORD, LOG, PULSE, RUNS = "record.json", "engine.log", "pulse.json", "runs"
_RUNS_KEPT = 100
_ALIVE = (STARTING, SERVING, STOPPING)
_RECORD_BYTES = 1 << 14
_LOOKED_AT_S = 0.2  # whoever asks for the state holds the lock for an instant


@dataclass(frozen=True)
class Instance:
    """A named server as it is now. Its state comes from who lives, and only then from what was written.

    ``starting``  a supervisor holds the name's lock, and the engine has not completed a prompt since it was started:
                  it loads, or the supervisor waits before it tries again. To serving, stopping, failed.
    ``serving``   a completion came back, and nothing speaks against it since. To starting (the engine failed and is
                  started again), stopping, failed.
    ``stopping``  asked to end: the engine's processes, its port and its GPU memory are waited for. To stopped, failed.
    ``stopped``   nobody holds the lock, and the last run ended because it was asked to. To starting.
    ``failed``    nobody holds the lock, and the last run ended otherwise: by itself, or the supervisor was killed,
                  which nobody lived to write down. To starting.

    The lock is the kernel's (flock): it is given back when its holder dies, however it dies, and knows no reused pid.
    The supervisor writes its state into the lock's file too, over what was there: that needs no room on a full disk.

    Attributes:
        name: the name.
        folder: its files.
        supervisor: the pid of the living supervisor; None without one, 0 where it cannot be known.
        record: what is known of its last run, or None where the record is missing or damaged.
        word: the state that the last supervisor wrote into the lock; empty if there is none.
        trouble: why little can be known: its files are another user's, or damaged.
    """

    name: str
    folder: Path
    supervisor: int | None
    record: Record | None
    word: str = ""
    trouble: str = ""

    @property
    def alive(self) -> bool:
        """Whether a supervisor holds the name."""
        return self.supervisor is not None

    @property
    def state(self) -> str:
        """One of the five."""
        written = self.word or (self.record.state if self.record else None)
        if self.alive:
            # Between its last words and its end a supervisor is still stopping.
            return written if written in _ALIVE else STOPPING if written else STARTING
        return STOPPED if written == STOPPED else FAILED

    @property
    def detail(self) -> str:
        """Why it is in this state, in a few words."""
        if self.trouble:
            return self.trouble
        if self.record is None:
            return "its record is missing or damaged"
        if self.alive:
            return "" if self.word not in {"", self.record.state} else self.record.detail
        if self.word in {STOPPED, FAILED} and self.record.state in _ALIVE:
            return "how it ended could not be written down; its log may say more"
        if self.record.state in _ALIVE:
            return "the host was restarted" if self.record.boot != boot() else "its supervisor was killed"
        return self.record.detail

    @property
    def seconds(self) -> float | None:
        """Since the run began; None unless it lives and its record can be read."""
        return now_s() - self.record.started_s if self.alive and self.record else None


@dataclass(frozen=True)
class Begun:
    """A run of an instance: its identity, the boot, and when its supervisor started, in clock ticks since then."""

    run: str
    boot: str
    start: int


class Claim:
    """A name that is held by this process, and the folder that goes with it.

    Attributes:
        name: the name.
        folder: its files.
    """

    def __init__(self, name: str, place: Path, descriptor: int) -> None:
        """With the descriptor that holds the lock; nothing is said of its holder yet."""
        self.name, self.folder, self._descriptor = name, place, descriptor
        self._words, self._state = b"", STARTING
        self._before, self._recorded = os.pread(descriptor, lock.LINE_BYTES, 0), False

    def renew(self) -> bool:
        """Hold the name anew if its folder was removed or replaced: who looks there must find who lives.

        Returns:
            Whether that was needed, and could be done.
        """
        with contextlib.suppress(ServeError, OSError):
            if os.fstat(self._descriptor).st_ino == (self.folder / LOCK).stat().st_ino:
                if os.pread(self._descriptor, lock.LINE_BYTES + 1, 0) != self._words:
                    self.sign(self._state)  # somebody wrote over it
                return False
        with contextlib.suppress(ServeError, OSError):
            if (descriptor := lock.take(self.folder)) is not None:
                os.close(self._descriptor)
                self._descriptor = descriptor
                self.sign(self._state)
                return True
        return False

    def end(self) -> None:
        """Give the name back; of a run that was refused before it began nothing stays."""
        with contextlib.suppress(OSError):
            if not self._recorded and os.fstat(self._descriptor).st_ino == (self.folder / LOCK).stat().st_ino:
                os.ftruncate(self._descriptor, len(self._before))
                os.pwrite(self._descriptor, self._before, 0)
                if {each.name for each in self.folder.iterdir()} <= {LOCK, RUNS}:
                    _empty(self.folder)
        os.close(self._descriptor)

    def sign(self, state: str = STARTING) -> None:
        """Say in the lock who holds it, and in which state it is.

        Raises:
            ServeError: it cannot be written.
        """
        self._words, self._state = lock.line(state), state
        with writing(self.folder / LOCK):
            os.pwrite(self._descriptor, self._words, 0)
            os.ftruncate(self._descriptor, len(self._words))

    @property
    def log(self) -> Path:
        """Where the engine's output goes."""
        return self.folder / LOG

    def begin(self, run: str) -> None:
        """Write down that a run begins, so that what it leaves can be told from what merely says so.

        Raises:
            ServeError: it cannot be written.
        """
        lines = [*runs(self.folder).values(), Begun(run, boot(), started(os.getpid()) or 0)][-_RUNS_KEPT:]
        text = "".join(f"{each.run} {each.boot} {each.start}\n" for each in lines)
        write_private(self.folder / RUNS, text)

    def record(self, record: Record) -> None:
        """Say to others what runs under the name.

        Raises:
            ServeError: it cannot be written.
        """
        self.sign(record.state)
        write_private(self.folder / RECORD, json.dumps(dataclasses.asdict(record), indent=2, default=str) + "\n")
        self._recorded = True


@contextlib.contextmanager
def claim(name: str) -> Iterator[Claim]:
    """Hold a name until the end of the context; the kernel gives it back if this process is killed.

    Raises:
        ServeError: the name is none, or another process holds it.
    """
    place = folder(name)
    _refuse_foreign(place)
    end_s = time.monotonic() + _LOOKED_AT_S
    while (descriptor := lock.take(place)) is None:
        if time.monotonic() > end_s:
            raise taken(name)
        time.sleep(_LOOKED_AT_S / 10)
    held = Claim(name, place, descriptor)
    try:
        held.sign()
        yield held
    finally:
        held.end()


def _refuse_foreign(place: Path) -> None:
    """Root may write anywhere, and its files in another user's folder would shut that user out."""
    if place.exists() and (owner := place.stat().st_uid) != os.geteuid():
        user = users.name(owner)
        raise ServeError(f"{place.name} belongs to user {user}", where=str(place), fix=f"sudo -u {user} serve ...")


def runs(place: Path) -> dict[str, Begun]:
    """The last runs of the instance in a folder, by identity; a line that is none is left out."""
    try:
        lines = (place / RUNS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = [line.split() for line in lines]
    return {each[0]: Begun(each[0], each[1], int(each[2])) for each in found if len(each) == 3 and each[2].isdigit()}  # noqa: PLR2004


def remove(name: str) -> None:
    """Forget an instance that does not run: its record, events and logs.

    Raises:
        ServeError: there is none, it runs, or its files cannot be removed.
    """
    place = look(name).folder
    descriptor = lock.take(place)
    if descriptor is None:
        raise ServeError(f"{name!r} is running", fix=f"serve stop {name}")
    try:
        with writing(place):
            _empty(place)
    finally:
        os.close(descriptor)


def _empty(place: Path) -> None:
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    place.rmdir()


def refuse_taken(name: str) -> None:
    """Writes nothing; of two that start at one moment, `claim` refuses the second.

    Raises:
        ServeError: the name is none, or an instance runs under it.
    """
    if find(name):
        raise taken(name)


def refuse_unwritable(instance: Instance) -> None:
    """Writes a record as large as a real one and takes it away: what cannot be written is known before a stop.

    Raises:
        ServeError: the disk is full, or the folder is not this user's.
    """
    _refuse_foreign(instance.folder)
    attempt = instance.folder / f".{RECORD}.attempt"
    try:
        write_private(attempt, " " * _RECORD_BYTES)
    finally:
        with contextlib.suppress(OSError):
            attempt.unlink(missing_ok=True)


def find(name: str) -> Instance | None:
    """The instance that runs under a name, or None."""
    place = folder(name)
    instance = _instance(place) if place.is_dir() else None
    return instance if instance and instance.alive else None


def look(name: str) -> Instance:
    """The instance of a name, running or not.

    Raises:
        ServeError: there is none of that name, or it is another user's.
    """
    place = folder(name)
    if place.is_dir():
        return _instance(place)
    names = ", ".join(each.name for each in every())
    raise ServeError(f"there is no instance named {name!r}", fix=f"there are: {names}" if names else "see: serve ps")


def every() -> list[Instance]:
    """Every instance that this user has, by name, running or not."""
    try:
        places = sorted(each for each in (settings.state_folder() / "instances").iterdir() if NAME.fullmatch(each.name))
    except FileNotFoundError:
        return []
    return [_instance(place) for place in places if place.is_dir()]


def running() -> list[Instance]:
    """Every instance that has a supervisor, by name."""
    return [instance for instance in every() if instance.alive]


def address(name: str | None = None) -> tuple[str, str | None]:
    """The base URL and the API key of a running instance; without a name, of the only one.

    Raises:
        ServeError: there is none, there are several to choose from, or its key cannot be read.
    """
    alive = [each for each in running() if each.record]
    wanted = [each.record for each in alive if name in (None, each.name)]
    names = ", ".join(each.name for each in alive)
    if len(wanted) > 1:
        raise ServeError(f"several instances are running: {names}", fix="name one")
    if not wanted or wanted[0] is None:
        what = f"no instance named {name!r} is running" if name else "no instance is running"
        raise ServeError(what, fix=f"running: {names}" if names else "serve launch starts one; or give a server's URL")
    return wanted[0].base_url, resolve_key(wanted[0].secret) if wanted[0].secret else None


def folder(name: str) -> Path:
    """Where an instance's files lie.

    Raises:
        ServeError: the name is none.
    """
    return settings.state_folder() / "instances" / checked_name(name)


def taken(name: str) -> ServeError:
    """The error for a name that another process holds."""
    holder = find(name)
    url = holder.record.base_url if holder and holder.record else ""
    pid = f"process {holder.supervisor}" if holder and holder.supervisor else ""
    where = ", ".join(filter(None, (url, pid)))
    fix = f"serve status {name} tells of it; serve stop {name} ends it; or choose another --name"
    return ServeError(f"an instance named {name!r} is running", where=where, fix=fix)


def _instance(place: Path) -> Instance:
    supervisor, word, record, trouble = None, "", None, ""
    try:
        supervisor, word = lock.look(place)
        record = read(place / RECORD)
    except OSError as error:
        trouble = f"its files cannot be read: {error.strerror}"
    return Instance(place.name, place, supervisor, record, word if word in STATES else "", trouble)
