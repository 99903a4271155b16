"""What a hub says of a repository: its files, their sizes, and the hashes that they have when they are right."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from launcher.errors import FAILED, ServeError
from launcher.files import naming

HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MOST_BYTES = 2**63 - 1  # of a file, on any system
BLOCK_BYTES = 4 * 2**20


class Hash(Protocol):
    """What is used of hashlib's objects."""

    def update(self, data: bytes, /) -> None:
        """Take in further content."""

    def hexdigest(self) -> str:
        """The hash of all content so far."""


@dataclass(frozen=True)
class File:
    """One file of a repository.

    Attributes:
        path: within the repository, with slashes.
        size_bytes: of the whole file.
        sha256: of the content, where the hub tells it: of large files (LFS) on Hugging Face, of all on ModelScope.
        blob_sha1: git's name of the content, where the hub tells that.
        chunked: whether the hub offers it through Xet too, which has a client of its own.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    blob_sha1: str | None = None
    chunked: bool = False

    def __post_init__(self) -> None:
        """A path leads nowhere but into the folder of its repository; a hash is one, both become file names; so a size.

        Raises:
            ServeError: the hub tells something else.
        """
        path = PurePosixPath(self.path)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in self.path:
            raise _odd(f"the hub lists a file {self.path!r}, which no repository can hold")
        if not all(HASH.fullmatch(each) for each in (self.sha256, self.blob_sha1) if each):
            raise _odd(f"the hub tells a hash of {self.path!r} that is none")
        if type(self.size_bytes) is not int or not 0 <= self.size_bytes <= MOST_BYTES:
            raise _odd(f"the hub tells a size of {self.path!r} that is none")

    @property
    def name(self) -> str:
        """Under which Hugging Face's cache keeps the content: its hash, which is the entity tag of the file too."""
        return self.sha256 or self.blob_sha1 or ""

    def same(self, other: File) -> bool:
        """Whether it is that file with that content, as far as the hub tells hashes."""
        return bool(self.name) and (self.path, self.name) == (other.path, other.name)

    def hash(self) -> Hash:
        """A fresh hash of the kind that the hub told; git's begins with a header."""
        if self.sha256 or not self.blob_sha1:
            return hashlib.sha256()
        return hashlib.sha1(f"blob {self.size_bytes}\0".encode(), usedforsecurity=False)

    def fault(self, path: Path, watch: Callable[[int], object] = int) -> str | None:
        """What is wrong with a file of this host that ought to be this one, as the end of a sentence; None if nothing.

        Args:
            path: of that file.
            watch: told how many bytes were read, block after block.

        Raises:
            OSError: it cannot be read; the error names the file.
        """
        try:
            size_bytes = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return "is missing"
        if size_bytes != self.size_bytes:
            return f"has {size_bytes:,} of {self.size_bytes:,} bytes"
        content = self.hash()
        with naming(path), path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                content.update(block)
                watch(len(block))
        return self.altered(content)

    def altered(self, content: Hash) -> str | None:
        """As `fault`, of content that has been read."""
        if not self.name or content.hexdigest() == self.name:
            return None
        kind = "sha256" if self.sha256 else "git hash"
        return f"is altered: its {kind} is {content.hexdigest()[:12]}, the hub's {self.name[:12]}"

    def fits(self, path: Path) -> bool:
        """Whether a file of this size lies there: what a look costs, not a reading."""
        try:
            return path.is_file() and path.stat().st_size == self.size_bytes
        except OSError:
            return False


def _odd(what: str) -> ServeError:
    return ServeError(what, fix="take another hub or mirror, or tell the one who runs it", code=FAILED)


@dataclass(frozen=True)
class Repository:
    """The files of a repository at one commit.

    Attributes:
        hub: ``huggingface`` or ``modelscope``.
        name: such as ``Qwen/Qwen3-8B``.
        revision: the branch, tag or commit that was asked for.
        commit: what the revision is now, under which the hub's client keeps it.
        files: all of them, or those that are needed.
        part: whether the user chose the files: there may be less than an engine needs.
    """

    hub: str
    name: str
    revision: str
    commit: str
    files: tuple[File, ...]
    part: bool = False

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Repository:
        """A repository as `dataclasses.asdict` wrote it down.

        Raises:
            KeyError, TypeError, ServeError: it is not one.
        """
        files = tuple(File(**file) for file in record["files"])
        texts = [record[key] for key in ("hub", "name", "revision", "commit")]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        return cls(texts[0], texts[1], texts[2], texts[3], files, record.get("part") is True)
