"""A command performed in the foreground: started, watched until it is ready, watched while it serves, stopped."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import Protocol

from launcher.engines.command import Command, Secret
from launcher.engines.meanings import BY_NAME
from launcher.errors import FAILED, ServeError
from launcher.host import ports
from launcher.run.client import Client
from launcher.run.instances import Claim, Instance, claim, refuse_taken, started
from launcher.run.log import Log
from launcher.run.phases import FIRST, Progress
from launcher.run.process import GRACE_S, Process, describe
from launcher.run.readiness import Probe
from launcher.run.secrets import VARIABLE, handed_over, resolve_key
from launcher.run.signals import Signals

_SHOWN_LINES = 20
# vLLM ignores TERM while its core process starts (0.32.0: no exit within 40 s; once ready, within 0.8 s), and before
# anybody is served nothing is worth waiting for.
_STARTING_GRACE_S = 5.0
_LOG_END_S = 5.0  # for what still lies in the pipe when its last writer has ended


@dataclass(frozen=True)
class Ready:
    """A server that answers.

    Attributes:
        base_url: such as ``http://127.0.0.1:8000``.
        served_name: the model's name in the API.
        seconds: from the start of the process to the first completion.
        facts: what the engine's log said, by name (``weights_gib``, ``kv_tokens`` ...; data/phases.yaml lists them).
        log: the file of the engine's output.
        demo: whether the model is the one with random weights.
        secret: where the API key is to be found, or None; not the key.
    """

    base_url: str
    served_name: str
    seconds: float
    facts: dict[str, float | int]
    log: str
    demo: bool
    secret: Secret | None


class Observer(Protocol):
    """Who shows what happens. `line` and `phase` are called from the thread that reads the log."""

    def line(self, text: str) -> None:
        """A line of the engine's output, without control characters and without the key."""

    def phase(self, name: str, elapsed_s: float) -> None:
        """Another phase of the start begins, so many seconds after the process was started."""

    def ready(self, report: Ready) -> None:
        """A completion came back."""

    def stopping(self, why: str) -> None:
        """In a sentence: why the engine is being stopped or has ended, or what stopping it took."""


def launch(command: Command, observer: Observer) -> int:
    """Run a server until it is stopped or fails; no process of it is left when this returns or raises.

    For the main thread of a process of its own: signals are handled and orphaned descendants are adopted here.

    Returns:
        128 and the signal's number: 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP, 131 after SIGQUIT. A second
        signal ends the grace of the first.

    Raises:
        ServeError: code 2 if the port, the name or the key cannot be had: nothing is started or written then (but a key
            that ``auto`` makes). Code 1 if the engine ends by itself, however it ends, or is not ready in time.
    """
    with Signals() as signals:
        key = admit(command)
        with claim(command.name) as held, handed_over(command, key) as environment:
            return _Run(command, observer, signals, held).perform(key, environment)


def admit(command: Command) -> str | None:
    """The API key, or None without one; writes nothing but a key that ``auto`` makes.

    Raises:
        ServeError: the port, the name or the key cannot be had, or the engine would demand a key of its own.
    """
    if holder := ports.holder(command.host, command.port):
        raise ServeError(
            f"port {command.port} of {command.host} is in use by {holder}", fix="choose another --port, or stop it"
        )
    refuse_taken(command.name)
    if command.secret:
        return resolve_key(command.secret)
    variable = BY_NAME[command.target.release.engine].api_key_variable
    if variable and os.environ.get(variable):
        raise ServeError(
            f"{command.target.release.title} would demand the key in {variable}, but api_key is none",
            where=variable,
            fix=f"put the key into {VARIABLE}, which serve hands over, or unset {variable}",
        )
    return None


