"""The models of this host: what was pulled, as it was written down then, and what engines have left in the caches."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.errors import FAILED, ServeError, nearest
from launcher.files import naming, write_whole
from launcher.models import checkpoint, complete
from launcher.models.hub import HUGGINGFACE, MODELSCOPE, TITLES, check_source, quieten
from launcher.models.repository import Repository

SNAPSHOTS = "models--*/snapshots/*"
DIGEST_CHARACTERS = 8


@dataclass(frozen=True)
class Stored:
    """A model on this host.

    Attributes:
        hub: ``huggingface`` or ``modelscope``.
        name: of its repository.
        commit: under which the hub's client keeps it.
        place: the folder that holds its files.
        to: the folder that was asked for, where that is not a cache.
        repository: the files that belong to it; None where an engine fetched it, and nobody wrote that down.
    """

    hub: str
    name: str
    commit: str
    place: Path
    to: Path | None = None
    repository: Repository | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Files that are not there in their size; of a model that an engine fetched: what its index lists in vain."""
        if self.repository is None:
            return ("weights",) if complete.missing(self.place) else ()
        return tuple(file.path for file in self.repository.files if not file.fits(self.place / file.path))

    @property
    def part(self) -> bool:
        """Whether only files that the user chose were pulled."""
        return self.repository is not None and self.repository.part

    @property
    def size_bytes(self) -> int:
        """Of the files that are there."""
        if self.repository is None:
            return sum(each.stat().st_size for each in self.place.rglob("*") if each.is_file())
        files = (self.place / file.path for file in self.repository.files)
        return sum(path.stat().st_size for path in files if path.is_file())


def write_down(repository: Repository, place: Path, to: Path | None) -> None:
    """Before the first byte comes: which files belong to it, so that what is missing is known at any time."""
    record = {"place": str(place), "to": str(to) if to else None, **dataclasses.asdict(repository)}
    path = _record(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)  # what is broken off before its first file can be listed and removed
    write_whole(path, json.dumps(record, indent=1))


def written_down(place: Path) -> Repository | None:
    """What the last pull into a folder wrote down of it; None if nothing of that is left."""
    found = next((each for each in _written_down() if each.place == place), None)
    return found.repository if found and found.size_bytes else None


@contextlib.contextmanager
def alone(place: Path, to: Path | None, waiting: Callable[[], None]) -> Iterator[None]:
    """Keeps every other pull, check and removal of the same files waiting; the kernel gives the lock back of who dies.

    Args:
        place: the folder of the files.
        to: the same, where the user named it: the lock lies in it, for every user and host that has the folder.
        waiting: called now and then while another process holds the lock; it takes some time each.
    """
    if to and to.is_dir() and not os.access(to, os.W_OK):
        yield  # who may not write there can be read beside, and changes nothing
        return
    path = to / ".cache" / "serve" / "lock" if to else _record(place).with_suffix(".lock")
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            try:
                with naming(path):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                continue
            if _is(path, lock.fileno()):  # else a removal took it away, and who comes next makes another
                yield
                return


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def every() -> list[Stored]:
    """All models of this host, by name."""
    found = {each.place: each for each in _cached()}
    found |= {each.place: each for each in _written_down()}
    return sorted(found.values(), key=lambda each: (each.name.lower(), each.hub, each.commit))


def find(reference: str, revision: str | None = None, source: str | None = None) -> list[Stored]:
    """The models that a reference means: a repository's name, or a folder.

    Raises:
        ServeError: there is none, or the source is no hub.
    """
    check_source(source)
    folder = settings.expanded(reference).resolve()
    models = every()
    named = [each for each in models if each.name == reference or folder in (each.to, each.place.resolve())]
    found = [
        each
        for each in named
        if source in (None, "auto", each.hub)
        and (revision is None or revision == each.commit or (each.repository and revision == each.repository.revision))
    ]
    if found:
        return found
    if named:
        asked = (f" at revision {revision!r}" if revision else "") + (
            f" from {TITLES[source]}" if source in TITLES else ""
        )
        there = sorted({f"{each.commit} of {TITLES[each.hub]}" for each in named})
        raise ServeError(
            f"model {reference!r} is not on this host{asked}", fix=f"there is {', '.join(there)}", code=FAILED
        )
    way = f"serve models pull {reference}" if checkpoint.REPOSITORY.fullmatch(reference) else "see: serve models list"
    fix = nearest(reference, [each.name for each in models]) or way
    raise ServeError(f"model {reference!r} is not on this host", fix=fix, code=FAILED)


