"""Another engine release for a service, and the one before if that does not serve."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path

from launcher import settings
from launcher.config.layers import LAYERS
from launcher.config.request import Request
from launcher.engines.command import Command
from launcher.errors import FAILED, ServeError
from launcher.models import checkpoint
from launcher.plan import resolved
from launcher.service import install
from launcher.service.install import File
from launcher.service.scope import HOME, Scope, of, unit
from launcher.service.systemd import STILL, bring_up, see, systemctl


def using(engine: str, version: str | None) -> list[str]:
    """The services that serve with a release, or any of an engine, in this folder of engines."""
    scope = of(user=settings.data_folder() != HOME / "data")
    served = {name: str(install.kept(scope, name, "engine")).partition("@") for name in scope.names()}
    return [name for name, (each, _, at) in served.items() if each == engine and version in (None, at)]


def check(scope: Scope, name: str, engine: str | None = None) -> tuple[Command, list[File]]:
    """What a service would be as its deployment is now, and the files that it takes.

    Args:
        scope: whose service it is.
        name: the instance.
        engine: another release, such as ``vllm@0.33.0``, or an engine alone for the one that it means on this host.

    Raises:
        ServeError: it would not start so.
    """
    path, anew = scope.deployment(name), f"serve service install {name}{scope.option}"
    before = shlex.quote(str(install.previous(path)))
    if not path.exists():
        fix = f"cp {before} {path}, if that is there; or: {anew} MODEL ..."
        raise ServeError("is gone", where=str(path), fix=fix)
    command, deployment = resolved(Request(configs=(path,), options={"engine": engine} if engine else {}, name=name))
    if deployment.settings["model"].origin.layer == LAYERS[0]:
        raise ServeError("names no model", where=str(path), fix=f"write model: ... into it, or: {anew} MODEL")
    key, fix = install.key_file(command, scope), f"{anew} --config {path} --api-key auto"
    if not scope.user and command.secret and command.secret.source != "file":
        raise ServeError("a service has its key from systemd, not from api_key", where=str(path), fix=fix)
    if key == scope.key(name) and not key.exists():
        raise ServeError("the file of the API key is missing", where=str(key), fix=fix)
    install.refuse(command, scope)
    for model in filter(None, (command.checkpoint, command.draft)):
        if Path(model.path).is_dir():  # a hub's may be in a cache of the account's own
            checkpoint.ensure(model, weights="--load-format" not in command.argv)
    return command, install.files(command, deployment, scope, key)


def upgrade(scope: Scope, name: str, wanted: list[File], show: Callable[[str], None]) -> bool:
    """Serve with what is wanted; if that fails, with what was there.

    Args:
        scope: whose service it is.
        name: the instance.
        wanted: its files, from `check`.
        show: takes each word of how far it is; nothing ends because nobody can be told any more.

    Returns:
        Whether anything was to be done.

    Raises:
        ServeError: it does not serve so; what was there serves again, or the error says that it does not either.
        SystemExit: a signal came; what was there is on its way again.
    """
    seen = see(scope, name)
    changing = [file.path for file in wanted if file.differs]
    if not changing and seen.state == "active" and not install.stale(scope, name, seen):
        return False
    before = _remember(changing, install.previous(scope.deployment(name)))
    ran, ordered, told = seen.state not in STILL, False, _unfailing(show)
    try:
        for path in install.put(wanted, scope):
            told(f"changed: {path}")
        ordered = True
        bring_up(scope, name, "restart", told, once=True)
    except ServeError as error:
        _restore(before, scope)
        if ran and ordered and changing:
            told("going back to what served before")
            try:
                bring_up(scope, name, "restart", told)
            except ServeError as second:
                raise ServeError.gather([error, second]) from None
        what = f"{error.what}\n{name} {'serves' if ran else 'is'} as before" if changing else error.what
        raise ServeError(what, where=error.where, fix=error.fix, code=FAILED) from None
    except SystemExit:  # nobody waits for more than this
        _restore(before, scope)
        if ordered:
            systemctl(scope, "--no-block", "restart" if ran else "stop", unit(name))
        told(f"interrupted: {name} {'is started' if ran and ordered else 'is'} as before")
        raise
    return True


def _remember(changing: list[Path], kept: Path) -> dict[Path, File | None]:
    """The files that an upgrade changes, as they are; None where there is none."""
    paths = [*changing, kept] if changing else []
    return {
        path: File(path, install.text_of(path), path.stat().st_mode & 0o777) if path.exists() else None
        for path in paths
    }


def _restore(before: dict[Path, File | None], scope: Scope) -> None:
    install.put([file for file in before.values() if file], scope)
    for path, file in before.items():
        if file is None and path.exists():
            path.unlink()


def _unfailing(show: Callable[[str], None]) -> Callable[[str], None]:
    """Whoever read along may have gone away: no reason to leave a service half way."""

    def told(text: str) -> None:
        with contextlib.suppress(OSError):
            show(text)

    return told
