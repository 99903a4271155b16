"""Looking at a server that runs, every few seconds, for a verdict and for those who ask how it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from launcher.run.health.client import HEALTH_S, Client, completed
from launcher.run.health.hang import TOKEN_EVERY_S, Judge, Sample, Verdict
from launcher.run.health.metrics import Load, read, tells_of_tokens

PERIOD_S = 5.0
_METRICS_S = 5.0  # vLLM and SGLang take some milliseconds over it
_COMPILING_S = 0.5  # of CPU time, from one look to the next


@dataclass(frozen=True)
class Pulse:
    """What the server did between the last two looks, for those who ask from other processes.

    Attributes:
        boottime_s: of the last look, in seconds since the host was started: the same clock for every process.
        tokens: generated since the server's start.
        tokens_per_s: generated between the two looks.
        running: requests at the last look.
        waiting: the same, of those that wait.
    """

    boottime_s: float
    tokens: int
    tokens_per_s: float
    running: int
    waiting: int


class Watch(threading.Thread):
    """Looks in the background.

    Attributes:
        verdict: the last one.
        last: what /metrics said at the last look; None if it said nothing.
        pulse: of the last two looks; None unless both gave tokens.
    """

    def __init__(
        self,
        engine: str,
        connect: Callable[[], Client],
        model: str,
        hang_timeout_s: float,
        changed: Callable[[], None],
        *,
        compiling_s: Callable[[], float] = lambda: 0.0,
        period_s: float = PERIOD_S,
        token_every_s: float = TOKEN_EVERY_S,
    ) -> None:
        """Nothing is asked until `start`.

        Args:
            engine: ``vllm`` or ``sglang``.
            connect: gives a client of the server; called once for each thread that asks.
            model: the served name.
            hang_timeout_s: for how long nothing may move while work is due.
            changed: called in the thread after the verdict has another state.
            compiling_s: CPU seconds that the engine's compilers have used so far: a request of a new shape may wait
                minutes for its kernels. Called in the thread, and only when nothing moves.
            period_s: seconds between two looks.
            token_every_s: seconds between two tokens that are asked for while nothing moves.
        """
        super().__init__(name="watch", daemon=True)
        self.verdict = Verdict()
        self.last: Load | None = None
        self.pulse: Pulse | None = None
        self._engine, self._connect, self._model = engine, connect, model
        self._hang_timeout_s, self._period_s = hang_timeout_s, period_s
        self._changed, self._compiling_s = changed, compiling_s
        self._judge = Judge(hang_timeout_s, token_every_s)
        self._logged = False
        self._compiled_s: float | None = None
        self._counted: tuple[float, int] | None = None
        self._token: _Token | None = None
        self._asked_s = time.monotonic()
        self._end = threading.Event()

    def line(self, text: str) -> None:
        """Take a line of the log; for the thread that reads it."""
        if not self._logged:
            self._logged = tells_of_tokens(self._engine, text)

    def end(self) -> None:
        """Look no more. An answer that is outstanding is not waited for, and changes nothing any more."""
        self._end.set()

    def run(self) -> None:
        """The thread."""
        client = self._connect()
        while not self._end.wait(self._period_s):
            sample = self._look(client)
            client.close()  # uvicorn ends an idle connection after 5 s: just when it would be used again
            if self._end.is_set():
                return
            before, self.verdict = self.verdict, self._judge.take(sample)
            self._ask()
            if self.verdict.state != before.state:
                self._changed()

    def _look(self, client: Client) -> Sample:
        quarter_s = self._hang_timeout_s / 4  # the looks at a server that does not answer have to fit in
        reply = client.metrics(min(_METRICS_S, quarter_s))
        load = read(self._engine, reply.text) if reply.ok else None
        self._count(load)  # before anything else is asked: its time is that of the answer
        answers, fault = bool(reply.status), ""
        # SGLang's makes a token and takes a second over it (measured on 0.5.17), so it is the last resort there
        if not answers or self._engine != "sglang":
            health = client.health(min(HEALTH_S, quarter_s))
            answers, fault = answers or bool(health.status), "" if health.ok else f"/health: {health}"
        logged, self._logged = self._logged, False
        token, missing = self._answer()
        moved = logged or token or self._compiles()
        return Sample(time.monotonic(), load, answers, moved, fault or missing)

    def _count(self, load: Load | None) -> None:
        before, self._counted, self.last = self._counted, None, load
        pulse = None
        if load and load.tokens is not None:
            now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            self._counted = (now_s, load.tokens)
            if before:
                rate = max(0, load.tokens - before[1]) / (now_s - before[0])
                pulse = Pulse(now_s, load.tokens, rate, load.running or 0, load.waiting or 0)
        self.pulse = pulse

    def _compiles(self) -> bool:
        if not self._judge.stuck_s:
            return False
        before, self._compiled_s = self._compiled_s, self._compiling_s()
        return before is not None and self._compiled_s - before >= _COMPILING_S

    def _answer(self) -> tuple[bool, str]:
        """Whether a token that was asked for has come; else why not, or nothing."""
        token = self._token
        if token is None or not token.came:
            return False, token.fault if token else ""
        self._token = None
        return True, ""

    def _ask(self) -> None:
        """Ask for a token if only that can tell.

        Of a vLLM without statistics nothing is known while it is busy, when a completion of one token may wait for
        longer than any timeout.
        """
        telling = self._engine == "sglang" or bool(self.last and self.last.work)
        outstanding = self._token is not None and self._token.is_alive()
        if telling and not outstanding and self._judge.wants_token(time.monotonic() - self._asked_s):
            self._asked_s = time.monotonic()
            self._token = _Token(self._engine, self._connect(), self._model, self._hang_timeout_s)
            self._token.start()


class _Token(threading.Thread):
    """Asks for one token, beside the looks, because a server that works may take long to answer.

    Attributes:
        came: the engine gave one.
        fault: what is wrong with that, in words; empty if a refusal says nothing about the engine.
    """

    def __init__(self, engine: str, client: Client, model: str, timeout_s: float) -> None:
        super().__init__(name="token", daemon=True)
        self.came = False
        self.fault = "one token was asked for and has not come"
        self._engine, self._client, self._model, self._timeout_s = engine, client, model, timeout_s

    def run(self) -> None:
        # SGLang answers this one as soon as anything comes out of its scheduler, and asks for a token itself only when
        # it is idle (0.5.3 to 0.5.23, entrypoints/http_server.py): it is never behind a long queue.
        if self._engine == "sglang":
            reply = self._client.health_generate()
            self.came = reply.ok
        else:
            reply = self._client.complete_one_token(self._model, self._timeout_s)
            self.came = completed(reply)
        self._client.close()
        if self.came or 400 <= reply.status < 500:  # noqa: PLR2004 - HTTP's client errors
            self.fault = ""
        elif reply.status:
            self.fault = f"one token was asked for: {reply}"
