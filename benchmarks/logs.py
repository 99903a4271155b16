"""What an engine's log costs: the supervisor's memory, and the time of whoever writes. A part of `lifecycle.py`."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import STAND_IN, Contender, Engine, Run, free_port, start
from benchmarks.launcher import spread

SIZE_BYTES = 10**9
PACE_BYTES_PER_S = 50e6
LIMIT_S = 60.0  # for a supervisor that takes less than 16 MB/s
ROUNDS = 3
READY_S = 60.0
CAT = "cat > file"
SAMPLE_S = 0.1
MB = 1e6


def log(contenders: list[Contender], fake: Engine, folder: Path, bar_mb: float) -> dict[str, Any]:
    """1 GB while a server serves: at 50 MB/s with an eye on memory, and as fast as it goes; against `cat > file`."""
    paced = {CAT: piped(folder / "cat", PACE_BYTES_PER_S)}
    rates: dict[str, list[float]] = {CAT: [], **{each.name: [] for each in contenders}}
    for each in contenders:
        paced[each.name] = supervised(each, fake, folder / each.name / "paced", PACE_BYTES_PER_S)
    for _ in range(ROUNDS):
        rates[CAT].append(rate(piped(folder / "cat", None)))
        for each in contenders:
            rates[each.name].append(rate(supervised(each, fake, folder / each.name / "unpaced", None)))
    result: dict[str, Any] = {"bytes": SIZE_BYTES, "bytes_per_s": PACE_BYTES_PER_S, "limit_s": LIMIT_S}
    for name, told in paced.items():
        told["ratio_to_cat"] = round(rate(paced[CAT]) / rate(told), 4)
        result[name] = {"paced": told, "unpaced_mb_per_s": spread(rates[name])}
    growths = [paced[each.name]["memory"]["growth_in_second_half_mb"] for each in contenders if each.supervises]
    return result | {"met": max(growths) < bar_mb}


def rate(told: dict[str, Any]) -> float:
    """MB a second."""
    return float(told["bytes"]) / MB / float(told["seconds"])


def piped(folder: Path, bytes_per_s: float | None) -> dict[str, Any]:
    """The writer alone, into `cat > file`."""
    folder.mkdir(parents=True)
    go, result = folder / "go", folder / "result"
    go.touch()
    words = writing(go, result, bytes_per_s)
    with (folder / "log").open("wb") as file:
        writer = subprocess.Popen([sys.executable, str(STAND_IN), "--write", words], stdout=subprocess.PIPE)
        subprocess.run(["cat"], stdin=writer.stdout, stdout=file, check=True)
        writer.wait()
    told = json.loads(result.read_text())
    shutil.rmtree(folder)
    return rounded(told)


def supervised(contender: Contender, fake: Engine, folder: Path, bytes_per_s: float | None) -> dict[str, Any]:
    """The writer as a child of an engine that serves, and the memory of what supervises it."""
    go, result, began = folder / "go", folder / "result", folder / "began"
    words = writing(go, result, bytes_per_s)
    variables = {"STAND_IN_WRITES": words, "STAND_IN_BEGAN": str(began)}
    run = start(contender, fake, free_port(), folder, variables, READY_S)
    try:
        assert run.said_ready(READY_S), run.told()
        launcher = supervisors(run, int(began.read_text()))
        samples = [resident_mb(launcher)]
        go.touch()
        while not result.exists():
            assert launcher or not contender.supervises, run.told()
            time.sleep(SAMPLE_S)
            samples.append(resident_mb(launcher))
        time.sleep(1)
        samples.append(resident_mb(launcher))
        told = rounded(json.loads(result.read_text()))
    finally:
        run.kill()
    shutil.rmtree(folder)
    if launcher:
        tenths = [samples[(len(samples) - 1) * number // 10] for number in range(11)]
        growth_mb = round(max(samples[len(samples) // 2 :]) - tenths[5], 1)
        told["memory"] = {"at_tenths_mb": tenths, "most_mb": max(samples), "growth_in_second_half_mb": growth_mb}
    return told


def writing(go: Path, result: Path, bytes_per_s: float | None) -> str:
    """The arguments of the writer."""
    return json.dumps(
        {"go": str(go), "result": str(result), "size_bytes": SIZE_BYTES, "bytes_per_s": bytes_per_s, "limit_s": LIMIT_S}
    )


def supervisors(run: Run, engine_pid: int) -> list[psutil.Process]:
    """The processes of a run that are not the engine's."""
    engine, own = psutil.Process(engine_pid), psutil.Process()
    others = {engine, *engine.children(recursive=True), own, *own.parents()}
    return list({*run.processes(), *engine.parents()} - others)


def resident_mb(processes: list[psutil.Process]) -> float:
    """Memory of some processes together."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return round(total / MB, 1)


def rounded(told: dict[str, float]) -> dict[str, Any]:
    """Seconds to the millisecond."""
    return {name: round(value, 3) for name, value in told.items()}
