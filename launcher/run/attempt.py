"""One engine, from its start to its end: watched until it is ready, then watched while it serves."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass

from launcher.engines import catalog
from launcher.engines.command import Command
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.run.failures import causes
from launcher.run.failures.diagnose import Diagnosis, diagnose
from launcher.run.health import metrics, phases, stall
from launcher.run.health.client import Client
from launcher.run.health.phases import FIRST, Progress
from launcher.run.health.readiness import Probe
from launcher.run.health.stall import Activity
from launcher.run.health.watchdog import Watch
from launcher.run.output.log import Log
from launcher.run.processes.oom import oom_kills
from launcher.run.processes.process import GRACE_S, Process, describe
from launcher.run.record import started
from launcher.run.secrets import taken_back
from launcher.run.signals import IMPATIENT, Signals
from launcher.run.status import Ready, Status

# vLLM ignores TERM while its core process starts (0.32.0: no exit within 40 s; once ready, within 0.8 s), and before
# anybody is served nothing is worth waiting for.
STARTING_GRACE_S = 5.0
_LOG_END_S = 5.0  # for what still lies in the pipe when its last writer has ended
_LOOK_S = 2.0  # how often a load is looked at
_PULSE_S = 5.0  # how often the pulse of a server that serves is written down
# What we decide ourselves: whether another start can cure it, and what helps otherwise.
_GIVEN_UP = {
    "refused": (False, "serve is for models that generate text: an embedding or reward model completes nothing"),
    "too-slow": (True, "a first start may compile for minutes: a longer --timeout waits for it"),
    "mute": (True, "its log may say why it completes nothing; a longer --timeout waits for it"),
    "stalled": (True, "its log says how far it came; --stall-timeout sets how long nothing may happen"),
    "unguarded": (True, "whoever sends SIGKILL to serve-guard ends the engine with it"),
    "hung": (True, "its log says what it did last; --hang-timeout sets how long no token may move"),
}


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Attributes:
        what: in a sentence.
        signal: the signal by which we were asked to stop it, or None: then it failed.
        diagnosis: of a failure.
        served: whether it has been ready.
        lines: the last lines of its log.
    """

    what: str
    signal: int | None = None
    diagnosis: Diagnosis | None = None
    served: bool = False
    lines: tuple[str, ...] = ()


