"""The flags of each engine release, as its own parser has them; built from the wheels by ``tools/build_catalog.py``."""

from __future__ import annotations

import bisect
import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from launcher.engines.flags import COUNTS, TYPES, Flag
from launcher.engines.release import TITLES, Release
from launcher.errors import ServeError

_DATA = Path(__file__).parent / "data"
_PROBE_BYTES = 2**20  # the largest so far has 0.04 MB


@dataclass(frozen=True)
class Catalog:
    """The flags of one release.

    Attributes:
        release: whose flags.
        flags: by name.
    """

    release: Release
    flags: Mapping[str, Flag]

    def find(self, spelling: str) -> Flag | None:
        """The flag that a word on the command line means to this release, by its exact spelling; None if none.

        vLLM reads ``_`` as ``-`` in long flags, ``--json-flag.key`` as a part of a JSON value, and ``-O3`` as
        ``--optimization-level 3`` (FlexibleArgumentParser.parse_args); SGLang takes what it declares and nothing else.
        Abbreviations, which both would complete, are not spellings.
        """
        word = _plain(self.release.engine, spelling)
        if word == "-O" and word not in self.spellings:  # since vLLM 0.12.0; before, an alias of --compilation-config
            word = "--optimization-level"
        flag = self.spellings.get(word)
        dotted = self.release.engine == "vllm" and "." in spelling
        return None if dotted and flag and not flag.type.startswith("json") else flag

    @functools.cached_property
    def spellings(self) -> Mapping[str, Flag]:
        """Every exact spelling of every flag."""
        return MappingProxyType({spelling: flag for flag in self.flags.values() for spelling in flag.spellings})

    @functools.cached_property
    def of_module(self) -> Catalog:
        """The flags that the engine's module takes, without those that only its ``serve`` command has."""
        flags = {name: flag for name, flag in self.flags.items() if not flag.entry}
        return self if len(flags) == len(self.flags) else Catalog(self.release, MappingProxyType(flags))

    def beginning(self, prefix: str) -> tuple[str, ...]:
        """The spellings that begin with a text: what argparse takes it for, if it is one alone."""
        names = self._sorted
        start = bisect.bisect_left(names, prefix)
        return tuple(itertools.takewhile(lambda name: name.startswith(prefix), itertools.islice(names, start, None)))

    @functools.cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.spellings)

    def nearest(self, spelling: str) -> str | None:
        """The spelling of this release that looks most like a word that is none, or None if none is near."""
        import difflib  # noqa: PLC0415 - only needed on the way to an error

        word = spelling if self.release.engine == "sglang" else spelling.replace("_", "-")
        return next(iter(difflib.get_close_matches(word, self._sorted, n=1, cutoff=0.8)), None)


def _plain(engine: str, spelling: str) -> str:
    """A spelling as the engine's parser looks it up."""
    if engine == "sglang":
        return spelling
    if spelling.startswith("-O"):
        return "-O"
    stem = spelling.partition(".")[0]
    return stem.replace("_", "-") if stem.startswith("--") else stem


@dataclass(frozen=True)
class Facts:
    """How a release is published and what it needs, as the registry and its wheel's metadata say.

    Attributes:
        distribution: the name of its package.
        python: the versions of Python that it takes, such as ``<3.15,>=3.11``.
        torch: the version of torch that it pins, such as ``==2.14.0``; "" where it pins none.
        cuda: the version of CUDA that the torch it pins brings along, such as ``13.0``; "" where that is not known.
        released: the day on which it was published, such as ``2026-11-02``.
        yanked: why it was withdrawn from the registry, or "".
        x86: whether there is a wheel for x86-64.
    """

    distribution: str
    python: str
    torch: str = ""
    cuda: str = ""
    released: str = ""
    yanked: str = ""
    x86: bool = True


