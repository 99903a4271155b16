"""The flags of each engine release, as its own parser has them; built from the wheels by ``tools/build_catalog.py``."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from launcher.engines.release import TITLES, Release
from launcher.errors import ServeError

_DATA = Path(__file__).parent / "data"


def _vllm_int(value: str) -> int | str:
    # vllm/utils/argparse_utils.py human_readable_int: k m g t by 1000, with decimals; K M G T by 1024, without.
    return value if re.fullmatch(r"\s*(\d+(\.\d+)?[kmgt]|\d+[KMGT])\s*", value) else int(value)


def _vllm_int_or_auto(value: str) -> int | str:
    return "auto" if value.strip().lower() == "auto" else _vllm_int(value)


def _sglang_int(value: str) -> int | str:
    # sglang/srt/utils/common.py human_readable_int.
    return value if re.fullmatch(r"\s*(\d+(\.\d+)?[kMGT]|\d+[KMGT]i)\s*", value) else int(value)


def _json_or_word(value: str) -> object:
    return json.loads(value) if re.fullmatch(r"(?s)\s*{.*}\s*", value) else value


def _json_config(value: str) -> object:
    # vllm/engine/arg_utils.py _expand_json_human_readable_numbers: numbers outside strings may have a suffix.
    parts = re.split(r'("(?:[^"\\]|\\.)*")', value)
    made = json.loads("".join(re.sub(r"\b(\d+)(\.\d+)?[kKmMgGtT]\b", r"\1", part) for part in parts))
    if not isinstance(made, dict):
        raise ValueError("an object is wanted")  # noqa: TRY004 - as the engine's own parser refuses it
    return made


# What the engines' parsers do with a value of each type (a ValueError refuses it), and what they expect.
_TYPES: dict[str, tuple[Callable[[str], object], str]] = {
    "str": (str, "text"),
    "snake": (lambda value: value.lower().replace("-", "_"), "a word"),
    "int": (int, "an integer"),
    "float": (float, "a number"),
    "human_int": (_vllm_int, "an integer, or one like 8k (8000) or 8K (8192)"),
    "human_int_or_auto": (_vllm_int_or_auto, "an integer, one like 8k (8000) or 8K (8192), or auto"),
    "si_int": (_sglang_int, "an integer, or one like 8k (8000) or 8Ki (8192)"),
    "json": (json.loads, "JSON"),
    "json_config": (_json_config, "a JSON object"),
    "json_or_str": (_json_or_word, "JSON"),
}
_MANY = 1_000_000
_COUNTS: dict[str | int | None, tuple[int, int]] = {None: (1, 1), "?": (0, 1), "*": (0, _MANY), "+": (1, _MANY)}


@dataclass(frozen=True)
class Flag:
    """What one release's parser does with one flag.

    Attributes:
        name: the first long spelling that the engine declares, such as ``--max-model-len``.
        aliases: further spellings with the same meaning, such as ``-tp``.
        negations: spellings that set the opposite (``--no-...``, ``--disable-...``).
        type: ``bool`` (takes no value), ``str``, ``int``, ``float``, ``json``, ``json_config`` (an object for one of
            the engine's config classes), ``json_or_str``, ``snake`` (a word in which the engine ignores case and takes
            - for _), ``human_int`` and ``human_int_or_auto`` (vLLM's 32k, 32K, auto), ``si_int`` (SGLang's 32k, 32Ki).
        nargs: how many values, as argparse says it: None (one), ``?``, ``*``, ``+`` or a number; 0 for ``bool``.
        choices: the words that it takes, if they are known.
        enforced: whether the parser refuses other words; False: the list is what the engine itself names.
        optional: whether the words ``None`` and "" stand for no value.
        default: the default as text, or None where there is none.
        deprecated: None, or what to do instead, in a few words.
        successor: the flag that the engine names in its place, or None.
    """

    name: str
    aliases: tuple[str, ...] = ()
    negations: tuple[str, ...] = ()
    type: str = "str"
    nargs: str | int | None = None
    choices: tuple[str, ...] = ()
    enforced: bool = False
    optional: bool = False
    default: str | None = None
    deprecated: str | None = None
    successor: str | None = None

    @property
    def takes_value(self) -> bool:
        """Whether a value may follow the flag."""
        return self.nargs != 0

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every exact spelling, the name first."""
        return (self.name, *self.aliases, *self.negations)


