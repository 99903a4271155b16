"""The releases that the package index has, found where the user's settings for uv or pip point."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from unearth import Link, Package, PackageFinder

from catalog.source import UnreadableError
from launcher.host import packages

FIRST = {"vllm": "0.11.0", "sglang": "0.5.3"}  # the oldest releases that we read


@dataclasses.dataclass(frozen=True)
class Published:
    """A release on the index.

    Attributes:
        engine: ``vllm`` or ``sglang``.
        version: such as ``0.5.6.post2``.
        link: its wheel: for x86-64 if there is one, of the newest build.
        facts: ``released`` (the day of its first file, left out where the index does not say), ``yanked`` (why it was
            withdrawn) and ``x86`` (false if no wheel is for x86-64), the last two only where they are so.
    """

    engine: str
    version: str
    link: Link
    facts: dict[str, Any]


class Index:
    """What the user's indexes hold."""

    def __init__(self) -> None:
        """Read the settings: uv's variables, then pip's variables and configuration files."""
        os.environ.update(packages.settings(os.environ))
        more = [re.sub(r"^[\w.-]+=", "", word) for word in _words("UV_INDEX")]  # NAME=URL
        unset = PackageFinder().sources[0]["url"]  # the index that everybody uses
        self._first = next(iter([*_words("UV_DEFAULT_INDEX"), *_words("UV_INDEX_URL")]), unset)
        self._finder = PackageFinder(
            index_urls=[] if _words("UV_NO_INDEX") else [self._first, *more, *_words("UV_EXTRA_INDEX_URL")],
            find_links=[word for word in ",".join(_words("UV_FIND_LINKS")).split(",") if word],
            ignore_compatibility=True,
        )

    def releases(self, engine: str) -> dict[str, Published]:
        """Every release of an engine that has a wheel, oldest first.

        Raises:
            UnreadableError: none is found, or an index does not answer.
        """
        files: dict[Version, list[Package]] = {}
        try:
            for package in self._finder.find_all_packages(engine, allow_yanked=True):
                files.setdefault(Version(package.version or "0"), []).append(package)
        except httpx2.HTTPError as error:
            raise UnreadableError(f"{Link(self._first).redacted}, or another index that is set: {error}") from error
        told = self._told(engine)
        found = {str(version): _published(engine, version, files[version], told) for version in sorted(files)}
        if not any(found.values()):
            raise UnreadableError(f"{Link(self._first).redacted} and what else is set have no wheel of {engine}")
        return {version: each for version, each in found.items() if each}

    def _told(self, engine: str) -> dict[str, dict[str, Any]]:
        """What PyPI's JSON says of each file by its name: a mirror's pages may lack the days and what was withdrawn."""
        try:
            answer = self._finder.session.get(urljoin(self._first.rstrip("/") + "/", f"../pypi/{engine}/json"))
            releases = answer.json()["releases"] if answer.status_code == httpx2.codes.OK else {}
            return {file["filename"]: file for files in releases.values() for file in files}
        except (httpx2.HTTPError, LookupError, TypeError, ValueError):  # it is no PyPI
            return {}

    @contextlib.contextmanager
    def wheel(self, release: Published) -> Iterator[Path]:
        """The release's wheel, on disk while the context lasts.

        Raises:
            UnreadableError: it cannot be downloaded, or is not the file that the index describes.
        """
        link, wanted = release.link, release.link.hash_option or {}
        digests = {name: hashlib.new(name) for name in wanted}
        with tempfile.TemporaryDirectory(prefix="catalog-") as folder:
            path = Path(folder, link.filename)
            try:
                with self._finder.session.get_stream(link.url_without_fragment) as answer, path.open("wb") as file:
                    answer.raise_for_status()
                    for chunk in answer.iter_bytes(1 << 20):
                        file.write(chunk)
                        for digest in digests.values():
                            digest.update(chunk)
            except httpx2.HTTPError as error:
                raise UnreadableError(f"{link.redacted}: {error}") from error
            if any(digest.hexdigest() not in wanted[name] for name, digest in digests.items()):
                raise UnreadableError(f"{link.redacted} is not the file that the index describes: another hash")
            yield path


def _words(variable: str) -> list[str]:
    return os.environ.get(variable, "").split()


def _published(engine: str, version: Version, files: list[Package], told: dict[str, Any]) -> Published | None:
    links = [file.link for file in files]
    ranked = sorted((_rank(link), place) for place, link in enumerate(links) if link.is_wheel)
    if not ranked:
        return None
    (x86, _), place = ranked[-1]
    days = [link.upload_time.date().isoformat() for link in links if link.upload_time]
    days += [str(told[link.filename]["upload_time"])[:10] for link in links if link.filename in told]
    reasons = [_withdrawn(link, told.get(link.filename, {})) for link in links]
    facts: dict[str, Any] = {"released": min(days)} if days else {}
    if all(reasons):
        facts["yanked"] = reasons[place]
    if not x86:
        facts["x86"] = False
    return Published(engine, str(version), links[place], facts)


def _rank(link: Link) -> tuple[bool, tuple[int, str] | tuple[()]]:
    """Which of a release's wheels to read: any Python's source is the same, the newest build's counts."""
    *_, build, tags = parse_wheel_filename(link.filename)
    return any(tag.platform == "any" or tag.platform.endswith("x86_64") for tag in tags), build


def _withdrawn(link: Link, told: dict[str, Any]) -> str:
    """Why a file was withdrawn; "" if it was not."""
    if not (link.is_yanked or told.get("yanked")):
        return ""
    reason = link.yank_reason if isinstance(link.yank_reason, str) else ""
    return reason or told.get("yanked_reason") or "no reason given"


@functools.cache
def cuda(torch: str) -> str:
    """The version of CUDA that a torch was built for: that of the runtime library that its wheel requires.

    Args:
        torch: a requirement's versions, such as ``==2.11.0``.

    Returns:
        Such as ``13.0``; "" where uv finds no such torch, or one for no CUDA.
    """
    words = ["pip", "compile", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:", "-"]
    target = ["--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28", "--python", sys.executable]
    answer = subprocess.run(
        [packages.uv(), *words, *target],
        input=f"torch{torch}",
        cwd=tempfile.gettempdir(),  # where no project's settings are
        env={**packages.settings(os.environ), "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=False,
    )
    runtime = re.search(r"^nvidia-cuda-runtime(?:-cu\d+)?==(\d+\.\d+)", answer.stdout, re.MULTILINE)
    return runtime[1] if runtime else ""
