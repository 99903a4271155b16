"""What `serve check` says of a command against what the engine's own parser says of it.

Every command that the engine's package shows, and random ones. The long form, ten minutes of random commands:
``SERVE_FUZZ_S=600 pytest -m engine -s tests/engine/test_agreement.py``.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from launcher.engines import arguments, catalog
from launcher.engines.arguments import Entry, Reading
from launcher.engines.catalog import Catalog
from launcher.engines.release import Release
from launcher.host.environments import Environment
from tests.engine import corpus, parsers
from tests.engine.parsers import Parser
from tests.engines.command_lines import command_lines
from tests.engines.test_releases import CASES, rendered

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("parsers")]

FUZZ_S = float(os.environ.get("SERVE_FUZZ_S", "30"))
ROUND = 500  # commands a round: a random seed each
OBJECTS = ("json_config", "json_object")
Ask = Callable[[Entry, list[str]], dict[str, Any]]

# Where the two may differ, and why; each for the words, our reading and the parser's error ("" where it takes them).
LISTED: dict[str, Callable[[list[str], Reading, str], bool]] = {
    "the engine validates an object against its config class; the catalog knows that it is an object": (
        lambda _, reading, error: any(
            use.flag.type in OBJECTS and re.search(rf"{use.flag.name}\b|validation error", error)
            for use in reading.uses
        )
    ),
    "argparse drops, keeps or refuses a `--` differently from one release of Python to the next": (
        lambda words, _reading, _error: any(word == "--" or word.endswith("=--") or word[:3] == "--." for word in words)
    ),
    "vLLM takes a negative number with a point for a part of a JSON value: -0.5 is flag -0, part 5": (
        lambda words, reading, _: (
            reading.catalog.release.engine == "vllm" and any(re.search(r"(^|=)-\d*\.", word) for word in words)
        )
    ),
    "a switch with a part (--enable-x.a 1): argparse takes the JSON for the model where none is given; we refuse it": (
        lambda _, reading, error: (
            not error and any(use.path and (use.negated or not use.flag.takes_value) for use in reading.uses)
        )
    ),
    "the catalog is of the CUDA wheel, whose choices hold cuda; this parser runs on the CPU platform": (
        lambda _words, _reading, error: "--mm-processor-device" in error
    ),
}


@pytest.fixture(scope="module", params=["vllm", *(f"sglang@{version}" for version in parsers.SGLANG)])
def real(request: pytest.FixtureRequest, vllm: Environment) -> Iterator[tuple[Catalog, Path, Ask]]:
    """A release's flags, the folder of its package, and what its own parser says of a command."""
    engine, _, version = request.param.partition("@")
    release = Release(engine, version) if version else vllm.release
    locks = ("sglang", f"sglang-{version}") if version else ()
    folders = tuple(parsers.installed(lock, vllm.python) for lock in locks)
    package = folders[-1] / "sglang" if folders else next(Path(vllm.python).parents[1].glob("lib/*/site-packages/vllm"))
    entries: tuple[Entry, ...] = ("module",) if folders else ("serve", "module")
    open_parsers = {entry: parsers.parser(vllm.python, engine, folders, entry) for entry in entries}
    asked: dict[Entry, Parser] = {entry: each.__enter__() for entry, each in open_parsers.items()}
    yield catalog.load(release), package, lambda entry, words: asked[entry].ask(words)
    for each in open_parsers.values():
        each.__exit__(None, None, None)


def disagreement(known: Catalog, ask: Ask, entry: Entry, words: list[str]) -> str | None:
    """How we and the parser differ on a command, unless the reason is listed."""
    reading = arguments.read(words, known, entry)
    said = ask(entry, words)
    error = "" if said["ok"] or said["error"] == "exit status 0" else said["error"]
    if reading.refused is bool(error) or any(applies(words, reading, error) for applies in LISTED.values()):
        return None
    ours = [stray.written for stray in reading.strays] + [use.problem for use in reading.uses if use.problem]
    return f"{entry} {words}: we say {ours or reading.complaints or 'nothing'}; the parser: {error or 'nothing'}"


def test_every_preset_is_taken(real: tuple[Catalog, Path, Ask]) -> None:
    known, _, ask = real
    names = [name for name, text in CASES if text == str(known.release)]
    assert len(names) > 10
    for name in names:
        made = rendered(name, str(known.release))
        entry: Entry = "serve" if made.program[-1] == "serve" else "module"
        words = made.argv[len(made.program) :]
        if "--config" in words:  # SGLang's file with the key, which is written when a server starts
            at = words.index("--config")
            words = [*words[:at], *words[at + 2 :]]
        said = ask(entry, words)
        assert said["ok"], (name, words, said)


def test_every_command_that_the_engine_shows(real: tuple[Catalog, Path, Ask]) -> None:
    known, package, ask = real
    shown = [each for each in corpus.commands(package, known) if "--config" not in each[1]]
    if known.release.engine == "sglang":  # its `serve` asks for the model's kind before it parses
        shown = [("module", words) for entry, words in shown if entry == "module" or words[:1] == ("--model-path",)]
    assert len(shown) > 100  # the smallest has more: it has been found at all
    differ = [told for entry, words in shown if (told := disagreement(known, ask, entry, list(words)))]
    sys.stdout.write(f"{known.release}: {len(shown)} commands shown, {len(differ)} differ\n")
    assert differ == []


def test_random_commands(real: tuple[Catalog, Path, Ask]) -> None:
    known, _, ask = real
    entries: tuple[Entry, ...] = ("serve", "module") if known.release.engine == "vllm" else ("module",)
    found: list[str] = []
    count = 0

    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines(known))
    def compare(words: list[str]) -> None:
        nonlocal count
        if "--config" not in words:
            count += 1
            found.extend(told for entry in entries if (told := disagreement(known, ask, entry, words)))

    end = time.monotonic() + FUZZ_S / (1 + len(parsers.SGLANG))
    while time.monotonic() < end and not found:
        seed(int(time.time_ns()))(compare)()
    sys.stdout.write(f"{known.release}: {count} random commands, {len(found)} differ\n")
    assert found == []
