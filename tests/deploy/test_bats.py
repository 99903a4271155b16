"""The tests of deploy/*.sh that are written for bats, each file of them on a systemd of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.systemd.boot import Boot

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900.0  # install.bats takes 260 s on two cores


@pytest.mark.parametrize("file", sorted(Path(__file__).parent.glob("*.bats")), ids=lambda file: file.name)
def test_bats(file: Path, tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("bats") or not shutil.which("systemctl"):
        # a developer's machine may lack them; CI installs them (.ci/run), so there their absence is a failure
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this takes root, systemd and bats")
    packages = tmp_path / "packages"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {"ROOT": str(ROOT), "PYTHON": sys.executable, "PACKAGES": str(packages), "TMPDIR": str(tmp_path)}
    with Boot() as host:
        argv = host.argv("bats", "--print-output-on-failure", str(file))
        variables = {**os.environ, **given, "PATH": path}
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
