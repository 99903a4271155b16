"""What deployment costs, beside what people do by hand.

    python -m benchmarks.deploy [PART]... --serve ../bench/bin/serve

`pull` fetches a model of some hundred MB from a hub on the loopback (tests/hub.py, a process of its own), in turn with
`serve models pull`, with `hf download` of the same environment, and with that and `hf cache verify`, each time into an
empty cache; then it does so once while twenty faults happen. Every content is compared. README.md beside this file says
what each number is. `preflight` launches a model that the hub has not got.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.launcher import quiet, ratio, spread, timed
from tests.fake_environment import environment

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "deploy.json"
BARS = {"pull_ratio": 1.05, "preflight_s": 0.3}
MODEL, SHARDS, SHARD_BYTES, ROUNDS, LAUNCHES = "org/model", 4, 100_000_000, 5, 20
RATE = 125_000_000 // SHARDS  # a second and connection: together what a line of 1 Gbit/s brings
# Twenty: on each shard three broken connections, a hub that is down, and one that is busy.
FAULTS: tuple[dict[str, Any], ...] = tuple(
    fault | {"path": f"cdn/.*0000{shard}"}
    for shard in range(1, SHARDS + 1)
    for fault in (
        {"kind": "drop", "after_bytes": 30_000_000, "times": 2},
        {"kind": "status", "status": 503, "retry_after": "1"},
        {"kind": "status", "status": 429, "retry_after": "1"},
        {"kind": "drop", "after_bytes": 0},
    )
)


def pull(serve: Path) -> dict[str, Any]:
    """Seconds of each, in turn; and what each makes of faults."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "hub" / MODEL)
        hf = str(serve.parent / "hf")
        ours, theirs, checked = "serve models pull", "hf download", "hf download; hf cache verify"
        contenders = {
            ours: [[str(serve), "models", "pull", MODEL]],
            theirs: [[hf, "download", MODEL]],
            checked: [[hf, "download", MODEL], [hf, "cache", "verify", MODEL]],
        }
        result: dict[str, Any] = {
            "bytes": sum(path.stat().st_size for path in (folder / "hub" / MODEL).glob("*.safetensors")),
            "files": len(model),
            "huggingface_hub": version(serve, "huggingface_hub"),
            "sha256_mb_per_s": hash_rate(),
        }
        for hub_is, rate in (("as fast as it can", 0), (f"{RATE / 1e6:.0f} MB/s a connection", RATE)):
            seconds = in_turn(contenders, folder, model, rate)
            result[hub_is] = {each: spread(values) for each, values in seconds.items()}
            result[hub_is]["ratio"] = ratio(seconds[ours], seconds[theirs])
            result[hub_is]["ratio_to_checked"] = ratio(seconds[ours], seconds[checked])
            result[hub_is]["met"] = result[hub_is]["ratio"] <= BARS["pull_ratio"]
        result["faults"] = sum(each.get("times", 1) for each in FAULTS)
        alone = {each: contenders[each][0] for each in (ours, theirs)}
        return result | {"with_faults": {each: with_faults(words, folder, model) for each, words in alone.items()}}


def preflight(serve: Path) -> dict[str, Any]:
    """Seconds until a launch that cannot become a server is refused, against an interpreter that does nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "hub" / MODEL)
        (folder / "serve" / "data" / "engines").mkdir(parents=True)
        environment(folder / "serve" / "data" / "engines" / "vllm-0.32.0-cuda", "0.32.0")
        launch = [str(serve), "launch", "--engine", "vllm@0.32.0"]
        python = [str(serve.parent / "python"), "-c", "pass"]
        seconds: dict[str, list[float]] = {"a wrong model id": [], "python -c pass": []}
        with hub(folder / "hub") as address:
            for number in range(-1, LAUNCHES):
                variables = fresh(folder, address) | {"SERVE_HOME": str(folder / "serve")}
                taken = {
                    "a wrong model id": timed([*launch, "org/none"], variables, exit_code=2),
                    "python -c pass": timed(python),
                }
                for each in taken if number >= 0 else ():
                    seconds[each].append(taken[each])
        result: dict[str, Any] = {each: spread(values) for each, values in seconds.items()}
        wrong, nothing = seconds.values()
        return result | {
            "ratio": ratio(wrong, nothing),
            "met": result["a wrong model id"]["median"] < BARS["preflight_s"],
        }


def in_turn(
    contenders: dict[str, list[list[str]]], folder: Path, model: dict[str, str], rate: int
) -> dict[str, list[float]]:
    """Seconds of each contender's commands, each round into empty caches, the order turned round every time."""
    seconds: dict[str, list[float]] = {each: [] for each in contenders}
    with hub(folder / "hub", rate=rate) as address:
        for number in range(-1, ROUNDS):  # the first round warms up
            for each in list(contenders) if number % 2 else list(reversed(contenders)):
                variables = fresh(folder, address)
                taken = sum(timed(words, variables) for words in contenders[each])
                assert complete(folder, model), f"{each} ended well with something else than the model"
                if number >= 0:
                    seconds[each].append(taken)
    return seconds


