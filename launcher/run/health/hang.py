"""Whether a server that runs still works: a busy server is not a hung one, and one that answers health may be.

The measure is tokens. Work is due when requests are there, when the server does not answer, or when a token that was
asked for does not come; if then nothing moves for long enough, it hangs, whatever /health says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from launcher.run.health.metrics import Load

# An engine that hangs while it is idle shows nothing: the requests that vLLM's API server takes are counted by the
# engine core alone, so that those which a core does not take are nowhere (tried on 0.32.0: with the core stopped and a
# request outstanding, /health answers 200, and nothing runs or waits). To ask for a token is the one way to know; once
# a minute, and only while nothing moves, it is some 20 ms of a GPU's work.
TOKEN_EVERY_S = 60.0
# Longer between two looks, and this process was stopped itself (a frozen container, a debugger): nobody hung.
_GAP_S = 30.0


@dataclass(frozen=True)
class Verdict:
    """``suspect`` after half of the time in which ``hung`` is decided; `why` in a sentence, empty for ``healthy``."""

    state: Literal["healthy", "suspect", "hung"] = "healthy"
    why: str = ""


@dataclass(frozen=True)
class Sample:
    """One look at the server.

    Attributes:
        time_s: on the monotonic clock.
        load: what /metrics says; None if it does not answer, or not with 200.
        answers: whether /metrics or /health answers at all.
        moved: there is another sign of a token since the last look: in the log, or one that was asked for.
        fault: what is wrong with /health or with a token that was asked for, in words, or empty.
    """

    time_s: float
    load: Load | None
    answers: bool = True
    moved: bool = False
    fault: str = ""


class Judge:
    """The decision, from one sample after the other.

    Attributes:
        verdict: after the last sample.
        still_s: seconds for which nothing has moved, idle ones included.
        stuck_s: seconds of them for which work was due without a break.
    """

    def __init__(self, hang_timeout_s: float, token_every_s: float = TOKEN_EVERY_S) -> None:
        """A server hangs when work is due and nothing moves for so many seconds, over four samples at least."""
        self.verdict = Verdict()
        self.still_s = self.stuck_s = 0.0
        self._hang_timeout_s, self._token_every_s = hang_timeout_s, token_every_s
        self._time_s: float | None = None
        self._work: tuple[float, ...] = ()

    def take(self, sample: Sample) -> Verdict:
        """Judge by one more sample."""
        gap_s = 0.0 if self._time_s is None else sample.time_s - self._time_s
        gap_s = min(gap_s, _GAP_S, self._hang_timeout_s / 4)
        self._time_s = sample.time_s
        due = _due(sample)
        asleep = sample.load is not None and sample.load.asleep  # by its user; a token could not come then
        if self._steps(sample.load) or sample.moved or asleep:
            self.still_s = self.stuck_s = 0.0
        else:
            self.still_s += gap_s
            self.stuck_s = self.stuck_s + gap_s if due else 0.0
        self.verdict = self._judge(due)
        return self.verdict

    def wants_token(self, since_s: float) -> bool:
        """Whether only a token can tell, when the last one was asked for so many seconds ago."""
        # Earlier where work seems due: SGLang's gauges may tell of requests that ended up to 30 s ago
        # (0.5.17, managers/scheduler_components/metrics_reporter.py, _maybe_log_idle_metrics).
        patience_s = min(self._token_every_s, self._hang_timeout_s / 2) if self.stuck_s else self._token_every_s
        return min(self.still_s, since_s) >= patience_s

    def _steps(self, load: Load | None) -> bool:
        if load is None or not load.work:
            return False
        before, self._work = self._work, load.work
        return bool(before) and before != load.work

    def _judge(self, due: str) -> Verdict:
        if self.stuck_s < self._hang_timeout_s / 2:
            return Verdict()
        state: Literal["suspect", "hung"] = "hung" if self.stuck_s >= self._hang_timeout_s else "suspect"
        return Verdict(state, f"{due}, and no token has moved for {self.stuck_s:.0f} s")


def _due(sample: Sample) -> str:
    """Why the server should be at work, or empty."""
    if not sample.answers:
        return "neither /metrics nor /health answers"
    if sample.load and sample.load.requests:
        return f"{sample.load.running or 0} requests run and {sample.load.waiting or 0} wait"
    return sample.fault
