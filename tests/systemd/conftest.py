"""A host with systemd, an engine that is fake, and services on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_environment import environment
from tests.systemd.boot import Boot

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
HOME = Path("/var/lib/serve")


class Host:
    """A private systemd, with fake engines where the host's services look for them."""

    def __init__(self, boot: Boot, engines: Path) -> None:
        self.boot = boot
        self.run("mkdir", "--parents", f"{HOME}/data/engines")
        self.run("cp", "--recursive", "--no-dereference", f"{engines}/.", f"{HOME}/data/engines")
        self.run("chmod", "755", f"{HOME}/data/engines")  # pytest's folders are closed to others

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.boot.run(*words, **more)

    def serve(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Our own program, as root."""
        return self.run(sys.executable, "-m", "launcher", *words, **more)

    def read(self, path: str | Path) -> str:
        """A file that only this host has."""
        done = self.run("cat", str(path))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self, name: str) -> dict[str, str]:
        """What systemd says of an instance."""
        told = self.run("systemctl", "show", f"serve@{name}").stdout
        return dict(line.partition("=")[::2] for line in told.splitlines())

    def journal(self, name: str) -> str:
        return self.run("journalctl", "--unit", f"serve@{name}", "--no-pager", "--output=cat").stdout

    def processes(self, name: str) -> list[int]:
        """Of an instance's control group, as this host counts them."""
        group = self.show(name).get("ControlGroup")
        done = self.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs") if group else None
        return [int(each) for each in done.stdout.split()] if done else []

    def until(self, name: str, **wanted: str) -> dict[str, str]:
        """Wait until properties of an instance are so; all of them."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            told = self.show(name)
            if all(told.get(each) == value for each, value in wanted.items()):
                return told
            time.sleep(0.1)
        raise AssertionError(f"waited in vain for {wanted}: {told['ActiveState']}, {self.journal(name)}")


class Service:
    """An instance, and words for it."""

    def __init__(self, host: Host, name: str) -> None:
        self.host, self.name, self.port = host, name, free_port()

    def install(self, *words: str, **fake: Any) -> subprocess.CompletedProcess[str]:
        """Install it with the demo model; `fake` are variables of the fake engine, in small letters."""
        given = [part for key, value in fake.items() for part in ("--set", f"env.FAKE_{key.upper()}={value}")]
        engine = () if "--engine" in words else ("--engine", "vllm@0.32.0")
        rest = ("--port", str(self.port), *engine, *given, *words)
        return self.host.serve("service", "install", self.name, "demo", *rest)

    def override(self, **settings: Any) -> None:
        """Settings of systemd's for this instance, over all others."""
        folder = f"/etc/systemd/system/serve@{self.name}.service.d"
        unit = {key: settings.pop(key) for key in list(settings) if key.startswith("StartLimit")}
        lines = ["[Unit]", *(f"{key}={value}" for key, value in unit.items())]
        lines += ["[Service]", *(f"{key}={value}" for key, value in settings.items())]
        self.host.run("mkdir", "--parents", folder)
        text = "\n".join(lines)
        self.host.run("sh", "-c", f"echo '{text}' > {folder}/override.conf && systemctl daemon-reload")

    @property
    def state(self) -> str:
        return self.host.show(self.name)["ActiveState"]

    def engine(self) -> int:
        """The pid of the engine's first process."""
        for pid in self.host.processes(self.name):
            words = self.host.run("cat", f"/proc/{pid}/cmdline").stdout.split("\0")
            if "vllm.entrypoints.cli.main" in words:
                return pid
        raise AssertionError(f"no engine runs: {self.host.journal(self.name)}")


def free_port() -> int:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Releases 0.31.0 and 0.32.0 of vLLM, and 0.33.0 which cannot be imported."""
    folder = tmp_path_factory.mktemp("engines")
    for version in ("0.31.0", "0.32.0"):
        environment(folder / f"vllm-{version}-cuda", version)
    broken = environment(folder / "vllm-0.33.0-cuda", "0.33.0")
    (broken / "__init__.py").write_text("import a_package_that_is_not_there\n")
    return folder


@pytest.fixture(scope="session")
def boot() -> Iterator[Boot]:
    """A systemd; these tests fail, never skip, without root and systemd."""
    if os.geteuid() or not shutil.which("systemctl"):
        # a developer's machine may have neither; CI has both (.ci/run), so there their absence is a failure
        (pytest.fail if os.environ.get("CI") else pytest.skip)("a systemd of its own needs root and systemd")
    with Boot() as running:
        yield running


@pytest.fixture(scope="session")
def host(boot: Boot, engines: Path) -> Host:
    return Host(boot, engines)


@pytest.fixture
def service(host: Host, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Service]]:
    """Instances by name, each named after its test; they are gone afterwards."""
    made: list[Service] = []

    def make(suffix: str = "") -> Service:
        name = f"{request.node.name.removeprefix('test_')[:40]}{suffix}".translate({ord("["): "-", ord("]"): None})
        made.append(Service(host, name))
        return made[-1]

    yield make
    for each in made:
        host.run("systemctl", "kill", "--signal=KILL", f"serve@{each.name}")
        host.serve("service", "uninstall", each.name)
