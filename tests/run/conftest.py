"""Supervisors and fake engines as real processes, and the search for what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

TESTS = Path(__file__).parent.parent
PATIENCE_S = 60.0  # for what takes a second on a machine with nothing else to do


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition; its value."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE_S:.0f} s in vain for {what}")


def free_port() -> int:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


class Host:
    """A folder for serve to keep things in, and the processes that belong to it: their environment names it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.folder = folder
        self.children: list[subprocess.Popen[bytes]] = []

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        return {**os.environ, "SERVE_HOME": str(self.home), "PYTHONPATH": str(TESTS.parent), **more}

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this home in its environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get("SERVE_HOME") == str(self.home):
                    found.append(process)
        return found

    def start(self, argv: list[str], environment: dict[str, str], **where: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, env=self.environment(environment), stdin=subprocess.DEVNULL, **where)
        self.children.append(process)
        return process

    def end(self) -> None:
        """Kill what a failed test left."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for child in self.children:
            child.wait(PATIENCE_S)

    def launch(
        self, environment: dict[str, str] | None = None, output: int | None = None, **options: Any
    ) -> Supervised:
        """Start a supervisor of the fake engine.

        Args:
            environment: set for the supervisor, which hands it on to the engine.
            output: a descriptor for all output in place of files.
            options: supervisor.py names them.
        """
        options.setdefault("port", free_port())
        return Supervised(self, options, environment or {}, output)

    def record(self, name: str = "fake") -> Path:
        return self.home / "state" / "instances" / name / "record.json"

    def log(self, name: str = "fake") -> Path:
        return self.home / "state" / "instances" / name / "engine.log"


class Supervised:
    """A supervisor that runs, its output in files."""

    def __init__(self, host: Host, options: dict[str, Any], environment: dict[str, str], output: int | None) -> None:
        self.host, self.port = host, int(options["port"])
        self._out, self._err = (host.folder / f"{name}-{len(host.children)}" for name in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            argv = [sys.executable, str(TESTS / "run" / "supervisor.py"), json.dumps(options)]
            self.process = host.start(argv, environment, stdout=output or out, stderr=output or err)

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(errors="replace")

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def says(self, text: str) -> Supervised:
        """Wait until it has printed the text."""
        until(lambda: text in self.out + self.err or self.process.poll() is not None, repr(text))
        assert text in self.out + self.err, self.out + self.err
        return self

    def ready(self) -> Supervised:
        return self.says("ready: ")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for its end; the exit status. Nothing may be left of it."""
        status = self.process.wait(PATIENCE_S)
        if status == -signal.SIGKILL:  # then its guard has to do what it did not live to do
            until(lambda: not self.host.processes(), "the end of all processes")
        assert self.host.processes() == []
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(("127.0.0.1", self.port))
        return status


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


@pytest.fixture
def engine(host: Host) -> Callable[..., str]:
    """Starts a fake engine without a supervisor; returns its base URL when it listens."""

    def start(**environment: str) -> str:
        port = free_port()
        argv = [sys.executable, str(TESTS / "fake_engine.py"), "--port", str(port)]
        host.start(argv, environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens() -> bool:
            with socket.socket() as attempt:
                return attempt.connect_ex(("127.0.0.1", port)) == 0

        until(listens, "a fake engine")
        return f"http://127.0.0.1:{port}"

    return start
