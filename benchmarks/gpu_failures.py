"""Engines made to fail on a real GPU, for the rules that tell causes of failures apart.

    python3 -m benchmarks.gpu_failures models /models
    python3 -m benchmarks.gpu_failures vllm 0.24.0 /models /out          every case
    python3 -m benchmarks.gpu_failures sglang 0.5.17 /models /out --only oom-load oom-run

A case starts the engine, takes GPU memory away or kills a process at a named moment, and keeps the log as
gpu-ENGINE-VERSION-CASE.log and the rest in gpu-ENGINE-VERSION.json. Cases that need no memory run side by side; the
others have the GPU for themselves. Cases that are in the json already are left out.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu_server import CORE, READY, Hog, Server, alive, gpu_memory_mib, models

SIDE_BY_SIDE = 5
NOTHING_MIB = 2000  # in use on the GPU when no engine is
DETOKENIZER = r"sglang::detokenizer"
VLLM_FIXED = ["--kv-cache-memory-bytes", "6G", "--gpu-memory-utilization", "0.1"]
SGLANG_FIXED = ["--max-total-tokens", "65536"]
FIXED = {"vllm": VLLM_FIXED, "sglang": SGLANG_FIXED}  # a KV cache that leaves others room
AFTER_S = 90  # for an engine to end after what was done to it
EAGER = ["--enforce-eager"]
NO_GRAPHS = ["--disable-decode-cuda-graph", "--disable-prefill-cuda-graph"]


@dataclass(frozen=True)
class Case:
    """One way to fail.

    `hog`: moment (a pattern of the log, "before" or "ready") and MiB to leave free. `kill`: moment, and pattern of the
    title of the process to kill, or to stop with SIGSTOP where it is to `freeze`. `ask`: requests to send once ready.
    """

    name: str
    what: str
    model: str = "small"
    words: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    hog: tuple[str, int] | None = None
    kill: tuple[str, str] | None = None
    freeze: bool = False
    ask: dict[str, Any] | None = None
    alone: bool = False
    dummy: bool = True
    port_taken: bool = False
    timeout_s: float = 200


ENDLESS = {"prompt_tokens": 10, "max_tokens": 20000, "count": 2}
NO_NETWORK = {"NCCL_SOCKET_IFNAME": "nosuch0"}
LONG = {"prompt_tokens": 8000, "max_tokens": 200, "count": 8}
VLLM = [
    # memory, stage by stage
    Case("memory-in-use", "another process holds memory, default utilization", hog=("before", 30000), alone=True),
    Case(
        "oom-load-in-use",
        "another process holds memory; the check of free memory passes, the weights do not fit",
        "8b",
        ["--gpu-memory-utilization", "0.05", *EAGER],
        hog=("before", 12000),
        alone=True,
    ),
    Case("oom-load", "the model is larger than the GPU", "huge", EAGER, alone=True),
    Case("oom-profile", "memory gone before the profile run", "8b", EAGER, hog=("Model loading took", 0), alone=True),
    Case(
        "oom-sampler",
        "little memory left for the sampler's warm-up",
        "8b",
        [*EAGER, "--max-num-seqs", "1024", "--max-num-batched-tokens", "1024", "--max-model-len", "1024"],
        hog=("Model loading took", 700),
        alone=True,
    ),
    Case(
        "no-kv-memory", "utilization below the weights", "8b", ["--gpu-memory-utilization", "0.1", *EAGER], alone=True
    ),
    Case(
        "kv-too-short", "less KV cache than one context", words=["--gpu-memory-utilization", "0.05", *EAGER], alone=True
    ),
    Case("oom-kv", "a KV cache larger than the GPU", words=["--kv-cache-memory-bytes", "200G", *EAGER], alone=True),
    Case(
        "oom-capture", "memory gone as capture begins", words=VLLM_FIXED, hog=("Capturing CUDA graphs", 0), alone=True
    ),
    Case(
        "oom-run",
        "memory gone while serving, then long prompts",
        "8b",
        [*VLLM_FIXED, *EAGER],
        hog=("ready", 0),
        ask=LONG | {"prompt_logprobs": 5},
        alone=True,
    ),
    Case(
        "oom-trial",
        "a trial run of more tokens than fit",
        "8b",
        [*EAGER, "--max-num-batched-tokens", "2000000"],
        alone=True,
    ),
    Case("oom-first", "another process holds all memory but that of no CUDA context", hog=("before", 300), alone=True),
    # what the GPU cannot do, and which GPUs there are
    Case(
        "capability", "a quantization that needs a newer GPU", "fp-quant", ["--allow-deprecated-quantization", *EAGER]
    ),
    Case("quantization-mismatch", "the checkpoint says awq, the flag fp8", "awq", ["--quantization", "fp8", *EAGER]),
    Case("bitsandbytes-missing", "a quantization without its package", words=["--quantization", "bitsandbytes"]),
    Case(
        "attention-backend",
        "an attention backend that this model cannot use",
        words=["--attention-backend", "FLASHMLA"],
    ),
    Case("tp2", "two GPUs wanted, one there", words=["--tensor-parallel-size", "2"]),
    Case("visible-uuid", "no such GPU", env={"CUDA_VISIBLE_DEVICES": "GPU-00000000-1111-2222-3333-444444444444"}),
    Case("visible-index", "no such GPU", env={"CUDA_VISIBLE_DEVICES": "7"}),
    Case("visible-none", "no GPU allowed", env={"CUDA_VISIBLE_DEVICES": ""}),
    Case("offline", "a repository, and no network", "nobody/no-such-model"),
    Case("context", "a context longer than the model's", words=["--max-model-len", "100000"]),
    Case("truncated", "weights cut short", "truncated", EAGER, dummy=False),
    # processes that die
    Case(
        "core-killed-loading",
        "engine core killed",
        kill=("Loading model from scratch", CORE["vllm"]),
    ),
    Case("core-killed-idle", "engine core killed while no request runs", words=EAGER, kill=("ready", CORE["vllm"])),
    Case(
        "core-killed-serving",
        "engine core killed while it answers",
        words=EAGER,
        kill=("ready", CORE["vllm"]),
        ask=ENDLESS,
    ),
    Case(
        "out-of-vocabulary",
        "token ids that the tokenizer knows and the model does not",
        "few-words",
        EAGER,
        ask={"prompt_tokens": 10, "max_tokens": 10, "count": 1},
    ),
    # two GPUs
    Case("nccl-interface", "no such network interface", words=["--tensor-parallel-size", "2", *EAGER], env=NO_NETWORK),
    Case(
        "worker-killed-serving",
        "the second worker killed while the engine answers",
        words=["--tensor-parallel-size", "2", *EAGER],
        kill=("ready", r"VLLM::Worker_TP1"),
        ask=ENDLESS,
    ),
    Case(
        "worker-frozen-serving",
        "the second worker stopped while the engine answers",
        words=["--tensor-parallel-size", "2", *EAGER],
        env={"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "20"},
        kill=("ready", r"VLLM::Worker_TP1"),
        freeze=True,
        ask=ENDLESS,
    ),
]
SGLANG = [
    Case("oom-load-in-use", "another process holds memory", "8b", NO_GRAPHS, hog=("before", 12000), alone=True),
    Case("oom-load", "the model is larger than the GPU", "huge", NO_GRAPHS, alone=True),
    Case("no-kv-memory", "fraction below the weights", "8b", ["--mem-fraction-static", "0.05", *NO_GRAPHS], alone=True),
    Case("oom-kv", "memory gone before the KV cache", "8b", NO_GRAPHS, hog=("Load weight end", 300), alone=True),
    Case(
        "oom-capture",
        "memory gone as capture begins",
        "8b",
        [*SGLANG_FIXED, "--disable-prefill-cuda-graph"],
        hog=("Capture target decode CUDA graph begin", 0),
        alone=True,
    ),
    Case(
        "oom-run",
        "memory gone while serving, then long prompts",
        "8b",
        [*SGLANG_FIXED, *NO_GRAPHS],
        hog=("ready", 0),
        ask=LONG,
        alone=True,
    ),
    Case("capability", "a quantization that needs a newer GPU", words=["--quantization", "nvfp4_online"]),
    Case("quantization-mismatch", "the checkpoint says awq, the flag fp8", "awq", ["--quantization", "fp8"]),
    Case(
        "bitsandbytes-missing",
        "a quantization without its package",
        words=["--quantization", "bitsandbytes", "--load-format", "bitsandbytes"],
        dummy=False,
    ),
    Case("attention-backend", "an attention backend of newer GPUs", words=["--attention-backend", "trtllm_mha"]),
    Case("attention-mla", "an attention backend of other models", words=["--attention-backend", "flashmla"]),
    Case("tp2", "two GPUs wanted, one there", words=["--tp", "2"]),
    Case("visible-uuid", "no such GPU", env={"CUDA_VISIBLE_DEVICES": "GPU-00000000-1111-2222-3333-444444444444"}),
    Case("visible-none", "no GPU allowed", env={"CUDA_VISIBLE_DEVICES": ""}),
    Case("bad-flag", "no such flag", words=["--enable-nothing"]),
    Case("bad-value", "no such choice", words=["--kv-cache-dtype", "fp3"]),
    Case("bad-path", "no such folder", "/models/no-such-folder"),
    Case("no-config", "a folder without config.json", "no-config"),
    Case("offline", "a repository, and no network", "nobody/no-such-model"),
    Case("context", "a context longer than the model's", words=["--context-length", "100000"]),
    Case("remote-code", "a model with code of its own", "remote-code"),
    Case("unknown-architecture", "an architecture that it does not know", "unknown-architecture"),
    Case("no-tokenizer", "no tokenizer", "no-tokenizer"),
    Case("no-weights", "no weights", "no-weights", dummy=False),
    Case("truncated", "weights cut short", "truncated", dummy=False),
    Case("port-taken", "another process listens on the port", words=NO_GRAPHS, port_taken=True),
    Case(
        "scheduler-killed-loading",
        "scheduler killed",
        words=NO_GRAPHS,
        kill=("Load weight begin", CORE["sglang"]),
    ),
    Case(
        "scheduler-killed-serving",
        "scheduler killed while it answers",
        words=NO_GRAPHS,
        kill=("ready", CORE["sglang"]),
        ask=ENDLESS,
    ),
    Case(
        "detokenizer-killed-serving",
        "detokenizer killed while it answers",
        words=NO_GRAPHS,
        kill=("ready", DETOKENIZER),
        ask=ENDLESS,
    ),
    Case("oom-first", "another process holds all memory but that of no CUDA context", hog=("before", 300), alone=True),
    Case(
        "out-of-vocabulary",
        "token ids that the tokenizer knows and the model does not",
        "few-words",
        NO_GRAPHS,
        ask={"prompt_tokens": 10, "max_tokens": 10, "count": 1},
    ),
    # two GPUs
    Case("nccl-interface", "no such network interface", words=["--tp", "2", *NO_GRAPHS], env=NO_NETWORK),
    Case(
        "watchdog-loading",
        "a watchdog that is shorter than the first compilation",
        words=["--tp", "2", "--watchdog-timeout", "20", *NO_GRAPHS],
    ),
    Case(
        "scheduler-frozen-serving",
        "the second scheduler stopped while the engine answers",
        words=["--tp", "2", "--watchdog-timeout", "60", *NO_GRAPHS],
        kill=("ready", r"sglang::scheduler_TP1"),
        freeze=True,
        ask=ENDLESS,
    ),
]
CASES = {"vllm": VLLM, "sglang": SGLANG}


def command(case: Case, engine: str, folder: Path) -> tuple[str, list[str]]:
    """The model and the engine's words."""
    model = case.model if "/" in case.model else str(folder / case.model)
    words = ["--host", "127.0.0.1", "--served-model-name", "m", *case.words]
    words += [] if case.alone else FIXED[engine]
    return model, [*words, *(["--load-format", "dummy"] if case.dummy else [])]


