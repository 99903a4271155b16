"""Whether an engine that failed is started again, when, and why not."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from launcher.run.failures.diagnose import UNKNOWN, Diagnosis

MOST, WINDOW_S = 5, 3600.0
_FIRST_S, _LONGEST_S = 2.0, 120.0


@dataclass(frozen=True)
class Answer:
    """What follows from a failure.

    Attributes:
        delay_s: seconds until the next start; None if there is none.
        why: in a sentence.
        final: whether nobody else should start it again either.
    """

    delay_s: float | None
    why: str
    final: bool = False


class Restarts:
    """The restarts of one run: at most five in an hour, each after twice the time of the one before, with jitter.

    Only what another start can cure is tried again: never an error of the configuration, and a failure of an unknown
    kind only when the same command has served before.
    """

    def __init__(self, policy: str, jitter: Callable[[], float] = random.random) -> None:
        """For the key ``restart``; `jitter` gives numbers from 0 to 1."""
        self._allowed = policy == "on-failure"
        self._jitter = jitter
        self._at_s: deque[float] = deque()

    def after(self, diagnosis: Diagnosis, *, served: bool, now_s: float) -> Answer:
        """What follows from a failure now.

        Args:
            diagnosis: of the failure.
            served: whether the engine has been ready in this run, with the same command.
            now_s: on a clock that does not jump.
        """
        incurable = not diagnosis.restartable and diagnosis.cause != UNKNOWN
        if not self._allowed:
            return Answer(None, "", incurable)
        if incurable:
            return Answer(None, "not started again: another start cannot cure that", final=True)
        if diagnosis.cause == UNKNOWN and not served:
            return Answer(None, "not started again: it never served, and the cause is not known")
        while self._at_s and now_s - self._at_s[0] > WINDOW_S:
            self._at_s.popleft()
        count = len(self._at_s)
        if count >= MOST:
            return Answer(None, f"given up: started again {count} times within {WINDOW_S / 60:.0f} min", final=True)
        self._at_s.append(now_s)
        delay_s = min(_FIRST_S * 2**count, _LONGEST_S) * (0.5 + self._jitter())
        return Answer(
            delay_s, f"started again in {delay_s:.0f} s: restart {count + 1} of at most {MOST} within the hour"
        )
