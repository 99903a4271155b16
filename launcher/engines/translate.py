"""What to write for a release in place of a flag that another release or the other engine has.

A flag that means a key of ours is bridged by the key; other flags by two tables, each row with its evidence:
``data/successors.yaml`` (what replaced a flag within one engine) and ``data/counterparts.yaml`` (flags of the two
engines that mean the same). Nothing is guessed: what neither knows is unknown.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from launcher.engines import catalog, weights
from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag
from launcher.engines.flexible import UNKNOWN
from launcher.engines.meanings import BY_NAME, means
from launcher.engines.release import Release
from launcher.engines.vllm import drafts
from launcher.files import load_data

_DATA = Path(__file__).parent / "data"
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


@dataclass(frozen=True)
class Old:
    """A flag as it was given to a release that has it.

    Attributes:
        known: the catalog of that release.
        flag: the flag there.
        spelling: the exact spelling that was meant.
        values: what it was given.
        path: of the part of a JSON value that it sets.
    """

    known: Catalog
    flag: Flag
    spelling: str
    values: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @property
    def negated(self) -> bool:
        """Whether it sets the opposite."""
        return self.spelling in self.flag.negations

    @property
    def engine(self) -> str:
        """The engine that has it."""
        return self.known.release.engine

    @property
    def text(self) -> str:
        """Its one value, or ""."""
        return self.values[0] if len(self.values) == 1 else ""


@dataclass(frozen=True)
class Advice:
    """What takes a flag's place.

    Attributes:
        how: ``same`` (the release has it), ``words`` (others take its place), ``keys`` (a key of ours, which the
            engine's own module writes), ``environment``, ``nothing`` (it is not needed any more), ``lost`` (a person
            must choose what to write), ``unknown``.
        words: to write, for ``same`` and ``words``.
        keys: names of keys to their texts.
        environment: variables to set.
        note: why, or what changes.
        evidence: where it was read: release, path and line.
    """

    how: Literal["same", "words", "keys", "environment", "nothing", "lost", "unknown"]
    words: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    evidence: tuple[str, ...] = ()


# Keys whose values are the engine's own words.
OWN_WORDS = frozenset({"attention_backend", "reasoning_parser", "tool_call_parser"})
_OWN = Advice("lost", note="its value is a word of the one engine, and which of the other's it means is not known")


def advise(old: Old, known: Catalog) -> Advice:
    """What a release takes in place of a flag of another release or engine.

    Args:
        old: the flag as it was written.
        known: the release at hand.
    """
    switch = old.negated or not old.flag.takes_value
    return _switched(old, known) if switch and old.values and not old.path else _advice(old, known)


def _switched(old: Old, known: Catalog) -> Advice:
    """``--switch=true`` and ``--switch=false``, which no parser takes, as what they mean."""
    meant = _BOOLEANS.get(old.text.lower())
    if meant is None:
        return Advice("unknown")
    others = (old.flag.name,) if old.negated else old.flag.negations
    spelling = old.spelling if meant else next(iter(others), "")
    if not spelling:
        return Advice("nothing", note=f"{old.spelling} is off unless it is given")
    return _advice(replace(old, spelling=spelling, values=()), known)


def _advice(old: Old, known: Catalog) -> Advice:
    if old.engine != known.release.engine:
        row, key = _counterpart(old, known), by_key(old)
        if key and OWN_WORDS.intersection(key.keys):  # only a row knows the other engine's word
            (name,) = key.keys
            return (
                replace(row, how="keys", words=(), keys={name: _last(row.words)}) if row and row.words else row or _OWN
            )
        return row if row and row.words else key or row or Advice("unknown")
    if same := _same(old, known):
        return same
    return successor(old, known) or by_key(old) or _predecessor(old, known) or Advice("unknown")


def successor(old: Old, known: Catalog) -> Advice | None:
    """What replaced a flag in a release of its engine, whether the release still has it or not; None if not known."""
    for row in _successors(old):
        if UNKNOWN in old.text and ("values" in row or row.get("key") == "weights"):
            return Advice("unknown")  # it depends on the value, which is known only when the command runs
        if found := _take(row, old, known):
            return found
    return _declared(old, known)


def variable(name: str, text: str, known: Catalog) -> tuple[str, Advice] | None:
    """For an environment variable that a release reads no longer, or only with a warning; None for any other.

    Args:
        name: of the variable.
        text: its value.
        known: the release at hand.

    Returns:
        The last release that acts on it, "" where the newest still does, and what takes its place.
    """
    engine, here = known.release.engine, known.release
    gone = _rows("variables", engine, name)
    if gone and here > Release(engine, gone[0]["until"]):
        rows, until = gone, gone[0]["until"]
    else:
        rows, until = _rows("deprecated_variables", engine, name), ""
        if not rows or here < Release(engine, rows[0]["deprecated"]):
            return None
    old = Old(known, Flag(name), name, (text,) if text else ())
    found = (_take(row, old, known) for row in rows)
    return until, next((advice for advice in found if advice), Advice("unknown"))


def gone_before(spelling: str, values: tuple[str, ...], engine: str) -> Old | None:
    """A flag that no release in our catalogs has, but that is known to have been there before; else None."""
    if not _rows("flags", engine, spelling):
        return None
    oldest = catalog.load(catalog.known(engine)[0])
    return Old(oldest, Flag(spelling, type="str" if values else "bool", nargs=None if values else 0), spelling, values)


def _same(old: Old, known: Catalog) -> Advice | None:
    """The flag itself, by a spelling that the release has, if that takes the values."""
    spellings = old.flag.negations if old.negated else (old.flag.name, *old.flag.aliases)
    for spelling in dict.fromkeys((old.spelling, *spellings)):
        flag = known.spellings.get(spelling)
        if flag and not flag.refused and (spelling in flag.negations) == old.negated:
            words = _words(spelling, old, flag)
            listed = bool(old.path) or not flag.choices or set(old.values) <= set(flag.choices)
            same = Advice("same", words) if words else None
            return same if listed and same else _renamed(spelling, old, flag, known) or same
    return None


def _renamed(spelling: str, old: Old, flag: Flag, known: Catalog) -> Advice | None:
    """The flag with another word for its value, where the release has renamed that."""
    for name in old.flag.spellings:
        row = _table("successors.yaml")["renamed_values"][old.engine].get(name, {}).get(old.text)
        if row and "value" in row and (words := _words(spelling, old, flag, (row["value"],))):
            return Advice("words", words, note=row.get("note", ""), evidence=_listed(row["evidence"]))
        if row and ("nothing" in row or "lost" in row):
            return _take(row, old, known)
    return None


def _words(spelling: str, old: Old, flag: Flag, values: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The words of a flag with the old values, or none where it would not take them."""
    given = old.values if values is None else values
    if spelling in flag.negations:
        return () if given else (spelling,)
    if old.path:
        return (".".join((spelling, *old.path)), *given) if flag.type.startswith("json") else ()
    if not any(UNKNOWN in value for value in given) and flag.refusal(given):
        return ()
    if len(given) == 1 and re.match(r"-\D", given[0]):
        return (f"{spelling}={given[0]}",)  # apart, argparse would take the value for a flag
    return (spelling, *given)


