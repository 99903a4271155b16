"""Whether a server can have its port, and if not, who holds it."""

from __future__ import annotations

import errno
import socket
from typing import Any

from launcher.errors import ServeError


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
                return f"process {entry.pid} ({' '.join(psutil.Process(entry.pid).cmdline())[:120]})"
            except psutil.Error:
                return f"process {entry.pid}"
    return None
