"""A service put into place, changed, and taken away: files first, then what systemd has to be told of them."""

from __future__ import annotations

import contextlib
import pwd
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.config.layers import merge
from launcher.config.request import Request
from launcher.config.resolve import Deployment, layers
from launcher.engines.command import Command, Secret
from launcher.errors import FAILED, ServeError
from launcher.files import write_whole
from launcher.run.secrets import new_key, resolve_key, writing
from launcher.service import numa
from launcher.service.document import document
from launcher.service.dropin import dropin, handed_over, is_hidden, loaded_key
from launcher.service.scope import ACCOUNT, HOME, Scope, unit
from launcher.service.systemd import STILL, STOP_S, Seen, see, systemctl

_ENTERED, _READ = 0o005, 0o004  # what others need of a folder, of a file
_LOOKED_AT = 200  # files of a model


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
                before = self.path.read_text(encoding="utf-8", errors="replace")
                write_whole(previous(self.path), before, self.path.stat().st_mode & 0o777)
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
        *(File(scope.units / each.name, each.read_text(encoding="utf-8")) for each in scope.shipped),
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
    if given == handed_over(command.name):  # as its own deployment names it, which systemd alone can read
        return loaded_key(text_of(scope.dropin(command.name)))
    return given.absolute() if given else scope.key(command.name)


def text_of(path: Path) -> str:
    """What a file of a service holds.

    Raises:
        ServeError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        fix = "serve service install writes it anew"
        raise ServeError(f"cannot be read: {why}", where=str(path), fix=fix, code=FAILED) from None


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


def refuse(command: Command, scope: Scope) -> None:
    """Refuse what would not start, before anything of a service is changed.

    Raises:
        ServeError: another service has the port, the key cannot be one, the account may not read a file.
    """
    _refuse_port(command, scope)
    key = key_file(command, scope)
    if command.secret and key and (command.secret.source == "file" or key.exists()):
        resolve_key(Secret("file", key))
    if not scope.user:
        _refuse_closed(command)


def _refuse_closed(command: Command) -> None:
    """Refuse an engine or a model that the account may not read.

    What is hidden from a service (`dropin.is_hidden`) is shown to it by a mount, whatever the modes of folders above.

    Raises:
        ServeError: there is such a file or folder.
    """
    models = [Path(each.path) for each in (command.checkpoint, command.draft) if each]
    inside = [path for model in models for path in sorted(model.glob("*"))[:_LOOKED_AT]]
    for path in (Path(command.target.python), *models, *inside):
        if path.is_absolute() and path.exists():
            shown = (path,) if path.is_dir() else (path, path.parent)
            for each in shown if is_hidden(path) else (path, *path.parents):
                if not _open(each):
                    what = f"the user {ACCOUNT} may not read it, and runs the service"
                    raise ServeError(what, where=str(each), fix=f"chmod -R go+rX {shlex.quote(str(each))}")


def _open(path: Path) -> bool:
    """Whether the account may read a file, or enter a folder: by its mode, or as the kernel answers the account."""
    state = path.stat()
    needed = _ENTERED if path.is_dir() else _READ
    if state.st_mode & needed == needed or path.parent == path:
        return True
    with contextlib.suppress(KeyError, OSError):
        account = pwd.getpwnam(ACCOUNT)
        words = ["test", "-r", str(path), *(["-a", "-x", str(path)] if path.is_dir() else [])]
        return not subprocess.run(
            words, check=False, user=account.pw_uid, group=account.pw_gid, extra_groups=[]
        ).returncode
    return False


def _refuse_port(command: Command, scope: Scope) -> None:
    """Refuse the port of another service, with which it would race at every boot, and one that is root's to bind.

    Raises:
        ServeError: it is.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii"))
    if command.port < first:
        raise ServeError(
            "a port that the service may not bind", where=f"port {command.port}", fix=f"--port {first} or up"
        )
    others = [name for name in scope.names() if name != command.name]
    if name := next((name for name in others if kept(scope, name, "port") == command.port), None):
        what = f"it is the port of the service {name}"
        raise ServeError(what, where=f"port {command.port}", fix=f"--port {command.port + 1}, or another that is free")


def stale(scope: Scope, name: str, seen: Seen) -> bool:
    """Whether a service runs with other files than those that are there now."""
    own = (scope.deployment(name), scope.environment(name), scope.key(name), scope.dropin(name))
    paths = (*own, *(scope.units / each.name for each in scope.shipped))
    changed_s = max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)
    began_s = time.time() - (time.monotonic() - seen.began_s)
    return seen.state not in STILL and began_s < changed_s


def opens(scope: Scope, name: str, command: Command) -> bool:
    """Whether a service that asks for an API key would ask for none any more."""
    return command.secret is None and kept(scope, name, "api_key") not in (None, "none")


def rekeys(scope: Scope, command: Command) -> bool:
    """Whether the key of the environment takes the place of another that a service asks for."""
    path = scope.key(command.name)
    if command.secret is None or command.secret.source != "env" or not path.exists():
        return False
    return path.read_text(encoding="utf-8", errors="replace").strip() != resolve_key(command.secret)


def kept(scope: Scope, name: str, key: str) -> object:
    """The value of a key in a service's file; None where there is none, or it cannot be read."""
    with contextlib.suppress(ServeError):
        return merge(layers(Request(configs=(scope.deployment(name),))))[key].value
    return None


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
    systemctl(scope, "disable", "--now", unit(name), patience_s=STOP_S)
    paths = [scope.deployment(name), scope.key(name), scope.environment(name), previous(scope.deployment(name))]
    if scope.names() == [name]:
        paths += [scope.units / each.name for each in scope.shipped]
    paths.append(scope.dropin(name))  # last: by it a service is known, also to an uninstall that broke off
    gone = []
    for path in filter(Path.exists, paths):
        with writing(path):
            path.unlink()
        gone.append(str(path))
    for folder in (scope.dropin(name).parent, scope.configuration):
        with contextlib.suppress(OSError):  # somebody keeps something of their own there
            folder.rmdir()
    for folder in _traces(scope, name):
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


def _traces(scope: Scope, name: str) -> Sequence[Path]:
    """What an instance's runs left: records, logs."""
    folder = (settings.state_folder() if scope.user else HOME / "state") / "instances" / name
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
