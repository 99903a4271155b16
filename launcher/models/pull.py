"""Bringing a repository's files to this host: first what it takes, then file beside file, each as the hub has it."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.errors import FAILED, ServeError
from launcher.models import complete, store
from launcher.models import hub as hubs
from launcher.models.hub import HUGGINGFACE, MODELSCOPE, TITLES, Hub, Unreachable
from launcher.models.needed import needed
from launcher.models.persist import persist
from launcher.models.repository import File, Repository
from launcher.models.wanted import Wanted

WORKERS = 8  # files at once, as many as huggingface_hub has
LOOKS = 3  # at a repository
SHOW_S = 0.25


class Observer:
    """What a transfer tells; this one says nothing."""

    def note(self, text: str) -> None:
        """Something happened."""

    def begin(self, name: str, total_bytes: int, there_bytes: int) -> None:
        """A transfer begins, of which some is there."""

    def progress(self, there_bytes: int) -> None:
        """So much of the total is there now."""

    def end(self) -> None:
        """The transfer is over, well or not."""


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        repository: with the files that belong to it.
        place: the folder that holds them.
        fetched_bytes: how many were not on this host before.
        lacks: which weights its index lists that its hub has not got, as the end of a sentence; empty if it has all.
    """

    repository: Repository
    place: Path
    fetched_bytes: int
    lacks: str = ""


@dataclass(frozen=True)
class Found:
    """A model that a hub has for this user.

    Attributes:
        wanted: what was asked for.
        hub: which has it.
        everything: all its files.
        repository: those to fetch.
    """

    wanted: Wanted
    hub: Hub
    everything: Repository
    repository: Repository

    @property
    def place(self) -> Path:
        """The folder of its files."""
        return self.hub.place(self.repository, self.wanted.to)


def pull(models: list[Wanted], observer: Observer) -> Iterator[Pulled]:
    """Fetch models, one after the other; what is there already stays, and a part of a file is gone on with.

    All of them are looked at before the first is fetched.

    Raises:
        ServeError: no hub has one for this user, the disk has no room, or a file did not arrive as the hub lists it.
        OSError: a folder cannot be written.
    """
    found = [_find(each, observer) for each in models]
    needs: dict[int, tuple[Path, int]] = {}
    for each in found:
        if isinstance(each, Found):
            folder = _there(each.place)
            disk = folder.stat().st_dev
            needs[disk] = (folder, needs.get(disk, (folder, 0))[1] + _left_bytes(each))
    for folder, need_bytes in needs.values():
        _room(folder, need_bytes)
    for each in found:
        yield _bring(each, observer) if isinstance(each, Found) else each


def _find(wanted: Wanted, observer: Observer) -> Found | Pulled:
    """What a hub says of a model; where none answers, what an earlier pull brought."""
    try:
        hub, everything = look(wanted, observer)
    except Unreachable as error:
        if (known := _complete(wanted)) is None:
            raise
        observer.note(f"{error.what}; what was pulled before is complete")
        return known
    repository = replace(everything, files=needed(everything.files, wanted.include), part=bool(wanted.include))
    if not repository.files:
        raise ServeError(f"model {wanted.name!r} holds no files", where=hub.address, fix="check the spelling")
    left_out = len(everything.files) - len(repository.files)
    observer.note(
        f"{wanted.name} at {repository.commit[:12]} of {TITLES[repository.hub]}: {len(repository.files)} files, "
        f"{gigabytes(repository.size_bytes)}"
        + (f"; {left_out} that engines do not need stay there" if left_out else "")
    )
    return Found(wanted, hub, everything, repository)


def _bring(found: Found, observer: Observer) -> Pulled:
    """Fetches what is not there."""
    wanted, hub, repository, place = found.wanted, found.hub, found.repository, found.place
    there = _Waiting(hub, repository, wanted.to, observer)
    with store.alone(place, wanted.to, there):
        there.over()
        before = store.written_down(place)
        if wanted.to:
            _refuse_another(repository, wanted.to, before)
        files = [file for file in repository.files if not _right(file, place / file.path, before)]
        if wanted.to and before is None:
            _refuse_foreign(repository, wanted.to, files)
        left_bytes = sum(file.size_bytes - hub.partial_bytes(repository, file, wanted.to) for file in files)
        _room(place, left_bytes)
        for file in files:
            (place / file.path).unlink(missing_ok=True)  # its size would pass for the one that is to come
        store.write_down(_with(repository, found.everything, before), place, wanted.to)
        fetch(hub, repository, files, wanted.to, observer)
        hub.settle(repository, wanted.to)
    return Pulled(repository, place, left_bytes, complete.lacks(place) if not wanted.include else "")


