"""Whether a model's files are what the hub lists; those that are not are fetched again, alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from launcher.errors import FAILED, ServeError
from launcher.models import hub as hubs
from launcher.models import pull
from launcher.models.needed import needed
from launcher.models.pull import Observer
from launcher.models.repository import File, Repository
from launcher.models.store import Stored
from launcher.models.wanted import Wanted


@dataclass(frozen=True)
class Checked:
    """A model whose every file was read.

    Attributes:
        stored: where it lies.
        repository: what the hub lists of it.
        faults: each file that is wrong, and in which way.
    """

    stored: Stored
    repository: Repository
    faults: tuple[tuple[File, str], ...]


def check(stored: Stored, observer: Observer) -> Checked:
    """Reads every file of a model; its hub is asked only if nobody wrote down what belongs to it.

    Raises:
        ServeError: the hub does not tell.
        OSError: a file cannot be read.
    """
    repository = stored.repository or _listed(stored, observer)
    read_bytes = 0

    def watch(block_bytes: int) -> None:
        nonlocal read_bytes
        read_bytes += block_bytes
        observer.progress(read_bytes)

    observer.begin(stored.name, repository.size_bytes, 0)
    try:
        found = [(file, file.fault(stored.place / file.path, watch)) for file in repository.files]
    finally:
        observer.end()
    return Checked(stored, repository, tuple((file, fault) for file, fault in found if fault))


def repair(checked: Checked, observer: Observer) -> None:
    """Fetches the files that are wrong, and no others.

    Raises:
        ServeError: as `pull.fetch`.
        OSError: a file cannot be written.
    """
    stored, hub = checked.stored, hubs.named(checked.stored.hub)
    files = [file for file, _ in checked.faults]
    pull.fetch(hub, checked.repository, files, stored.to, observer, anew=True)
    hub.settle(checked.repository, stored.to)


def _listed(stored: Stored, observer: Observer) -> Repository:
    """What the hub lists at the commit that is here; only the files that are here, where weights are among them."""
    _, found = pull.look(Wanted(stored.name, stored.commit, stored.hub), observer)
    here = tuple(file for file in found.files if (stored.place / file.path).exists())
    if not here:
        raise ServeError(f"{stored.place} holds no file of {stored.name}", code=FAILED)
    return replace(found, files=here if not stored.missing else needed(found.files))