@functools.lru_cache
def _data(engine: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((_DATA / f"{engine}.flags.json").read_bytes())
    return data


@functools.lru_cache
def _order(engine: str) -> dict[str, int]:
    """The place of each version in ``known``."""
    return {version: place for place, version in enumerate(_data(engine)["releases"])}


def _flag(name: str, record: dict[str, Any]) -> Flag:
    """A flag from the data file's record, whose fields ``tools/build_catalog.py`` describes."""
    kind = record.get("type") or "str"
    successor = record.get("successor")
    advice = f"use {successor}" if successor else "the engine names no successor"
    choices = tuple(record.get("choices") or ())
    return Flag(
        name=name,
        aliases=tuple(record.get("aliases") or ()),
        negations=tuple(record.get("negations") or ()),
        type=kind,
        nargs=0 if kind == "bool" else record.get("nargs"),
        choices=choices,
        enforced=bool(choices) and not record.get("advisory"),
        optional=bool(record.get("optional")),
        default=record.get("default"),
        deprecated=advice if record.get("deprecated") else None,
        successor=successor,
        repeats=bool(record.get("repeats")),
        refused=record.get("refused") or "",
        entry=record.get("entry") or "",
    )


def _ranges(engine: str, name: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The records of a flag with the releases that they hold for: places in ``known``, the last one excluded."""
    changes = _data(engine)["flags"][name]
    order = _order(engine)
    places = [*(order[version] for version, _ in changes), len(order)]
    record: dict[str, Any] | None = None
    for (_, change), start, end in zip(changes, places, places[1:], strict=False):
        record = None if change is None else {**(record or {}), **change}
        if record is not None:
            yield start, end, record


@functools.lru_cache
def load(release: Release) -> Catalog:
    """The catalog of a release.

    Raises:
        ServeError: the release is not in our data; names those that are.
    """
    releases = known(release.engine)
    if release not in releases:
        raise ServeError(
            f"the flags of {release.title} are not known",
            fix=f"{releases[0].version} to {releases[-1].version} are known: serve releases {release.engine}",
        )
    place = _order(release.engine)[release.version]
    flags = {
        name: _flag(name, record)
        for name in _data(release.engine)["flags"]
        for start, end, record in _ranges(release.engine, name)
        if start <= place < end
    }
    return Catalog(release, MappingProxyType(flags))


@functools.lru_cache
def of_probe(path: Path, release: Release) -> Catalog:
    """The catalog that an installed release's own parser gave: what ``probe.py`` printed.

    Raises:
        ServeError: the file cannot be read, is damaged, or is of another release.
    """
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(_PROBE_BYTES))  # what is longer is cut off, and so no JSON
        flags = {name: _flag(name, record) for name, record in said["flags"].items()}
        if said["release"] != release.version or not flags or not all(map(_sound, flags.values())):
            raise ValueError(f"it does not hold the flags of {release}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ServeError(
            f"the flags that {release.title} itself declared cannot be read: {error}",
            where=str(path),
            fix=f"remove that file, then ask again with: serve engines install {release}",
        ) from None
    return Catalog(release, MappingProxyType(flags))


def _sound(flag: Flag) -> bool:
    """Whether a flag from a file that others may have changed has what the rest of the program relies on."""
    words = (*flag.spellings, *flag.choices, flag.default or "", flag.successor or "", flag.refused)
    counted = flag.nargs in COUNTS or isinstance(flag.nargs, int)
    texts = all(isinstance(word, str) for word in words)
    return texts and counted and flag.type in {"bool", *TYPES} and all(each[:1] == "-" for each in flag.spellings)


@functools.lru_cache
def known(engine: str) -> tuple[Release, ...]:
    """The releases whose flags are known, oldest first."""
    return tuple(Release(engine, version) for version in _data(engine)["releases"])


def history(engine: str, spelling: str) -> tuple[Release, ...]:
    """The known releases of an engine that have a flag of this spelling, oldest first; empty if none has."""
    places = {place for start, end, _ in _spelt(engine, spelling) for place in range(start, end)}
    return tuple(known(engine)[place] for place in sorted(places))


def last(spelling: str, first: str) -> tuple[Release, Flag] | None:
    """The newest release that has a flag of this exact spelling, and the flag; None if no release of an engine has.

    Args:
        spelling: as it was written.
        first: the engine to look among first.
    """
    for engine in (first, *(each for each in TITLES if each != first)):
        if uses := _spelt(engine, spelling):
            _, end, flag = max(uses, key=lambda use: use[1])
            return known(engine)[end - 1], flag
    return None


def _spelt(engine: str, spelling: str) -> list[tuple[int, int, Flag]]:
    """The flags of this spelling, each with its releases: places in ``known``, the last one excluded."""
    return _spellings(engine).get(_plain(engine, spelling), [])


@functools.lru_cache
def _spellings(engine: str) -> dict[str, list[tuple[int, int, Flag]]]:
    """Every spelling that an engine ever had."""
    found: dict[str, list[tuple[int, int, Flag]]] = {}
    for name in _data(engine)["flags"]:
        for start, end, record in _ranges(engine, name):
            flag = _flag(name, record)
            for spelling in flag.spellings:
                found.setdefault(spelling, []).append((start, end, flag))
    return found


def facts(release: Release) -> Facts:
    """How a release is published and what it needs.

    Raises:
        ServeError: the release is not in our data.
    """
    load(release)
    return Facts(**_data(release.engine)["releases"][release.version])