def moment(server: Server, when: str, timeout_s: float) -> bool:
    """Wait for a moment of the start."""
    return when == "before" or server.wait_for(READY[server.engine] if when == "ready" else when, timeout_s)


def requests(case: Case, server: Server, result: dict[str, Any]) -> None:
    """Send the case's requests; what they answered stands in `result` as it comes."""
    answers = result["answers"] = []
    how = {key: value for key, value in (case.ask or {}).items() if key != "count"}
    for _ in range((case.ask or {})["count"]):
        threading.Thread(target=lambda: answers.append(server.ask(**how)), daemon=True).start()
    time.sleep(2)


def kill(case: Case, server: Server, result: dict[str, Any]) -> None:
    """Kill the case's process."""
    assert case.kill
    when, title = case.kill
    result["reached"] = moment(server, when, case.timeout_s)
    process = server.find(title)
    result["killed"] = process.cmdline()[:1] if process else None
    if process:
        result["killed_at_s"] = round(time.monotonic() - server.began, 1)
        process.suspend() if case.freeze else process.kill()


def act(case: Case, server: Server, hog: Hog | None, result: dict[str, Any]) -> None:
    """What is done to a running engine; `result` is added to."""
    if hog and case.hog and case.hog[0] != "before":
        result["reached"] = moment(server, case.hog[0], case.timeout_s)
        if result["reached"]:
            hog.take(case.hog[1])
    if case.ask and moment(server, "ready", case.timeout_s):
        requests(case, server, result)
    if case.kill:
        kill(case, server, result)
    acted = case.kill or case.ask
    end = time.monotonic() + AFTER_S if acted else server.began + case.timeout_s
    while (status := server.wait(0.5)) is None and time.monotonic() < end:
        if not acted and re.search(READY[server.engine], server.read()):
            break  # it did not fail
    result["status"] = status


