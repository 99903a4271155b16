"""What the launcher itself costs: its start-up, its refusals, the time that it adds to a start, its idling supervisor.

    python benchmarks/launcher.py --serve .venv/bin/serve

Needs an installed vLLM for this host (`serve engines install vllm`) and psutil; everything is tried on the demo model.
Times are of the wall clock, each compared with its reference in alternation within the one run. Every section waits
until the machine is quiet and no other engine runs, for minutes at most, and records what it began under. README.md
beside this file says what each number is; they are written to benchmarks/results/launcher.json after each section.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import http.client
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results" / "launcher.json"
HELP = ("--help",)
DRY_RUN = ("launch", "Qwen/Qwen3-14B", "--preset", "balanced", "--engine", "sglang@0.5.23", "--dry-run")
# What is compiled is the engine's affair and takes longer than everything else of a start.
DEMO = ("launch", "demo", "--preset", "balanced", "--engine", "vllm", "--cuda-graphs", "off")
# What is wrong with it, in the words of `serve launch`, and in the engine's own.
MISTAKES = (
    ("a flag that the release does not have", ("--max-modl-len", "4096"), ("--max-modl-len", "4096")),
    ("a value that a flag does not take", ("--kv-cache-dtype", "fp7"), ("--kv-cache-dtype", "fp7")),
    ("a key's value out of range", ("--memory-fraction", "1.5"), ("--gpu-memory-utilization", "1.5")),
)
BARS = {"help_s": 0.25, "dry_run_s": 0.5, "refusal_s": 0.5, "added_s": 0.5, "added_share": 0.02}
BARS |= {"supervisor_rss_mb": 60, "supervisor_cpu_share": 0.01}
WARM, COLD, REFUSALS, PAIRS = 20, 10, 5, 6  # runs of each kind
QUIET_S, QUIET_PERCENT, PATIENCE_S = 3, 10, 180  # percent of all cores
POLL_S, READY_S, STOP_S = 0.1, 400, 60
SETTLE_S, IDLE_S = 5, 60
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SERVE_")}


def spread(seconds: list[float]) -> dict[str, Any]:
    """Median, least and most, and each value in the order in which it was measured."""
    each = [round(value, 4) for value in seconds]
    return {"median": round(statistics.median(seconds), 4), "min": min(each), "max": max(each), "each": each}


def ratio(ours: list[float], reference: list[float]) -> float:
    """Of the two medians."""
    return round(statistics.median(ours) / statistics.median(reference), 3)


def quiet() -> dict[str, Any]:
    """Wait for a quiet machine, within bounds; what it was like then."""
    begin = time.monotonic()
    while (busy := psutil.cpu_percent(QUIET_S)) > QUIET_PERCENT or engine_runs():
        if time.monotonic() - begin > PATIENCE_S:
            break
    load = round(os.getloadavg()[0], 2)
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    return {
        "date": today,
        "waited_s": round(time.monotonic() - begin),
        "busy_before_percent": busy,
        "load_average_before": load,
    }


def engine_runs() -> bool:
    """Whether somebody's engine takes time from us."""
    lines = (" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))
    return any("vllm.entrypoints" in line or "sglang.launch_server" in line for line in lines)


def timed(words: list[str], variables: dict[str, str] | None = None, *, exit_code: int | None = 0) -> float:
    """Seconds of wall time from the start of a process to its end; a code of None stands for any failure."""
    environment = ENVIRONMENT | (variables or {})
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, check=False
        )
        seconds = time.perf_counter() - begin
        said.seek(0)
        right = done.returncode == exit_code or (exit_code is None and done.returncode > 0)
        assert right, f"{words} ended with {done.returncode}:\n{said.read().decode(errors='replace')}"
    return seconds


def drop_caches() -> None:
    """Forget every file that was read. Fails unless root may."""
    os.sync()
    DROP_CACHES.write_text("3\n")


