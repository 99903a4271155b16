"""The program as its users run it: a process, its own folders, and nothing of this shell's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import fake_environment

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120


@dataclass(frozen=True)
class Result:
    """What a run left: its exit code, what it printed, and the files in its folder."""

    code: int
    out: str
    err: str
    files: tuple[str, ...]


class Program:
    """`serve` with a home of its own, in a folder of its own, on a host without a GPU."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "work", folder / "home"
        self.folder.mkdir()
        self.home.mkdir()
        self.path = [str(ROOT)]

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SERVE_", "HF_", "FAKE_"))}
        kept |= {"SERVE_HOME": str(self.home), "PYTHONPATH": os.pathsep.join(self.path), "CUDA_VISIBLE_DEVICES": ""}
        kept |= {"HF_HOME": str(self.folder / "hub"), "COLUMNS": "80"}
        return {**kept, **(more or {})}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "launcher", *words]

    def __call__(self, *words: str | bytes, environment: dict[str, str] | None = None) -> Result:
        argv: list[Any] = [*self.argv(), *words]
        done = subprocess.run(
            argv,
            env=self.environment(environment),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if not {"FAKE_ROOM", "FAKE_LOG"} & (environment or {}).keys():  # with which the engine may show one
            assert "Traceback" not in done.stdout + done.stderr, done.stderr
        files = tuple(sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*")))
        return Result(done.returncode, done.stdout, done.stderr, files)

    def file(self, text: str, name: str = "mine.yaml") -> str:
        """A configuration file in the working folder; its name."""
        (self.folder / name).write_text(text)
        return name

    def holds_vllm(self, version: str = "0.33.0") -> None:
        """From now on a vLLM release lies beside serve; it runs the fake engine."""
        site = self.folder / "site"
        fake_environment.package(site, version)
        self.path.append(str(site))


@pytest.fixture
def serve(tmp_path: Path) -> Program:
    return Program(tmp_path)
