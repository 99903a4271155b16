"""`serve migrate`: launch commands rewritten for another release or for the other engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show
from launcher.errors import FAILED, ServeError

if TYPE_CHECKING:
    from launcher.commands.migrate import Rewritten
    from launcher.commands.rewrite import Change
    from launcher.commands.source import Source


def migrate(
    to: Annotated[str, typer.Option("--to", metavar="ENGINE@VERSION", help="The release to write for.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Shell scripts, unit and compose files.")
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", metavar="TEXT", help='A launch command, such as "vllm serve ...".')
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Change the files.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Rewrite launch commands for a release and show the difference; what cannot be translated is left and named."""
    from launcher.commands import edits, launches  # noqa: PLC0415 - not needed for --help
    from launcher.commands.migrate import rewritten  # noqa: PLC0415
    from launcher.commands.source import Source, read  # noqa: PLC0415
    from launcher.engines.release import exactly  # noqa: PLC0415

    target = exactly(to, "--to")
    if not files and command is None:
        raise ServeError("nothing to migrate", fix='give files, or --command "vllm serve ..."')
    if command is not None and write:
        raise ServeError("--write changes files; --command has none", fix="leave one of them out")
    sources = [
        read(path) for path in {os.path.realpath(path): path for path in files or ()}.values()
    ]  # a link is its file
    results = [rewritten(source, launches.find(source), target) for source in sources]
    if command is not None:
        results.append(rewritten(Source(launches.COMMAND, command), launches.command(command), target))
    for result in results:
        if write and result.text != result.source.text:
            edits.write(result.source, result.text)
    if json:
        show.as_json([_record(result) for result in results])
    else:
        for result in results:
            _tell(result, write=write)
    if any(result.left for result in results):
        raise typer.Exit(FAILED)


def _tell(result: Rewritten, *, write: bool) -> None:
    """The difference, the reasons, and what is left."""
    from launcher.commands import edits  # noqa: PLC0415 - not needed for --help

    source = result.source
    end = "" if source.text.endswith("\n") else "\n"  # of a command given as text, which has no line end to lose
    print(show.safe(edits.diff(replace(source, text=source.text + end), result.text + end)), end="")
    for change in result.changes:
        if change.why:
            print(show.line(_told(source, change)))
    for each in result.left:
        print(show.line(f"{_place(source, each.start)}: left as it is: {each.what}"))
        if each.fix:
            print(show.line(f"    -> {each.fix}"))
    changed = "no change"
    if result.text != source.text:
        count = len(result.changes)
        hint = "" if source.path == "--command" else " (--write writes)"
        changed = f"{count} change{'s' if count > 1 else ''}, " + ("written" if write else f"not written{hint}")
    left = f"; {len(result.left)} left as {'they are' if len(result.left) > 1 else 'it is'}" if result.left else ""
    print(show.line(f"{source.path}: {changed}{left}; for {result.release.title}"))


def _told(source: Source, change: Change) -> str:
    """What became of what, and why."""
    from launcher.commands.judge import cut  # noqa: PLC0415 - not needed for --help

    old = source.text[change.start : change.end]
    start = change.start + len(old) - len(old.lstrip(" \t\r\n\\,")) if old.strip() else change.start
    before, after = (" ".join(text.split()) or "(nothing)" for text in (source.text[start : change.end], change.text))
    read = f" [{'; '.join(change.evidence)}]" if change.evidence else ""
    return f"{_place(source, start)}: {cut(before)} -> {cut(after)}: {change.why}{read}"


def _place(source: Source, offset: int) -> str:
    return ":".join(map(str, (source.path, *source.place(offset))))


def _record(result: Rewritten) -> dict[str, Any]:
    source = result.source

    def place(offset: int) -> dict[str, int]:
        line, column = source.place(offset)
        return {"line": line, "column": column}

    return {
        "file": source.path,
        "to": str(result.release),
        "text": result.text,
        "changes": [
            {
                **place(each.start),
                "before": source.text[each.start : each.end],
                "after": each.text,
                "why": each.why,
                "evidence": list(each.evidence),
            }
            for each in result.changes
        ],
        "left": [{**place(each.start), "what": each.what, "fix": each.fix} for each in result.left],
    }