def startup(serve: Path) -> dict[str, Any]:
    """The two commands that people wait for with nothing to wait for, against an interpreter that does nothing."""
    nothing = [str(serve.parent / "python"), "-c", "pass"]
    words = {"help": [str(serve), *HELP], "dry_run": [str(serve), *DRY_RUN], "python -c pass": nothing}

    def alternate(runs: int, before: Callable[[], None]) -> dict[str, Any]:
        seconds: dict[str, list[float]] = {name: [] for name in words}
        for _ in range(runs):
            for name, command in words.items():
                before()
                seconds[name].append(timed(command))
        result: dict[str, Any] = {name: spread(values) for name, values in seconds.items()}
        for name in ("help", "dry_run"):
            result[name]["ratio_to_pass"] = ratio(seconds[name], seconds["python -c pass"])
            result[name]["met"] = result[name]["median"] < BARS[f"{name}_s"]
        return result

    alternate(1, lambda: None)  # the first run after an install may still write bytecode
    result: dict[str, Any] = {
        "commands": {"help": list(HELP), "dry_run": list(DRY_RUN)},
        "warm": alternate(WARM, lambda: None),
    }
    try:
        result["page_cache_dropped"] = alternate(COLD, drop_caches)
    except OSError as error:
        result["page_cache_dropped"] = {"not_measured": f"the page cache cannot be dropped here: {error.strerror}"}
    return result


def refusals(serve: Path) -> dict[str, Any]:
    """The same mistake told by serve and by the engine."""
    plan, results = planned(serve), []
    for what, words, engine_words in MISTAKES:
        ours, engines = [], []
        for _ in range(REFUSALS):
            ours.append(timed([str(serve), *DEMO, *words], exit_code=2))
            engines.append(timed([*plan["argv"], *engine_words], plan["environment"], exit_code=None))
        result: dict[str, Any] = {"mistake": what, "serve_words": words, "engine_words": engine_words}
        result |= {"serve": spread(ours), "engine": spread(engines), "engine_to_serve": ratio(engines, ours)}
        results.append(result | {"met": max(ours) < BARS["refusal_s"]})
    return {"cases": results}


def planned(serve: Path, port: int = 8000) -> dict[str, Any]:
    """What `serve launch` would perform on the demo model."""
    words = [str(serve), *DEMO, "--port", str(port), "--dry-run", "--json"]
    plan = json.loads(subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=True).stdout)
    assert isinstance(plan, dict)
    return plan


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(
    words: list[str], environment: dict[str, str], log: Path, stop: int, *, reports: bool
) -> Iterator[subprocess.Popen[str]]:
    """A process with its log in a file; afterwards it is stopped, and whatever it has left behind is killed.

    Args:
        words: the command.
        environment: all of its variables.
        log: receives the standard error, and the standard output unless it `reports`.
        stop: the signal that ends it.
        reports: its standard output is read from the process that is given.
    """
    with log.open("w") as file:
        output = subprocess.PIPE if reports else file
        server = subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=file, text=True
        )
    tree = [psutil.Process(server.pid)]
    try:
        yield server
        tree += tree[0].children(recursive=True)
        server.send_signal(stop)
        server.wait(STOP_S)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            tree += tree[0].children(recursive=True)
        for each in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(tree, STOP_S)
        server.communicate()


@contextlib.contextmanager
def launched(serve: Path, port: int, folder: Path) -> Iterator[tuple[subprocess.Popen[str], float, float]]:
    """A server under `serve launch`; the seconds until its word came that a completion had come back.

    And how many of them were not the engine's: before it was started, and after its answer.
    """
    environment = ENVIRONMENT | {"XDG_STATE_HOME": str(folder)}
    begin = time.perf_counter()
    words = [str(serve), *DEMO, "--port", str(port), "--json"]
    with started(words, environment, folder / "serve.log", signal.SIGINT, reports=True) as server:
        line = server.stdout.readline() if server.stdout else ""
        seconds = time.perf_counter() - begin
        assert line, (folder / "serve.log").read_text()[-4000:]
        yield server, seconds, seconds - json.loads(line)["seconds"]


def bare_ready_s(serve: Path, port: int, folder: Path) -> float:
    """Seconds from the start of the engine's own command until a completion came back, asked for as serve asks."""
    plan = planned(serve, port)
    environment = ENVIRONMENT | plan["environment"]
    begin = time.perf_counter()
    with started(plan["argv"], environment, folder / "bare.log", signal.SIGTERM, reports=False) as server:
        while not (ask(port, "GET", "/health") and ask(port, "POST", "/v1/completions", plan["served_name"])):
            assert server.poll() is None, (folder / "bare.log").read_text()[-4000:]
            assert time.perf_counter() - begin < READY_S
            time.sleep(POLL_S)
        return time.perf_counter() - begin