@dataclass(frozen=True)
class Catalog:
    """The flags of one release.

    Attributes:
        release: whose flags.
        flags: by name.
    """

    release: Release
    flags: Mapping[str, Flag]
    _spellings: Mapping[str, Flag] = field(repr=False)

    def find(self, spelling: str) -> Flag | None:
        """The flag that a word on the command line means to this release, by its exact spelling; None if none.

        vLLM reads ``_`` as ``-`` in long flags, ``--json-flag.key`` as a part of a JSON value, and ``-O3`` as
        ``--optimization-level 3`` (FlexibleArgumentParser.parse_args); SGLang takes what it declares and nothing else.
        Abbreviations, which both would complete, are not spellings.
        """
        flag = self._spellings.get(_plain(self.release.engine, spelling))
        dotted = self.release.engine == "vllm" and "." in spelling and not spelling.startswith("-O")
        return None if dotted and flag and not flag.type.startswith("json") else flag

    def nearest(self, spelling: str) -> str | None:
        """The spelling of this release that looks most like a word that is none, or None if none is near."""
        import difflib  # noqa: PLC0415 - only needed on the way to an error

        word = spelling if self.release.engine == "sglang" else spelling.replace("_", "-")
        return next(iter(difflib.get_close_matches(word, list(self._spellings), n=1, cutoff=0.7)), None)

    def check_value(self, flag: Flag, values: tuple[str, ...]) -> str | None:
        """Why the parser of this release would refuse these values for this flag, or None if it would not."""
        least, most = (flag.nargs, flag.nargs) if isinstance(flag.nargs, int) else _COUNTS[flag.nargs]
        if not least <= len(values) <= most:
            plain = {(0, 0): "no value", (1, 1): "one value", (1, _MANY): "one value or more"}
            wanted = plain.get((least, most), f"{least} to {most} values")
            return f"{flag.name} takes {wanted}; {len(values)} given"
        return next((reason for value in values if (reason := _refusal(flag, value))), None)


def _plain(engine: str, spelling: str) -> str:
    """A spelling as the engine's parser looks it up."""
    if engine == "sglang":
        return spelling
    if re.match(r"-O(?!\.)", spelling):
        return "--optimization-level"
    stem = spelling.partition(".")[0]
    return stem.replace("_", "-") if stem.startswith("--") else stem


def _refusal(flag: Flag, value: str) -> str | None:
    """Why one value is refused."""
    if flag.optional and value in {"", "None"}:
        return None
    read, meaning = _TYPES[flag.type]
    try:
        word = str(read(value))
    except ValueError as error:
        return f"{value!r} is not {meaning}" + (f" ({error})" if "JSON" in meaning else "")
    if flag.enforced and word not in flag.choices:
        return f"{value!r} is none of {', '.join(flag.choices)}"
    return None


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
    )


def _ranges(engine: str, name: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The records of a flag with the releases that they hold for: places in ``known``, the last one excluded."""
    data = _data(engine)
    places = [
        *map(list(data["releases"]).index, (version for version, _ in data["flags"][name])),
        len(data["releases"]),
    ]
    record: dict[str, Any] | None = None
    for (_, change), start, end in zip(data["flags"][name], places, places[1:], strict=False):
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
            fix=f"known releases of {TITLES[release.engine]}: {', '.join(each.version for each in releases)}",
        )
    place = _order(release.engine)[release.version]
    flags = {
        name: _flag(name, record)
        for name in _data(release.engine)["flags"]
        for start, end, record in _ranges(release.engine, name)
        if start <= place < end
    }
    spellings = {spelling: flag for flag in flags.values() for spelling in flag.spellings}
    return Catalog(release, MappingProxyType(flags), MappingProxyType(spellings))


@functools.lru_cache
def known(engine: str) -> tuple[Release, ...]:
    """The releases whose flags are known, oldest first."""
    return tuple(Release(engine, version) for version in _data(engine)["releases"])


def history(engine: str, spelling: str) -> tuple[Release, ...]:
    """The known releases of an engine that have a flag of this spelling, oldest first; empty if none has."""
    word, releases = _plain(engine, spelling), known(engine)
    places = {
        place
        for name in _data(engine)["flags"]
        for start, end, record in _ranges(engine, name)
        if word in (name, *(record.get("aliases") or ()), *(record.get("negations") or ()))
        for place in range(start, end)
    }
    return tuple(releases[place] for place in sorted(places))


def pins(release: Release) -> dict[str, str]:
    """What a release requires: version ranges of ``python`` and ``torch``, and the name of its ``distribution``.

    Raises:
        ServeError: the release is not in our data.
    """
    load(release)
    return dict(_data(release.engine)["releases"][release.version])
