"""The wheel: built from this checkout and installed elsewhere, it brings presets, deploy and systemd along."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from launcher.config import presets
from launcher.host import packages

ROOT = Path(__file__).parents[2]


def run(*argv: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    result = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel alone; nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist"))
    (wheel,) = (folder / "dist").glob("*.whl")
    venv = folder / "venv"
    run(packages.uv(), "venv", "--quiet", "--python", sys.executable, str(venv))
    argv = ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(venv / "bin" / "python")]
    run(packages.uv(), *argv, str(wheel))
    return venv


def serve(venv: Path, *words: str) -> str:
    """The installed program; what it depends on comes from the environment that runs the tests."""
    return run(str(venv / "bin" / "serve"), *words, PYTHONPATH=sysconfig.get_path("purelib"), SERVE_HOME=str(venv))


def test_it_finds_every_preset_in_itself(installed: Path) -> None:
    found = json.loads(serve(installed, "presets", "list", "--json"))
    assert [each["name"] for each in found] == list(presets.names())
    origin = json.loads(serve(installed, "presets", "show", "balanced", "--json"))["keys"]["weights"]["origin"]
    assert origin.startswith(f"{installed}/lib")
    assert "launcher/share/presets/balanced.yaml:" in origin


def test_it_brings_the_scripts_and_the_unit(installed: Path) -> None:
    (share,) = installed.glob("lib/python*/site-packages/launcher/share")
    for script in (ROOT / "deploy").glob("*.sh"):
        copy = share / "deploy" / script.name
        assert copy.read_bytes() == script.read_bytes()
        assert os.access(copy, os.X_OK) == os.access(script, os.X_OK)
    assert (share / "systemd" / "serve@.service").read_bytes() == (ROOT / "systemd" / "serve@.service").read_bytes()


def test_it_holds_the_data_files(installed: Path) -> None:
    (package,) = installed.glob("lib/python*/site-packages/launcher")
    for source in (ROOT / "launcher").rglob("data/*"):
        assert (package / source.relative_to(ROOT / "launcher")).read_bytes() == source.read_bytes()
