"""What is in the way of a server: processes of a killed run, and whoever has its port."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.doctor import processes
from launcher.doctor.finding import Finding
from launcher.run.record import Record, boot
from tests.doctor.conftest import Host, marked


@pytest.fixture
def instance(host: Host) -> Path:
    """The folder of an instance that does not run, its port a free one."""
    folder = host.state / "instances" / "x"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def port() -> Iterator[int]:
    """A port that a stranger listens on."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        yield stranger.getsockname()[1]


def record(folder: Path, **fields: Any) -> None:
    known = Record(folder.name, "run", boot(), host="127.0.0.1", **fields)
    (folder / "record.json").write_text(json.dumps(dataclasses.asdict(known)))


def test_no_orphans(host: Host) -> None:
    assert host.state
    assert processes.orphans() == [Finding("ok", "orphans", "no process is left of an earlier run")]


def test_orphans_are_told_by_instance_with_what_they_hold(host: Host, instance: Path) -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(300)"]
    options: dict[str, Any] = {"env": marked(instance), "start_new_session": True}
    with subprocess.Popen(argv, **options) as one, subprocess.Popen(argv, **options) as two:
        (found,) = processes.orphans()
        assert found.level == "warning"
        assert found.what.startswith(f"left of an earlier run of 'x': {one.pid} {two.pid} ({sys.executable} -c")
        assert found.fix.endswith(f"kill -KILL {one.pid} {two.pid}")
        host.gpus()(apps=[{"pid": one.pid, "used_memory": "2048"}, {"pid": two.pid, "used_memory": "1024"}])
        (found,) = processes.orphans()
        assert (found.level, "with 3.0 GiB of GPU memory" in found.what) == ("error", True)
        one.kill()
        two.kill()


def ports() -> dict[str, Finding]:
    return {each.subject: each for each in processes.ports()}


def test_the_port_of_an_instance_that_does_not_run_is_somebody_elses(instance: Path, port: int) -> None:
    record(instance, port=port)
    found = ports()[f"port {port}"]
    assert (found.level, found.what.partition(" in use by process ")[0]) == ("warning", "the port of 'x' is")
    assert "--port" in found.fix


def test_instances_that_share_a_port_are_told_together(instance: Path, port: int) -> None:
    record(instance, port=port)
    other = instance.parent / "y"
    other.mkdir()
    record(other, port=port)
    assert ports()[f"port {port}"].what.startswith("the port of 'x', 'y' is in use by process ")


def test_a_running_instance_has_its_own_port(instance: Path, port: int) -> None:
    record(instance, port=port)
    with (instance / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert f"port {port}" not in ports()
        record(instance, port=8000)
        assert ports()["port 8000"].what == "the default port: the instance 'x' serves there"


def test_a_port_that_is_free_and_one_of_an_address_that_is_gone(instance: Path, port: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    record(instance, port=number)
    assert set(ports()) == {"port 8000"}
    text = (instance / "record.json").read_text().replace('"127.0.0.1"', '"192.0.2.1"')
    (instance / "record.json").write_text(text)
    found = ports()[f"port {number}"]
    assert (found.level, "192.0.2.1 cannot be bound" in found.what) == ("warning", True)
    assert port != number


@pytest.mark.usefixtures("host")
def test_the_default_port_is_looked_at_where_nothing_is_recorded() -> None:
    assert set(ports()) == {"port 8000"}
