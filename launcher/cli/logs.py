"""`serve logs`: what an engine has printed, and what it prints."""

from __future__ import annotations

import io
import re
import sys
import time
from datetime import datetime
from typing import Annotated

import typer

from launcher.errors import ServeError

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An instance, running or not.", show_default=False)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the server ends.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="AGE|TIME", help="10m, 2h, 2026-11-20T10:00; earlier runs included."),
    ] = None,
    tail: Annotated[int | None, typer.Option("--tail", metavar="N", min=0, help="The last N lines alone.")] = None,
) -> None:
    """Print the log of an instance: its last run, without what a terminal would obey."""
    since_s = _moment(since) if since is not None else None
    from launcher.run import instances  # noqa: PLC0415 - not needed for --help
    from launcher.run.output import logfile  # noqa: PLC0415 - not needed for --help

    path = instances.look(name).folder / instances.LOG
    found = (
        logfile.follow(path, lambda: instances.find(name) is None, tail, since_s)
        if follow
        else logfile.lines(path, tail, since_s)
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace", line_buffering=follow)
    for line in found:
        print(line)


def _moment(text: str) -> float:
    """Unix seconds of a time of this host's zone, or so long ago."""
    if match := _AGO.fullmatch(text):
        return time.time() - float(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(re.sub("Z$", "+00:00", text)).timestamp()
    except (ValueError, OverflowError):
        fix = "an age such as 90s, 10m, 2h, 1d, or a time such as 2026-11-20T10:00"
        raise ServeError(f"{text!r} is no time", where="--since", fix=fix) from None
