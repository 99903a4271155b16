"""A command performed: its name and port held, the engine started, watched, started again where that helps, stopped."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.config import keys
from launcher.engines.command import Command
from launcher.engines.meanings import BY_NAME
from launcher.errors import FAILED, INCURABLE, ServeError
from launcher.host import gpu_memory, ports
from launcher.run import record
from launcher.run.attempt import Attempt, Ended
from launcher.run.failures.diagnose import Diagnosis
from launcher.run.failures.restarts import Answer, Restarts
from launcher.run.health.client import asked_by_us
from launcher.run.instances import Claim, claim, refuse_taken, running
from launcher.run.notify import Notifier
from launcher.run.output.log import Log
from launcher.run.owners import MARKER
from launcher.run.record import STARTING, STOPPED, Record, boot, now_s
from launcher.run.secrets import VARIABLE, handed_over, resolve_key, sweep, to_scrub
from launcher.run.signals import Signals
from launcher.run.status import Observer, Status

_SHOWN_LINES = 20


@dataclass(frozen=True)
class Launch:
    """What is to be run.

    Attributes:
        command: the command.
        request: what to launch again by ``serve restart``, as JSON.
        changed: the launch with other values of keys; raises ServeError where they cannot be had.
        line: the command line for other values of keys, for people to copy.
        fix: whether one remedy may be tried.
    """

    command: Command
    request: Mapping[str, Any] = field(default_factory=dict)
    changed: Callable[[Mapping[str, str]], Launch] | None = None
    line: Callable[[Mapping[str, str]], str] | None = None
    fix: bool = False


def launch(asked: Launch, observer: Observer) -> int:
    """Run a server until it is stopped or fails for good; no process of it is left when this returns or raises.

    For the main thread of a process of its own: signals are handled and orphaned descendants are adopted here.

    Returns:
        128 and the signal's number: 130 after SIGINT, 143 after SIGTERM, 129 after SIGHUP, 131 after SIGQUIT. A second
        SIGINT or SIGQUIT ends the grace of the first.

    Raises:
        ServeError: code 2 if the port, the name or the key cannot be had: nothing is started then. Code 1 if the engine
            ends by itself, however it ends, hangs, or does not become ready; 78 where another start would end so too.
    """
    command = asked.command
    with Signals() as signals:
        key = admit(command)
        with claim(command.name) as held, ports.reserved(command.host, command.port):
            sweep(command.name)
            return _Run(asked, observer, signals, held, key).perform()


def admit(command: Command) -> str | None:
    """The API key, or None without one; writes nothing but a key that ``auto`` makes.

    Raises:
        ServeError: the port, the name or the key cannot be had, or the engine would demand a key of its own.
    """
    refuse_taken(command.name)
    if holder := ports.holder(command.host, command.port):
        ours = (each.name for each in running() if each.record and each.record.port == command.port)
        name = next(ours, None)
        stop = "serve service stop" if "NOTIFY_SOCKET" in os.environ else "serve stop"  # a service sees services alone
        raise ports.in_use(command.host, command.port, f"the instance {name} ({stop} {name})" if name else holder)
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
    """One engine after the other, until there is no reason for another."""

    def __init__(self, asked: Launch, observer: Observer, signals: Signals, held: Claim, key: str | None) -> None:
        command = asked.command
        self.asked, self.signals, self.held, self.key = asked, signals, held, key
        self.manager = Notifier()
        self.run = secrets.token_hex(8)
        held.begin(self.run)
        self.status = Status(held, _record(command, self.run, held, asked.request), observer, self.manager)
        self.restarts = Restarts(command.restart)
        self.attempt: Attempt | None = None
        self.log = Log(held.log, to_scrub(command, key), self.line)

    def line(self, text: str) -> None:
        self.status.observer.line(text)
        if self.attempt:
            self.attempt.line(text)

    def perform(self) -> int:
        served, attempts = False, 0
        try:
            while True:
                attempts += 1
                self.status.update(attempts=attempts, state=STARTING)
                release, model = self.asked.command.target.release, self.asked.command.checkpoint.path
                self.status.events.add("start", f"start {attempts}: {release} with {model}", supervisor=os.getpid())
                self.log.mark(f"serve: {self.asked.command.target.release.title}, start {attempts}")
                ended = self.once(self.asked.command)
                if ended.signal:
                    return self.stopped(ended.signal, ended.what)
                diagnosis = ended.diagnosis
                if diagnosis is None:
                    raise ValueError("an engine that failed has a diagnosis")
                served = served or ended.served
                if remedied := self.remedy(diagnosis):
                    self.asked, served = remedied, False
                    continue
                answer = self.restarts.after(diagnosis, served=served, now_s=time.monotonic())
                if answer.delay_s is None:
                    said = "; ".join(filter(None, (diagnosis.title, diagnosis.line, answer.why)))
                    self.status.events.add("failed", said, cause=diagnosis.cause)
                    raise self.failed(ended, diagnosis, answer)
                self.status.update(state=STARTING, detail=f"{ended.what}; {answer.why}")
                self.status.note("restart", f"{diagnosis.title}; {answer.why}", cause=diagnosis.cause)
                if (number := self.pause(answer.delay_s)) is not None:
                    return self.stopped(number, "stopped while it waited for a restart")
        except ServeError as error:
            what, *reason = error.what.splitlines()
            self.status.update(state=record.FAILED, detail=what, reason=tuple(reason), fix=error.fix)
            raise
        finally:
            self.log.close()

    def stopped(self, number: int, what: str) -> int:
        """The end that was asked for; the exit status."""
        self.status.update(state=STOPPED, detail=what)
        self.status.events.add("stopped", what)
        return 128 + number

    def once(self, command: Command) -> Ended:
        """One engine from start to end; its memory is back when this returns, or that is said."""
        before = gpu_memory.snapshot({**os.environ, **command.environment}.get("CUDA_VISIBLE_DEVICES"))
        marked = {MARKER: f"{self.held.folder}:{self.run}"}
        with handed_over(command, self.key) as environment, self.told():
            self.attempt = attempt = Attempt(command, self.key, self.log, self.signals, self.status)
            try:
                return attempt.perform(environment | marked)
            finally:
                self.attempt = None
                if said := gpu_memory.back(before, attempt.pids):
                    self.status.note("memory", said)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """An error that is no engine's end, such as a program that cannot be executed, is an event."""
        try:
            yield
        except ServeError as error:
            self.status.events.add("failed", error.what.partition("\n")[0])
            raise

    def remedy(self, diagnosis: Diagnosis) -> Launch | None:
        """The launch with the one change that this failure asks for, if that was allowed; it allows no other."""
        if not (self.asked.fix and self.asked.changed and diagnosis.remedy and diagnosis.changes):
            return None
        changes = _possible(diagnosis.changes)
        if not changes:
            return None
        said = ", ".join(f"{name}: {value}" for name, value in changes.items())
        try:
            asked = self.asked.changed(changes)
        except ServeError as error:
            self.status.note("fix", f"{diagnosis.title}; {said} would help, but {error.what}")
            return None
        self.status.note("fix", f"{diagnosis.title}; tried once with {said}", cause=diagnosis.cause, changes=changes)
        self.status.update(request=asked.request, argv=tuple(asked.command.argv), detail=f"tried once with {said}")
        return asked

    def pause(self, delay_s: float) -> int | None:
        """Wait; the signal that asked to stop meanwhile, or None."""
        end_s = time.monotonic() + delay_s
        while (left_s := end_s - time.monotonic()) > 0:
            self.manager.progresses(left_s)
            if (number := self.signals.wait(self.manager.period_s(left_s))) is not None:
                return number
        return None

    def failed(self, ended: Ended, diagnosis: Diagnosis, answer: Answer) -> ServeError:
        """The error that says what happened, the line that decides, and what to change."""
        what = ended.what
        if diagnosis.title not in what:
            what += f"\n{diagnosis.title}"
        lines: Sequence[str] = diagnosis.lines or ((diagnosis.line,) if diagnosis.line else ())
        if not lines:
            lines = [line for line in ended.lines if not asked_by_us(line)][-_SHOWN_LINES:]
            what += "\nits last lines:" if lines else "" if ended.lines else "\nit wrote nothing"
        what += "".join(f"\n  {line}" for line in lines)
        if answer.why:
            what += f"\n{answer.why}"
        fix = diagnosis.advice
        if (changes := _possible(diagnosis.changes)) and self.asked.line:
            fix = "\n     ".join(filter(None, (fix, self.asked.line(changes))))
        self.manager.status(f"failed: {diagnosis.title}")
        return ServeError(what, where=str(self.log.path), fix=fix, code=INCURABLE if answer.final else FAILED)


def _possible(changes: Mapping[str, str]) -> dict[str, str]:
    """Those that the keys take: an engine may estimate a length of 0."""
    possible = {}
    for name, text in changes.items():
        with contextlib.suppress(ValueError):
            keys.BY_NAME[name].type.parse(text)
            possible[name] = text
    return possible


def _record(command: Command, run: str, held: Claim, request: Mapping[str, Any]) -> Record:
    secret = command.secret
    return Record(
        name=command.name,
        run=run,
        boot=boot(),
        started_s=now_s(),
        since_s=now_s(),
        base_url=command.base_url,
        host=command.host,
        port=command.port,
        served_name=command.served_name,
        model=command.checkpoint.path,
        release=str(command.target.release),
        preset=command.preset,
        argv=tuple(command.argv),
        log=str(held.log),
        key_source=secret.source if secret else None,
        key_path=str(secret.path) if secret and secret.path else None,
        request=request,
    )