def ask(port: int, method: str, path: str, model: str = "") -> bool:
    """Whether a request is answered with 200; with a model, it asks for one token."""
    body = json.dumps({"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0}) if model else None
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return answer.status == http.client.OK
    finally:
        connection.close()


def ready(serve: Path) -> dict[str, Any]:
    """Time to ready with serve and without, in pairs that change their order."""
    serve_s, own_s, processor_s, bare_s, quietness = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ours() -> None:
            with launched(serve, free_port(), folder) as (server, seconds, own):
                used = psutil.Process(server.pid).cpu_times()
                serve_s.append(seconds)
                own_s.append(own)
                processor_s.append(used.user + used.system)

        def bare() -> None:
            bare_s.append(bare_ready_s(serve, free_port(), folder))

        bare_ready_s(serve, free_port(), folder)  # reads the engine from the disk
        for number in range(PAIRS):
            quietness.append(quiet())
            for side in (ours, bare) if number % 2 else (bare, ours):
                side()
    added = [first - second for first, second in zip(serve_s, bare_s, strict=True)]
    share = statistics.median(added) / statistics.median(bare_s)
    met = statistics.median(added) < BARS["added_s"] or share < BARS["added_share"]
    result: dict[str, Any] = {"command": list(DEMO)}
    result |= {"serve_s": spread(serve_s), "bare_s": spread(bare_s), "added_s": spread(added)}
    result |= {"added_share": round(share, 4), "met": met}
    result |= {"outside_the_engine_s": spread(own_s), "processor_s_of_serve": spread(processor_s)}
    return result | {"pairs": quietness}


def idle(serve: Path) -> dict[str, Any]:
    """The supervisor's memory and processor time while its server has nothing to do."""
    with tempfile.TemporaryDirectory() as name, launched(serve, free_port(), Path(name)) as (server, *_):
        supervisor = psutil.Process(server.pid)
        time.sleep(SETTLE_S)
        before, begin = supervisor.cpu_times(), time.perf_counter()
        time.sleep(IDLE_S)
        after, memory = supervisor.cpu_times(), supervisor.memory_full_info()
        seconds = time.perf_counter() - begin
    share = (after.user + after.system - before.user - before.system) / seconds
    result = {"seconds": round(seconds, 1), "rss_mb": round(memory.rss / 1e6, 1), "uss_mb": round(memory.uss / 1e6, 1)}
    met = result["rss_mb"] < BARS["supervisor_rss_mb"] and share < BARS["supervisor_cpu_share"]
    return result | {"cpu_share_of_a_core": round(share, 5) + 0.0, "met": met}


def machine(serve: Path) -> dict[str, Any]:
    """What the numbers hold for."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    python = [str(serve.parent / "python"), "-c", "import platform; print(platform.python_version())"]
    version = [str(serve), "--version"]
    plan = planned(serve)
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "python": subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip(),
        "serve": subprocess.run(version, capture_output=True, text=True, check=True).stdout.split()[-1],
        "engine": f"{plan['engine']} on {plan['device']} ({plan['distribution']})",
    }


SECTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "startup": startup,
    "refusals": refusals,
    "ready": ready,
    "idle": idle,
}


def main() -> None:
    """Every section, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", type=Path, required=True, help="the console script of an installed serve")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS), help="the others are kept")
    options = parser.parse_args()
    serve = options.serve.absolute()
    results: dict[str, Any] = {"machine": machine(serve), "bars": BARS}
    earlier = json.loads(options.out.read_text()) if options.out.exists() else {}
    if earlier.get("machine") == results["machine"]:
        results |= {name: earlier[name] for name in SECTIONS if name in earlier and name not in options.only}
    for name in options.only:
        begun = quiet()
        results[name] = begun | SECTIONS[name](serve)
        print(json.dumps({name: results[name]}), flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    if sys.stdout.isatty():
        print(f"written to {options.out}")


if __name__ == "__main__":
    main()