def rank(stored: Stored) -> tuple[bool, bool, bool, float]:
    """The least is what a name means: what is complete, what its branch is now, what was pulled, what is newest."""
    revision = stored.repository.revision if stored.repository else "main"
    record = _record(stored.place)
    try:
        commit = (stored.place.parent.parent / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = ""
    newest_s = (record if record.exists() else stored.place).stat().st_mtime
    return bool(stored.missing) or stored.part, commit != stored.commit, stored.repository is None, -newest_s


def remove(stored: Stored) -> None:
    """Takes a model's files away, with what other tries left of it, and what is written down of it.

    Of a folder that the user named, only what belongs to the model.

    Raises:
        OSError: it cannot be removed; if this user may not change one of the folders, nothing was.
    """
    for folder in _emptied(stored):
        if not os.access(folder, os.W_OK | os.X_OK):
            code = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(code, os.strerror(code), str(folder))
    if stored.to is None:
        _remove_cached(stored)
    else:
        for file in stored.repository.files if stored.repository else ():
            (stored.place / file.path).unlink(missing_ok=True)
            _remove_empty((stored.place / file.path).parent, stored.place)
        shutil.rmtree(stored.place / ".cache" / "serve", ignore_errors=True)
        _remove_empty(stored.place / ".cache", stored.place.parent)
    _record(stored.place).unlink(missing_ok=True)


def _emptied(stored: Stored) -> Iterator[Path]:
    """The folders that a removal takes something out of."""
    if stored.to:
        files = [stored.place / file.path for file in stored.repository.files] if stored.repository else []
        yield from {path.parent for path in files if os.path.lexists(path)}
        return
    home = stored.place.parent.parent if stored.hub == HUGGINGFACE else stored.place
    if not any(each != stored.place for each in home.glob("snapshots/*")):
        yield home.parent
    for folder, _, _ in os.walk(home):
        yield Path(folder)


def _remove_cached(stored: Stored) -> None:
    """Hugging Face's client knows which contents other revisions and repositories share with this one."""
    home = stored.place.parent.parent
    if stored.hub == HUGGINGFACE:
        quieten()
        from huggingface_hub import scan_cache_dir  # noqa: PLC0415 - half a second, to remove alone

        found = scan_cache_dir(checkpoint.cache())
        ours = frozenset(repo for repo in found.repos if repo.repo_path == home.resolve())  # commits of others may be
        dataclasses.replace(found, repos=ours).delete_revisions(stored.commit).execute()  # named the same
        for file in stored.repository.files if stored.repository else ():
            for left in (home / "blobs").glob(f"{file.name}.*"):  # of a pull that was broken off
                left.unlink(missing_ok=True)
    _remove_tree(stored.place)
    if stored.hub == HUGGINGFACE and not any(home.glob("snapshots/*")):
        _remove_tree(home)
    _remove_empty(stored.place.parent, home.parent)


def _remove_tree(folder: Path) -> None:
    if folder.is_dir():
        with naming(folder):  # rmtree names files as the folder sees them that they are in
            shutil.rmtree(folder)


def _remove_empty(folder: Path, stop: Path) -> None:
    with contextlib.suppress(OSError):
        while folder != stop:
            folder.rmdir()
            folder = folder.parent


def _folder() -> Path:
    return settings.data_folder() / "models" / "pulled"


def _record(place: Path) -> Path:
    readable = re.sub(r"[^\w.-]+", "-", place.name)[:40]
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:DIGEST_CHARACTERS]
    return _folder() / f"{readable}-{digest}.json"


def _written_down() -> Iterator[Stored]:
    for path in _folder().glob("*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            repository, place = Repository.of_record(record), Path(record["place"])
            to = Path(record["to"]) if record["to"] else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, ServeError):
            continue  # not ours, or of another release
        if repository.hub in TITLES and place.is_dir():
            yield Stored(repository.hub, repository.name, repository.commit, place, to, repository)


def _cached() -> Iterator[Stored]:
    for place in checkpoint.cache().glob(SNAPSHOTS):
        name = place.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
        if (place / "config.json").is_file():
            yield Stored(HUGGINGFACE, name, place.name, place)
    for place in (modelscope_cache() / "models").glob("*--*/snapshots/*"):
        name = place.parent.parent.name.replace("--", "/", 1)
        if (place / "config.json").is_file():
            yield Stored(MODELSCOPE, name, place.name, place)


def modelscope_cache() -> Path:
    """Where ModelScope's client keeps models, by its documented variable: importing it costs more than a whole list."""
    return settings.expanded(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope").resolve()


def title(stored: Stored) -> str:
    """A model as people read it."""
    return f"{stored.name} at {stored.commit[:12]} of {TITLES[stored.hub]}"
