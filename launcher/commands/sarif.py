"""Findings in SARIF 2.1.0, the format that code review tools read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import launcher
from launcher.commands.check import Report
from launcher.commands.findings import RULES, Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(reports: Iterable[Report]) -> dict[str, Any]:
    """One run with the results of all files."""
    rules = [
        {"id": rule, "shortDescription": {"text": text}, "defaultConfiguration": {"level": level}}
        for rule, (level, text) in RULES.items()
    ]
    driver = {"name": "serve", "version": launcher.__version__, "rules": rules}
    results = [_result(report, finding) for report in reports for finding in report.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(report: Report, finding: Finding) -> dict[str, Any]:
    line, column = report.source.place(finding.start)
    end_line, end_column = report.source.place(finding.end)
    region = {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
    location: dict[str, Any] = {"artifactLocation": {"uri": _uri(report.source.path)}, "region": region}
    text = finding.text + (f"\n{finding.fix}" if finding.fix else "")
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": finding.level,
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
    }


def _uri(path: str) -> str:
    """A path as a reference relative to the folder that the check ran in, or as a URI of its own."""
    return Path(path).as_uri() if Path(path).is_absolute() else quote(path)
