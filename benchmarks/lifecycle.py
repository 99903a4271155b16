"""Starting, watching and losing servers: serve, and how others do it, under the same faults.

    python -m benchmarks.lifecycle                              every part
    python -m benchmarks.lifecycle ready log --no-peers         some, and serve alone
    python -m benchmarks.lifecycle kill --first 40 --moments 10 ten more moments; what was measured of others stays

`detect-vllm` and `kill` run a real vLLM (`serve engines install vllm --device cpu`), one at a time; `stand_in.py`
is the engine everywhere else. Results are kept part by part in benchmarks/results/lifecycle.json; README.md says what
each number is.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import kills, logs, readiness
from benchmarks.contenders import (
    ENVIRONMENT,
    Contender,
    Engine,
    Run,
    Script,
    Serve,
    VllmCli,
    VllmCliProxy,
    engine,
    free_port,
    stand_in,
    start,
    vllm_cli,
)
from benchmarks.launcher import machine, quiet, ratio, spread, timed

RESULTS = Path(__file__).resolve().parent / "results" / "lifecycle.json"
ENGINE_PYTHON = Path("~/.local/share/serve/engines/vllm-0.32.0-cpu/bin/python")
BARS = {"false_ready": 0, "processes_left": 0, "detected_s": 0.3, "ps_s": 0.5, "memory_growth_mb": 5}
TIMED = {"detect", "detect-vllm", "ps", "log"}
LAUNCHES, MOMENTS, SHARE = 200, 50, 4  # in the background and of peers, a quarter of the moments
DETECTIONS, REAL_DETECTIONS = 20, 5
INSTANCES, PS_RUNS, STARTS_AT_A_TIME, READY_S = 20, 10, 4, 120.0


class Bench:
    """What the parts share, each thing made when it is first asked for."""

    def __init__(self, options: argparse.Namespace, folder: Path, results: dict[str, Any]) -> None:
        """Takes the command line's options, a folder for what is made on the way, and the results so far."""
        self.options, self.folder, self.results = options, folder, results
        self.serve = Serve(options.serve.absolute())

    def save(self, part: str, result: dict[str, Any]) -> None:
        """Keep what a part found, beside what the others did."""
        self.results[part] = result
        self.options.out.write_text(json.dumps(self.results, indent=1) + "\n")

    @cached_property
    def fake(self) -> Engine:
        """The stand-in."""
        return engine(self.serve.program, stand_in(self.folder), self.folder / "fake")

    @cached_property
    def real(self) -> Engine:
        """A vLLM."""
        return engine(self.serve.program, self.options.engine_python.expanduser(), self.folder / "real")

    @cached_property
    def vllm_cli(self) -> Path:
        """The Python that has vllm-cli."""
        return vllm_cli(self.folder)

    def against(self, *, apart: bool = False) -> list[Contender]:
        """Of serve, in the foreground and in the background; then the peers that are asked for."""
        ours = [self.serve, Serve(self.serve.program, detach=True)]
        return [*ours, *([VllmCliProxy(self.vllm_cli, apart=apart), Script()] if self.options.peers else ())]


def ready(bench: Bench) -> dict[str, Any]:
    """False words."""
    command = [VllmCli(bench.vllm_cli, apart=True)] if bench.options.peers else []
    contenders = [*bench.against(apart=True), *command]
    result = readiness.ready(contenders, bench.fake, bench.folder / "ready", bench.options.launches)
    return result | {"met": all(result[each.name]["false"] == 0 for each in contenders if each.supervises)}


def detect(bench: Bench) -> dict[str, Any]:
    """Late words about the stand-in."""
    contenders = bench.against(apart=True)
    return readiness.detect(contenders, bench.fake, DETECTIONS, bench.folder / "detect", BARS["detected_s"])


def detect_vllm(bench: Bench) -> dict[str, Any]:
    """Late words about a real engine."""
    contenders = bench.against(apart=True)
    return readiness.detect(contenders, bench.real, REAL_DETECTIONS, bench.folder / "detect-vllm", BARS["detected_s"])


