"""`serve import`: a launch command that others wrote as a configuration file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import show
from launcher.errors import FAILED, ServeError


def import_(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A shell script, unit or compose file with one launch command."),
    ] = None,
    command: Annotated[
        str | None, typer.Option("--command", metavar="TEXT", help='A launch command, such as "vllm serve ...".')
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="ENGINE@VERSION", help="The release that the command is for.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where to write it; to standard output unless given."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn a launch command into a configuration file whose dry run gives the same command back."""
    from launcher.commands import adopt, launches  # noqa: PLC0415 - not needed for --help
    from launcher.commands.check import Asked, known, releases_for  # noqa: PLC0415
    from launcher.commands.source import Source, read  # noqa: PLC0415
    from launcher.engines.release import TITLES, parse  # noqa: PLC0415

    if (file is None) == (command is None):
        raise ServeError("one command is imported", fix='give a FILE, or --command "vllm serve ..."')
    name = parse(engine, "--engine")[0] if engine else None
    source = read(file) if file else Source(launches.COMMAND, command or "")
    launch = adopt.only(source, launches.find(source) if file else launches.command(command or ""))
    if name not in (None, launch.engine):
        raise ServeError(
            f"it is a command of {TITLES[launch.engine]}", where="--engine", fix=f"--engine {launch.engine}"
        )
    asked = Asked(engine)
    (release, *_), why = releases_for(launch, asked)
    adopted = adopt.adopt(source, launch, known(release, asked), pinned=not why.startswith("the newest known"))
    line, _ = source.place(launch.program[0].start)
    text = "\n".join(adopt.lines(adopted, f"{source.path}:{line}" if file else "a command")) + "\n"
    if output is not None:
        adopt.write(output, text)
    if json:
        places = [source.place(each.start) for each in adopted.left]
        left = [
            {"line": line, "column": column, "what": each.what, "fix": each.fix}
            for each, (line, column) in zip(adopted.left, places, strict=True)
        ]
        show.as_json({"text": text, "release": str(release), "argv": adopted.command.argv, "left": left})
    elif output is None:
        print(text, end="")
    for each in adopted.left:
        at_line, at_column = source.place(each.start)
        print(show.line(f"{source.path}:{at_line}:{at_column}: {each.what}"), file=sys.stderr)
        if each.fix:
            print(show.line(f"  -> {each.fix}"), file=sys.stderr)
    if output is not None and not json:
        print(f"{output} written for {release.title} ({why}); see it: serve launch --config {output} --dry-run")
    if any(each.level == "error" for each in adopted.left):
        raise typer.Exit(FAILED)
