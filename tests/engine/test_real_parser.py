"""The catalogs against the argparse objects of real releases: nothing missed, nothing invented, all else the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.release import Release
from launcher.host.environments import Environment
from tests.engine import parsers
from tests.engine.parsers import Parser

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("parsers")]


@pytest.fixture(scope="module", params=["vllm", *(f"sglang@{version}" for version in parsers.SGLANG)])
def real(
    request: pytest.FixtureRequest, vllm: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Catalog, Parser]]:
    """What a release's own parser was found to declare, and the parser."""
    engine, _, version = request.param.partition("@")
    release = Release(engine, version) if version else vllm.release
    locks = ("sglang", f"sglang-{version}") if version else ()
    folders = tuple(parsers.installed(lock, vllm.python) for lock in locks)
    with parsers.parser(vllm.python, engine, folders) as parser:
        said = parser.ask("probe")
        assert said["unknown"] == []
        path = tmp_path_factory.mktemp("probe") / "flags.json"
        path.write_text(json.dumps(said))
        yield catalog.of_probe(path, release), parser


def test_the_parser_differs_only_where_a_reason_is_listed(real: tuple[Catalog, Parser]) -> None:
    declared, parser = real
    release = declared.release
    found = parsers.differences(catalog.load(release), declared, parser.ask({"words": parsers.WORDS}))
    listed = parsers.reasons(release)
    assert {name: both for name, both in found.items() if name not in listed} == {}
    assert set(listed) - set(found) == set(), "a reason is listed for what does not differ"


MODEL = {"vllm": ["m"], "sglang": ["--model-path", "m"]}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], None),
        (["--nope"], "unrecognized arguments: --nope"),
        (["--port", "x"], "argument --port: invalid int value: 'x'"),
        (["--port"], "argument --port: expected one argument"),
        (["--help"], "exit status 0"),
    ],
)
def test_the_parser_answers_command_after_command(
    real: tuple[Catalog, Parser], words: list[str], says: str | None
) -> None:
    declared, parser = real
    model = MODEL[declared.release.engine]
    assert parser.ask([*model, *words]).get("error") == says
    plain: dict[str, Any] = parser.ask([*model, "--port", "8001"])
    assert plain["namespace"]["port"] == "8001"
    assert "m" in plain["namespace"].values()


def test_a_module_of_vllm_has_no_serve(vllm: Environment) -> None:
    with parsers.parser(vllm.python, "vllm", entry="module") as parser:
        made = parser.ask(["--model", "m", "-tp", "2"])["namespace"]
        assert (made["model"], made["tensor_parallel_size"], "subparser" in made) == ("m", "2", False)
        known = catalog.load(vllm.release).of_module.spellings.items()
        assert set(parser.ask({"words": []})) == {spelling for spelling, flag in known if flag.takes_value}