def hash_rate() -> int:
    """MB of sha256 a second of processor time: what comparing with the hub's hashes costs here."""
    block, begin = os.urandom(10_000_000), time.process_time()
    content = hashlib.sha256()
    for _ in range(20):
        content.update(block)
    return round(200 / (time.process_time() - begin))


def with_faults(words: list[str], folder: Path, model: dict[str, str]) -> dict[str, Any]:
    """One pull with every fault: whether all of the model is there, after how long."""
    with hub(folder / "hub", *FAULTS) as address:
        begin = time.perf_counter()
        done = subprocess.run(
            words, env=os.environ | fresh(folder, address), capture_output=True, text=True, check=False
        )
        return {
            "complete": done.returncode == 0 and complete(folder, model),
            "exit_code": done.returncode,
            "seconds": round(time.perf_counter() - begin, 2),
        }


def make_model(folder: Path) -> dict[str, str]:
    """Files like those of a checkpoint, and the hash of each; noise, as weights are."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    (folder / "tokenizer.json").write_text(json.dumps({"vocab": [f"token-{each}" for each in range(50_000)]}))
    for shard in range(1, SHARDS + 1):
        (folder / f"model-0000{shard}-of-0000{SHARDS}.safetensors").write_bytes(os.urandom(SHARD_BYTES))
    return {path.name: sha256(path) for path in folder.iterdir()}


def sha256(path: Path) -> str:
    """Of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fresh(folder: Path, address: str) -> dict[str, str]:
    """The variables of a run whose cache is empty."""
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    os.sync()  # what the run before wrote is not this one's to wait for
    return {"HF_HOME": str(home / "hf"), "SERVE_HOME": str(home / "serve"), "HF_ENDPOINT": address}


def complete(folder: Path, model: dict[str, str]) -> bool:
    """Whether the one snapshot holds every file, byte for byte."""
    found = [path for path in (folder / "home").glob("hf/hub/models--*/snapshots/*/*") if path.is_file()]
    return {path.name: sha256(path) for path in found} == model


@contextlib.contextmanager
def hub(folder: Path, *faults: dict[str, Any], rate: int = 0) -> Iterator[str]:
    """The address of a hub that serves a folder, a process of its own."""
    words = [word for fault in faults for word in ("--fault", json.dumps(fault))]
    argv = [sys.executable, "-m", "tests.hub", str(folder), "--rate", str(rate), *words]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def version(serve: Path, package: str) -> str:
    """Of a package beside serve."""
    words = [str(serve.parent / "python"), "-c", f"import importlib.metadata as m; print(m.version({package!r}))"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def machine() -> dict[str, Any]:
    """What the numbers hold for."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {"pull": pull, "preflight": preflight}


def main() -> None:
    """Every part, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them unless given")
    parser.add_argument("--serve", type=Path, default=Path(sys.executable).parent / "serve", help="the program")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    results |= {"machine": machine(), "bars": BARS}
    for part in options.parts or PARTS:
        begun = quiet() | {"date": dt.datetime.now(dt.timezone.utc).date().isoformat()}
        results[part] = begun | PARTS[part](options.serve.absolute())
        results[part]["load_average_after"] = round(os.getloadavg()[0], 2)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        print(json.dumps({part: results[part]}), flush=True)


if __name__ == "__main__":
    main()