def perform(case: Case, engine: str, version: str, folder: Path, out: Path, port: int) -> dict[str, Any]:
    """One case, from nothing running to nothing running."""
    log = out / f"gpu-{engine}-{version}-{case.name}.log"
    hog = Hog() if case.hog else None
    taken = None
    if hog and case.hog and case.hog[0] == "before":
        hog.take(case.hog[1])
    if case.port_taken:
        taken = socket.create_server(("127.0.0.1", port))
    model, words = command(case, engine, folder)
    server = Server(engine, model, words, port, log, case.env)
    result: dict[str, Any] = {"name": case.name, "what": case.what, "environment": case.env, "command": server.argv}
    act(case, server, hog, result)
    result["seconds"] = round(time.monotonic() - server.began, 1)
    result["serving"] = bool(re.search(READY[engine], server.read()))
    if result["status"] is None:
        result["health"] = server.get("/health", 25)[:2]
    time.sleep(1)
    result["left"] = [" ".join(each.cmdline())[:60] for each in server.descendants() if alive(each)]
    server.end()
    if hog:
        hog.end()
    if taken:
        taken.close()
    return result


def main() -> None:
    """The cases that were asked for; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("vllm", "sglang", "models"))
    parser.add_argument("rest", nargs="+", help="VERSION MODELS OUT, or the folder of models to make")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--part", choices=("alone", "beside"), help="those that need the GPU alone, or the others")
    options = parser.parse_args()
    if options.engine == "models":
        return models(Path(options.rest[0]))
    version, folder, out = options.rest[0], Path(options.rest[1]), Path(options.rest[2])
    file = out / f"gpu-{options.engine}-{version}.json"
    results: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    lock = threading.Lock()

    def one(case: Case, port: int) -> None:
        result = perform(case, options.engine, version, folder, out, port)
        with lock:
            results.append(result)
            file.write_text(json.dumps(results, indent=1) + "\n")
            print(json.dumps({key: result[key] for key in result if key not in ("command", "what")}), flush=True)

    wanted = [each for each in CASES[options.engine] if not options.only or each.name in options.only]
    wanted = [each for each in wanted if options.part in (None, "alone" if each.alone else "beside")]
    wanted = [each for each in wanted if each.name not in {result["name"] for result in results}]
    for case in wanted:
        if case.alone:
            one(case, 8300)
            end = time.monotonic() + 20
            while gpu_memory_mib() > NOTHING_MIB and time.monotonic() < end:
                time.sleep(0.5)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ports = range(8310, 8900, 10)
        list(pool.map(one, [each for each in wanted if not each.alone], ports))
    return None


if __name__ == "__main__":
    main()
