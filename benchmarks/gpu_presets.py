"""Every preset through `serve launch` itself on a real GPU: what starts, when, with what memory, and what it answers.

    python benchmarks/shapes.py /models
    python benchmarks/gpu_presets.py --engine sglang --python $(which python3) --models /models --out results.json

Each preset is launched on the 8B shape (see shapes.py), asked for one completion and a stream of 256 tokens, and ended
by SIGINT. A preset that does not start is recorded with the error that `serve launch` showed. An existing results file
of the same engine and host is added to, so presets may be measured in several runs: each result says when it began.
Results are data in benchmarks/results/; the weights table quotes them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ("high_performance", "fp8_hopper", "balanced", "memory_optimized", "ultra_low_memory", "eagle3")
PORT = 8123
TOKENS = 256
FACTS = """
import importlib.metadata, json, platform, sys, torch
facts = {"engine": f"{sys.argv[1]}@{importlib.metadata.version(sys.argv[1])}", "python": platform.python_version()}
print(json.dumps(facts | {"torch": torch.__version__, "cuda": torch.version.cuda}))
"""


def post(path: str, body: dict[str, Any]) -> Any:
    """One request to the server; its answer."""
    data = json.dumps(body).encode()
    url = f"http://127.0.0.1:{PORT}{path}"
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=120
    ) as answer:
        return json.load(answer)


def host(engine: str, python: str) -> dict[str, Any]:
    """What the numbers hold for: the GPUs, and what the engine's environment has."""
    words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    gpus = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    facts = subprocess.run([python, "-c", FACTS, engine], capture_output=True, text=True, check=True).stdout
    return {**json.loads(facts), "gpus": gpus, "cores": os.cpu_count()}


def gpu_memory_mib() -> int:
    """Memory in use on the first GPU."""
    words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[0])


def ask() -> dict[str, Any]:
    """One completion of one token, and the rate of a single stream of tokens."""
    one = post("/v1/completions", {"model": "qwen3-8b", "prompt": "Hello", "max_tokens": 1})
    begin = time.monotonic()
    body = {"model": "qwen3-8b", "prompt": "Hello", "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
    answer = post("/v1/completions", body)
    seconds = time.monotonic() - begin
    tokens = answer["usage"]["completion_tokens"]
    return {"completion": one["choices"][0]["text"], "tokens": tokens, "tokens_per_s": round(tokens / seconds, 1)}


def measure(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """One preset, from launch to the last process gone."""
    words = [sys.executable, "-m", "launcher", "launch", str(options.models / "qwen3-8b"), "--preset", preset]
    words += ["--engine", options.engine, "--engine-python", options.python, "--port", str(PORT), "--json"]
    words += ["--timeout", str(options.timeout), "--served-name", "qwen3-8b"]
    if preset == "eagle3":
        words += ["--speculative-draft-model", str(options.models / "qwen3-8b-eagle3")]
    words += options.words
    dry = subprocess.run([*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="minutes")
    result: dict[str, Any] = {"preset": preset, "words": options.words, "began": now, "timeout_s": options.timeout}
    if dry.returncode:
        return result | {"outcome": "refused", "error": dry.stderr.strip()}
    plan = json.loads(dry.stdout)
    argv = [word.replace(str(options.models), "/models") for word in plan["argv"][1:]]  # where they lay is no result
    result |= {"engine": plan["engine"], "argv": argv, "environment": plan["environment"]}
    result["decisions"] = [f"{each['key']}: {each['text']}" for each in plan["decisions"]]
    server = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log: list[str] = []
    reader = threading.Thread(target=lambda: log.extend(server.stderr or ()))
    reader.start()
    ready = (server.stdout.readline() if server.stdout else "").strip()
    if ready:
        report = json.loads(ready)
        result |= {"outcome": "ready", "ready_s": round(report["seconds"], 1), "facts": report["facts"]}
        result["gpu_memory_mib"] = gpu_memory_mib()
        result |= ask()
        begin = time.monotonic()
        server.send_signal(signal.SIGINT)
        result["exit_code"] = server.wait(timeout=180)
        result["stop_s"] = round(time.monotonic() - begin, 1)
    else:
        result |= {"outcome": "failed", "exit_code": server.wait(timeout=180)}
    reader.join()
    if not ready:
        result["error"] = "".join(log[-30:])
    result["gpu_memory_after_mib"] = gpu_memory_mib()
    (options.out.parent / f"{options.out.stem}-{preset}.log").write_text("".join(log))
    return result


def main() -> None:
    """All presets that were asked for; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", required=True, choices=("vllm", "sglang"))
    parser.add_argument("--python", required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="*", default=PRESETS)
    parser.add_argument("--timeout", type=int, default=300)
    parser.add_argument("--words", nargs="*", default=[], help="further words for serve launch")
    options = parser.parse_args()
    about: dict[str, Any] = host(options.engine, options.python) | {"model": "Qwen3-8B shape, random weights"}
    results: list[dict[str, Any]] = []
    if options.out.exists():
        before = json.loads(options.out.read_text())
        results = before.pop("results")
        if before != about:
            parser.error(f"{options.out} holds for something else: {before}")
    for preset in options.presets:
        results.append(measure(preset, options))
        print(json.dumps({key: value for key, value in results[-1].items() if key != "argv"}), flush=True)
        options.out.write_text(json.dumps(about | {"results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