class Attempt:
    """The state of one engine: starting, then serving, then stopping."""

    def __init__(self, command: Command, key: str | None, log: Log, signals: Signals, status: Status) -> None:
        """Nothing is started yet."""
        self.command, self.key, self.log, self.signals, self.status = command, key, log, signals, status
        self.progress = Progress(command.target.release.engine)
        self.title = command.target.release.title
        self.ready_s: float | None = None
        self.asked = False
        self.pids: set[int] = set()

    def perform(self, environment: dict[str, str]) -> Ended:
        """Start it, and return when it has ended and none of its processes is left.

        Raises:
            ServeError: it cannot be started at all, or something of it survives SIGKILL.
        """
        command, port = self.command, self.command.port
        self.start_s = time.monotonic()
        self.oom_kills = oom_kills()
        self.process = Process(command.argv, environment, command.name)
        self.activity = Activity(self.process.descendants)
        self.probe = Probe(
            Client(command.base_url, self.key),
            command.served_name,
            listens=lambda: self.process.listens(port),
            changed=self.signals.wake,
        )
        self.watch = Watch(
            command.target.release.engine,
            lambda: Client(command.base_url, self.key),
            command.served_name,
            command.hang_timeout_s,
            self.signals.wake,
            compiling_s=self.activity.compiling_s,
        )
        try:
            self.log.follow(self.process.output)
            pid = self.process.pid
            self.status.update(engine_pid=pid, engine_start=started(pid))
            self.status.phase(FIRST, 0.0)
            self.status.manager.progresses(command.stall_timeout_s)
            self.probe.start()
            _load_rules(command.target.release)
            return self.run()
        finally:
            self.probe.end()
            self.watch.end()
            self.process.stop(grace_s=0)  # nothing is left to do unless an error came between
            self.log.finish(_LOG_END_S)

    def line(self, text: str) -> None:
        """Take a line of the log; for the thread that reads it."""
        if self.ready_s is not None:
            self.watch.line(text)
            return
        self.activity.line(text)
        if self.progress.line(text):
            self.activity.phase(self.progress.phase)
            self.status.phase(self.progress.phase, time.monotonic() - self.start_s)

    def run(self) -> Ended:
        """Until a signal, the engine's end, or the end of our patience; between events this process sleeps."""
        while True:
            pause_s = self.status.manager.period_s(_LOOK_S if self.ready_s is None else _PULSE_S)
            if number := self.signals.wait(pause_s, self.process.changed):
                self.status.manager.stopping(f"stopping: {signal.Signals(number).name}")
                self.stop(f"{signal.Signals(number).name}: stopping {self.title}")
                return Ended(f"stopped by {signal.Signals(number).name}", signal=number, served=bool(self.ready_s))
            status = self.process.poll()
            if status is not None:
                return self.died(status)
            self.status.keep()
            if ended := self.check_start() if self.ready_s is None else self.check_service():
                return ended

    def check_start(self) -> Ended | None:
        """Whether the start has come to its end, for good or bad."""
        probe, command, now_s = self.probe, self.command, time.monotonic()
        if probe.ready:
            self.ready_s = now_s
            taken_back(command)
            self.watch.start()
            self.status.ready(self.report(now_s - self.start_s))
            return None
        if probe.refused:
            return self.give_up("refused", f"{self.title} runs, but does not complete a prompt: {probe.last}")
        if command.wait_timeout_s and now_s - self.start_s >= command.wait_timeout_s:
            what = f"{self.title} was not ready after {command.wait_timeout_s:.0f} s"
            if probe.listening:
                return self.give_up("mute", f"{what}; {probe.last}")
            return self.give_up("too-slow", f"{what}, in the phase {self.progress.phase!r}; {probe.last}")
        self.activity.sample()
        if self.activity.quiet_s >= command.stall_timeout_s:
            what = f"{self.title} has made no progress for {self.activity.quiet_s:.0f} s"
            where = f"in the phase {self.progress.phase!r}: the last was {self.activity.last}; {probe.last}"
            return self.give_up("stalled", f"{what}, {where}")
        self.status.manager.progresses(command.stall_timeout_s - self.activity.quiet_s)
        if probe.listening and not self.asked:
            self.asked = True
            self.status.phase("asking for a first token", now_s - self.start_s)
        return None

    def check_service(self) -> Ended | None:
        """Whether the server hangs."""
        if pulse := self.watch.pulse:
            self.status.pulse(pulse)
        if self.watch.verdict.state == "hung":
            return self.give_up("hung", f"{self.title} hangs: {self.watch.verdict.why}")
        if self.watch.verdict.state == "healthy":
            self.status.manager.well()
        return None

    def give_up(self, cause: str, what: str, grace_s: float | None = None) -> Ended:
        """Stop an engine that does not do what it should."""
        self.status.events.add(cause, what)
        self.status.manager.well()  # it is seen to
        lines = tuple(self.log.tail)
        self.stop(f"stopping {self.title}", grace_s)
        restartable, advice = _GIVEN_UP[cause]
        found = Diagnosis(cause, what, advice=advice, restartable=restartable, sure=True)
        return Ended(what, diagnosis=found, served=bool(self.ready_s), lines=lines)

    def stop(self, why: str, grace_s: float | None = None) -> None:
        """End it within a bound."""
        self.remember()
        self.probe.end()
        self.watch.end()
        if grace_s is None:
            # SGLang finishes all requests that it has, however long they take, and vLLM waits for clients to hang up
            grace_s = GRACE_S if self.ready_s else STARTING_GRACE_S
        how = f"it has {grace_s:.0f} s, which SIGINT (Ctrl-C) ends" if grace_s else "at once"
        self.status.stopping(f"{why}; {how}")
        killed = self.process.stop(grace_s, pause=lambda seconds: self.signals.wait(seconds) in IMPATIENT)
        if killed:
            self.status.note("killed", f"had to be killed: {', '.join(killed)}")

    def remember(self) -> None:
        """The processes that may hold GPU memory until they have ended."""
        self.pids |= {self.process.pid, *(each.pid for each in self.process.descendants())}

    def died(self, status: int) -> Ended:
        """It ended by itself."""
        if self.process.unguarded:
            # the engine's first process was killed with it: nobody is served any more
            return self.give_up("unguarded", f"the guard of {self.title} was killed", grace_s=0)
        now_s = time.monotonic()
        self.remember()
        self.process.stop(grace_s=0)  # what it left behind holds the pipe, and GPU memory
        self.log.finish(_LOG_END_S)
        how = describe(status) + (", although nobody stopped it" if status == 0 else "")
        self.status.note("ended", f"{self.title} ended: {how}", status=status)
        when = (
            f"while starting, after {now_s - self.start_s:.1f} s"
            if self.ready_s is None
            else f"after it had served for {now_s - self.ready_s:.1f} s"
        )
        release = self.command.target.release
        serving, struck = self.ready_s is not None, oom_kills() > self.oom_kills
        lines = self.log.evidence()
        found = diagnose(release.engine, release.version, status, lines, serving=serving, oom_killed=struck)
        what = f"{self.title} ended {when}: {how}"
        return Ended(what, diagnosis=found, served=bool(self.ready_s), lines=tuple(self.log.tail))

    def report(self, seconds: float) -> Ready:
        """What is told when it is ready."""
        command = self.command
        return Ready(
            command.base_url,
            command.served_name,
            seconds,
            dict(self.progress.facts),
            str(self.log.path),
            command.checkpoint.demo,
            command.secret,
        )


def _load_rules(release: Release) -> None:
    """What is read when it is needed is read now, while the engine loads: an upgrade may replace our files later."""
    causes.load()
    stall.load_rules()
    metrics.load_names(release.engine)
    phases.load_rules(release.engine)
    with contextlib.suppress(ServeError):  # a release that only its probe knows
        catalog.load(release)
