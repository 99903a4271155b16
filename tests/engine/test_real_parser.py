"""The catalog against the argparse object of a vLLM that is installed: nothing missed, nothing invented."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.engines import catalog
from launcher.engines.catalog import Catalog, Flag
from launcher.engines.release import Release
from launcher.host.environments import Environment

pytestmark = pytest.mark.engine

HERE = Path(__file__).parent
REASONS = json.loads((HERE / "parser_differences.json").read_text())
WORDS = [
    "", "None", "none", "auto", "AUTO", "7", "-1", "+7", " 7 ", "1_000", "0x10", "0.5", "1e3", "nan", "inf",
    "32k", "32K", "32Ki", "1.5k", "1.5K", "1.5m", "2g", "2T", "k", "true", "True", "fp8", "half",
    "{}", "[]", '{"a": 1}', '{"a": 8k}', '{"a": "8k"}', "{a: 1}", "null", "a,b", "a=b", "Flashinfer-TRTLLM",
    "mixed Case-word",
]  # fmt: skip


@pytest.fixture(scope="module")
def real(vllm: Environment) -> tuple[Catalog, dict[str, dict[str, Any]]]:
    """The catalog of the installed release, and what its real parser says of each flag, by every spelling."""
    done = subprocess.run(
        [str(vllm.python), str(HERE / "parser_program.py")],
        input=json.dumps(WORDS),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    (version,) = set(said["releases"].values())
    known = catalog.load(Release("vllm", version.partition("+")[0]))
    return known, {spelling: flag for flag in said["flags"] for spelling in flag["spellings"]}


def test_no_spelling_is_missed_or_invented(real: tuple[Catalog, dict[str, Any]]) -> None:
    known, theirs = real
    ours = {spelling for flag in known.flags.values() for spelling in flag.spellings}
    assert ours - set(theirs) == set()
    assert set(theirs) - ours == set()


def test_spellings_belong_together_and_negate_as_the_parser_does(real: tuple[Catalog, dict[str, Any]]) -> None:
    known, theirs = real
    for flag in known.flags.values():
        assert set(flag.spellings) == set(theirs[flag.name]["spellings"])
        assert set(flag.negations) == set(theirs[flag.name]["negations"])


def compared(known: Catalog, flag: Flag, real_flag: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """What is compared of a flag: what it is called in the list of reasons, ours, and the parser's."""
    yield f"nargs of {flag.name}", flag.nargs, real_flag["nargs"]
    yield f"default of {flag.name}", flag.default, real_flag["default"]
    enforced = [choice for choice in real_flag["choices"] if choice != "None"]
    yield f"choices of {flag.name}", sorted(flag.choices if flag.enforced else ()), sorted(enforced)
    count = flag.nargs if isinstance(flag.nargs, int) else 1
    taken = {word for word in WORDS if flag.takes_value and known.check_value(flag, (word,) * count) is None}
    yield f"words refused by us alone for {flag.name}", set(real_flag["takes"]) - taken, set()
    yield f"words refused by the engine alone for {flag.type}", set(), taken - set(real_flag["takes"])


def test_the_parser_differs_only_where_a_reason_is_listed(real: tuple[Catalog, dict[str, Any]]) -> None:
    known, theirs = real
    rows = [row for flag in known.flags.values() for row in compared(known, flag, theirs[flag.name])]
    assert {name: (ours, real_one) for name, ours, real_one in rows if ours != real_one and name not in REASONS} == {}
    needed = {name for name, ours, real_one in rows if ours != real_one}
    assert {name for name, _, _ in rows if name in REASONS} == needed, "a reason is listed for what does not differ"
