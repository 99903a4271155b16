"""The main job on the real CPU vLLM: launch, smoke, a completion, stop, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from launcher.host import ports
from launcher.host.environments import Environment

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("servers")]

SERVE = [sys.executable, "-m", "launcher"]
READY_S = 400
# Compiling takes longer than everything else of a start; one preset shows that it works, the others leave it out.
QUICK = ["--cuda-graphs", "off"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SERVE, *words], capture_output=True, text=True, check=False, timeout=READY_S)


@contextmanager
def launched(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server that said it is ready, and its report; whatever happens, it is gone afterwards."""
    server = subprocess.Popen(
        [*SERVE, "launch", "demo", *words, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    tree = psutil.Process(server.pid)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            _, log = server.communicate()
            pytest.fail(f"exit code {server.returncode}\n{log[-6000:]}")
        yield server, json.loads(line)
    finally:
        if server.poll() is None:
            for each in tree.children(recursive=True):
                each.kill()
            server.kill()
        server.communicate()


def processes_of(folder: Path) -> list[str]:
    """What still runs of an engine that was started under this home."""
    every = [each.info for each in psutil.process_iter(["pid", "cmdline", "environ"])]
    ours = [each for each in every if (each["environ"] or {}).get("SERVE_HOME") == str(folder)]
    return [" ".join(each["cmdline"] or []) for each in ours if each["pid"] != os.getpid()]


def test_the_main_job(home: Path) -> None:
    """README's first command in small: the balanced preset with nothing but the demo model."""
    port = free_port()
    with launched("--preset", "balanced", "--port", str(port), "--api-key", "auto") as (server, report):
        assert report["demo"] is True
        key = (home / "state" / "keys" / "demo").read_text().strip()
        url = f"http://127.0.0.1:{port}"
        body = {"model": "demo", "prompt": "Hello", "max_tokens": 4}
        answer = requests.post(
            f"{url}/v1/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        assert answer.json()["usage"]["completion_tokens"] == 4
        assert requests.post(f"{url}/v1/completions", json=body, timeout=60).status_code == 401

        smoke = serve("smoke", "demo", "--json")
        checks = {each["check"]: each["ok"] for each in json.loads(smoke.stdout)}
        assert smoke.returncode == 0, smoke.stdout
        assert len(checks) == 6
        assert all(checks.values())

        second = serve("launch", "demo", "--name", "second", "--port", str(port))
        assert second.returncode == 1
        assert f"port {port} of 127.0.0.1 is in use" in second.stderr

        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 130
        assert key not in (server.stderr.read() if server.stderr else "")
    assert processes_of(home) == []
    assert ports.holder("127.0.0.1", port) is None
    written = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file() and path.parent.name != "keys")
    assert key.encode() not in written
    assert (home / "state" / "instances" / "demo" / "engine.log").stat().st_size > 1000


@pytest.mark.parametrize("preset", ["high_performance", "fp8_hopper", "memory_optimized", "ultra_low_memory"])
def test_every_preset_that_a_cpu_can_run(home: Path, preset: str) -> None:
    with launched("--preset", preset, "--engine", "vllm", "--port", str(free_port()), *QUICK) as (server, report):
        assert report["facts"]["kv_tokens"] > 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 143
    assert processes_of(home) == []


def test_the_preset_that_a_cpu_cannot_run_says_which_intent_and_why(home: Path) -> None:
    done = serve("launch", "demo", "--preset", "eagle3", "--engine", "vllm")
    assert done.returncode == 2
    assert "speculative.method eagle3: on a CPU vLLM samples wrong tokens" in done.stderr
    assert list(home.rglob("*")) == []


def test_an_engine_that_dies_while_starting_is_told_at_once(home: Path, vllm: Environment) -> None:
    """fp8_per_block passes every check of ours, as a flag of the engine's, and fails in the CPU build."""
    done = serve("launch", "demo", "--quantization", "fp8_per_block", "--port", str(free_port()), *QUICK)
    assert done.returncode == 78
    assert "exit status 1" in done.stderr
    assert "engine.log" in done.stderr
    assert vllm.release.title in done.stderr
    assert processes_of(home) == []


def test_smoke_of_a_server_that_is_not_there() -> None:
    done = serve("smoke", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
