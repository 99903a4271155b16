"""What systemd and serve add to a start: from `systemctl start` to active, against the engine alone.

    python -m benchmarks.service_start --serve .venv/bin/serve

On a private systemd (tests/systemd/boot.py; as root), with the stand-in for an engine, which loads for one second.
Both in turns in one run; the result is kept in benchmarks/results/deploy.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.contenders import ENVIRONMENT, Engine, engine, free_port, stand_in
from benchmarks.launcher import quiet, spread
from benchmarks.readiness import completes
from tests.systemd.boot import Boot

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "deploy.json"
RUNS, LOADS_S, BAR_S = 10, 1.0, 1.0
POLL_S = 0.01
NAME = "bench"


def measure(serve: Path, folder: Path) -> dict[str, Any]:
    """Seconds of each start, and what ours takes longer than the median of the engine's own."""
    began, port = quiet(), free_port()
    fake = engine(serve, stand_in(folder), folder / "fake")
    ours, bare = list[float](), list[float]()
    with Boot() as host:
        words = ["--engine-python", str(fake.python), "--port", str(port), "--no-start"]
        words += ["--set", f"env.STAND_IN_LOADS_S={LOADS_S}"]
        done = host.run(str(serve), "service", "install", NAME, "demo", *words)
        assert done.returncode == 0, done.stderr
        shown = f"/run/systemd/system/serve@{NAME}.service.d"  # for a stand-in below /tmp
        text = f"[Service]\nBindReadOnlyPaths={ROOT}"
        host.run("sh", "-c", f"mkdir -p {shown} && echo '{text}' > {shown}/bench.conf && systemctl daemon-reload")
        for _ in range(RUNS):
            begun_s = time.monotonic()
            done = host.run("systemctl", "start", f"serve@{NAME}")
            ours.append(time.monotonic() - begun_s)
            assert done.returncode == 0, host.run("journalctl", "--unit", f"serve@{NAME}").stdout
            host.run("systemctl", "stop", f"serve@{NAME}")
            bare.append(alone(fake, free_port()))
    added = [each - sorted(bare)[len(bare) // 2] for each in ours]
    result = {**began, "runs": RUNS, "loads_s": LOADS_S, "systemctl start": spread(ours), "engine alone": spread(bare)}
    return result | {"added_s": spread(added), "met": spread(added)["median"] < BAR_S}


def alone(fake: Engine, port: int) -> float:
    """Seconds from the engine's start to its first completion."""
    words = [str(fake.python), "-m", "vllm.entrypoints.openai.api_server", "--model", fake.model, *fake.words]
    variables = {**ENVIRONMENT, **fake.environment, "STAND_IN_LOADS_S": str(LOADS_S)}
    begun_s = time.monotonic()
    process = subprocess.Popen(
        [*words, "--port", str(port)], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not completes(port, 5):
            assert process.poll() is None
            time.sleep(POLL_S)
        return time.monotonic() - begun_s
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure, and keep the result beside those of others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", type=Path, default=Path(sys.executable).parent / "serve", help="the program")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # the service's user reads the stand-in there
        result = measure(options.serve.absolute(), folder)
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results["service_start"] = result
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    os.umask(0o022)
    main()
