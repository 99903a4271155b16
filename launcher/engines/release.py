"""A release: an engine at a version, written ``vllm@0.33.0``."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from launcher.config.keys import ENGINES
from launcher.errors import ServeError, nearest

TITLES = {"vllm": "vLLM", "sglang": "SGLang"}


@functools.total_ordering
@dataclass(frozen=True)
class Release:
    """An engine (``vllm`` or ``sglang``) at a version, such as ``0.5.15.post1``."""

    engine: str
    version: str

    def __str__(self) -> str:
        return f"{self.engine}@{self.version}"

    def __lt__(self, other: Release) -> bool:
        return (self.engine, Version(self.version)) < (other.engine, Version(other.version))

    @property
    def title(self) -> str:
        """As people write it: ``vLLM 0.33.0``."""
        return f"{TITLES[self.engine]} {self.version}"

    def within(self, releases: str) -> bool:
        """Whether the version is in a range as PEP 440 writes them (``>=0.24,<0.28``); an empty range holds all."""
        try:
            return SpecifierSet(releases).contains(self.version, prereleases=True)
        except InvalidSpecifier as error:  # pragma: no cover - our own data
            raise ServeError(f"{releases!r} is not a range of releases") from error


def parse(text: str, where: str = "") -> tuple[str, str | None]:
    """``vllm@0.33.0`` -> ``("vllm", "0.33.0")``; ``vllm`` -> ``("vllm", None)``.

    Raises:
        ServeError: an engine that we do not know, or a version that is none.
    """
    name, at, version = text.partition("@")
    if name not in ENGINES:
        raise ServeError(
            f"{name!r} is not an engine", where=where, fix=nearest(name, ENGINES) or f"engines: {', '.join(ENGINES)}"
        )
    if at:
        try:
            Version(version)
        except InvalidVersion:
            raise ServeError(
                f"{version!r} is not a version of {TITLES[name]}", where=where, fix=f"write it like {name}@0.32.0"
            ) from None
    return name, version or None


def exactly(text: str, where: str = "") -> Release:
    """``vllm@0.33.0`` as a release.

    Raises:
        ServeError: an engine that we do not know, or no version.
    """
    engine, version = parse(text, where)
    if version is None:
        what = f"{text!r} names no version"
        raise ServeError(what, where=where, fix=f"write it like {engine}@0.32.0; serve releases lists them")
    return Release(engine, version)
