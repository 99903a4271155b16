"""A made-up vLLM for every launcher alike: vLLM's lines in the log, hostile timing, then `tests/fake_engine.py`.

    stand_in.py [serve MODEL] [--model MODEL] [--served-model-name NAME] --port 8000 [--host ...]

Its environment says what it does; FAKE_* variables are the fake engine's, which has the rest of the faults:

    STAND_IN_LOADS_S=2       seconds until it says "Application startup complete"; then it listens, after FAKE_START_S
    STAND_IN_DIES_S=0.2      ends with status 1 so many seconds after these lines
    STAND_IN_FREEZES_S=0.2   is stopped (SIGSTOP) so many seconds after them
    STAND_IN_BEGAN=FILE      writes its pid there before it loads
    STAND_IN_UNTIL=FILE      loads until this file is there
    STAND_IN_WRITES=JSON     a child process writes a log: the arguments of `write`, begun when the file `go` is there
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

importlib.import_module("http.server")  # now, so that the socket listens within milliseconds of the lines
FAKE_ENGINE = Path(__file__).resolve().parent.parent / "tests" / "fake_engine.py"
# vLLM 0.32.0, by uvicorn: in this order, after the engine has loaded and before the socket listens.
LINES = ("Started server process [{pid}]", "Waiting for application startup.", "Application startup complete.")
LOG_LINE = (
    "(EngineCore pid=4711) INFO 11-21 12:00:00 [loggers.py:271] Engine 000: Avg generation throughput: {} tokens/s"
)
BLOCK_BYTES = 1 << 16
POLL_S = 0.05


def main() -> None:
    """Load as the environment says, and become the fake engine."""
    if "--write" in sys.argv:
        write(**json.loads(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--served-model-name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="8000")
    options, _ = parser.parse_known_args()
    if began := os.environ.get("STAND_IN_BEGAN"):
        Path(began).write_text(str(os.getpid()))
    if writes := os.environ.get("STAND_IN_WRITES"):
        subprocess.Popen([sys.executable, __file__, "--write", writes])
    time.sleep(float(os.environ.get("STAND_IN_LOADS_S", "0")))
    wait_for(os.environ.get("STAND_IN_UNTIL"))
    for line in LINES:
        print(f"(APIServer pid={os.getpid()}) INFO:     {line.format(pid=os.getpid())}", flush=True)
    for variable, act in (("STAND_IN_DIES_S", die), ("STAND_IN_FREEZES_S", freeze)):
        if seconds := os.environ.get(variable):
            threading.Timer(float(seconds), act).start()
    name = options.served_model_name or options.model
    sys.argv = [str(FAKE_ENGINE), "--host", options.host, "--port", options.port, "--model", name]
    runpy.run_path(str(FAKE_ENGINE), run_name="__main__")


def wait_for(file: str | None) -> None:
    """Until a file is there, if one is named."""
    while file and not Path(file).exists():
        time.sleep(POLL_S)


def die() -> None:
    """As a process that is killed: nothing is flushed or answered any more."""
    os._exit(1)


def freeze() -> None:
    """As a process that hangs in a driver: it is there, its socket too, and nothing of it moves."""
    os.kill(os.getpid(), signal.SIGSTOP)


def write(go: str, result: str, size_bytes: int, bytes_per_s: float | None, limit_s: float) -> None:
    """Write lines to the standard output, and into a file how long that took.

    Args:
        go: begins when this file is there.
        result: a file for JSON: ``bytes``, ``seconds``, ``blocked_s`` (within write), ``longest_write_s``, ``late_s``.
        size_bytes: how much in all.
        bytes_per_s: the pace; None for no pace.
        limit_s: seconds after which it stops, however much that is.
    """
    wait_for(go)
    line = LOG_LINE.format(0).encode() + b"\n"
    block = b"".join(LOG_LINE.format(number).encode() + b"\n" for number in range(BLOCK_BYTES // len(line)))
    written, blocked_s, longest_s, late_s = 0, 0.0, 0.0, 0.0
    begin_s = time.perf_counter()
    while written < size_bytes and time.perf_counter() - begin_s < limit_s:
        if bytes_per_s:
            early_s = begin_s + written / bytes_per_s - time.perf_counter()
            late_s = max(late_s, -early_s)
            time.sleep(max(0.0, early_s))
        before_s = time.perf_counter()
        written += os.write(1, block)
        took_s = time.perf_counter() - before_s
        blocked_s, longest_s = blocked_s + took_s, max(longest_s, took_s)
    seconds = time.perf_counter() - begin_s
    told = {"bytes": written, "seconds": seconds, "blocked_s": blocked_s, "longest_write_s": longest_s}
    unfinished = Path(result + ".part")
    unfinished.write_text(json.dumps(told | {"late_s": late_s}))
    unfinished.replace(result)


if __name__ == "__main__":
    main()
