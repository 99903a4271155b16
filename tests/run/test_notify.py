"""What a service manager hears, on a socket like systemd's."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.run.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(tmp_path / "notify"))
        link.settimeout(5)
        yield link


def variables(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(manager.getsockname()), "OTHER": "stays", **more}


def heard(manager: socket.socket) -> list[str]:
    """All words that wait."""
    manager.setblocking(False)
    words = []
    while True:
        try:
            words += manager.recv(4096).decode().split("\n")
        except BlockingIOError:
            return words


def test_a_run_as_systemd_hears_it(manager: socket.socket) -> None:
    given = variables(manager, WATCHDOG_USEC="6000000", WATCHDOG_PID=str(os.getpid()))
    notifier = Notifier(given)
    assert given == {"OTHER": "stays"}  # no engine speaks for us
    notifier.status("starting: loading weights")
    notifier.status("starting: loading weights")
    notifier.progresses(100)
    notifier.ready("serving")
    notifier.well()
    notifier.stopping("stopping: SIGTERM")
    assert heard(manager) == [
        "STATUS=starting: loading weights",
        "EXTEND_TIMEOUT_USEC=130000000",
        "WATCHDOG=1",
        "STATUS=serving",
        "READY=1",
        "WATCHDOG=1",
        "STATUS=stopping: SIGTERM",
        "STOPPING=1",
    ]
    assert notifier.period_s(5) == 2


def test_it_is_ready_once(manager: socket.socket) -> None:
    notifier = Notifier(variables(manager))
    notifier.ready("serving")
    notifier.status("starting: again")
    notifier.ready("serving")
    assert heard(manager).count("READY=1") == 1
    assert notifier.period_s(5) == 5


def test_a_text_of_several_lines_is_no_word_of_its_own(manager: socket.socket) -> None:
    Notifier(variables(manager)).status("failed\nREADY=1")
    assert heard(manager) == ["STATUS=failed"]


@pytest.mark.parametrize("given", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_nobody_listens(given: dict[str, str]) -> None:
    notifier = Notifier(given)
    notifier.ready("serving")
    notifier.well()
    assert notifier.watchdog_s is None


@pytest.mark.parametrize("more", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}])
def test_a_watchdog_that_is_another_process_s_is_not_fed(manager: socket.socket, more: dict[str, str]) -> None:
    notifier = Notifier(variables(manager, **{"WATCHDOG_USEC": "6000000", **more}))
    notifier.well()
    assert heard(manager) == []
