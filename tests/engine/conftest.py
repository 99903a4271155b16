"""The real engine that these tests need (`serve engines install vllm`). They fail, never skip, without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.host import environments
from launcher.host.environments import Environment


@pytest.fixture(scope="session")
def vllm() -> Environment:
    """A vLLM that runs on this host's CPU."""
    for each in environments.installed():
        if each.release.engine == "vllm" and each.device == "cpu":
            return each
    pytest.fail("no vLLM for the CPU is installed; run: serve engines install vllm --device cpu")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vllm: Environment) -> Path:
    """A home of its own for what a run writes; the engine stays where it is."""
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    monkeypatch.setenv("SERVE_ENGINE_PYTHON", str(vllm.python))
    return tmp_path
