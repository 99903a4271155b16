"""`serve launch`: from a request to an answering server, in the foreground or in the background."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.cli import show
from launcher.config.request import Request
from launcher.errors import FAILED, ServeError

if TYPE_CHECKING:
    from launcher.cli.progress import Plain
    from launcher.engines.command import Command
    from launcher.run.supervise import Launch

_SHOWN_S = 3.0  # for a terminal to take the last words


def launch(
    request: Request,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command and start nothing.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the server is ready; it goes on.")
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Try one change if the engine fails and says what helps.")] = False,
    reap: Annotated[bool, typer.Option("--reap", help="End what earlier runs of serve left behind.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Start a model server and supervise it until Ctrl-C, or in the background."""
    from launcher.plan import plan  # noqa: PLC0415 - not needed for --help

    command = plan(request)
    if dry_run:
        _print(command, json=json)
        return
    refuse(command)
    from launcher.cli.progress import observer  # noqa: PLC0415 - 0.1 s that a refusal need not wait for

    screen = observer(json=json)
    begin(request, command, screen, detached=detach, fix=fix, reap=reap)


def refuse(command: Command) -> None:
    """Refuse what needs an engine or a model that is not there.

    Raises:
        ServeError: it does.
    """
    from launcher.models import checkpoint  # noqa: PLC0415 - not needed for a dry run

    _refuse_not_installed(command)
    checkpoint.ensure_of(command)


def begin(request: Request, command: Command, screen: Plain, *, detached: bool, fix: bool, reap: bool) -> None:
    """Perform a command that was not refused, and show it.

    Raises:
        ServeError: it is refused, or the engine fails.
        typer.Exit: in the foreground, with the exit code.
    """
    from launcher.cli.progress import left_over  # noqa: PLC0415 - not needed for a dry run
    from launcher.models import checkpoint  # noqa: PLC0415
    from launcher.run.secrets import cautions  # noqa: PLC0415
    from launcher.run.supervise import admit  # noqa: PLC0415

    screen.note(f"{show.release(command)}, model {show.model(command)}")
    for line in [*show.decisions(command), *cautions(command.secret), *left_over(reap=reap)]:
        screen.note(line)
    admit(command)  # what is refused is refused before the demo model is written
    checkpoint.make(command.checkpoint)
    asked = _asked(request, command, detached=detached, fix=fix)
    if detached:
        from launcher.run.detach import detach  # noqa: PLC0415 - not needed in the foreground

        try:
            detach(asked, screen)
        finally:
            screen.end()
        _still_serves(command.name)
        screen.note(f"it goes on in the background; serve status, logs, restart and stop take its name: {command.name}")
        return
    raise typer.Exit(_foreground(asked, screen))


def _asked(request: Request, command: Command, *, detached: bool, fix: bool) -> Launch:
    from launcher.plan import plan  # noqa: PLC0415 - not needed for --help
    from launcher.run import again  # noqa: PLC0415
    from launcher.run.supervise import Launch  # noqa: PLC0415

    def changed(changes: Mapping[str, str]) -> Launch:
        other = again.changed(request, changes, command)
        return _asked(other, plan(other), detached=detached, fix=False)

    service = "NOTIFY_SOCKET" in os.environ

    def line(changes: Mapping[str, str]) -> str:
        if service:  # what it serves is a file's to say
            said = ", ".join(f"{name}: {value}" for name, value in changes.items())
            return f"{said} in {request.configs[-1]}, then: serve service restart {command.name}"
        return again.command_line(again.changed(request, changes, command), detached=detached)

    return Launch(command, again.written(request, fix=fix), changed, line, fix)


def _still_serves(name: str) -> None:
    """Whoever waited may have been stopped by Ctrl-Z for longer than the server served."""
    from launcher.run.instances import look  # noqa: PLC0415 - not needed for --help
    from launcher.run.record import SERVING  # noqa: PLC0415

    instance = look(name)
    if instance.state != SERVING:
        what = f"{name} was ready, and is {instance.state} now: {instance.detail}"
        raise ServeError(what, fix=f"serve status {name}", code=FAILED)


def _refuse_not_installed(command: Command) -> None:
    """An engine that can be rendered for need not be there."""
    if not command.target.installed:
        home = os.environ.get("SERVE_HOME") if "NOTIFY_SOCKET" in os.environ else None  # whoever reads it has another
        fix = f"run: env SERVE_HOME={shlex.quote(home)} " if home else "run: "
        fix += f"serve engines install {command.target.release}"
        fix += " --device cpu" if command.target.device == "cpu" else ""
        if command.target.device == "cuda" and not command.target.gpus:
            fix = "this host has no GPU that it could use; without one: serve engines install vllm --device cpu"
        raise ServeError(f"{command.target.release.title} is not installed on this host", fix=fix)


def _foreground(asked: Launch, screen: Plain) -> int:
    from launcher.run.relay import Relay  # noqa: PLC0415 - not needed for a dry run
    from launcher.run.supervise import launch  # noqa: PLC0415

    relay, code = Relay(screen), FAILED
    try:
        code = launch(asked, relay)
    except ServeError as error:
        code = error.code
        raise
    finally:
        if not relay.close(_SHOWN_S):
            os._exit(code)  # the terminal takes nothing, and would not take our last words either
    return code


def _print(command: Command, *, json: bool) -> None:
    if json:
        show.as_json(show.command(command))
        return
    print(show.shell(command))
    notes = [f"{show.release(command)}, model {show.model(command)}", *show.decisions(command)]
    if secret := show.secret(command):
        notes.append(f"api_key: {secret}")
    print("\n".join(f"# {note}" for note in notes), file=sys.stderr)
