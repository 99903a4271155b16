"""When launchers say that a server is ready: whether it is true, and how soon they know. Parts of `lifecycle.py`."""

from __future__ import annotations

import http.client
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import HOST, MARK, Contender, Engine, Run, free_port, start
from benchmarks.launcher import spread

FAKE_ENGINE = Path(__file__).resolve().parent.parent / "tests" / "fake_engine.py"
MODEL = "demo"
LONG_S = 3600
PATIENCE_S = 15.0  # the slowest engine of the cases that comes to work takes five
GIVE_UP_S = 10.0  # more, for a launcher that has to stop what it gives up
ANSWER_S = 5.0  # of a server that is said to be ready
GRACE_S = 1.0  # in which a client of such a server may have to try again
REAL_S = 300.0
JOBS = 6
POLL_S = 0.005
VERDICTS = ("true", "false", "missed", "rightly never")


@dataclass(frozen=True)
class Kind:
    """A fault at the start of an engine, at a random time.

    Attributes:
        name: what happens.
        variables: of the stand-in.
        works: whether completions come back one day.
        intruder: whether another server takes the port while the engine loads.
    """

    name: str
    variables: Callable[[random.Random], dict[str, object]]
    works: bool = True
    intruder: bool = False


def at(**limits: object) -> Callable[[random.Random], dict[str, object]]:
    """Variables of the stand-in; a pair of seconds stands for any time between them."""
    return lambda draw: {
        name: draw.uniform(*each) if isinstance(each, tuple) else each for name, each in limits.items()
    }


SOON, WHILE = (0.0, 0.5), (0.3, 3.0)
KINDS = (
    Kind("loads, then works", at()),
    Kind("says its lines before it listens", at(FAKE_START_S=WHILE)),
    Kind("warms up: completions 503", at(FAKE_COMPLETIONS_S=WHILE)),
    Kind("warms up: completions 500", at(FAKE_COMPLETIONS="error", FAKE_COMPLETIONS_S=WHILE)),
    Kind("warms up: completions without a token", at(FAKE_COMPLETIONS="zero", FAKE_COMPLETIONS_S=WHILE)),
    Kind("warms up: connections closed", at(FAKE_COMPLETIONS="close", FAKE_COMPLETIONS_S=WHILE)),
    Kind("gives its port to another process", at(FAKE_REPLACED=WHILE)),
    Kind("dies after its lines, before it listens", at(STAND_IN_DIES_S=SOON, FAKE_START_S=LONG_S), works=False),
    Kind("dies while it warms up", at(STAND_IN_DIES_S=SOON, FAKE_COMPLETIONS_S=LONG_S), works=False),
    Kind("stops listening with its first completion", at(FAKE_REPLACED=LONG_S), works=False),
    Kind("freezes", at(STAND_IN_FREEZES_S=SOON, FAKE_COMPLETIONS_S=LONG_S), works=False),
    Kind("never ends warming up", at(FAKE_COMPLETIONS_S=LONG_S), works=False),
    Kind("completions never come back", at(FAKE_COMPLETIONS="hang"), works=False),
    Kind("completions 500", at(FAKE_COMPLETIONS="error"), works=False),
    Kind("completions without a choice", at(FAKE_COMPLETIONS="empty"), works=False),
    Kind("completions without a token", at(FAKE_COMPLETIONS="zero"), works=False),
    Kind("an error with status 200", at(FAKE_COMPLETIONS="wrong"), works=False),
    Kind("a page with status 200", at(FAKE_COMPLETIONS="page"), works=False),
    Kind("another server takes its port, it ends", at(), works=False, intruder=True),
    Kind("another server takes its port, it stays", at(FAKE_START_S=LONG_S), works=False, intruder=True),
)


def cases(count: int) -> list[tuple[Kind, dict[str, str]]]:
    """Every kind as often as another, each case with its own times; the same ones whenever it is called."""
    draw, found = random.Random(0), []  # noqa: S311 - no secret
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        variables = {"STAND_IN_LOADS_S": draw.uniform(0.3, 1.5), **kind.variables(draw)}
        found.append((kind, {name: str(value) for name, value in variables.items()}))
    return found


