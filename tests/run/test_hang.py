"""What is a hang, on histories of samples: a busy server is none, and one that answers /health may be."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.run.health.hang import TOKEN_EVERY_S, Judge, Sample
from launcher.run.health.metrics import Load

PERIOD_S = 5.0


def load(work: float, running: int = 0, waiting: int = 0) -> Load:
    return Load(tokens=int(work), running=running, waiting=waiting, work=(work, 7.0))


class History:
    """Samples in a row, and the states that were told, each once."""

    def __init__(self, hang_timeout_s: float = 120.0) -> None:
        self.judge, self.time_s, self.states = Judge(hang_timeout_s), 1000.0, ["healthy"]

    def take(self, said: Load | None, gap_s: float = PERIOD_S, **more: Any) -> History:
        self.time_s += gap_s
        state = self.judge.take(Sample(self.time_s, said, **more)).state
        if state != self.states[-1]:
            self.states.append(state)
        return self

    def last(self, seconds: float, said: Load | None, **more: Any) -> History:
        """The same sample again and again, for so long."""
        for _ in range(int(seconds / PERIOD_S)):
            self.take(said, **more)
        return self


def test_an_idle_server_is_healthy_for_ever() -> None:
    assert History().last(86400, load(17)).states == ["healthy"]


def test_requests_that_run_while_no_token_moves_are_a_hang() -> None:
    history = History().last(60, load(17, running=2)).last(60, load(17, running=2, waiting=9))
    assert history.states == ["healthy", "suspect"]
    history.take(load(17, running=2, waiting=9))
    assert history.states == ["healthy", "suspect", "hung"]
    assert history.judge.verdict.why == "2 requests run and 9 wait, and no token has moved for 120 s"


def test_requests_that_wait_while_nothing_runs_are_a_hang() -> None:
    assert History().last(130, load(17, waiting=1)).states[-1] == "hung"


def test_one_token_a_minute_is_a_busy_server() -> None:
    history = History()
    for minute in range(100):
        history.last(55, load(minute, running=1)).take(load(minute + 1, running=1))
    assert history.states == ["healthy"]


def test_a_long_prefill_moves() -> None:
    history = History()
    for step in range(200):
        history.take(Load(tokens=5, running=1, waiting=0, work=(5.0, 3.0, step / 200)))
    assert history.states == ["healthy"]


def test_a_server_too_busy_to_answer_is_alive_while_its_log_tells_of_tokens() -> None:
    assert History().last(600, None, answers=False, moved=True).states == ["healthy"]


def test_a_server_that_answers_nothing_and_says_nothing_hangs() -> None:
    history = History().last(30, load(3)).last(125, None, answers=False)
    assert history.states == ["healthy", "suspect", "hung"]
    assert history.judge.verdict.why.startswith("neither /metrics nor /health answers, and no token has moved for 12")


def test_a_server_whose_metrics_alone_do_not_answer_is_not_judged_by_that() -> None:
    assert History().last(600, None, fault="").states == ["healthy"]


def test_health_that_tells_of_the_end_for_long_is_a_hang() -> None:
    assert History().last(130, None, fault="/health: HTTP 503: ").states[-1] == "hung"
    assert History().last(130, load(3), fault="one token was asked for and has not come").states[-1] == "hung"


def test_a_fault_that_passes_is_none() -> None:
    history = History()
    for _ in range(20):
        history.last(55, load(3), fault="/health: HTTP 503: ").last(5, load(3))
    assert history.states == ["healthy"]


def test_a_token_while_another_one_is_waited_for_is_a_sign_of_life() -> None:
    history = History()
    for step in range(100):
        history.last(25, load(step), fault="one token was asked for and has not come")
    assert history.states == ["healthy"]


def test_what_has_recovered_is_healthy_again() -> None:
    history = History().last(70, load(3, running=1)).take(load(4, running=1)).last(50, load(4, running=1))
    assert history.states == ["healthy", "suspect", "healthy"]


def test_requests_that_come_after_hours_of_rest_have_all_of_the_time() -> None:
    history = History().last(7200, load(3)).last(55, load(3, running=1))
    assert history.states == ["healthy"]


def test_the_time_in_which_we_were_stopped_ourselves_does_not_count() -> None:
    history = History().last(30, load(3, running=1)).take(load(3, running=1), gap_s=86400)
    assert history.states == ["healthy"]
    assert history.take(load(4, running=1)).last(55, load(4, running=1)).states == ["healthy"]


@pytest.mark.parametrize("hang_timeout_s", [4.0, 10.0, 3600.0])
def test_no_single_look_decides(hang_timeout_s: float) -> None:
    history = History(hang_timeout_s).take(load(3, running=1))
    for _ in range(3):
        history.take(load(3, running=1), gap_s=2 * hang_timeout_s)
    assert history.states[-1] != "hung"


def test_counters_that_begin_anew_have_moved() -> None:
    assert History().last(100, load(900, running=1)).take(load(0, running=1)).last(55, load(0, running=1)).states == [
        "healthy",
        "suspect",
        "healthy",
    ]


def test_a_server_that_was_put_to_sleep_has_nothing_to_do() -> None:
    asleep = Load(tokens=3, running=1, waiting=0, work=(3.0,), asleep=True)
    history = History().last(600, load(3)).last(600, asleep)
    assert history.states == ["healthy"]
    assert not history.judge.wants_token(1e9)


def test_a_token_is_asked_for_once_a_minute_while_nothing_moves() -> None:
    history = History().last(55, load(3))
    assert not history.judge.wants_token(1e9)
    history.last(5 + PERIOD_S, load(3))
    assert history.judge.wants_token(TOKEN_EVERY_S)
    assert not history.judge.wants_token(TOKEN_EVERY_S - 1)
    assert not history.take(load(4)).judge.wants_token(1e9)


def test_where_work_seems_due_a_token_is_asked_for_before_the_verdict() -> None:
    history = History(hang_timeout_s=20).last(10 + PERIOD_S, load(3, running=1))
    assert history.states == ["healthy", "suspect"]
    assert history.judge.wants_token(10)
    assert not history.judge.wants_token(9)
    assert not History(hang_timeout_s=20).last(20, load(3)).judge.wants_token(1e9)