def by_key(old: Old) -> Advice | None:
    """The keys of ours that a flag means, or None if it means none."""
    if old.path:
        return None
    if old.engine == "vllm" and old.flag.name == "--speculative-config" and (texts := drafts(old.text)):
        return Advice("keys", keys=texts)
    meaning = means(BY_NAME[old.engine], old.known, old.flag, old.values, negated=old.negated)
    return Advice("keys", keys={meaning.key: meaning.text}) if meaning else None


def _last(words: tuple[str, ...]) -> str:
    """The value of a flag in its words."""
    return words[-1] if len(words) > 1 else words[0].partition("=")[2]


# Within one engine


def _successors(old: Old) -> Iterator[dict[str, Any]]:
    """The rows of a flag, under whichever of its spellings they stand."""
    for spelling in dict.fromkeys((old.spelling, *old.flag.spellings)):
        yield from _rows("flags", old.engine, spelling)


def _rows(part: str, engine: str, name: str) -> list[dict[str, Any]]:
    """The rows of a flag or a variable in data/successors.yaml."""
    rows = _table("successors.yaml")[part].get(engine, {}).get(name, [])
    return rows if isinstance(rows, list) else [rows]


def _take(row: Mapping[str, Any], old: Old, known: Catalog) -> Advice | None:
    """A row of data/successors.yaml, if the release at hand can take it."""
    note, evidence = row.get("note", ""), _listed(row["evidence"])
    if "releases" in row and not known.release.within(row["releases"]):
        return None
    if "nothing" in row or "lost" in row:
        how: Literal["nothing", "lost"] = "nothing" if "nothing" in row else "lost"
        return Advice(how, note=row[how], evidence=evidence)
    if "environment" in row and not old.negated:
        name, _, value = row["environment"].replace("{}", old.text).partition("=")
        return Advice("environment", environment={name: value}, note=note, evidence=evidence)
    if "key" in row and not old.negated:
        text = (
            weights.meaning(old.engine, old.spelling, old.text, old.known.release)
            if row["key"] == "weights"
            else old.text
        )
        return Advice("keys", keys={row["key"]: text}, note=note, evidence=evidence) if text else None
    if "flag" in row:
        flag = known.find(row["flag"])
        spelling = (row["flag"] if not old.negated else next(iter(flag.negations), "")) if flag else ""
        words = _words(spelling, old, flag) if flag and spelling else ()
    else:
        template = row["words"] if "words" in row else row.get("values", {}).get(old.text, "")
        words = tuple(word.replace("{}", old.text) for word in shlex.split(template))
        if old.negated or not _accepted(words, known):
            return None
    return Advice("words", words, note=note, evidence=evidence) if words else None


