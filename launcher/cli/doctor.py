"""`serve doctor`: is this host fit to serve?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from launcher.cli import show
from launcher.errors import FAILED


def doctor(json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False) -> None:
    """Look for what keeps servers from starting or working on this host, and say what to do about it.

    Exit code 1 if something keeps a server from starting, or a key is open to others. Nothing is changed.
    """
    from launcher.doctor.examine import examine  # noqa: PLC0415 - not needed for --help
    from launcher.doctor.finding import ERROR, WARNING  # noqa: PLC0415

    found = examine()
    if json:
        show.as_json([asdict(each) for each in found])
    else:
        for each in found:
            show.finding(each)
        counts = {level: sum(each.level == level for each in found) for level in (ERROR, WARNING)}
        print(", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()))
    if any(each.level == ERROR for each in found):
        raise typer.Exit(FAILED)
