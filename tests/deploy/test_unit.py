"""systemd/serve@.service: what it promises against what serve needs. tests/systemd runs it."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

import pytest

from launcher import errors
from launcher.run.failures import restarts
from launcher.run.processes import process

UNITS = Path(__file__).parents[2] / "systemd"


@pytest.fixture(params=["serve@.service", "user/serve@.service"])
def unit(request: pytest.FixtureRequest) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)  # systemd's lists are repeated names
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # systemd's names have capitals
    parser.read(UNITS / request.param)
    return parser


def test_it_stops_all_of_the_engine_in_more_time_than_serve_takes(unit: configparser.RawConfigParser) -> None:
    service = unit["Service"]
    assert service["KillMode"] == "mixed"  # SIGTERM to serve alone, which ends the engine; SIGKILL to what is left
    assert int(service["TimeoutStopSec"]) > process.GRACE_S + process._KILL_S


def test_it_starts_again_what_may_be_cured(unit: configparser.RawConfigParser) -> None:
    service = unit["Service"]
    assert service["Restart"] == "on-failure"
    usage, incurable, *setup = service["RestartPreventExitStatus"].split()
    assert (usage, incurable) == (str(errors.USAGE), str(errors.INCURABLE))
    assert all(200 <= int(status) < 250 for status in setup)  # systemd's own (systemd.exec(5), PROCESS EXIT CODES)
    assert service["SuccessExitStatus"].split() == ["129", "130", "143"]
    assert int(unit["Unit"]["StartLimitBurst"]) > restarts.MOST  # starts by hand count as well


def test_it_waits_for_a_completion(unit: configparser.RawConfigParser) -> None:
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "serve"
    assert (words[0], words[-2:]) == ("launch", ["--name", "%i"])
