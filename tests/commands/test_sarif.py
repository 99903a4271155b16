"""Findings as SARIF 2.1.0: what the standard asks of the properties that we write, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest

from launcher.commands.check import Asked, Report, check, check_command, unreadable
from launcher.commands.findings import RULES
from launcher.commands.sarif import SCHEMA, sarif
from launcher.commands.source import Source
from launcher.errors import ServeError

FROM_ONE = {"type": "integer", "minimum": 1}
TEXT = {"type": "object", "properties": {"text": {"type": "string", "minLength": 1}}, "required": ["text"]}


def an_object(**properties: Any) -> dict[str, Any]:
    """An object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def a_list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = an_object(id={"type": "string"}, shortDescription=TEXT, defaultConfiguration=an_object(level=LEVEL))
DRIVER = an_object(name={"const": "serve"}, version={"type": "string"}, rules=a_list(RULE))
REGION = an_object(startLine=FROM_ONE, startColumn=FROM_ONE, endLine=FROM_ONE, endColumn=FROM_ONE)
PLACE = an_object(artifactLocation=an_object(uri={"type": "string", "minLength": 1}), region=REGION)
RESULT = an_object(
    ruleId={"type": "string"},
    ruleIndex={"type": "integer", "minimum": 0},
    level=LEVEL,
    message=TEXT,
    locations=a_list(an_object(physicalLocation=PLACE)),
)
RUN = an_object(
    tool=an_object(driver=DRIVER), columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]}, results=a_list(RESULT)
)
LOG = an_object(**{"$schema": {"type": "string"}, "version": {"const": "2.1.0"}, "runs": a_list(RUN)})

ASKED = Asked("vllm@0.26.0")


def results(*reports: Report) -> list[dict[str, Any]]:
    """The results of a log, which is held against the standard first."""
    log = sarif(reports)
    jsonschema.validate(log, LOG)
    (run,) = log["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == list(RULES)
    for each in run["results"]:
        assert run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"]
    found: list[dict[str, Any]] = run["results"]
    return found


def location(result: dict[str, Any]) -> dict[str, Any]:
    (where,) = result["locations"]
    found: dict[str, Any] = where["physicalLocation"]
    return found


def test_a_log_without_results_is_one_too() -> None:
    assert results() == []
    assert results(check(Source("run.sh", "vllm serve m\n"), ASKED)) == []
    assert sarif(())["$schema"] == SCHEMA


def test_a_finding() -> None:
    (each,) = results(check(Source("deploy/run.sh", "vllm serve m \\\n  --swap-space 4\n"), ASKED))
    assert (each["ruleId"], each["level"]) == ("removed-flag", "error")
    assert each["message"]["text"] == (
        "vLLM 0.26.0: no flag --swap-space: vLLM had it until 0.17.1\n"
        "leave it out: V1 swaps nothing to the host's memory, and did not use the value"
    )
    assert location(each) == {
        "artifactLocation": {"uri": "deploy/run.sh"},
        "region": {"startLine": 2, "startColumn": 3, "endLine": 2, "endColumn": 15},
    }


def test_columns_are_code_points_and_ends_are_excluded() -> None:
    (each,) = results(check_command("vllm serve '🙂é\N{COMBINING ACUTE ACCENT}' --swap-space=4", ASKED))
    region = location(each)["region"]
    assert (region["startColumn"], region["endColumn"]) == (18, 32)
    assert sarif([])["runs"][0]["columnKind"] == "unicodeCodePoints"


def test_levels_are_those_of_the_rules() -> None:
    text = "vllm serve m --nope --seed 1 --seed 2 $MORE"
    assert [each["level"] for each in results(check_command(text, ASKED))] == ["error", "warning", "note"]


@pytest.mark.parametrize(
    "path", ["a b#c?d%41é.sh", "odd dir/x:y.sh", "-dash.sh", "two\nlines.sh", "esc\x1b[31m.sh", "[x].sh", "../up.sh"]
)
def test_names_of_files_are_references(path: str) -> None:
    (each,) = results(check(Source(path, "vllm serve m --nope\n"), ASKED))
    uri = location(each)["artifactLocation"]["uri"]
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote(uri) == path
    assert uri.isascii()
    assert uri.isprintable()
    assert " " not in uri


def test_a_file_named_by_its_whole_path_has_a_uri_of_its_own() -> None:
    (each,) = results(check(Source("/srv/my models/run.sh", "vllm serve m --nope\n"), ASKED))
    assert location(each)["artifactLocation"]["uri"] == "file:///srv/my%20models/run.sh"


def test_what_cannot_be_read_and_what_says_nothing(tmp_path: Path) -> None:
    report = unreadable(Source("x.sh", ""), ServeError("is not UTF-8 text (byte 9)", where="x.sh:4", fix="is it so?"))
    (each,) = results(report)
    assert location(each)["region"] == {"startLine": 4, "startColumn": 1, "endLine": 4, "endColumn": 1}
    assert each["message"]["text"] == "is not UTF-8 text (byte 9)\nis it so?"
    for text in ("", "\ufeff", "\ufeffecho\n", "\n\n"):
        (each,) = results(check(Source("x.sh", text), ASKED))
        assert each["ruleId"] == "nothing-found"
    (tmp_path / "bad.yaml").write_text("\n\nprot: 1\n")
    (each,) = results(check(Source(str(tmp_path / "bad.yaml"), "\n\nprot: 1\n"), ASKED))
    assert location(each)["region"] == {"startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 8}


def test_all_files_are_one_run() -> None:
    reports = [check(Source(f"{name}.sh", "vllm serve m --nope\n"), ASKED) for name in "ab"]
    assert [location(each)["artifactLocation"]["uri"] for each in results(*reports)] == ["a.sh", "b.sh"]
