"""What a healthy engine on a real GPU shows to whoever watches and stops it.

    python3 -m benchmarks.gpu_facts vllm 0.24.0 /models /out [watched ended_busy beheaded]

Three servers side by side: one is watched while it starts, idles, works and is stopped in its tracks (SIGSTOP to the
process that holds the GPU), then ended by SIGTERM; one gets SIGTERM with a long request running; of one, only the
first process is killed. Metrics are kept as metrics-ENGINE-VERSION-STATE.txt, the rest as facts-ENGINE-VERSION.json.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.gpu_server import CORE, READY, Server, alive

APPS = ["--query-compute-apps=pid,used_memory,gpu_uuid,process_name", "--format=csv"]
GPUS = ["--query-gpu=index,uuid,memory.used,memory.total,driver_version", "--format=csv"]
WORDS = {
    "vllm": ["--kv-cache-memory-bytes", "16G", "--gpu-memory-utilization", "0.2"],
    "sglang": ["--max-total-tokens", "150000", "--enable-metrics"],
}
QUICK = {"vllm": ["--enforce-eager"], "sglang": ["--disable-decode-cuda-graph", "--disable-prefill-cuda-graph"]}
REQUESTS = 8
AFTER_KILL_S = 60
TOKENS = r"^(?:vllm:generation_tokens_total|sglang:generation_tokens_total|sglang:num_used_tokens)\b.*? ([\d.e+]+)$"
RUNNING = r"^(?:vllm:num_requests_running|sglang:num_running_reqs)\b.*? ([\d.e+]+)$"


def smi(words: list[str]) -> list[str]:
    """Lines of nvidia-smi, and how long it took."""
    begin = time.monotonic()
    lines = subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, check=False).stdout.splitlines()
    return [*lines, f"({time.monotonic() - begin:.2f} s)"]


def tree(server: Server) -> list[dict[str, Any]]:
    """Every process of the server, as /proc shows it."""
    found = []
    for each in server.descendants():
        with contextlib.suppress(psutil.Error, OSError):
            environment = Path(f"/proc/{each.pid}/environ").read_bytes()
            found.append(
                {
                    "pid": each.pid,
                    "ppid": each.ppid(),
                    "sid": os.getsid(each.pid),
                    "pgid": os.getpgid(each.pid),
                    "comm": each.name(),
                    "cmdline": " ".join(each.cmdline())[:80],
                    "rss_mib": each.memory_info().rss >> 20,
                    "threads": each.num_threads(),
                    "environ_bytes": len(environment),
                    "environ_start": environment[:60].decode(errors="replace"),
                    "has_marker": b"SERVE_RUN=" in environment,
                    "status": each.status(),
                }
            )
    return found


def shm() -> list[str]:
    """What lies in /dev/shm."""
    return sorted(f"{each.name} {each.stat().st_size}" for each in Path("/dev/shm").iterdir() if each.is_file())  # noqa: S108


def sample(server: Server, rows: list[dict[str, Any]], done: threading.Event) -> None:
    """Every 2 s: CPU seconds and bytes read and written of all processes that live, log size, GPU memory."""
    while not done.is_set():
        row: dict[str, Any] = {"at_s": round(time.monotonic() - server.began, 1), "log": server.log.stat().st_size}
        processes = server.descendants()
        row["processes"] = len(processes)
        totals = dict.fromkeys(("cpu_s", "rchar", "wchar", "read_bytes", "write_bytes", "majflt", "rss_mib"), 0.0)
        for each in processes:
            with contextlib.suppress(psutil.Error, OSError, ValueError):
                times, io = each.cpu_times(), each.io_counters()
                totals["cpu_s"] += times.user + times.system
                totals["rchar"] += io.read_chars
                totals["wchar"] += io.write_chars
                totals["read_bytes"] += io.read_bytes
                totals["write_bytes"] += io.write_bytes
                totals["rss_mib"] += each.memory_info().rss >> 20
                stat = Path(f"/proc/{each.pid}/stat").read_text().rpartition(")")[2].split()
                totals["majflt"] += int(stat[9])
        row |= {key: round(value, 1) for key, value in totals.items()}
        row["gpu_mib"] = smi(["--query-gpu=memory.used", "--format=csv,noheader,nounits"])[0]
        row["last"] = (server.read().splitlines() or [""])[-1][-110:]
        rows.append(row)
        done.wait(2)


def watch(server: Server, seconds: float) -> list[dict[str, Any]]:
    """What health, metrics and the log say meanwhile, every 5 s."""
    rows = []
    begin = time.monotonic()
    before = len(server.read())
    while time.monotonic() - begin < seconds:
        row: dict[str, Any] = {"at_s": round(time.monotonic() - begin, 1)}
        row["health"] = server.get("/health", 30)[:2]
        status, took_s, body = server.get("/metrics", 10)
        row["metrics"] = (status, took_s)
        row["tokens"] = [float(each) for each in re.findall(TOKENS, body, re.MULTILINE)]
        row["running"] = [float(each) for each in re.findall(RUNNING, body, re.MULTILINE)]
        rows.append(row)
        time.sleep(5)
    log = [line for line in server.read()[before:].splitlines() if "GET /" not in line]
    return [*rows, {"log": log[-40:]}]


def load(server: Server, count: int, max_tokens: int, timeout_s: float = 400) -> list[str]:
    """Requests in the background; the list fills with their answers."""
    answers: list[str] = []
    for _ in range(count):
        threading.Thread(target=lambda: answers.append(server.ask(50, max_tokens, timeout_s)), daemon=True).start()
    return answers


def terminate(server: Server, timeout_s: float) -> dict[str, Any]:
    """SIGTERM to the first process; how it went."""
    before, begin = len(server.read()), time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = server.wait(timeout_s)
    taken_s = round(time.monotonic() - begin, 2)
    while server.descendants() and status is not None and time.monotonic() - begin < timeout_s:
        time.sleep(0.05)
    gone_s = round(time.monotonic() - begin, 2)
    left = [each["cmdline"] for each in tree(server)]
    return {
        "status": status,
        "exit_s": taken_s,
        "gone_s": gone_s,
        "left": left,
        "log": server.read()[before:].splitlines()[-25:],
    }


def watched(engine: str, model: str, out: Path, name: str, facts: dict[str, Any]) -> None:
    """The server that is watched."""
    facts |= {"shm_before": shm(), "gpus_before": smi(GPUS)}
    words = ["--host", "127.0.0.1", "--served-model-name", "m", *WORDS[engine]]
    server = Server(engine, model, words, 8700, out / f"facts-{name}-watched.log", {})
    done = threading.Event()
    rows: list[dict[str, Any]] = []
    sampler = threading.Thread(target=sample, args=(server, rows, done))
    sampler.start()
    facts["ready"] = server.wait_for(READY[engine], 300)
    facts["ready_s"] = round(time.monotonic() - server.began, 1)
    done.set()
    sampler.join()
    facts |= {
        "start": rows,
        "argv": server.argv,
        "tree": tree(server),
        "apps": smi(APPS),
        "gpus": smi(GPUS),
        "shm": shm(),
    }
    (out / f"metrics-{name}-idle.txt").write_text(server.get("/metrics", 10)[2])
    facts["ask"] = server.ask(10, 16)
    facts["health"] = server.get("/health", 30)
    answers = load(server, REQUESTS, 15000)
    time.sleep(4)
    (out / f"metrics-{name}-running.txt").write_text(server.get("/metrics", 10)[2])
    facts["health_busy"] = [server.get("/health", 30)[:2] for _ in range(3)]
    core = server.find(CORE[engine])
    facts["core"] = core.cmdline() if core else None
    if core:
        core.send_signal(signal.SIGSTOP)
        facts["stopped_busy"] = watch(server, 90)
        core.send_signal(signal.SIGCONT)
        time.sleep(5)
        facts["after_busy"] = watch(server, 4)
        facts["answers"] = list(answers)
        end = time.monotonic() + 120
        while len(answers) < REQUESTS and alive(core) and time.monotonic() < end:
            time.sleep(0.5)
        facts["answers"] = list(answers)
        core.send_signal(signal.SIGSTOP)
        facts["stopped_idle"] = watch(server, 45)
        core.send_signal(signal.SIGCONT)
        time.sleep(3)
    facts["after_idle"] = server.get("/health", 30)
    facts["term_idle"] = terminate(server, 60)
    server.end()
    time.sleep(1)
    facts["shm_after"] = shm()


def ended_busy(engine: str, model: str, out: Path, name: str, facts: dict[str, Any]) -> None:
    """The server that gets SIGTERM while it answers."""
    words = ["--host", "127.0.0.1", "--served-model-name", "m", *WORDS[engine], *QUICK[engine]]
    server = Server(engine, model, words, 8720, out / f"facts-{name}-term.log", {})
    facts["ready"] = server.wait_for(READY[engine], 300)
    facts["ready_s"] = round(time.monotonic() - server.began, 1)
    answers = load(server, 1, 38000, 33)  # the client hangs up 30 s after SIGTERM
    time.sleep(3)
    facts |= terminate(server, 60)
    facts["answers"], facts["health"] = list(answers), server.get("/health", 30)[:2]
    server.end()


def beheaded(engine: str, model: str, out: Path, name: str, facts: dict[str, Any]) -> None:
    """The server whose first process is killed."""
    words = ["--host", "127.0.0.1", "--served-model-name", "m", *WORDS[engine], *QUICK[engine]]
    server = Server(engine, model, words, 8740, out / f"facts-{name}-killed.log", {})
    facts["ready"] = server.wait_for(READY[engine], 300)
    load(server, 1, 15000)
    time.sleep(3)
    server.process.kill()
    server.process.wait()
    begin = time.monotonic()
    facts["after"] = []
    while time.monotonic() - begin < AFTER_KILL_S:
        left = tree(server)
        row = {
            "at_s": round(time.monotonic() - begin, 1),
            "left": [(each["pid"], each["cmdline"], each["ppid"]) for each in left],
        }
        facts["after"].append(row | {"apps": smi(APPS)})
        if not left:
            break
        time.sleep(1)
    server.end()
    facts["shm_after"] = shm()


def main() -> None:
    """All three, and the file."""
    engine, version, model, out = sys.argv[1], sys.argv[2], str(Path(sys.argv[3]) / "small"), Path(sys.argv[4])
    name = f"{engine}-{version}"
    file = out / f"facts-{name}.json"
    facts: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    parts = [part for part in (watched, ended_busy, beheaded) if part.__name__ in (sys.argv[5:] or part.__name__)]

    def one(part: Any) -> None:
        part(engine, model, out, name, facts.setdefault(part.__name__, {}))
        print(part.__name__, "done", flush=True)

    threads = [threading.Thread(target=one, args=(part,)) for part in parts]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        time.sleep(5)
        file.write_text(json.dumps(copy.deepcopy(facts), indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