def _refuse_foreign(repository: Repository, to: Path, files: list[File]) -> None:
    """What lies in a folder of the user's where files are to come is not lost."""
    if foreign := [file.path for file in files if os.path.lexists(to / file.path)]:
        raise ServeError(
            f"holds files that are not of {repository.name}, such as {foreign[0]}",
            where=str(to),
            fix="choose an empty folder",
        )


def _refuse_another(repository: Repository, to: Path, before: Repository | None) -> None:
    """No two models share a folder."""
    if before and (before.hub, before.name) != (repository.hub, repository.name):
        raise ServeError(
            f"holds {before.name} of {TITLES[before.hub]}: two models do not fit one folder",
            where=str(to),
            fix="choose an empty folder",
        )


def _with(repository: Repository, everything: Repository, before: Repository | None) -> Repository:
    """With what earlier pulls brought and the hub still lists: a pull of some files takes none away.

    What was whole stays so, if the hub still lists all of it.
    """
    known = set(before.files) - set(repository.files) if before else set()
    files = (*repository.files, *(file for file in everything.files if file in known))
    whole = before is not None and not before.part and set(before.files) <= set(files)
    return replace(repository, files=files, part=repository.part and not whole)


def _right(file: File, path: Path, before: Repository | None) -> bool:
    """Whether a file of this host is that of the hub: by its size, and what is known of its content, or by reading it.

    A link of Hugging Face's cache leads to a content that is named by its hash.
    """
    if not file.fits(path):
        return False
    if path.resolve().name == file.name or (before and any(each.same(file) for each in before.files)):
        return True
    return file.fault(path) is None


def _complete(wanted: Wanted) -> Pulled | None:
    """What an earlier pull of the same brought, if nothing of it is missing: good enough where no hub answers."""
    for each in store.every():
        known = each.repository
        if known and (known.name, each.to) == (wanted.name, wanted.to) and wanted.source in ("auto", known.hub):
            same = wanted.revision in (None, known.revision, known.commit) and not wanted.include
            if same and not each.missing and not known.part:
                return Pulled(known, each.place, 0)
    return None


def look(wanted: Wanted, observer: Observer) -> tuple[Hub, Repository]:
    """The hub that has a repository, and what it says of it.

    Raises:
        ServeError: see `pull`; an Unreachable where a hub does not answer and what an earlier pull brought will do.
    """
    if wanted.source != "auto":
        return _look(wanted.source, wanted, observer)
    try:
        return _look(HUGGINGFACE, wanted, observer)
    except ServeError as error:
        if isinstance(error, Unreachable) and _complete(wanted):
            raise
        observer.note(f"{error.what}; asking {TITLES[MODELSCOPE]}")
        try:
            return _look(MODELSCOPE, wanted, observer)
        except ServeError as second:
            if isinstance(second, Unreachable) and _complete(wanted):
                raise
            raise ServeError.gather([error, second]) from None


def _look(source: str, wanted: Wanted, observer: Observer) -> tuple[Hub, Repository]:
    hub = hubs.named(source)
    observer.note(f"asking {TITLES[source]} for {wanted.name}")

    def ask() -> Repository:
        return hub.look(wanted.name, wanted.revision)

    what = f"{TITLES[source]} cannot be asked for model {wanted.name!r}"
    return hub, persist(ask, lambda: 0, what, hub.address, observer.note, LOOKS)


