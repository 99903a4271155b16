"""A service put into place, changed, and taken away: files first, then what systemd has to be told of them."""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.config.resolve import Deployment
from launcher.engines.command import Command
from launcher.errors import FAILED, ServeError
from launcher.files import write_whole
from launcher.run.secrets import new_key, resolve_key, writing
from launcher.service import numa
from launcher.service.document import document
from launcher.service.dropin import dropin, handed_over
from launcher.service.scope import ACCOUNT, HOME, UNIT, Scope, unit
from launcher.service.systemd import see, systemctl

_ENTERED = 0o005  # a folder that others may read and enter


@dataclass(frozen=True)
class File:
    """A file as it is to be.

    Attributes:
        path: where.
        text: all of it.
        mode: who may read it.
        kept: whether what was there stays beside it, for people may have edited it.
    """

    path: Path
    text: str
    mode: int = 0o644
    kept: bool = False

    @property
    def differs(self) -> bool:
        """Whether it is not so now."""
        try:
            return self.path.read_text(encoding="utf-8") != self.text or self.path.stat().st_mode & 0o777 != self.mode
        except (OSError, UnicodeDecodeError):
            return True

    def write(self) -> None:
        """Write it whole, or leave what was there.

        Raises:
            ServeError: it cannot be written.
        """
        with writing(self.path):
            _open_folder(self.path.parent)
            if self.kept and self.path.exists():
                shutil.copy2(self.path, previous(self.path))
            write_whole(self.path, self.text, self.mode)


def previous(path: Path) -> Path:
    """Where a file lies that was replaced."""
    return path.with_name(f"{path.name}.previous")


def _open_folder(folder: Path) -> None:
    """Makes a folder that others may enter, whatever the umask: a service reads there as a user of its own."""
    if not folder.is_dir():
        _open_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def files(command: Command, deployment: Deployment, scope: Scope, key: Path | None) -> list[File]:
    """What an instance consists of on the disk, but for a key that is yet to be made.

    Args:
        command: what is served.
        deployment: the keys that it was made of.
        scope: whose service it is.
        key: the file of the API key, or None for a server without one.
    """
    name = command.name
    found_at = key if scope.user or key is None else handed_over(name)
    found = [
        File(scope.units / UNIT, scope.template.read_text(encoding="utf-8")),
        File(scope.dropin(name), dropin(command, scope, None if scope.user else key, numa.node(command.environment))),
        File(scope.deployment(name), document(command, deployment, found_at, scope.environment(name)), kept=True),
    ]
    if command.secret and command.secret.source == "env":
        found.append(File(scope.key(name), resolve_key(command.secret) + "\n", 0o600))
    return found


def key_file(command: Command, scope: Scope) -> Path | None:
    """Where the API key of an instance lies, or None for a server without one."""
    if command.secret is None:
        return None
    given = command.secret.path if command.secret.source == "file" else None
    return given.absolute() if given else scope.key(command.name)


def install(command: Command, deployment: Deployment, scope: Scope) -> list[str]:
    """Put everything into place; starts nothing.

    Returns:
        What was changed, a path or a sentence each; nothing if all was so already.

    Raises:
        ServeError: a file cannot be written, or systemd refuses.
    """
    changed = [] if scope.user else _account()
    key = key_file(command, scope)
    if command.secret and command.secret.source == "auto" and key and not key.exists():
        _open_folder(key.parent)
        new_key(key, replace=False)
        changed.append(str(key))
    return [*changed, *put(files(command, deployment, scope, key), scope)]


def put(wanted: Sequence[File], scope: Scope) -> list[str]:
    """Write what is not so yet, and tell systemd of its units; the paths that were written.

    Raises:
        ServeError: a file cannot be written, or systemd refuses.
    """
    written = [file for file in wanted if file.differs]
    for file in written:
        file.write()
    if any(file.path.is_relative_to(scope.units) for file in written):
        systemctl(scope, "daemon-reload")
    return [str(file.path) for file in written]


def refuse_closed(command: Command) -> None:
    """Refuse an engine or a model in a folder of root's that the account may not enter.

    What lies below /root and /home is shown to the service, whatever the modes of these.

    Raises:
        ServeError: there is such a folder.
    """
    for path in (Path(command.target.python), Path(command.checkpoint.path)):
        if path.is_absolute() and path.exists() and path.is_relative_to(HOME):
            for folder in (each for each in path.parents if each.is_relative_to(HOME)):
                if folder.stat().st_mode & _ENTERED != _ENTERED:
                    what = f"the user {ACCOUNT} may not enter it, and runs the service"
                    raise ServeError(what, where=str(folder), fix=f"chmod -R go+rX {folder}")


def enable(scope: Scope, name: str) -> list[str]:
    """Start it with the host, or with the user's session, from now on."""
    if see(scope, name).enabled:
        return []
    systemctl(scope, "enable", unit(name))
    return [f"{unit(name)} starts with the {'session' if scope.user else 'host'}"]


def uninstall(scope: Scope, name: str) -> list[str]:
    """Stop it, and take away all that was made for it; the unit of all goes with the last instance.

    Returns:
        The files that are gone.

    Raises:
        ServeError: there is no such instance, or systemd refuses.
    """
    systemctl(scope, "disable", "--now", unit(name))
    paths = [scope.dropin(name), scope.deployment(name), scope.key(name), scope.environment(name)]
    paths.append(previous(scope.deployment(name)))
    if scope.names() == [name]:
        paths.append(scope.units / UNIT)
    gone = []
    for path in filter(Path.exists, paths):
        with writing(path):
            path.unlink()
        gone.append(str(path))
    for folder in (scope.dropin(name).parent, scope.configuration):
        with contextlib.suppress(OSError):  # somebody keeps something of their own there
            folder.rmdir()
    for folder in () if scope.user else _traces(name):
        shutil.rmtree(folder, ignore_errors=True)
        gone.append(str(folder))
    systemctl(scope, "daemon-reload")
    with contextlib.suppress(ServeError):
        systemctl(scope, "reset-failed", unit(name))
    return gone


def known(scope: Scope, name: str) -> None:
    """Refuse a name that no service has.

    Raises:
        ServeError: there is none.
    """
    if name not in scope.names():
        names = ", ".join(scope.names())
        fix = f"installed: {names}" if names else f"serve service install {name}{scope.option} MODEL ..."
        raise ServeError(f"there is no service {name!r}", fix=fix)


def _traces(name: str) -> Sequence[Path]:
    """What an instance's runs left: records, logs."""
    folder = HOME / "state" / "instances" / name
    return [folder] if folder.is_dir() else []


def _account() -> list[str]:
    """The user of the host's services, made if it is not there."""
    with contextlib.suppress(KeyError):
        pwd.getpwnam(ACCOUNT)
        return []
    words = ["useradd", "--system", "--user-group", "--home-dir", str(HOME), "--no-create-home"]
    done = subprocess.run(
        [*words, "--shell", "/usr/sbin/nologin", ACCOUNT], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServeError(f"the user {ACCOUNT} cannot be made: {done.stderr.strip()}", where="useradd", code=FAILED)
    return [f"the user {ACCOUNT}"]
