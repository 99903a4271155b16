"""Another engine release for a service, and the one before if that does not serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launcher import settings
from launcher.config.layers import LAYERS, merge
from launcher.config.request import Request
from launcher.config.resolve import layers
from launcher.engines.command import Command, Secret
from launcher.errors import FAILED, ServeError
from launcher.models import checkpoint
from launcher.plan import resolved
from launcher.run.secrets import resolve_key
from launcher.service import install
from launcher.service.scope import HOME, Scope, of, unit
from launcher.service.systemd import STILL, bring_up, see, systemctl


def engine_of(scope: Scope, name: str) -> str:
    """The engine of a service, without its release.

    Raises:
        ServeError: its deployment cannot be read.
    """
    found = merge(layers(Request(configs=(scope.deployment(name),))))
    return str(found["engine"].value).partition("@")[0]


def using(engine: str, version: str | None) -> list[str]:
    """The services that serve with a release, or any of an engine, in this folder of engines."""
    scope = of(user=settings.data_folder() != HOME / "data")
    served = {name: str(install.kept(scope, name, "engine")).partition("@") for name in scope.names()}
    return [name for name, (each, _, at) in served.items() if each == engine and version in (None, at)]


def check(scope: Scope, name: str) -> Command:
    """What a service would serve as its files are now.

    Raises:
        ServeError: it would not start with them.
    """
    path = scope.deployment(name)
    command, deployment = resolved(Request(configs=(path,), name=name))
    if deployment.settings["model"].origin.layer == LAYERS[0]:
        fix = f"write model: ... into it, or: serve service install {name}{scope.option} MODEL"
        raise ServeError("names no model", where=str(path), fix=fix)
    if key := install.key_file(command, scope):
        resolve_key(Secret("file", key))
    for model in filter(None, (command.checkpoint, command.draft)):
        if Path(model.path).is_dir():  # a hub's may be in a cache of the account's own
            checkpoint.ensure(model, weights="--load-format" not in command.argv)
    return command


def planned(scope: Scope, name: str, engine: str) -> tuple[Command, list[install.File]]:
    """What a service would be with another release.

    Args:
        scope: whose service it is.
        name: the instance.
        engine: ``vllm@0.33.0``, or an engine alone for its newest release on this host.

    Raises:
        ServeError: its files cannot be read, or the release cannot serve what they ask for.
    """
    options = {"engine": engine}
    command, deployment = resolved(Request(configs=(scope.deployment(name),), options=options, name=name))
    return command, install.files(command, deployment, scope, install.key_file(command, scope))


def upgrade(scope: Scope, name: str, wanted: list[install.File], show: Callable[[str], None]) -> bool:
    """Serve with what is wanted; if that fails, with what was there.

    Returns:
        Whether anything was to be changed.

    Raises:
        ServeError: it does not serve so; what was there serves again, or the error says that it does not either.
    """
    changing = [file for file in wanted if file.differs]
    before = [install.File(each.path, install.text_of(each.path), each.mode) for each in changing if each.path.exists()]
    if not changing:
        return False
    ran = see(scope, name).state not in STILL
    try:
        install.put(wanted, scope)
        bring_up(scope, name, "restart", show, once=True)
    except ServeError as error:
        install.put(before, scope)
        if ran:
            show("going back to what served before")
            try:
                bring_up(scope, name, "restart", show)
            except ServeError as second:
                raise ServeError.gather([error, second]) from None
        what = f"{error.what}\n{name} {'serves' if ran else 'is'} as before"
        raise ServeError(what, where=error.where, fix=error.fix, code=FAILED) from None
    except SystemExit:  # a signal: nobody waits for more than this
        install.put(before, scope)
        systemctl(scope, "--no-block", "restart" if ran else "stop", unit(name))
        show(f"interrupted: {name} {'is started' if ran else 'is'} as before")
        raise
    return True