def ps(bench: Bench) -> dict[str, Any]:
    """The list of instances; and vllm-cli's list, of what a script started."""
    serve, home = str(bench.serve.program), bench.folder / "ps"
    state = {"XDG_STATE_HOME": str(home / "state")}
    result: dict[str, Any] = {"instances": INSTANCES, "runs": PS_RUNS}
    nothing = [sys.executable, "-c", "pass"]
    with many(Serve(bench.serve.program, detach=True, state=home / "state"), bench.fake, home / "serve"):
        answer = subprocess.run([serve, "ps", "--json"], env=ENVIRONMENT | state, capture_output=True, check=True)
        states = [each["state"] for each in json.loads(answer.stdout)]
        assert states == ["serving"] * INSTANCES, states
        result |= alternated({"ps": [serve, "ps"], "ps --json": [serve, "ps", "--json"], "pass": nothing}, state)
    if bench.options.peers:
        status = [str(bench.vllm_cli.parent / "vllm-cli"), "status"]
        with many(Script(), bench.fake, home / "script"):
            result["vllm-cli status"] = alternated({"status": status, "pass": nothing}, {"HOME": str(home)})
    return result | {"met": result["ps"]["median"] < BARS["ps_s"]}


def alternated(commands: dict[str, list[str]], variables: dict[str, str]) -> dict[str, Any]:
    """Seconds of wall time of each command, in turns; the last one is what the others are compared with."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(PS_RUNS):
        for name, words in commands.items():
            seconds[name].append(timed(words, variables))
    *_, reference = seconds.values()
    return {name: spread(each) | {"ratio_to_pass": ratio(each, reference)} for name, each in seconds.items()}


@contextlib.contextmanager
def many(contender: Contender, fake: Engine, folder: Path) -> Iterator[None]:
    """Twenty servers that are ready."""

    def one(number: int) -> Run:
        run = start(contender, fake, free_port(), folder / f"instance-{number}", {}, READY_S)
        runs.append(run)
        assert run.said_ready(READY_S), run.told()
        return run

    runs: list[Run] = []
    try:
        with ThreadPoolExecutor(STARTS_AT_A_TIME) as pool:
            list(pool.map(one, range(INSTANCES)))
        yield
    finally:
        for run in runs:
            run.kill()


def log(bench: Bench) -> dict[str, Any]:
    """Memory and time."""
    return logs.log(bench.against(), bench.fake, bench.folder / "log", BARS["memory_growth_mb"])


def kill(bench: Bench) -> dict[str, Any]:
    """Processes left."""
    first, count = bench.options.first, bench.options.moments
    shares = {each: count if each is bench.serve else count // SHARE for each in bench.against()}
    numbers = {each: range(first, first + share) for each, share in shares.items()}
    earlier = bench.results.get("kill", {}) if first else {}
    for result in kills.kill(numbers, bench.real, bench.folder / "kill", earlier):
        ours = [result[name]["processes_left"] for name in ("serve", "serve --detach") if name in result]
        bench.save("kill", result | {"met": sum(ours) == 0})
    return dict(bench.results["kill"])


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "ready": ready,
    "detect": detect,
    "detect-vllm": detect_vllm,
    "ps": ps,
    "log": log,
    "kill": kill,
}


def begin(part: str) -> dict[str, Any]:
    """What the machine is like; where seconds are measured, a quiet one is waited for, within bounds."""
    if part in TIMED:
        return quiet()
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    return {"date": today, "load_average_before": round(os.getloadavg()[0], 2)}


def main() -> None:
    """Every part, one after the other."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by an exception, which ends what was started
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them unless given")
    parser.add_argument("--serve", type=Path, default=Path(sys.executable).parent / "serve", help="the program")
    parser.add_argument("--engine-python", type=Path, default=ENGINE_PYTHON, help="the Python that has the real vLLM")
    parser.add_argument("--launches", type=int, default=LAUNCHES, help="of each contender, in ready")
    parser.add_argument("--moments", type=int, default=MOMENTS, help="of serve, in kill; a quarter of each peer")
    parser.add_argument("--first", type=int, default=0, help="number of the first moment; earlier ones are kept")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    earlier = json.loads(options.out.read_text()) if options.out.exists() else {}
    results: dict[str, Any] = {"machine": machine(options.serve.absolute()), "bars": BARS}
    if earlier.get("machine") == results["machine"]:
        results |= {part: earlier[part] for part in PARTS if part in earlier}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options, Path(name), results)
        for part in options.parts or PARTS:
            begun = begin(part)
            bench.save(part, begun | PARTS[part](bench) | {"load_average_after": round(os.getloadavg()[0], 2)})
            print(json.dumps({part: results[part]}), flush=True)


if __name__ == "__main__":
    main()
