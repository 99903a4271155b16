"""Hosts that namespaces, limits and a fake nvidia-smi make of this one, and what a check finds on them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.doctor.finding import Finding
from launcher.run.owners import MARKER
from launcher.run.record import boot, started
from tests.smi import install

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120
SHELL = "/usr/bin:/bin:/usr/sbin:/sbin"
ASK = """
import dataclasses, importlib, json, sys
module, _, name = sys.argv[1].rpartition(".")
found = getattr(importlib.import_module("launcher.doctor." + module), name)()
print(json.dumps([dataclasses.asdict(each) for each in found]))
"""


class Host:
    """A home of its own for serve, and nothing on PATH but a fake nvidia-smi, if there is one."""

    def __init__(self, folder: Path) -> None:
        self.home, self.bin = folder / "home", folder / "bin"
        self.state, self.data = self.home / "state", self.home / "data"
        for each in (self.home, self.bin):
            each.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        return {"SERVE_HOME": str(self.home), "HF_HOME": str(self.home / "hf"), "PATH": str(self.bin)}

    def gpus(self) -> Callable[..., None]:
        """From now on there is a fake nvidia-smi, which tells of one healthy GPU; what is returned changes that."""
        return install(self.bin)

    def ask(self, check: str, before: str) -> list[Finding]:
        """What a check finds where shell commands have changed the host first.

        Args:
            check: its module and name, such as ``memory.check``.
            before: the commands, run as root of a user namespace with mounts of its own.
        """
        argv = shlex.join([sys.executable, "-c", ASK, check])
        script = f"set -e; PATH={SHELL}; {before}; PATH={self.bin}; exec {argv}"
        done = subprocess.run(
            ["/usr/bin/unshare", "-rm", "/bin/sh", "-c", script],
            env={**os.environ, **self.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return [Finding(**each) for each in json.loads(done.stdout)]


def marked(folder: Path) -> dict[str, str]:
    """What a process of an instance's run has in its environment; the folder says that there was the run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runs").write_text(f"run {boot()} {started(os.getpid())}\n")
    return {MARKER: f"{folder}:run"}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    for name in [name for name in os.environ if name.startswith(("SERVE_", "HF_", "XDG_", "CUDA_VISIBLE"))]:
        monkeypatch.delenv(name)
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    return host
