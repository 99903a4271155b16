"""When an engine that failed is started again."""

from __future__ import annotations

import pytest

from launcher.run.failures.diagnose import UNKNOWN, Diagnosis
from launcher.run.failures.restarts import MOST, WINDOW_S, Restarts

CRASH = Diagnosis("core-died", "the core process died", restartable=True)
WRONG = Diagnosis("bad-flag", "a flag is wrong")
STRANGE = Diagnosis(UNKNOWN, "why is not known")


def restarts(policy: str = "on-failure", jitter: float = 0.5) -> Restarts:
    return Restarts(policy, jitter=lambda: jitter)


def test_never_is_never_and_says_nothing() -> None:
    answer = restarts("never").after(CRASH, served=True, now_s=0)
    assert (answer.delay_s, answer.why) == (None, "")


def test_an_error_of_the_configuration_is_never_tried_again() -> None:
    answer = restarts().after(WRONG, served=True, now_s=0)
    assert (answer.delay_s, answer.why) == (None, "not started again: another start cannot cure that")


@pytest.mark.parametrize(("served", "again"), [(True, True), (False, False)])
def test_what_is_not_known_is_tried_again_where_the_same_command_has_served(served: bool, again: bool) -> None:
    assert (restarts().after(STRANGE, served=served, now_s=0).delay_s is not None) == again


def test_each_waits_twice_as_long_and_the_budget_ends_it() -> None:
    mine = restarts()
    answers = [mine.after(CRASH, served=True, now_s=10.0 * number) for number in range(MOST + 1)]
    assert [answer.delay_s for answer in answers] == [2, 4, 8, 16, 32, None]
    assert answers[0].why == "started again in 2 s: restart 1 of at most 5 within the hour"
    assert answers[-1].why == "given up: started again 5 times within 60 min"


def test_after_the_window_the_budget_is_there_again() -> None:
    mine = restarts()
    for _ in range(MOST):
        mine.after(CRASH, served=True, now_s=0)
    assert mine.after(CRASH, served=True, now_s=WINDOW_S).delay_s is None
    assert mine.after(CRASH, served=True, now_s=WINDOW_S + 1).delay_s == 2


def test_jitter_keeps_many_hosts_apart() -> None:
    assert restarts(jitter=0).after(CRASH, served=True, now_s=0).delay_s == 1
    assert restarts(jitter=1).after(CRASH, served=True, now_s=0).delay_s == 3
