"""Whether a server can have its port, and if not, who holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher import settings
from launcher.engines.confidential import command_line
from launcher.errors import FAILED, ServeError


def holder(host: str, port: int) -> str | None:
    """None if a server may bind the port now; else who holds it, such as ``process 4711 (python -m http.server)``.

    Asked by binding it as servers do, with SO_REUSEADDR, so that connections which linger after a server's end
    (TIME_WAIT) do not count.

    Args:
        host: an address or name of this host; ``0.0.0.0`` or ``::`` for all addresses.
        port: the TCP port.

    Raises:
        ServeError: the address is none of this host's, or the port needs more rights than this user has.
    """
    family, address = _resolve(host, port)
    if _binds(family, address, reuse=False):
        return None
    if not _binds(family, address, reuse=True):
        return _listener(port) or "another process"
    # Only the first bind was refused. Either connections linger, which the kernel lists; or a socket is bound and does
    # not listen yet (an engine that still loads), which it does not list.
    return None if _connections(port) else "another process, which does not listen yet"


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[None]:
    """Hold a port that nobody listens on yet, so that minutes of loading are not spent on one that somebody takes.

    The port is bound and never listened on. Others who bind it are refused, unless they do as servers do (SO_REUSEADDR)
    and listen: that is how the engine takes it, and it is the gap that a stranger's server has. Between two of ours a
    lock decides, for where connections of an earlier server linger both could bind.

    Raises:
        ServeError: somebody holds it, or it cannot be bound.
    """
    family, address = _resolve(host, port)
    with contextlib.ExitStack() as stack:
        lock = os.open(_lock_file(f"{address[0]}-{port}"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use(host, port, "another instance") from None
        held = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        try:
            held.bind(address)
        except OSError:
            if by := holder(host, port):
                raise in_use(host, port, by) from None
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                held.bind(address)
            except OSError as error:
                raise in_use(host, port, error.strerror) from None
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield


def _lock_file(name: str) -> Path:
    return settings.private_folder(settings.state_folder() / "ports") / name


def in_use(host: str, port: int, by: str | None) -> ServeError:
    """The error for a port that somebody else has."""
    return ServeError(f"port {port} of {host} is in use by {by}", fix="choose another --port, or stop it", code=FAILED)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ServeError(
            f"host {host!r} is no address: {error}", fix="127.0.0.1, 0.0.0.0 or one of this host's"
        ) from None
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # engines prefer IPv4 too
    return family, address


def _binds(family: socket.AddressFamily, address: Any, *, reuse: bool) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            attempt.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            host, port = address[:2]
            if error.errno == errno.EACCES:
                raise ServeError(
                    f"port {port} needs more rights than yours", fix="choose a port from 1024 up"
                ) from None
            raise ServeError(
                f"{host} cannot be bound: {error.strerror}", fix="127.0.0.1, 0.0.0.0 or one of this host's addresses"
            ) from None
    return True


def _connections(port: int) -> list[Any]:
    import psutil  # noqa: PLC0415 - needed only when the port is not plainly free

    return [entry for entry in psutil.net_connections("tcp") if entry.laddr and entry.laddr.port == port]


def _listener(port: int) -> str | None:
    """The process that listens, as far as this user may see it: the kernel hides those of other users."""
    import psutil  # noqa: PLC0415 - see above

    for entry in _connections(port):
        if entry.status == psutil.CONN_LISTEN and entry.pid:
            try:
                return f"process {entry.pid} ({command_line(psutil.Process(entry.pid).cmdline())[:120]})"
            except psutil.Error:
                return f"process {entry.pid}"
    return None
