"""A wall clock that is set while a server runs: by NTP after a boot, or by hand."""

from __future__ import annotations

import json
import os
import signal

import pytest

from launcher.run import control
from launcher.run.instances import look
from launcher.run.output import logfile
from tests.run.conftest import Host, until

# Python imports it in every process that has its folder in PYTHONPATH: their clock is off by what a file says.
SITE = """
import datetime, os, time
real = time.time
def off():
    try:
        with open(os.environ["CLOCK_OFF_S"]) as file:
            return float(file.read() or 0)
    except OSError:
        return 0.0
time.time = lambda: real() + off()
time.time_ns = lambda: int(time.time() * 1e9)
class Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Datetime
"""


@pytest.mark.parametrize("off_s", [-86400 * 3650, 86400 * 3650])
def test_nothing_is_decided_by_a_clock_that_can_be_set(host: Host, off_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(host.home))
    site, clock = host.folder / "site", host.folder / "clock"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    paths = f"{host.environment({})['PYTHONPATH']}:{site}"
    server = host.launch({"PYTHONPATH": paths, "CLOCK_OFF_S": str(clock)}, restart="on-failure", hang_timeout_s=20)
    server.ready()
    clock.write_text(str(off_s))
    # the restart's delay and budget, and all that follows, come from clocks that only run
    os.kill(json.loads(host.record().read_text())["engine_pid"], signal.SIGKILL)
    until(lambda: server.out.count("ready: ") == 2, "a restart")
    found = look("fake")
    assert (found.state, found.supervisor) == ("serving", server.process.pid)
    assert 0 < (found.seconds or 0) < 1000
    events = host.record().with_name("events.jsonl").read_text().splitlines()
    years = {json.loads(line)["time"][:4] for line in events}
    assert len(years) == 2  # so the clock was really another one
    assert [*logfile.lines(host.log(), tail=1)]
    assert control.stop(found).clean
    assert server.ends() == 128 + signal.SIGTERM
    assert look("fake").state == "stopped"
