"""The table of what replaces a flag within one engine: each row is whole, and is the advice of some release."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.config import keys
from launcher.engines import catalog, weights
from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag
from launcher.engines.release import TITLES, Release
from launcher.engines.translate import Advice, Old, gone_before, successor, variable

Row = dict[str, Any]

FILE = Path(catalog.__file__).parent / "data" / "successors.yaml"
DATA: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
EVIDENCE = re.compile(r"(vllm|sglang) (\S+) \1/[\w./-]+\.\w+:[1-9]\d*( \S.*)?")
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
KINDS = {"flag", "words", "values", "key", "environment", "nothing", "lost"}
COMMON = {"evidence", "note", "releases"}
SHAPES = {  # a part of the file: the kinds of its rows, and the other fields that they may have
    "flags": (KINDS, COMMON),
    "renamed_values": ({"value", "nothing", "lost"}, {"evidence", "note", "deprecated"}),
    "variables": (KINDS, COMMON | {"until"}),
    "deprecated_variables": (KINDS, COMMON | {"deprecated"}),
}
SAMPLES = ("1", "auto", "0.5", "{}", "name", "16.0")  # values to try where a flag lists none


def rows(part: str) -> Iterator[tuple[str, str, Row]]:
    """Every row of a part of the file, with its engine and the name (and the value) that it is about."""
    for engine, names in DATA[part].items():
        for name, found in (names or {}).items():
            if part == "renamed_values":
                yield from ((engine, f"{name} {value}", row) for value, row in found.items())
            else:
                yield from ((engine, name, row) for row in (found if isinstance(found, list) else [found]))


def faults(part: str, row: Row) -> Iterator[str]:
    """What is wrong with the shape of a row, whatever it names."""
    kinds, others = SHAPES[part]
    if strange := set(row) - kinds - others:
        yield f"unknown fields: {strange}"
    if len(kinds & set(row)) != 1:
        yield "exactly one kind"
    if {"nothing", "lost"} & set(row) and "note" in row:
        yield "the reason is the note"
    for name in {"until", "deprecated"} & others - ({"deprecated"} if part == "renamed_values" else set()):
        if name not in row:
            yield f"without {name}"
    values = row.get("values", {"-": "-"})
    if not isinstance(values, dict) or not all(
        isinstance(word, str) and word for pair in values.items() for word in pair
    ):
        yield "values are words by words"
    texts = (kinds | {"note", "until", "deprecated", "releases"}) - {"values"}
    if any(not isinstance(row.get(name, "-"), str) or not row.get(name, "-").strip() for name in texts):
        yield "every other field is text"
    if "environment" in row and not re.fullmatch(rf"{VARIABLE.pattern}=\S*", str(row["environment"])):
        yield "NAME=VALUE"
    evidence = row.get("evidence")
    lines = [evidence] if isinstance(evidence, str) else evidence
    if not isinstance(lines, list) or not lines or not all(EVIDENCE.fullmatch(str(line)) for line in lines):
        yield "evidence is RELEASE PATH:LINE, one or a list"


def test_every_row_is_well_formed() -> None:
    assert set(DATA) == set(SHAPES)
    assert all(set(names) <= set(TITLES) for names in DATA.values())
    found = [(part, name, fault) for part in SHAPES for _, name, row in rows(part) for fault in faults(part, row)]
    assert found == []


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "GiB"},
        {"needless": "of the other table"},
        {"flag": None},
        {"words": "--other {}"},
        {"flag": None, "nothing": "it had no effect", "lost": "it had one"},
        {"flag": None, "lost": "it had one", "note": "and more"},
        {"flag": None, "lost": ""},
        {"flag": None, "values": ["a"]},
        {"flag": None, "values": {"1": True}},
        {"flag": None, "environment": "NAME"},
        {"until": "0.12.0"},
        {"note": ""},
        {"evidence": None},
        {"evidence": []},
        {"evidence": "it is so"},
        {"evidence": ["vllm 0.12.0 sglang/srt/server_args.py:1"]},
    ],
)
def test_a_wrong_shape_is_seen(change: Row) -> None:
    good = {"flag": "--pooler-config", "evidence": "vllm 0.11.0 vllm/config/model.py:273"}
    assert list(faults("flags", good)) == []
    assert list(faults("flags", {name: value for name, value in {**good, **change}.items() if value is not None}))


# What the rows name


@functools.cache
def releases(engine: str) -> tuple[Catalog, ...]:
    """The catalogs of all releases of an engine, oldest first."""
    return tuple(catalog.load(release) for release in catalog.known(engine))


def takes(known: Catalog, spelling: str, value: str) -> bool:
    """Whether a release takes a value of a flag: what it lists, even where its parser lets others pass."""
    flag = known.find(spelling)
    return bool(flag and not flag.refused and (value in flag.choices if flag.choices else not flag.refusal((value,))))


def named(row: Row) -> Iterator[str]:
    """The flags that a row writes."""
    for template in (row.get("flag", ""), row.get("words", ""), *row.get("values", {}).values()):
        yield from (word.partition("=")[0] for word in shlex.split(template) if word.startswith("-"))


def test_every_flag_that_a_row_writes_exists() -> None:
    parts = ("flags", "variables", "deprecated_variables")
    flags = {(engine, flag) for part in parts for engine, _, row in rows(part) for flag in named(row)}
    assert len(flags) > 100
    assert [each for each in sorted(flags) if not catalog.history(*each)] == []


def test_every_key_and_variable_that_a_row_writes_is_one() -> None:
    for part in ("flags", "variables", "deprecated_variables"):
        for _, name, row in rows(part):
            assert row.get("key", "weights") in keys.BY_NAME, name
            assert name.startswith("-") or VARIABLE.fullmatch(name), name


def test_releases_are_known() -> None:
    for part in SHAPES:
        for engine, name, row in rows(part):
            read = [
                line.split()[1] for line in ([row["evidence"]] if isinstance(row["evidence"], str) else row["evidence"])
            ]
            told = [*read, *(row[field] for field in ("until", "deprecated") if field in row)]
            known = {release.version for release in catalog.known(engine)}
            assert set(told) <= known, (name, set(told) - known)


# What they say


def olds(engine: str, name: str, row: Row) -> Iterator[Old]:
    """The ways to give a flag, to the last release that has it: with each of its values, and its contrary."""
    texts = [*row.get("values", {}), *weights.table().meanings[engine].get(name, {})]
    if not (there := catalog.history(engine, name)):
        for values in ((), *((text,) for text in (*texts, *SAMPLES))):
            if old := gone_before(name, values, engine):
                yield old
        return
    known = catalog.load(there[-1])
    flag = known.spellings[name]
    if flag.takes_value:
        yield from (Old(known, flag, name, (text,)) for text in (*texts, *flag.choices, *SAMPLES))
    else:
        yield Old(known, flag, name)
    yield from (Old(known, flag, negation) for negation in flag.negations)


def says(row: Row, advice: Advice | None, old: Old) -> bool:
    """Whether an advice is what a row says."""
    if advice is None:
        return False
    if how := next((kind for kind in ("nothing", "lost") if kind in row), None):
        return (advice.how, advice.note) == (how, row[how])
    if "key" in row:
        return bool([*advice.keys] == [row["key"]])
    if "environment" in row:
        wanted = str(row["environment"]).replace("{}", old.text)
        return [f"{name}={value}" for name, value in advice.environment.items()] == [wanted]
    if "flag" in row:
        known = {
            spelling for each in releases(old.engine) if (flag := each.find(row["flag"])) for spelling in flag.spellings
        }
        return bool(advice.words) and advice.words[0].partition("=")[0] in known
    template = row["words"] if "words" in row else row["values"].get(old.text, "")
    return bool(template) and [*advice.words] == [word.replace("{}", old.text) for word in shlex.split(template)]


def where(engine: str, name: str, row: Row) -> list[Catalog]:
    """The releases that ask for a row: without the flag, with another of its name, warning of it, or in its range."""

    def asks(known: Catalog) -> bool:
        flag = known.find(name)
        named = "releases" in row and known.release.within(row["releases"])
        return flag is None or flag.name != name or bool(flag.refused or flag.deprecated) or named

    return [known for known in releases(engine) if asks(known)]


@pytest.mark.parametrize("engine", TITLES)
def test_every_row_is_the_advice_of_a_release(engine: str) -> None:
    unheard = []
    for its, name, row in rows("flags"):
        if its != engine:
            continue
        there = where(engine, name, row)
        ways = [*olds(engine, name, row)]
        for wanted in row.get("values", {"": ""}):
            tried = [old for old in ways if old.text == wanted] if wanted else ways
            if not any(says(row, successor(old, known), old) for old in tried for known in there):
                unheard.append((name, wanted, row))
    assert unheard == []


@pytest.mark.parametrize(("engine", "name", "row"), [*rows("renamed_values")])
def test_a_renamed_value_was_taken_and_its_new_name_is(engine: str, name: str, row: Row) -> None:
    flag, value = name.split()
    assert any(takes(known, flag, value) for known in releases(engine))
    if "deprecated" in row:
        known = catalog.load(Release(engine, row["deprecated"]))
        assert takes(known, flag, value)
        assert takes(known, flag, row["value"])
        return
    without = [known for known in releases(engine) if known.find(flag) and not takes(known, flag, value)]
    assert without
    assert "value" not in row or any(takes(known, flag, row["value"]) for known in without)


@pytest.mark.parametrize(
    ("engine", "name", "row"), [row for part in ("variables", "deprecated_variables") for row in rows(part)]
)
def test_every_variable_has_an_advice(engine: str, name: str, row: Row) -> None:
    choices = {word for known in releases(engine) if (flag := known.find(row.get("flag", ""))) for word in flag.choices}
    found = [
        (row, text, known.release.version)
        for text in (*row.get("values", {}), *SAMPLES, *choices)
        for known in releases(engine)
        if (told := variable(name, text, known)) and says(row, told[1], Old(known, Flag(name), name, (text,)))
    ]
    assert found


def test_a_flag_that_a_person_must_rewrite_is_not_taken_for_one_that_can_go() -> None:
    known = catalog.load(Release("vllm", "0.33.0"))
    before = catalog.load(Release("vllm", "0.11.0"))
    given = {name: before.spellings[name] for name in ("--rope-theta", "--swap-space")}
    found = {name: successor(Old(before, flag, name, ("4",)), known) for name, flag in given.items()}
    assert {name: advice.how for name, advice in found.items() if advice} == {
        "--rope-theta": "lost",
        "--swap-space": "nothing",
    }