def fetch(
    hub: Hub, repository: Repository, files: list[File], to: Path | None, observer: Observer, *, anew: bool = False
) -> None:
    """Fetches files side by side, the largest first, while the observer hears how far they are.

    The threads are daemons: Ctrl-C does not wait for a hub, and what they hold is the kernel's to give back.

    Raises:
        ServeError: a file did not arrive; the others stay, as far as they came.
        OSError: a file cannot be written.
    """
    work: queue.SimpleQueue[File] = queue.SimpleQueue()
    for file in sorted(files, key=lambda each: -each.size_bytes):
        work.put(file)
    told: queue.SimpleQueue[str | Exception | File] = queue.SimpleQueue()
    over = threading.Event()

    def carry() -> None:
        with contextlib.suppress(queue.Empty):
            while not over.is_set():
                told.put(_outcome(hub, repository, work.get_nowait(), to, told.put, anew=anew))

    left = set(files)

    def there_bytes() -> int:
        left_bytes = sum(file.size_bytes - hub.partial_bytes(repository, file, to) for file in left)
        return repository.size_bytes - left_bytes

    observer.begin(repository.name, repository.size_bytes, there_bytes())
    try:
        for _ in range(min(WORKERS, len(files))):
            threading.Thread(target=carry, daemon=True).start()
        while left:
            try:
                event = told.get(timeout=SHOW_S)
            except queue.Empty:
                observer.progress(there_bytes())
                continue
            if isinstance(event, Exception):
                raise event
            if isinstance(event, File):
                left.discard(event)
            else:
                observer.note(event)
        observer.progress(there_bytes())
    finally:
        over.set()
        observer.end()


def _outcome(
    hub: Hub, repository: Repository, file: File, to: Path | None, note: Callable[[str], None], *, anew: bool
) -> Exception | File:
    """Fetches one file; gives it, or what went wrong: the thread that waits would not hear of what is raised here."""
    what = f"{file.path} of {repository.name}"

    def attempt() -> None:
        hub.fetch(repository, file, to, anew=anew)

    def there_bytes() -> int:
        return hub.partial_bytes(repository, file, to)

    try:
        persist(attempt, there_bytes, what, hub.address, note)
    except ServeError as error:
        return error
    except OSError as error:
        error.filename = error.filename or str(hub.place(repository, to) / file.path)  # a full disk names no file
        return error
    except Exception as error:  # noqa: BLE001 - of a client, whatever it meets
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        return ServeError(f"{what} cannot be fetched: {reason}", where=hub.address, code=FAILED)
    return file


def _there(place: Path) -> Path:
    return next(each for each in (place, *place.parents) if each.is_dir())


def _left_bytes(found: Found) -> int:
    files = [file for file in found.repository.files if not file.fits(found.place / file.path)]
    return sum(file.size_bytes - found.hub.partial_bytes(found.repository, file, found.wanted.to) for file in files)


class _Waiting:
    """Another process has the same files in work: what it brings is shown as progress, and kept."""

    def __init__(self, hub: Hub, repository: Repository, to: Path | None, observer: Observer) -> None:
        self._hub, self._repository, self._to, self._observer = hub, repository, to, observer
        self._begun = False

    def bytes(self) -> int:
        place = self._hub.place(self._repository, self._to)
        return sum(
            file.size_bytes
            if file.fits(place / file.path)
            else self._hub.partial_bytes(self._repository, file, self._to)
            for file in self._repository.files
        )

    def __call__(self) -> None:
        if not self._begun:
            self._begun = True
            self._observer.note("another serve has these files in work: waiting for it")
            self._observer.begin(self._repository.name, self._repository.size_bytes, self.bytes())
        self._observer.progress(self.bytes())
        time.sleep(SHOW_S)

    def over(self) -> None:
        if self._begun:
            self._observer.end()


def _room(place: Path, need_bytes: int) -> None:
    """Nothing is written twice: a partial file becomes the file, in the same folder."""
    folder = _there(place)
    free_bytes = shutil.disk_usage(folder).free
    if need_bytes > free_bytes:
        raise ServeError(
            f"{gigabytes(need_bytes)} are still to be fetched, {gigabytes(free_bytes)} are free",
            where=str(folder),
            fix="free some space (serve models list, serve models rm), or choose another disk: HF_HOME, or --to FOLDER",
            code=FAILED,
        )


def gigabytes(size_bytes: int) -> str:
    """A size as people read it, in units of ten."""
    unit, name = next((each for each in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size_bytes >= each[0]), (1, "bytes"))
    return f"{size_bytes / unit:.1f} {name}" if unit > 1 else f"{size_bytes} {name}"
