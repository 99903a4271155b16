"""What is left of a real vLLM when one of its processes, or its supervisor, is killed. A part of `lifecycle.py`.

This process adopts whatever loses its parent (child subreaper), so everything that a run started and that still lives
is a descendant of it, whatever it calls itself and wherever it moved to; the mark in the environment is looked for as
well.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import HOST, Contender, Engine, Run, free_port, start

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
READY_S = 400.0
LEFT_S = 30.0  # alive so long after the kill: left behind; vLLM alone may take 18 s to find out that its core is dead
GONE_S = 60.0  # how long what is left is watched
SERVED_S = 5.0
POLL_S = 0.05
MODEL = "demo"


def kill(
    contenders: dict[Contender, range], real: Engine, folder: Path, earlier: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Each contender's numbered moments, one after the other; the result so far after each.

    Args:
        contenders: with the numbers of their moments; a number always has the same random choices.
        real: the engine.
        folder: for what is written.
        earlier: a result of this function's, whose moments are kept.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first = next(iter(contenders))
    ready_s = earlier.get("ready_after_s") or calibrate(first, real, folder / "calibrate")
    result = {**earlier, "left_means": f"alive {LEFT_S:.0f} s after the kill", "ready_after_s": round(ready_s, 1)}
    for contender, numbers in contenders.items():
        known = {each["number"]: each for each in earlier.get(contender.name, {}).get("moments", ())}
        for number in numbers:
            known[number] = moment(contender, real, folder / contender.name / f"moment-{number}", number, ready_s)
            print(json.dumps({contender.name: known[number]}), file=sys.stderr, flush=True)
            result[contender.name] = summary([known[each] for each in sorted(known)])
            yield result


def summary(moments: list[dict[str, Any]]) -> dict[str, Any]:
    """How often something was left, by who was killed and when."""
    groups: dict[str, dict[str, int]] = {}
    for each in moments:
        group = groups.setdefault(f"{each['victim']}, {each['phase']}", {"kills": 0, "left": 0})
        group["kills"] += 1
        group["left"] += bool(each["left"])
    gone = [each["gone_after_s"] for each in moments if each["gone_after_s"]]
    result: dict[str, Any] = {"kills": len(moments), "kills_that_left_something": sum(bool(m["left"]) for m in moments)}
    result |= {"processes_left": sum(len(each["left"]) for each in moments), "by_victim": dict(sorted(groups.items()))}
    if gone:
        result["gone_after_s"] = {"median": round(statistics.median(gone), 2), "most": max(gone)}
    return result | {"moments": moments}


def calibrate(contender: Contender, real: Engine, folder: Path) -> float:
    """Seconds to ready, which the moments are spread over."""
    run = start(contender, real, free_port(), folder, {}, READY_S)
    try:
        assert run.said_ready(READY_S), run.told()
        return (run.ready_s or 0) - run.begun_s
    finally:
        clear(run, folder)


def moment(contender: Contender, real: Engine, folder: Path, number: int, ready_s: float) -> dict[str, Any]:
    """One kill; even numbers while the engine loads, odd ones while it serves a request."""
    draw = random.Random(number)  # noqa: S311 - no secret
    share, pick = draw.random(), draw.random()
    run = start(contender, real, free_port(), folder, {}, READY_S)
    over = threading.Event()
    try:
        if number % 2:
            assert run.said_ready(READY_S), run.told()
            threading.Thread(target=keep_busy, args=(run.port, over), daemon=True).start()
            time.sleep(share * SERVED_S)
        else:
            run.said_ready(share * ready_s)
        victims = roles(run, real)
        name = sorted(victims)[int(pick * len(victims))]
        at_s = time.monotonic()
        victims[name].kill()
        left = [named(process, victims) for process in remaining(run, contender, LEFT_S)]
        gone = not (left and remaining(run, contender, GONE_S - LEFT_S))
        told = {"number": number, "victim": name, "phase": "serving" if run.ready_s else "loading"}
        told |= {"at_s": round(at_s - run.begun_s, 2), "of": sorted(victims), "left": left}
        return told | {"gone_after_s": round(time.monotonic() - at_s, 2) if gone else None}
    finally:
        over.set()
        clear(run, folder)


def roles(run: Run, real: Engine) -> dict[str, psutil.Process]:
    """Who can be killed at this moment: supervisor, guard (between it and the engine), api, core, as they are there."""
    family = alive(run)
    engine = {process for process in family if is_engine(process, real)}
    found: dict[str, psutil.Process] = {}
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent, words = process.parent(), process.cmdline()
            if process not in engine and parent not in family:
                found["supervisor"] = process
            elif process in engine and parent not in engine:
                found["api"] = process
            elif process in engine and any("EngineCore" in word or "spawn_main" in word for word in words):
                found["core"] = process
    with contextlib.suppress(psutil.NoSuchProcess, KeyError):
        between = found["api"].parent()
        if between in family and between != found.get("supervisor"):
            found["guard"] = between
    return found


def is_engine(process: psutil.Process, real: Engine) -> bool:
    """By its program; vLLM's processes name themselves after a while."""
    with contextlib.suppress(psutil.Error):
        words = process.cmdline() or [process.name()]
        return words[0] == str(real.python) or words[0].startswith("VLLM::")
    return False


def alive(run: Run) -> list[psutil.Process]:
    """Everything of the run that lives; what has ended and was adopted by this process is reaped."""
    found = {}
    for process in (*psutil.Process().children(recursive=True), *run.processes()):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
            elif process.pid != run.process.pid and process.ppid() == os.getpid():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
    run.process.poll()
    return list(found.values())


def remaining(run: Run, contender: Contender, seconds: float) -> list[psutil.Process]:
    """What is left after some seconds; a program of a peer's may stay, for it holds no memory of the engine's."""
    end_s = time.monotonic() + seconds
    while True:
        left = [each for each in alive(run) if each.pid != run.process.pid or contender.supervises]
        if not left or time.monotonic() > end_s:
            return left
        time.sleep(POLL_S)


def named(process: psutil.Process, victims: dict[str, psutil.Process]) -> str:
    """What a process was when one was killed, or its program."""
    with contextlib.suppress(psutil.Error):
        return next((role for role, each in victims.items() if each == process), process.name())
    return "?"


def keep_busy(port: int, over: threading.Event) -> None:
    """One request after the other, until the server is gone."""
    body = json.dumps({"model": MODEL, "prompt": "Hello", "max_tokens": 256, "ignore_eos": True})
    with contextlib.suppress(OSError, http.client.HTTPException):
        while not over.is_set():
            connection = http.client.HTTPConnection(HOST, port, timeout=READY_S)
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            connection.getresponse().read()
            connection.close()


def clear(run: Run, folder: Path) -> None:
    """Nothing of a run is left for the next one."""
    while left := alive(run):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, 1)
    run.process.wait()
    shutil.rmtree(folder)
