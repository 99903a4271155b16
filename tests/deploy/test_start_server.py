"""deploy/start_server.sh, run for real with the real CLI; --dry-run keeps it from starting anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "start_server.sh"


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment whose `serve` is this checkout's, and where no engine is installed."""
    serve = tmp_path / "bin" / "serve"
    serve.parent.mkdir()
    serve.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m launcher "$@"\n')
    serve.chmod(0o755)
    path = f"{serve.parent}{os.pathsep}{os.defpath}"
    return {"PATH": path, "PYTHONPATH": str(ROOT), "SERVE_HOME": str(tmp_path), "HOME": str(tmp_path)}


def start(variables: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(SCRIPT), *words, "--dry-run"]
    return subprocess.run(argv, env=variables, capture_output=True, text=True, check=False, timeout=60)


def test_without_variables(variables: dict[str, str]) -> None:
    result = start(variables, "demo")
    assert result.returncode == 0, result.stderr
    assert "--port 8000" in result.stdout
    assert "--host 127.0.0.1" in result.stdout
    assert "demo" in result.stdout


def test_every_variable_and_further_arguments(variables: dict[str, str]) -> None:
    given = {"PRESET": "high_performance", "MODEL": "Qwen/Qwen3-8B", "ENGINE": "sglang@0.5.23"}
    given |= {"HOST": "0.0.0.0", "PORT": "8100", "MEM_FRACTION_STATIC": "0.8"}
    result = start(variables | given, "--api-key", "auto", "--context-length", "32k")
    assert result.returncode == 0, result.stderr
    for words in (
        "sglang.launch_server",
        "--model-path Qwen/Qwen3-8B",
        "--host 0.0.0.0",
        "--port 8100",
        "--mem-fraction-static 0.8",
        "--context-length 32768",
    ):
        assert words in result.stdout
    assert "--quantization" not in result.stdout


def test_a_host_for_others_needs_a_key(variables: dict[str, str]) -> None:
    result = start(variables | {"HOST": "0.0.0.0"}, "demo")
    assert result.returncode == 2
    assert "without an API key" in result.stderr


def test_an_odd_model_stays_one_word(variables: dict[str, str], tmp_path: Path) -> None:
    odd = tmp_path / "a model; echo 'no'"
    odd.mkdir()
    (odd / "config.json").write_text("{}")
    result = start(variables | {"MODEL": str(odd)})
    assert result.returncode == 0, result.stderr
    assert "echo" in result.stdout


def test_without_serve_it_says_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "deploy" / "start_server.sh"
    script.parent.mkdir()
    for each in (SCRIPT, SCRIPT.with_name("common.sh")):
        shutil.copy(each, script.parent)
    argv = ["bash", str(script)]
    result = subprocess.run(argv, env={"PATH": os.defpath}, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 2
    assert "serve is not on PATH" in result.stderr
