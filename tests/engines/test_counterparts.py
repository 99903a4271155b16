"""The table of flags that mean the same in both engines: each row names real flags and words, and where it was read."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.config import keys
from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag
from launcher.engines.meanings import BY_NAME, means
from launcher.engines.release import TITLES, Release
from launcher.engines.translate import Old, advise

Row = dict[str, Any]

FILE = Path(catalog.__file__).parent / "data" / "counterparts.yaml"
DATA: dict[str, list[Row]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
ROWS = DATA["rows"]
ALONE = {"needless", "nothing"}  # the kinds of rows that name no counterpart
FIELDS = {"vllm", "sglang", "values", "only", "opposite", "note", "evidence"} | ALONE
TEXTS = ("note", *sorted(ALONE))
EVIDENCE = re.compile(r"(vllm|sglang) (\S+) \1/[\w./-]+\.py:[1-9]\d*")
# Keys that take the engine's own words: their rows translate the words, where a key alone translates the flag.
OWN_WORDS = {key.name for key in keys.KEYS if "engine's own name" in key.help}


def named(row: Row) -> dict[str, str]:
    """The flags of a row, by engine."""
    return {engine: row[engine] for engine in TITLES if engine in row}


def words(row: Row, engine: str) -> list[str | bool]:
    """The words of an engine that a row translates."""
    values = row.get("values", {})
    return [*values] if engine == "vllm" else [*values.values()]


@functools.cache
def everywhere(engine: str, spelling: str) -> tuple[tuple[Catalog, Flag], ...]:
    """A flag in each release that has it and does not refuse its every use."""
    releases = [catalog.load(release) for release in catalog.history(engine, spelling)]
    found = [(known, flag) for known in releases if (flag := known.find(spelling))]
    return tuple((known, flag) for known, flag in found if not flag.refused)


def key_of(engine: str, spelling: str) -> str | None:
    """The key that a flag sets whatever its word is, in the newest release that has it; None if none."""
    known, flag = everywhere(engine, spelling)[-1]
    meaning = None
    if "." not in spelling:
        meaning = means(BY_NAME[engine], known, flag, ("8",) if flag.takes_value else ())
    return meaning.key if meaning else None


def faults(row: Row) -> Iterator[str]:
    """What is wrong with the shape of a row, whatever it names."""
    if strange := set(row) - FIELDS:
        yield f"unknown fields: {strange}"
    alone = ALONE & set(row)
    if (len(named(row)), len(alone)) not in {(2, 0), (1, 1)}:
        yield "two flags, or one and why it has none beside it"
    if alone and set(row) & {"values", "only", "opposite", "note"}:
        yield "a row without a counterpart translates nothing"
    if any(row.get(name, True) is not True for name in ("only", "opposite")) or ("only" in row and "values" not in row):
        yield "only and opposite are true or not there, and only is about values"
    if any(not isinstance(row.get(name, "-"), str) or not row.get(name, "-") for name in TEXTS):
        yield "a note is text"
    values = row.get("values", {"": ""})
    if not isinstance(values, dict) or not all(isinstance(word, str) for word in values):
        yield "values are words by words"
    elif not all(isinstance(word, (str, bool)) for word in values.values()) or len({*values.values()}) != len(values):
        yield "a word stands for one other, or true and false for a switch"
    evidence = row.get("evidence")
    if not isinstance(evidence, list) or not all(
        isinstance(line, str) and EVIDENCE.fullmatch(line) for line in evidence
    ):
        yield "evidence is a list of RELEASE PATH:LINE"
    elif wanted := {*TITLES} - ({*named(row)} if alone else set()) - {line.split()[0] for line in evidence}:
        yield f"nothing was read in {wanted}"


def test_every_row_is_well_formed() -> None:
    assert set(DATA) == {"rows"}
    assert [(row, found) for row in ROWS if (found := list(faults(row)))] == []


GOOD = {
    "vllm": "--download-dir",
    "sglang": "--download-dir",
    "evidence": ["vllm 0.33.0 vllm/config/load.py:62", "sglang 0.5.23 sglang/srt/arg_groups/fields/model.py:344"],
}


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "GiB"},
        {"sglang": None},
        {"nothing": "there is no such thing"},
        {"needless": "it is always so"},
        {"sglang": None, "nothing": "there is no such thing", "note": "none"},
        {"sglang": None, "nothing": "there is no such thing", "needless": "it is always so"},
        {"sglang": None, "needless": ""},
        {"sglang": None, "lost": "of the other table"},
        {"opposite": False},
        {"only": True},
        {"note": ""},
        {"values": {"a": "x", "b": "x"}},
        {"values": ["a"]},
        {"values": {"a": 1.5}},
        {"values": {True: "a"}},
        {"evidence": None},
        {"evidence": GOOD["evidence"][:1]},
        {"evidence": [*GOOD["evidence"], "it is so"]},
        {"evidence": ["vllm 0.33.0 sglang/srt/server_args.py:1", *GOOD["evidence"]]},
        {"evidence": ["vllm 0.33.0 vllm/config/load.py:0", *GOOD["evidence"]]},
    ],
)
def test_a_wrong_shape_is_seen(change: Row) -> None:
    assert list(faults(GOOD)) == []
    assert list(faults({name: value for name, value in {**GOOD, **change}.items() if value is not None}))


def test_every_flag_exists() -> None:
    flags = {(engine, spelling) for row in ROWS for engine, spelling in named(row).items()}
    assert [flag for flag in sorted(flags) if not everywhere(*flag)] == []


def test_every_word_is_taken_by_a_release() -> None:
    strange = [
        (engine, spelling, word)
        for row in ROWS
        for engine, spelling in named(row).items()
        for word in words(row, engine)
        if "." not in spelling  # the words of a part of JSON are the engine's own affair
        and not any(
            not flag.takes_value if isinstance(word, bool) else flag.refusal((word,)) is None
            for known, flag in everywhere(engine, spelling)
        )
    ]
    assert strange == []


def test_switches_stand_for_switches() -> None:
    for row in ROWS:
        kinds = [{flag.takes_value for _, flag in everywhere(*each)} for each in named(row).items()]
        if not ALONE & set(row) and not any(isinstance(word, bool) for word in words(row, "sglang")):
            assert kinds[0] & kinds[1], row
        assert "opposite" not in row or kinds == [{False}, {False}], row


def test_no_key_of_ours_is_the_bridge() -> None:
    for row in ROWS:
        covered = {key_of(*each) for each in named(row).items()}
        assert None in covered or covered <= OWN_WORDS, row


def test_every_flag_that_a_text_names_exists() -> None:
    texts = [row[name] for row in ROWS for name in TEXTS if name in row]
    flags = {spelling for text in texts for spelling in re.findall(r"--[a-z][\w.-]*\w", text)}
    assert len(flags) > 100
    assert [flag for flag in sorted(flags) if not any(catalog.history(engine, flag) for engine in TITLES)] == []


def test_evidence_is_of_known_releases() -> None:
    read = {tuple(line.split()[:2]) for row in ROWS for line in row["evidence"]}
    assert read <= {(engine, release.version) for engine in TITLES for release in catalog.known(engine)}


def test_no_pair_stands_twice() -> None:
    """A pair with `only` may: with other words, or with another word for one of them."""
    pairs = [
        (tuple(named(row).items()), words)
        for row in ROWS
        for words in (row["values"].items() if "only" in row else [()])
    ]
    assert [pair for pair in pairs if pairs.count(pair) > 1] == []
    whole = {flags for flags, words in pairs if not words}
    assert [flags for flags, words in pairs if words and flags in whole] == []


def test_no_row_stands_behind_those_that_end_the_search() -> None:
    ended: set[tuple[str, str]] = set()
    for row in ROWS:
        assert set(named(row).items()) - ended, row
        ended |= set(named(row).items()) if ALONE & set(row) else set()


@pytest.mark.parametrize(
    ("given", "old", "new", "wanted"),
    [
        (("--tool-call-parser", "hermes"), "vllm@0.33.0", "sglang@0.5.23", "words hermes"),
        (("--tool-call-parser", "hermes"), "vllm@0.33.0", "sglang@0.5.8", "words qwen25"),
        (("--tool-call-parser", "qwen3_json"), "vllm@0.33.0", "sglang@0.5.23", "words qwen25"),
        (("--tool-call-parser", "qwen25"), "sglang@0.5.23", "vllm@0.24.0", "keys hermes"),
        (("--tool-call-parser", "qwen"), "sglang@0.5.23", "vllm@0.24.0", "keys hermes"),
        (("--attention-backend", "TRITON_MLA"), "vllm@0.33.0", "sglang@0.5.23", "keys triton"),
        (("--attention-backend", "triton"), "sglang@0.5.23", "vllm@0.33.0", "keys TRITON_ATTN"),
        (("--max-cudagraph-capture-size", "64"), "vllm@0.33.0", "sglang@0.5.10", "words 64"),
        # A row that stands before a pair lets it hold from the other engine alone.
        (("--uvicorn-log-level", "warning"), "vllm@0.33.0", "sglang@0.5.23", "words warning"),
        (("--log-level-http", "warning"), "sglang@0.5.23", "vllm@0.33.0", "lost"),
        # What the other engine does by itself can go; what it cannot do is named, and so is the contrary.
        (("--enable-auto-tool-choice",), "vllm@0.33.0", "sglang@0.5.23", "nothing"),
        (("--no-enable-chunked-prefill",), "vllm@0.33.0", "sglang@0.5.23", "lost"),
        (("--uds", "/run/a.sock"), "vllm@0.33.0", "sglang@0.5.23", "lost"),
        (("--admin-api-key", "secret"), "sglang@0.5.23", "vllm@0.33.0", "lost"),
        (("--quantization", "bitsandbytes"), "sglang@0.5.23", "vllm@0.33.0", "unknown"),
    ],
)
def test_flags_are_translated(given: tuple[str, ...], old: str, new: str, wanted: str) -> None:
    before, after = (catalog.load(Release(*each.split("@"))) for each in (old, new))
    advice = advise(Old(before, before.spellings[given[0]], given[0], given[1:]), after)
    assert " ".join([advice.how, *advice.words[-1:], *advice.keys.values()]) == wanted
