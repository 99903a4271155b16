"""Hugging Face, through huggingface_hub: its requests, its cache, its locks.

Plain files are fetched by the client's `http_get`, which goes on after a broken connection, into a partial file whose
name does not change, so that a killed pull is gone on with too: the client's own `hf_hub_download` begins each file
anew under a name that no other process knows. Files that Xet offers go through `hf_hub_download`. The cache is laid out
as documented (huggingface.co/docs/huggingface_hub/guides/manage-cache): contents under their entity tags in `blobs`,
links to them in `snapshots`, a branch's commit in `refs`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import filelock
import httpx2
from huggingface_hub import HfApi, constants, errors, get_session
from huggingface_hub.file_download import hf_hub_download, hf_hub_url, http_get
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from launcher.errors import FAILED, ServeError
from launcher.files import write_whole
from launcher.models.checkpoint import refusal
from launcher.models.hub import HUGGINGFACE, Passing, Unreachable, answered, withheld
from launcher.models.repository import BLOCK_BYTES, File, Repository

PARTIAL = ".incomplete"
LOOK_S = 30.0  # an answer takes one; the client itself would wait for ever
FIRST_ERROR, BUSY, SERVER_ERROR = 400, (408, 429), 500
BROKEN = (httpx2.RequestError, httpx2.StreamError, httpx2.InvalidURL)

ODD = (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.DecodingError, httpx2.InvalidURL)


class HuggingFace:
    """See `launcher.models.hub.Hub`."""

    def __init__(self) -> None:
        """With the address and the token that the client finds."""
        self.address = constants.ENDPOINT
        self._api = HfApi()

    def look(self, name: str, revision: str | None) -> Repository:
        """See `Hub`; a gated repository is asked whether it lets us in."""
        with (
            self._told(name, revision),
            answered(self.address, "HF_TOKEN", errors.HFValidationError, *ODD),
        ):
            about = self._api.model_info(name, revision=revision, timeout=LOOK_S)
            if about.gated:
                self._api.auth_check(name)
            commit = str(about.sha)
            entries = self._api.list_repo_tree(name, recursive=True, revision=commit)
            files = tuple(_file(entry) for entry in entries if isinstance(entry, RepoFile))
        return Repository(HUGGINGFACE, name, revision or constants.DEFAULT_REVISION, commit, files)

    def place(self, repository: Repository, to: Path | None) -> Path:
        """See `Hub`."""
        return to or _home(repository) / "snapshots" / repository.commit

    def fetch(self, repository: Repository, file: File, to: Path | None, *, anew: bool = False) -> None:
        """See `Hub`."""
        place = self.place(repository, to) / file.path
        with self._told(repository.name, None, file):
            if file.chunked and not constants.HF_HUB_DISABLE_XET:
                self._by_client(repository, file, place, to, anew=anew)
            elif to:
                self._resume(repository, file, _partial(repository, file, to), place)
            else:
                blob = _home(repository) / "blobs" / file.name
                with _locked(repository, file):
                    for left in blob.parent.glob(f"{blob.name}.*{PARTIAL}"):  # of a process that is dead: we hold
                        left.unlink()  # the lock under which the client writes it
                    if anew or not file.fits(blob):
                        self._resume(repository, file, _partial(repository, file, to), blob)
                    _link(blob, place)

    def partial_bytes(self, repository: Repository, file: File, to: Path | None) -> int:
        """See `Hub`."""
        partial = _partial(repository, file, to)
        others = partial.parent.glob(f"{file.name}.*{PARTIAL}") if file.chunked else ()
        return min(file.size_bytes, max(map(_size_bytes, (partial, *others))))

    def settle(self, repository: Repository, to: Path | None) -> None:
        """See `Hub`."""
        if to:
            shutil.rmtree(_unfinished(repository, to), ignore_errors=True)
            return
        home = _home(repository)
        if repository.revision != repository.commit:
            reference = home / "refs" / repository.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_whole(reference, repository.commit)
        for left in (home / "blobs").glob(f"*{PARTIAL}"):
            with (
                contextlib.suppress(filelock.Timeout),
                WeakFileLock(_lock(repository, left.name.split(".")[0]), timeout=0.1),
            ):
                left.unlink(missing_ok=True)

    def _resume(self, repository: Repository, file: File, partial: Path, place: Path) -> None:
        """Fetches what the partial file has not got, and puts it into its place if it is what the hub lists."""
        partial.parent.mkdir(parents=True, exist_ok=True)
        if _size_bytes(partial) > file.size_bytes:
            partial.unlink()
        with partial.open("a+b") as raw:
            checked = Checked(raw, file)
            http_get(
                hf_hub_url(repository.name, file.path, revision=repository.commit),
                cast("BinaryIO", checked),
                resume_size=checked.tell(),
                headers=build_hf_headers(),
                expected_size=file.size_bytes,
            )
        fault = None if file.fits(partial) else f"has {_size_bytes(partial):,} of {file.size_bytes:,} bytes"
        if fault := fault or file.altered(checked.content):
            partial.unlink(missing_ok=True)
            raise Passing(fault, altered=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(place)

    def _by_client(self, repository: Repository, file: File, place: Path, to: Path | None, *, anew: bool) -> None:
        commit = repository.commit
        hf_hub_download(repository.name, file.path, revision=commit, local_dir=to, force_download=anew)
        if fault := file.fault(place):
            (place if to else place.resolve()).unlink(missing_ok=True)
            raise Passing(fault, altered=True)

    @contextlib.contextmanager
    def _told(self, name: str, revision: str | None, file: File | None = None) -> Iterator[None]:
        """The client's errors as ours: of a request for one file, or of the repository's own.

        A status of the repository's own requests is the hub's word on it. One in the middle of a transfer may be of a
        signed address that has expired, so it gets another try.
        """
        _heed_waits()
        try:
            yield
        except errors.OfflineModeIsEnabled:
            raise Unreachable(
                f"model {name!r} cannot be fetched: HF_HUB_OFFLINE forbids it", fix="unset HF_HUB_OFFLINE", code=FAILED
            ) from None
        except errors.HfHubHTTPError as error:
            answer = error.response
            status, code = answer.status_code, answer.headers.get("x-error-code", "")
            if isinstance(error, errors.GatedRepoError):
                code = "GatedRepo"
            if status in BUSY or status >= SERVER_ERROR or (file and not code):
                raise Passing(f"HTTP {status}") from None
            if code == "EntryNotFound" or (code == "RevisionNotFound" and not revision):
                raise withheld(file, name, status, self.address) from None
            raise refusal(name, revision, self.address, status, code) from None
        except errors.HFValidationError as error:
            raise ServeError(f"model {name!r} is no repository: {error}") from None
        except (*BROKEN, ConnectionError) as error:
            raise Passing(f"{type(error).__name__}: {error}".rstrip(": ")) from None
        except OSError as error:
            if error.errno:  # a full disk, a folder that may not be written
                raise
            raise Passing(str(error).split("\n", maxsplit=1)[0]) from None  # fewer bytes came than were announced


def _heed_waits() -> None:
    hooks = get_session().event_hooks["response"]
    if _asked_to_wait not in hooks:  # the client makes another session after a connection that failed
        hooks.append(_asked_to_wait)


def _asked_to_wait(response: httpx2.Response) -> None:
    """A hub that says when to come back is obeyed by us, who tell of it: the client would wait, however long."""
    status, wait_s = response.status_code, response.headers.get("retry-after", "")
    if (status in BUSY or status >= SERVER_ERROR) and wait_s.isdecimal():
        raise Passing(f"HTTP {status}", wait_s=float(wait_s))


class Checked:
    """A file that is hashed as it is written, for `http_get`, which writes at its end or begins it anew."""

    def __init__(self, raw: BinaryIO, file: File) -> None:
        """What is in it already is read and counts."""
        self._raw, self._file = raw, file
        self.content = file.hash()
        raw.seek(0)
        while block := raw.read(BLOCK_BYTES):
            self.content.update(block)

    def write(self, data: bytes) -> int:
        """Append."""
        self.content.update(data)
        return self._raw.write(data)

    def tell(self) -> int:
        """How much is in it."""
        return self._raw.tell()

    def seek(self, offset: int) -> int:
        """Only before `truncate`."""
        return self._raw.seek(offset)

    def truncate(self) -> int:
        """The hub sends all of it once more; nothing counts."""
        self.content = self._file.hash()
        return self._raw.truncate(0)


def _file(entry: RepoFile) -> File:
    sha256 = entry.lfs.sha256 if entry.lfs else None
    return File(entry.path, entry.size, sha256, entry.blob_id, chunked=entry.xet_hash is not None)


def _home(repository: Repository) -> Path:
    return Path(constants.HF_HUB_CACHE) / ("models--" + repository.name.replace("/", "--"))


def _lock(repository: Repository, name: str) -> Path:
    path = Path(constants.HF_HUB_CACHE) / ".locks" / _home(repository).name / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _locked(repository: Repository, file: File) -> Iterator[None]:
    """Holds the lock of the client for that content, so that an engine that fetches it too waits, and the reverse."""
    with WeakFileLock(_lock(repository, file.name)):
        yield


def _unfinished(repository: Repository, to: Path) -> Path:
    return to / ".cache" / "serve" / repository.commit


def _partial(repository: Repository, file: File, to: Path | None) -> Path:
    if to:  # by its path: two files of one content are fetched side by side
        return _unfinished(repository, to) / f"{file.path}{PARTIAL}"
    return _home(repository) / "blobs" / f"{file.name}{PARTIAL}"


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _link(blob: Path, place: Path) -> None:
    """Makes the snapshot's link; a file system that has no links gets the file itself, as the client does it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:
        blob.replace(place)