def _declared(old: Old, known: Catalog) -> Advice | None:
    """What the release that has the flag names in its place itself."""
    name, equals, value = (old.flag.successor or "").partition("=")
    flag = known.find(name)
    if flag is None or flag.refused or old.negated:
        return None
    words = _words(name, old, flag, (value,) if equals else None)
    return Advice("words", words, note=f"{old.known.release.title} names it itself") if words else None


def _accepted(words: tuple[str, ...], known: Catalog) -> bool:
    """Whether a release takes the words of a row as they are."""
    from launcher.engines.arguments import read  # noqa: PLC0415 - that module reads with what this one knows

    reading = read(words, known, "module")
    return bool(words) and not (reading.strays or any(use.problem or use.flag.refused for use in reading.uses))


def _predecessor(old: Old, known: Catalog) -> Advice | None:
    """For an older release: the flag whose successor this one is."""
    for name in _table("successors.yaml")["flags"][old.engine]:
        for row in _rows("flags", old.engine, name):
            if row.get("flag") in old.flag.spellings and (flag := known.find(name)) and not flag.refused:
                words = _words(name, old, flag) if not old.negated else flag.negations[:1]
                if words:
                    return Advice("words", words, note="its name before", evidence=_listed(row["evidence"]))
    return None


# Between the engines


def _counterpart(old: Old, known: Catalog) -> Advice | None:
    """A row of data/counterparts.yaml."""
    mine, other = old.engine, known.release.engine
    whole = old.flag.spellings
    part = tuple(".".join((spelling, *old.path)) for spelling in whole) if old.path else whole
    for row in _table("counterparts.yaml")["rows"]:
        alone = row.keys() & {"needless", "nothing"}
        if row.get(mine) not in part and not (alone and row.get(mine) in whole):
            continue
        evidence = _listed(row["evidence"])
        if "needless" in row and not old.negated:
            return Advice("nothing", note=row["needless"], evidence=evidence)
        if alone:
            return Advice(
                "lost", note=row.get("nothing") or f"the contrary of it: {row['needless']}", evidence=evidence
            )
        stem, _, path = row[other].partition(".")
        flag = known.find(stem)
        meant = _meant(row, old)
        if flag is None or meant is None:
            continue
        if len(meant) == 1 and isinstance(meant[0], bool):  # a switch, to be given or not
            spelling = flag.name if meant[0] is not bool(row.get("opposite")) else next(iter(flag.negations), "")
            if not spelling:
                return Advice("nothing", note=f"{known.release.title} does so without {flag.name}", evidence=evidence)
            words: tuple[str, ...] = () if flag.takes_value else (spelling,)
        elif path:
            words = (row[other], *meant)
        else:
            words = _words(stem, replace(old, path=()), flag, tuple(meant))
        if words:
            return Advice("words", words, note=row.get("note", ""), evidence=evidence)
    return None


def _meant(row: Mapping[str, Any], old: Old) -> list[Any] | None:
    """What a flag was given in the other engine's words, true or false for a switch; None where the row has none."""
    given: tuple[str | bool, ...] = old.values if old.flag.takes_value and not old.negated else (not old.negated,)
    values = row.get("values", {})
    values = values if old.engine == "vllm" else {theirs: ours for ours, theirs in values.items()}
    unknown = values and UNKNOWN in old.text
    if unknown or (row.get("only") and not all(word in values for word in given)):
        return None
    return [values.get(word, word) for word in given]


def _listed(evidence: str | list[str]) -> tuple[str, ...]:
    return (evidence,) if isinstance(evidence, str) else tuple(evidence)


@functools.cache
def _table(name: str) -> dict[str, Any]:
    data: dict[str, Any] = load_data(_DATA / name)
    return data
