"""The flags of each engine release, as its own parser has them; built from the wheels by ``tools/build_catalog.py``."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from launcher.engines.release import TITLES, Release
from launcher.errors import ServeError

_DATA = Path(__file__).parent / "data"

# What a value of each type looks like. vLLM: k m g t are powers of 1000 with decimals, K M G T powers of 1024 without
# (vllm/utils/argparse_utils.py human_readable_int); SGLang: k M G T and Ki Mi Gi Ti (sglang/srt/utils/common.py).
_INTEGER = r"[+-]?\d+(_\d+)*"
_NUMBERS = {
    "int": (_INTEGER, "an integer"),
    "human_int": (rf"{_INTEGER}|\d+(\.\d+)?[kmgt]|\d+[KMGT]", "an integer, or one like 8k (8000) or 8K (8192)"),
    "si_int": (rf"{_INTEGER}|\d+(\.\d+)?[kMGT]|\d+[KMGT]i", "an integer, or one like 8k (8000) or 8Ki (8192)"),
}


@dataclass(frozen=True)
class Flag:
    """What one release's parser does with one flag.

    Attributes:
        name: the first long spelling that the engine declares, such as ``--max-model-len``.
        aliases: further spellings with the same meaning, such as ``-tp``.
        negations: spellings that set the opposite (``--no-...``, ``--disable-...``).
        type: ``bool`` (takes no value), ``str``, ``int``, ``float``, ``json``, ``json_or_str``, ``snake`` (a word in
            which the engine ignores case and takes - for _), ``human_int`` and ``human_int_or_auto`` (vLLM's 32k, 32K,
            auto), ``si_int`` (SGLang's 32k, 32Ki).
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
        if self.release.engine == "sglang":
            return self._spellings.get(spelling)
        if re.fullmatch(r"-O=?[^.-].*", spelling):
            return self._spellings.get("--optimization-level")
        stem, dot, _key = spelling.partition(".")
        flag = self._spellings.get(stem.replace("_", "-") if stem.startswith("--") else stem)
        if dot and flag is not None and not flag.type.startswith("json"):
            return None
        return flag

    def nearest(self, spelling: str) -> str | None:
        """The spelling of this release that looks most like a word that is none, or None if none is near."""
        import difflib  # noqa: PLC0415 - only needed on the way to an error

        word = spelling if self.release.engine == "sglang" else spelling.replace("_", "-")
        return next(iter(difflib.get_close_matches(word, list(self._spellings), n=1, cutoff=0.7)), None)

    def check_value(self, flag: Flag, values: tuple[str, ...]) -> str | None:
        """Why the parser of this release would refuse these values for this flag, or None if it would not."""
        bounds = {None: (1, 1), "?": (0, 1), "*": (0, None), "+": (1, None)}
        least, most = (flag.nargs, flag.nargs) if isinstance(flag.nargs, int) else bounds[flag.nargs]
        if most == 0 and values:
            return f"{flag.name} takes no value"
        if len(values) < least:
            return f"{flag.name} needs a value" if least == 1 else f"{flag.name} needs {least} values"
        if most is not None and len(values) > most:
            return f"{flag.name} takes {most} value{'s' if most > 1 else ''}, not {len(values)}"
        return next((reason for value in values if (reason := _refusal(flag, value))), None)


def _refusal(flag: Flag, value: str) -> str | None:
    """Why one value is refused."""
    if flag.optional and value in {"", "None"}:
        return None
    kind, word = flag.type, value
    if kind == "human_int_or_auto":
        if value.strip().lower() == "auto":
            return None
        kind = "human_int"
    if kind == "snake":
        word = value.lower().replace("-", "_")
    elif kind in _NUMBERS:
        pattern, meaning = _NUMBERS[kind]
        if not re.fullmatch(pattern, value.strip()):
            return f"{value!r} is not {meaning}"
        word = str(int(value)) if kind == "int" else value
    elif kind == "float":
        try:
            float(value)
        except ValueError:
            return f"{value!r} is not a number"
    elif kind == "json" or (kind == "json_or_str" and re.match(r"(?s)^\s*{.*}\s*$", value)):
        try:
            json.loads(value)
        except json.JSONDecodeError as error:
            return f"{value!r} is not JSON: {error}"
    if flag.enforced and word not in flag.choices:
        return f"{value!r} is none of {', '.join(flag.choices)}"
    return None


@functools.lru_cache
def _data(engine: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((_DATA / f"{engine}.flags.json").read_bytes())
    return data


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


@functools.lru_cache
def load(release: Release) -> Catalog:
    """The catalog of a release.

    Raises:
        ServeError: the release is not in our data; names those that are.
    """
    data = _data(release.engine)
    if release.version not in data["releases"]:
        raise ServeError(
            f"the flags of {release.title} are not known",
            fix=f"known releases of {TITLES[release.engine]}: {', '.join(data['releases'])}",
        )
    order = {version: place for place, version in enumerate(data["releases"])}
    wanted = order[release.version]
    flags: dict[str, Flag] = {}
    for name, changes in data["flags"].items():
        record: dict[str, Any] | None = None
        for version, change in changes:
            if order[version] > wanted:
                break
            record = None if change is None else {**(record or {}), **change}
        if record is not None:
            flags[name] = _flag(name, record)
    spellings = {spelling: flag for flag in flags.values() for spelling in flag.spellings}
    return Catalog(release, MappingProxyType(flags), MappingProxyType(spellings))


@functools.lru_cache
def known(engine: str) -> tuple[Release, ...]:
    """The releases whose flags are known, oldest first."""
    return tuple(Release(engine, version) for version in _data(engine)["releases"])


def history(engine: str, spelling: str) -> tuple[Release, ...]:
    """The known releases of an engine that have a flag of this spelling, oldest first; empty if none has."""
    return tuple(release for release in known(engine) if load(release).find(spelling) is not None)


def pins(release: Release) -> dict[str, str]:
    """What a release requires: version ranges of ``python`` and ``torch``, and the name of its ``distribution``.

    Raises:
        ServeError: the release is not in our data.
    """
    load(release)
    return dict(_data(release.engine)["releases"][release.version])