class _Run:
    """The state of one run: starting, then serving, then stopping."""

    def __init__(self, command: Command, observer: Observer, signals: Signals, held: Claim) -> None:
        self.command, self.observer, self.signals, self.held = command, observer, signals, held
        self.progress = Progress(command.target.release.engine)
        self.start_s = time.monotonic()
        self.deadline_s = self.start_s + command.wait_timeout_s
        self.ready_s: float | None = None
        self.asked = False

    def perform(self, key: str | None, environment: dict[str, str]) -> int:
        self.log = Log(self.held.log, key, self.line)
        self.process = Process(self.command.argv, environment)
        client, port = Client(self.command.base_url, key), self.command.port
        self.probe = Probe(
            client,
            self.command.served_name,
            self.deadline_s,
            listens=lambda: self.process.listens(port),
            changed=self.signals.wake,
        )
        try:
            self.log.follow(self.process.output)
            self.record()
            self.observer.phase(FIRST, 0.0)
            self.probe.start()
            return self.watch()
        finally:
            self.probe.end()
            self.process.stop(grace_s=0)  # nothing is left to do unless an error came between
            self.log.finish(_LOG_END_S)

    def watch(self) -> int:
        """Until a signal, the engine's end, or the end of our patience; between events this process sleeps."""
        while True:
            left_s = None if self.ready_s else max(0.0, self.deadline_s - time.monotonic())
            if number := self.signals.wait(left_s):
                self.stop(f"{signal.Signals(number).name}: stopping {self.title}; once more kills it at once")
                return 128 + number
            self.process.descendants()  # reaps those that were adopted and have ended
            status = self.process.poll()
            if status is not None:
                raise self.died(status)
            if self.ready_s is None:
                self.check_start()

    def check_start(self) -> None:
        probe, last, now_s = self.probe, self.probe.last, time.monotonic()
        if probe.ready:
            self.ready_s = now_s
            self.observer.ready(self.report(now_s - self.start_s))
        elif probe.refused:
            self.stop(f"stopping {self.title}: it refuses a completion")
            raise self.error(f"{self.title} runs, but does not complete a prompt: {last}")
        elif now_s >= self.deadline_s:
            self.stop(f"stopping {self.title}: not ready after {self.command.wait_timeout_s:.0f} s")
            raise self.error(
                f"{self.title} was not ready after {self.command.wait_timeout_s:.0f} s, in the phase "
                f"{self.progress.phase!r}; {last}",
                fix="a first start may compile for minutes: a longer --timeout waits for it",
            )
        elif probe.healthy and not self.asked:
            self.asked = True
            self.observer.phase("asking for a first token", now_s - self.start_s)

    @property
    def title(self) -> str:
        return self.command.target.release.title

    def line(self, text: str) -> None:
        self.observer.line(text)
        if self.ready_s is None and self.progress.line(text):
            self.observer.phase(self.progress.phase, time.monotonic() - self.start_s)

    def stop(self, why: str) -> None:
        self.probe.end()
        self.observer.stopping(why)
        grace_s = GRACE_S if self.ready_s else _STARTING_GRACE_S
        killed = self.process.stop(grace_s, pause=lambda seconds: self.signals.wait(seconds) is not None)
        if killed:
            self.observer.stopping(f"had to be killed: {', '.join(killed)}")

    def died(self, status: int) -> ServeError:
        self.process.stop(grace_s=0)  # what it left behind holds the pipe, and GPU memory
        now_s = time.monotonic()
        how = describe(status) + (", although nobody stopped it" if status == 0 else "")
        self.observer.stopping(f"{self.title} ended: {how}")
        if self.ready_s is None:
            return self.error(f"{self.title} ended while starting, after {now_s - self.start_s:.1f} s: {how}")
        return self.error(f"{self.title} ended after it had served for {now_s - self.ready_s:.1f} s: {how}")

    def error(self, what: str, fix: str = "") -> ServeError:
        self.log.finish(_LOG_END_S)
        lines = list(self.log.tail)[-_SHOWN_LINES:]
        shown = "".join(f"\n  {line}" for line in lines)
        last = f"\nits last lines:{shown}" if lines else "\nit wrote nothing"
        return ServeError(what + last, where=str(self.log.path), fix=fix, code=FAILED)

    def report(self, seconds: float) -> Ready:
        command = self.command
        facts, log = dict(self.progress.facts), str(self.log.path)
        return Ready(
            command.base_url, command.served_name, seconds, facts, log, command.checkpoint.demo, command.secret
        )

    def record(self) -> None:
        command, secret = self.command, self.command.secret
        self.held.record(
            Instance(
                name=command.name,
                supervisor_pid=os.getpid(),
                supervisor_start=started(os.getpid()) or 0,
                engine_pid=self.process.pid,
                base_url=command.base_url,
                served_name=command.served_name,
                model=command.checkpoint.path,
                release=str(command.target.release),
                log=str(self.log.path),
                key_source=secret.source if secret else None,
                key_path=str(secret.path) if secret and secret.path else None,
            )
        )
