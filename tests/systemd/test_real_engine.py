"""The real vLLM for CPUs as a service of the host, confined as it ships."""

from __future__ import annotations

import sys

import pytest
import requests

from launcher.host.environments import Environment
from tests.engine.conftest import vllm
from tests.systemd.boot import Boot
from tests.systemd.conftest import HOME, free_port

__all__ = ("vllm",)
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("servers")]


@pytest.mark.timeout(600)
def test_vllm_serves_as_a_service_and_stops(boot: Boot, vllm: Environment) -> None:
    assert vllm.path
    engines, port = f"{HOME}/data/engines/{vllm.path.name}", free_port()
    boot.run("mkdir", "--parents", engines)
    boot.run("mount", "--bind", str(vllm.path), engines)
    try:
        program = (sys.executable, "-m", "launcher", "service")
        words = ("demo", "--preset", "balanced", "--port", str(port), "--api-key", "auto", "--context-length", "2048")
        done = boot.run(*program, "install", "real", *words, "--set", "env.VLLM_CPU_KVCACHE_SPACE=1")
        journal = boot.run("journalctl", "--unit=serve@real", "--no-pager", "--output=cat").stdout
        assert done.returncode == 0, done.stderr + journal
        told = boot.run("systemctl", "show", "serve@real", "--property=ActiveState,StatusText").stdout.split("\n")
        assert {"ActiveState=active", f"StatusText=serving demo at http://127.0.0.1:{port}"} <= {*told}
        key = boot.run("cat", "/etc/serve/real.key").stdout.strip()
        assert key not in journal
        answer = requests.post(
            f"http://127.0.0.1:{port}/v1/completions",
            json={"model": "demo", "prompt": "Hello", "max_tokens": 4},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert boot.run(*program, "stop", "real").returncode == 0
        left = boot.run("systemctl", "show", "serve@real", "--property=ActiveState,Result").stdout.split()
        assert {*left} == {"ActiveState=inactive", "Result=success"}
    finally:
        boot.run(*program, "uninstall", "real")
        boot.run("umount", engines)
