"""`serve service`: servers that systemd starts, watches and starts again."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.cli import show
from launcher.cli.options import PASS_ON, Grouped, takes_deployment
from launcher.config.request import Request
from launcher.errors import ServeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launcher.config.resolve import Deployment
    from launcher.engines.command import Command
    from launcher.service.scope import Scope

app = typer.Typer(
    help="Serve with systemd: starts with the host, restarts after failures.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_ENGINES_OWN = ("HF_", "HUGGING_FACE_", "MODELSCOPE_", "VLLM_", "SGLANG_", "SGL_")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The instance's name, as serve service list has it.")]
User = Annotated[bool, typer.Option("--user", help="A service of your own user, not of the host.")]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]


def install(
    request: Request,
    user: User = False,
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it now, and wait until it serves.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the files and write nothing.")] = False,
) -> None:
    """Make a service of a deployment: NAME, then what serve launch takes. Again, it changes what has changed."""
    from launcher.service import install, systemd  # noqa: PLC0415 - not needed for --help

    scope = _scope(user=user, change=not dry_run)
    command, deployment = _planned(request, scope)
    name, key = command.name, install.key_file(command, scope)
    if dry_run:
        for file in install.files(command, deployment, scope, key):
            text = "(the API key)\n" if file.path == scope.key(name) else file.text
            print(f"# {file.path}\n{text}")
        return
    _refuse(command, scope)
    for caution in _cautions(request, command, scope):
        print(caution)
    changed = install.install(command, deployment, scope)
    changed += install.enable(scope, name)
    for each in changed:
        print(f"changed: {each}")
    if start:
        _bring_up_installed(scope, name, changed)
    elif not changed:
        print("nothing to change")
    if user and not systemd.lingers():
        print("it ends with your last session until: sudo loginctl enable-linger $(id -un)")
    if start:
        said = f"; the API key: {key}" if key else ""
        print(f"{name} serves {command.served_name} at {command.base_url}{said}")


def _bring_up_installed(scope: Scope, name: str, changed: list[str]) -> None:
    """Start it, wait for a start that is under way, or start it anew if it runs with other files than are there."""
    from launcher.service import install, systemd  # noqa: PLC0415 - not needed for --help

    seen = systemd.see(scope, name)
    stale = bool(changed) or install.stale(scope, name, seen)
    if seen.state == "active" and not stale:
        print("nothing to change")
        return
    try:
        systemd.bring_up(scope, name, "restart" if stale and seen.state not in systemd.STILL else "start", print)
    except KeyboardInterrupt:
        print(f"{name} goes on starting, and starts at boot; serve service status, stop and uninstall take its name")
        raise
    except ServeError as error:
        error.fix += _way_back(scope, name, changed)
        raise


def _way_back(scope: Scope, name: str, changed: list[str]) -> str:
    """How to serve again what an installation that fails has replaced; more advice, or nothing."""
    from launcher.service.install import previous  # noqa: PLC0415 - not needed for --help

    path = scope.deployment(name)
    if str(path) not in changed or not previous(path).exists():
        return ""
    return f"; what it served before: cp {previous(path)} {path} && serve service restart {name}{scope.option}"


def _refuse(command: Command, scope: Scope) -> None:
    """Refuse what would not serve, before anything of a service is changed; the demo model is made here."""
    from launcher.models import checkpoint  # noqa: PLC0415 - not needed for --help
    from launcher.service import install  # noqa: PLC0415

    checkpoint.ensure_of(command)
    checkpoint.make(command.checkpoint)
    install.refuse(command, scope)


def _cautions(request: Request, command: Command, scope: Scope) -> Iterator[str]:
    """What whoever installs a service may not expect of it."""
    from launcher.engines.confidential import is_secret_variable  # noqa: PLC0415 - not needed for --help
    from launcher.run.secrets import VARIABLE  # noqa: PLC0415
    from launcher.service import install  # noqa: PLC0415

    name, path = command.name, scope.environment(command.name)
    moved = {each.removesuffix("=null").removeprefix("env.") for each in request.assignments if each.endswith("=null")}
    for variable in sorted(filter(is_secret_variable, os.environ)):
        if variable != VARIABLE and (variable.startswith(_ENGINES_OWN) or variable in moved):
            yield f"{variable} is set here; a line {variable}=... in {path} (chmod 600) gives it to the service"
    if path.exists() and path.stat().st_mode & 0o077:
        yield f"others may read {path}: chmod 600 {path}"
    yield from (each.text for each in command.decisions if each.key == "model")
    if install.rekeys(scope, command):
        yield f"{name} asks for the API key of {VARIABLE} from now on, not for that of {scope.key(name)} any more"
    if install.opens(scope, name, command):
        yield f"{name} asks for no API key any more"


def _planned(request: Request, scope: Scope) -> tuple[Command, Deployment]:
    from launcher.plan import resolved  # noqa: PLC0415 - not needed for --help

    name, words = (request.words[0], request.words[1:]) if request.words else ("", ())
    if not name or name.startswith("-") or request.name:
        fix = f"serve service install NAME{scope.option} MODEL ..., where NAME is the instance's"
        raise ServeError("a service has a name, which comes first", where="NAME", fix=fix)
    try:
        command, deployment = resolved(replace(request, words=words, name=name))
    except ServeError as error:
        for each in error.every():
            each.where = "NAME" if each.where == "--name" else each.where
        raise
    _refuse_not_installed(command, scope)
    return command, deployment


def _refuse_not_installed(command: Command, scope: Scope) -> None:
    if command.target.installed:
        return
    release = command.target.release
    device = " --device cpu" if command.target.device == "cpu" else ""
    home = "" if scope.user else f"sudo env SERVE_HOME={os.environ['SERVE_HOME']} "
    fix = f"{home}serve engines install {release}{device}"
    raise ServeError(f"{release.title} is not installed where the service looks for it", fix=fix)


app.command("install", cls=Grouped, context_settings=PASS_ON)(takes_deployment(install))


@app.command()
def uninstall(name: Name, user: User = False) -> None:
    """Stop a service and take away everything that was made for it."""
    from launcher.service import install  # noqa: PLC0415 - not needed for --help

    scope = _scope_of(name, user=user)
    for path in install.uninstall(scope, name):
        print(f"removed: {path}")
    for each in sorted(scope.dropin(name).parent.glob("*")):
        print(f"kept, for it is yours: {each}")


@app.command()
def start(name: Name, user: User = False) -> None:
    """Start a service, and wait until it serves."""
    _bring_up(name, "start", user=user)


@app.command()
def restart(name: Name, user: User = False) -> None:
    """Stop a service and start it again, and wait until it serves."""
    _bring_up(name, "restart", user=user)


@app.command()
def stop(name: Name, user: User = False) -> None:
    """Stop a service; it starts again with the host."""
    from launcher.service import systemd  # noqa: PLC0415 - not needed for --help
    from launcher.service.scope import unit  # noqa: PLC0415

    systemd.systemctl(_scope_of(name, user=user), "stop", unit(name), patience_s=systemd.STOP_S)
    print(f"{name} is stopped")


@app.command()
def enable(name: Name, user: User = False) -> None:
    """Start a service with the host from now on."""
    from launcher.service import install  # noqa: PLC0415 - not needed for --help

    print("\n".join(install.enable(_scope_of(name, user=user), name)) or "nothing to change")


@app.command()
def disable(name: Name, user: User = False) -> None:
    """Start a service with the host no more; it goes on if it runs."""
    from launcher.service import systemd  # noqa: PLC0415 - not needed for --help
    from launcher.service.scope import unit  # noqa: PLC0415

    systemd.systemctl(_scope_of(name, user=user), "disable", unit(name))
    print(f"{unit(name)} starts when it is told to")


@app.command()
def upgrade(
    name: Name,
    user: User = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", metavar="ENGINE@VERSION", help="What its engine means on this host unless given."),
    ] = None,
) -> None:
    """Serve with another engine release; if it does not serve, go back to the one before."""
    from launcher.host.packages import stoppable  # noqa: PLC0415 - not needed for --help
    from launcher.service import install, upgrade  # noqa: PLC0415

    scope = _scope_of(name, user=user)
    before = str(install.kept(scope, name, "engine"))
    command, wanted = upgrade.check(scope, name, engine or before.partition("@")[0])
    _refuse_not_installed(command, scope)
    with stoppable():
        done = upgrade.upgrade(scope, name, wanted, print)
    print(f"{name} serves with {command.target.release.title}; before: {before}" if done else "nothing to change")


@app.command("list")
def list_(user: User = False, json: Json = False) -> None:
    """List the services, their states, and whether they start with the host."""
    from launcher.service import systemd  # noqa: PLC0415 - not needed for --help

    scope = _scope(user=user, change=False)
    found = {name: systemd.see(scope, name) for name in scope.names()}
    if json:
        show.as_json([{"name": name, **dataclasses.asdict(each)} for name, each in found.items()])
    elif found:
        rows = [
            (name, each.state, "yes" if each.enabled else "no", str(each.restarts or ""), each.said)
            for name, each in found.items()
        ]
        show.table(("name", "state", "at boot", "restarts", "status"), rows, ("restarts",))
    else:
        print(f"no services; serve service install NAME{scope.option} MODEL makes one")


@app.command()
def status(name: Name, user: User = False) -> None:
    """Show what systemd knows of a service, as systemctl status does."""
    from launcher.service.scope import unit  # noqa: PLC0415 - not needed for --help

    scope = _scope_of(name, user=user, change=False)
    _become("systemctl", *scope.flags, "status", "--no-pager", unit(name))


@app.command()
def logs(
    name: Name,
    user: User = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="From then on, such as 10m or 9:00.")
    ] = None,
) -> None:
    """Show the journal of a service."""
    from launcher.service.scope import unit  # noqa: PLC0415 - not needed for --help

    scope = _scope_of(name, user=user, change=False)
    words = ["journalctl", *scope.flags, "--unit" if not user else "--user-unit", unit(name), "--no-pager"]
    words += ["--follow"] if follow else []
    if since:
        ago = re.fullmatch(r"\d+ ?[a-z]+", since)
        words.append(f"--since=-{since}" if ago else f"--since={since}")
    _become(*words)


def _become(program: str, *words: str) -> None:
    """Programs of systemd know terminals, pagers and signals; what is left for us is to be them."""
    try:
        os.execvp(program, [program, *words])  # noqa: S606 - no shell
    except OSError as error:
        raise ServeError(f"cannot be run: {error.strerror}", where=program) from None


def _scope(*, user: bool, change: bool = True) -> Scope:
    """Whose services; of the host's, our own folders are those of the account from here on."""
    from launcher.service import scope, systemd  # noqa: PLC0415 - not needed for --help

    found = scope.of(user=user)
    systemd.require(found)
    if change:
        scope.refuse_others(found)
    if not user:
        os.environ["SERVE_HOME"] = str(scope.HOME)
    return found


def _scope_of(name: str, *, user: bool, change: bool = True) -> Scope:
    """Whose services, of one that has to be there."""
    from launcher.service import install  # noqa: PLC0415 - not needed for --help

    scope = _scope(user=user, change=change)
    install.known(scope, name)
    return scope


def _bring_up(name: str, verb: str, *, user: bool) -> None:
    from launcher.service import install, systemd, upgrade  # noqa: PLC0415 - not needed for --help

    scope = _scope_of(name, user=user)
    command, files = upgrade.check(scope, name)  # a mistake in its file is told before a server is stopped for it
    _refuse_not_installed(command, scope)
    for path in install.put([each for each in files if each.path.is_relative_to(scope.units)], scope):
        print(f"changed: {path}")  # what the file asks for since it was edited: another folder, another watchdog
    systemd.bring_up(scope, name, verb, print)
    print(f"{name}: {systemd.see(scope, name).text}")
