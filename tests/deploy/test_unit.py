"""systemd/serve@.service: what systemd and what our own CLI make of it."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "serve@.service"


def read() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # systemd's names have capitals
    parser.read(UNIT)
    return parser


def test_it_stops_all_of_the_engine_in_more_time_than_serve_takes() -> None:
    from launcher.run.processes import process  # noqa: PLC0415 - for its limits

    service = read()["Service"]
    assert service["Type"] == "exec"
    assert service["KillMode"] == "mixed"  # SIGTERM to serve alone, which ends the engine; SIGKILL to what is left
    assert int(service["TimeoutStopSec"]) > process.GRACE_S + process._KILL_S
    assert service["SuccessExitStatus"].split() == ["130", "143"]
    assert service["Restart"] == "no"


def test_serve_understands_its_command(tmp_path: Path) -> None:
    config = tmp_path / "demo.yaml"
    config.write_text("model: demo\nextends: balanced\n")
    line = read()["Service"]["ExecStart"].replace("/etc/serve/%i.yaml", str(config)).replace("%i", "demo")
    program, *words = shlex.split(line)
    assert Path(program).name == "serve"
    result = subprocess.run(
        [sys.executable, "-m", "launcher", *words, "--dry-run"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "SERVE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr


def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    """Of a copy whose program exists, for systemd looks whether it does."""
    if not shutil.which("systemd-analyze"):
        # a developer's machine may have none; CI installs it (.ci/run), so there its absence is a failure
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this host has no systemd")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/serve ", f"{shutil.which('true')} "))
    result = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