def ready(contenders: list[Contender], fake: Engine, folder: Path, launches: int) -> dict[str, Any]:
    """Every case with every contender: whether what it said was true."""
    result: dict[str, Any] = {"launches": launches, "at_the_same_time": JOBS, "patience_s": PATIENCE_S}
    every = cases(launches)
    for contender in contenders:
        homes = [folder / contender.name / f"case-{number}" for number in range(launches)]
        with ThreadPoolExecutor(JOBS) as pool:
            verdicts = list(pool.map(judged, [contender] * launches, [fake] * launches, homes, every))
        total = Counter(verdicts)
        kinds: dict[str, dict[str, int]] = {kind.name: {} for kind in KINDS}
        for (kind, _), verdict in zip(every, verdicts, strict=True):
            kinds[kind.name][verdict] = kinds[kind.name].get(verdict, 0) + 1
        result[contender.name] = {"ready_means": contender.ready, **{name: total[name] for name in VERDICTS}}
        if contender.supervises:
            wrong = [(number, verdict) for number, verdict in enumerate(verdicts) if verdict in {"false", "missed"}]
            result[contender.name]["cases_false_or_missed"] = wrong
        result[contender.name]["kinds"] = kinds
        print(json.dumps({contender.name: result[contender.name]}), file=sys.stderr, flush=True)
    return result


def judged(contender: Contender, fake: Engine, folder: Path, case: tuple[Kind, dict[str, str]]) -> str:
    """One launch: a server that is said to be ready has to complete two prompts of a client's, one after the other.

    The client tries again for a second; whatever another server answers on the port, it is not this one.
    """
    kind, variables = case
    port, began, taken = free_port(), folder / "began", folder / "taken"
    variables = {**variables, "STAND_IN_BEGAN": str(began)} | ({"STAND_IN_UNTIL": str(taken)} if kind.intruder else {})
    run = start(contender, fake, port, folder, variables, PATIENCE_S)
    try:
        if kind.intruder:
            intrude(run, began)
            taken.touch()
        if not run.said_ready(PATIENCE_S + GIVE_UP_S):
            return "missed" if kind.works else "rightly never"
        while kind.works and time.monotonic() < (run.ready_s or 0) + GRACE_S:
            if completes(port, ANSWER_S) and completes(port, ANSWER_S):
                return "true"
            time.sleep(POLL_S)
        return "false"
    finally:
        run.kill()


def intrude(run: Run, began: Path) -> None:
    """Serve the same model on the port, as soon as the engine has begun to load."""
    while not began.exists() and run.process.poll() is None:
        time.sleep(POLL_S)
    argv = [sys.executable, str(FAKE_ENGINE), "--port", str(run.port), "--model", MODEL]
    null = subprocess.DEVNULL
    run.others.append(subprocess.Popen(argv, env={MARK: run.mark}, stdin=null, stdout=null, stderr=null))
    while not completes(run.port, ANSWER_S):
        time.sleep(POLL_S)


def completes(port: int, timeout_s: float) -> bool:
    """Whether a completion of one token comes back."""
    body = json.dumps({"model": MODEL, "prompt": "Hello", "max_tokens": 1, "temperature": 0})
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        return bool(answer.status == http.client.OK and told["choices"] and told["usage"]["completion_tokens"])
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
    finally:
        connection.close()


class Observer(threading.Thread):
    """Asks for completions of its own without a pause, until one comes back.

    Attributes:
        seen_s: when the first one had come back, on the monotonic clock; None until then.
    """

    def __init__(self, port: int) -> None:
        """It asks when it is started."""
        super().__init__(daemon=True)
        self.port = port
        self.seen_s: float | None = None
        self.end = threading.Event()

    def run(self) -> None:
        """The thread."""
        while not completes(self.port, REAL_S):
            if self.end.wait(POLL_S):
                return
        self.seen_s = time.monotonic()


def detect(contenders: list[Contender], engine: Engine, runs: int, folder: Path, bar_s: float) -> dict[str, Any]:
    """Seconds from the first completion of an observer's to the word of the contender; below 0 it spoke too early.

    Args:
        contenders: take turns.
        engine: that they start.
        runs: of each.
        folder: for what is written.
        bar_s: what serve has to meet.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    draw = random.Random(0)  # noqa: S311 - no secret
    for number in range(runs):
        variables = {"STAND_IN_LOADS_S": str(draw.uniform(0.5, 2))}
        for contender in contenders:
            home = folder / contender.name / f"run-{number}"
            seconds[contender.name].append(late(contender, engine, home, variables))
            print(json.dumps({contender.name: round(seconds[contender.name][-1], 3)}), file=sys.stderr, flush=True)
    found = {each.name: {"ready_means": each.ready, "late_s": spread(seconds[each.name])} for each in contenders}
    met = all(max(seconds[each.name]) < bar_s for each in contenders if each.supervises)
    return {"runs": runs, **found, "met": met}


def late(contender: Contender, engine: Engine, folder: Path, variables: dict[str, str]) -> float:
    """One launch under observation."""
    run = start(contender, engine, free_port(), folder, variables, REAL_S)
    observer = Observer(run.port)
    try:
        observer.start()
        assert run.said_ready(REAL_S), run.told()
        observer.join(REAL_S)
        assert run.ready_s, run.told()
        assert observer.seen_s, "no completion came back"
        return run.ready_s - observer.seen_s
    finally:
        observer.end.set()
        run.kill()
