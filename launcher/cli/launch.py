"""`serve launch`: from a request to an answering server in the foreground."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from launcher.cli import show
from launcher.config.resolve import Request
from launcher.errors import ServeError


def launch(
    request: Request,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and start nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Start a model server and supervise it until Ctrl-C."""
    from launcher.plan import plan  # noqa: PLC0415 - not needed for --help

    command = plan(request)
    if dry_run:
        if json:
            show.as_json(show.command(command))
            return
        print(show.shell(command))
        notes = [f"{show.release(command)}, model {show.model(command)}", *show.decisions(command)]
        if secret := show.secret(command):
            notes.append(f"api_key: {secret}")
        print("\n".join(f"# {note}" for note in notes), file=sys.stderr)
        return
    if not command.target.installed:
        raise ServeError(
            f"{command.target.release.title} is not installed on this host",
            fix=f"run: serve engines install {command.target.release}"
            + (" --device cpu" if command.target.device == "cpu" else ""),
        )
    from launcher.cli.progress import observer  # noqa: PLC0415 - not needed for a dry run
    from launcher.models.checkpoint import ensure  # noqa: PLC0415
    from launcher.run.supervise import admit  # noqa: PLC0415
    from launcher.run.supervise import launch as supervise  # noqa: PLC0415

    screen = observer(json=json)
    screen.note(f"{show.release(command)}, model {show.model(command)}")
    for line in show.decisions(command):
        screen.note(line)
    admit(command)  # what is refused is refused before the demo model is written
    ensure(command.checkpoint, command.revision, command.source)
    raise typer.Exit(supervise(command, screen))
