"""Another engine release for a service, and the one before if that does not serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from launcher.config.layers import merge
from launcher.config.request import Request
from launcher.config.resolve import layers
from launcher.engines.command import Command
from launcher.errors import FAILED, ServeError
from launcher.plan import resolved
from launcher.service import install
from launcher.service.dropin import loaded_key
from launcher.service.scope import Scope
from launcher.service.systemd import bring_up, see


def engine_of(scope: Scope, name: str) -> str:
    """The engine of a service, without its release.

    Raises:
        ServeError: its deployment cannot be read.
    """
    settings = merge(layers(Request(configs=(scope.deployment(name),))))
    return str(settings["engine"].value).partition("@")[0]


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
    return command, install.files(command, deployment, scope, _key(scope, name, command))


def upgrade(scope: Scope, name: str, wanted: list[install.File], show: Callable[[str], None]) -> bool:
    """Serve with what is wanted; if that fails, with what was there.

    Returns:
        Whether anything was to be changed.

    Raises:
        ServeError: it does not serve so; what was there serves again, or the error says that it does not either.
    """
    changing = [file for file in wanted if file.differs]
    there = [each for each in changing if each.path.exists()]
    before = [install.File(each.path, each.path.read_text(encoding="utf-8"), each.mode) for each in there]
    if not changing:
        return False
    ran = see(scope, name).state == "active"
    install.put(wanted, scope)
    try:
        bring_up(scope, name, "restart", show)
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
    return True


def _key(scope: Scope, name: str, command: Command) -> Path | None:
    if scope.user:
        return command.secret.path if command.secret else None
    try:
        return loaded_key(scope.dropin(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise ServeError(f"cannot be read: {error.strerror}", where=str(scope.dropin(name)), code=FAILED) from None
