"""Ports, held by real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from launcher.errors import ServeError
from launcher.host import ports


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_free(bound: socket.socket) -> None:
    port = port_of(bound)
    bound.close()
    assert ports.holder("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_listener_is_named(bound: socket.socket, host: str) -> None:
    bound.listen()
    assert str(ports.holder(host, port_of(bound))).startswith(f"process {os.getpid()} (")


def test_other_address_is_free(bound: socket.socket) -> None:
    bound.listen()
    assert ports.holder("127.0.0.2", port_of(bound)) is None


def test_bound_before_it_listens(bound: socket.socket) -> None:
    assert "does not listen yet" in str(ports.holder("127.0.0.1", port_of(bound)))


def test_connections_that_linger_do_not_count(bound: socket.socket) -> None:
    bound.listen()
    port = port_of(bound)
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = bound.accept()
    accepted.close()  # the server closes first, so the connection lingers on its side
    client.close()
    bound.close()
    assert ports.holder("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 70 + ".example"])
def test_address_of_another_host(host: str) -> None:
    with pytest.raises(ServeError) as caught:
        ports.holder(host, 8000)
    assert "127.0.0.1" in caught.value.fix
