"""`serve check`: configuration files and launch commands checked against releases; nothing is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show
from launcher.errors import FAILED, ServeError

if TYPE_CHECKING:
    from launcher.commands.check import Asked, Judged, Report
    from launcher.commands.findings import Finding

FILES = "Presets and configuration files; shell scripts, unit and compose files that hold launch commands."


def check(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", help=FILES)] = None,
    command: Annotated[
        str | None, typer.Option("--command", metavar="TEXT", help='A launch command, such as "vllm serve ...".')
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="ENGINE[@VERSION]", help="The release to check for.")
    ] = None,
    all_releases: Annotated[bool, typer.Option("--all-releases", help="Check for every known release.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print results as SARIF, for code review tools.")] = False,
) -> None:
    """Say what a release's own parser would refuse, complete or ignore, with file:line:column."""
    from launcher.commands import check as checking  # noqa: PLC0415 - not needed for --help

    asked = _asked(engine, all_releases=all_releases)
    if not files and command is None:
        raise ServeError("nothing to check", fix='give files, or --command "vllm serve ..."')
    if json and sarif:
        raise ServeError("--json and --sarif exclude each other", fix="leave one of them out")
    reports = [_checked(path, asked) for path in files or ()]
    if command is not None:
        reports.append(checking.check_command(command, asked))
    if sarif:
        from launcher.commands.sarif import sarif as as_sarif  # noqa: PLC0415 - seldom needed

        show.as_json(as_sarif(reports))
    elif json:
        show.as_json([_record(report) for report in reports])
    else:
        for report in reports:
            _tell(report)
    if not all(report.ok for report in reports):
        raise typer.Exit(FAILED)


def _asked(engine: str | None, *, all_releases: bool) -> Asked:
    """The releases that were asked for; what is none is no fault of the files."""
    from launcher.commands.check import Asked, known  # noqa: PLC0415 - not needed for --help
    from launcher.engines.release import Release, parse  # noqa: PLC0415

    if engine is None or engine == "auto":
        return Asked(None, all_releases)
    name, version = parse(engine, "--engine")
    if version and all_releases:
        raise ServeError(f"--all-releases and {engine} exclude each other", fix=f"leave one out, or --engine {name}")
    asked = Asked(engine, all_releases)
    if version:
        known(Release(name, version), asked)
    return asked


def _checked(path: Path, asked: Asked) -> Report:
    """The report on a file, or on a preset by its name; of one that cannot be read, that."""
    from launcher.commands import check as checking  # noqa: PLC0415 - not needed for --help
    from launcher.commands.source import Source, read  # noqa: PLC0415
    from launcher.config import presets  # noqa: PLC0415

    try:
        shipped = str(path) in presets.names() and not path.exists()
        return checking.check(read(presets.find(str(path), "FILE") if shipped else path), asked)
    except ServeError as error:
        return checking.unreadable(Source(str(path), ""), error)


def _tell(report: Report) -> None:
    """A file's findings, a line each, the way compilers print them."""
    for finding in report.findings:
        place = f"{report.source.path}:{':'.join(map(str, report.source.place(finding.start)))}"
        print(show.line(f"{place}: {finding.level}: {finding.text} [{finding.rule}]"))
        if finding.fix:
            print(show.line(f"    -> {finding.fix}"))
    counts = {level: sum(each.level == level for each in report.findings) for level in ("error", "warning", "note")}
    told = [f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count]
    print(show.line(f"{report.source.path}: {', '.join(told) or 'ok'}{_judges(report)}"))


def _judges(report: Report) -> str:
    """Which releases judged, and why those."""
    from launcher.commands.findings import span  # noqa: PLC0415 - not needed for --help

    if report.releases:
        return f" for {span(report.releases)}"
    by = {(one.releases, one.why): 0 for one in report.commands}
    for one in report.commands:
        by[one.releases, one.why] += 1
    many = [f"{count} command{'s' if count > 1 else ''} for {span(key[0])} ({key[1]})" for key, count in by.items()]
    return f"; {', '.join(many)}" if many else ""


def _record(report: Report) -> dict[str, Any]:
    """A report for JSON."""
    return {
        "file": report.source.path,
        "ok": report.ok,
        "kind": report.kind,
        "engine": str(report.releases[0]) if len(report.releases) == 1 else None,
        "releases": [str(release) for release in report.releases],
        "errors": [_finding(report, each) for each in report.findings if each.level == "error"],
        "findings": [_finding(report, each) for each in report.findings],
        "commands": [_command(report, one) for one in report.commands],
        "argv": list(report.argv),
    }


def _finding(report: Report, finding: Finding) -> dict[str, Any]:
    line, column = report.source.place(finding.start)
    end_line, end_column = report.source.place(finding.end)
    return {
        "where": f"{report.source.path}:{line}:{column}",
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "level": finding.level,
        "rule": finding.rule,
        "what": finding.text,
        "fix": finding.fix,
        "releases": [str(release) for release in finding.releases],
    }


def _command(report: Report, one: Judged) -> dict[str, Any]:
    """A launch command with its flags: which releases have each, and what it takes in the newest of those asked."""
    from launcher.commands.judge import described  # noqa: PLC0415 - not needed for --help

    line, column = report.source.place(one.launch.program[0].start)
    flags = []
    for each in described(one.launch, one.judgements[-1].reading):
        at_line, at_column = report.source.place(each.pop("start"))
        flags.append({"line": at_line, "column": at_column, **each})
    return {
        "line": line,
        "column": column,
        "engine": one.launch.engine,
        "releases": [str(release) for release in one.releases],
        "because": one.why,
        "flags": flags,
    }
