"""vLLM on a CPU with each set of flags, without serve: whether it starts, when, how fast it answers, what it samples.

    python benchmarks/cpu_flags.py --python ~/.local/share/serve/engines/vllm-0.32.0-cpu/bin/python --out results.json

Runs the bare engine of that interpreter on the demo model, one set of flags after the other; `--only` picks some. A
flag set that does not start is recorded with the engine's error. The check of samples: at temperature 1 a model rarely
takes a token that it holds for very unlikely, so many of those mean that something else has been sampled.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import http.client
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from launcher.models import demo  # noqa: E402 - the checkout's own package

EAGER = ("--enforce-eager",)
DRAFT = "DRAFT"  # stands for the draft model's folder, in the results too
EAGLE3 = ("--speculative-config", json.dumps({"method": "eagle3", "model": DRAFT, "num_speculative_tokens": 3}))
METHODS = ("fp8", "fp8_per_tensor", "fp8_per_channel", "fp8_per_block", "mxfp8", "mxfp4", "humming", "torchao")
SETS: dict[str, tuple[str, ...]] = {
    "eager": EAGER,
    "compiled": (),
    "kv fp8": (*EAGER, "--kv-cache-dtype", "fp8"),
    **{method: (*EAGER, "--quantization", method) for method in METHODS},
    "int8": (*EAGER, "--quantization", "int8_per_channel_weight_only"),
    "eagle3": (*EAGER, *EAGLE3),
    "eagle3 compiled": EAGLE3,
}
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}  # GiB of KV cache
PORT, READY_S, STOP_S = 18431, 300, 60
TOKENS = 100  # of the greedy answer that is timed
SAMPLES, SAMPLE_TOKENS, UNLIKELY = 5, 60, -12  # requests, tokens of each, log-probability
ERROR = re.compile(r"\b\w+(?:Error|Exception): .+")
FACTS = """
import importlib.metadata as metadata, json, platform
names = {each.metadata["Name"] for each in metadata.distributions()} & {"vllm", "vllm-cpu", "torch"}
print(json.dumps({"python": platform.python_version()} | {name: metadata.version(name) for name in sorted(names)}))
"""


def host(python: str) -> dict[str, Any]:
    """What the numbers hold for."""
    text = Path("/proc/cpuinfo").read_text()
    model, memory = re.search(r"model name\s*: (.+)", text), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    engine = subprocess.run([python, "-c", FACTS], capture_output=True, text=True, check=True).stdout
    return {
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "cpu": model[1] if model else platform.machine(),
        "instructions": sorted(
            set(re.findall(r"\b(?:avx2|avx512f|avx512_vnni|avx512_bf16|amx_bf16|amx_int8)\b", text))
        ),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "engine": json.loads(engine),
    }


def request(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON of an answer of 200, None where it holds nothing; else OSError or HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    try:
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise http.client.HTTPException(f"{path}: {answer.status} {text[:500]!r}")
    return json.loads(text) if text else None


def complete(prompt: str, tokens: int, **more: Any) -> Any:
    """One completion."""
    return request("POST", "/v1/completions", {"model": "demo", "prompt": prompt, "max_tokens": tokens, **more})


def ready(server: subprocess.Popen[bytes]) -> bool:
    """Whether the server comes to answer; False as soon as it has ended, or when the time is over."""
    end = time.monotonic() + READY_S
    while server.poll() is None and time.monotonic() < end:
        try:
            request("GET", "/health")
        except (OSError, http.client.HTTPException):
            time.sleep(0.25)
        else:
            return True
    return False


def ask() -> dict[str, Any]:
    """The first completion's time, the rate of one greedy stream, and how likely sampled tokens are."""
    begin = time.monotonic()
    complete("Hello", 12)
    first_s = time.monotonic() - begin
    begin = time.monotonic()
    greedy = complete("Hello", TOKENS, temperature=0, ignore_eos=True)
    rate = greedy["usage"]["completion_tokens"] / (time.monotonic() - begin)
    found: list[float] = []
    for seed in range(SAMPLES):
        sampled = complete(f"Hello {seed}", SAMPLE_TOKENS, temperature=1, logprobs=1, seed=seed)
        found += sampled["choices"][0]["logprobs"]["token_logprobs"]
    return {
        "first_completion_s": round(first_s, 2),
        "tokens_per_s": round(rate, 1),
        "greedy": greedy["choices"][0]["text"][:40],
        "sampled": {
            "tokens": len(found),
            "unlikely": sum(each < UNLIKELY for each in found),
            "least_logprob": round(min(found), 1),
        },
    }


def measure(python: str, model: Path, flags: tuple[str, ...]) -> dict[str, Any]:
    """One start, from nothing to no process left."""
    result: dict[str, Any] = {"flags": flags, "load_average_before": round(os.getloadavg()[0], 2)}
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", "demo"]
    words += ["--port", str(PORT), *(flag.replace(DRAFT, str(model / "draft")) for flag in flags)]
    with tempfile.TemporaryFile() as log:
        begin = time.monotonic()
        server = subprocess.Popen(
            words, env=os.environ | ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            if ready(server):
                result |= {"outcome": "ready", "ready_s": round(time.monotonic() - begin, 1)} | ask()
            else:
                result |= {"outcome": "failed", "after_s": round(time.monotonic() - begin, 1)}
            begin = time.monotonic()
            server.send_signal(signal.SIGTERM)
            result["exit_code"] = server.wait(STOP_S)
            result["stop_s"] = round(time.monotonic() - begin, 1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.seek(0)
        if result["outcome"] == "failed":  # the first that was raised: the others follow from it
            errors = ERROR.findall(log.read().decode(errors="replace"))
            result["error"] = errors[0] if errors else f"not ready within {READY_S} s"
    return result


def main() -> None:
    """All sets that were asked for; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="the interpreter of an environment with vLLM for CPUs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=SETS, default=list(SETS))
    options = parser.parse_args()
    model = demo.make()
    value: dict[str, Any] = {"machine": host(options.python), "environment": ENVIRONMENT, "results": []}
    for name in options.only:
        value["results"].append({"name": name} | measure(options.python, model, SETS[name]))
        print(json.dumps(value["results"][-1]), flush=True)
        options.out.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
