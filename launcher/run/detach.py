"""A run in the background: a child of this process that outlives it, and its words for as long as somebody listens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from launcher.engines.command import Secret
from launcher.errors import FAILED, INTERRUPTED, ServeError
from launcher.run.events import Events
from launcher.run.instances import folder
from launcher.run.relay import Relay
from launcher.run.status import Observer, Ready
from launcher.run.supervise import Launch, launch

_LISTENED_S = 5.0  # for whoever waits to take what is left


def detach(asked: Launch, observer: Observer) -> None:
    """Start a run in a process of its own, and return when its server is ready.

    The process is a fork of this one: what is performed is the very value that was planned, and an upgrade of this
    program later replaces no module that it still needs.

    Raises:
        ServeError: whatever `launch` raises.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        _background(asked, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as words:
        _listen(words, observer, asked.command.name)


def _background(asked: Launch, writer: int) -> None:
    """The child: never returns."""
    code = FAILED
    told = _Told(writer)
    relay = Relay(told)  # whoever listens may be stopped, and must not stop this
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        code = launch(asked, relay)
        if relay.close(_LISTENED_S):
            told.say("stopped", code)
    except ServeError as error:
        code = error.code
        if relay.close(_LISTENED_S):
            told.say("failed", {"what": error.what, "where": error.where, "fix": error.fix, "code": error.code})
    except BaseException:  # noqa: BLE001 - nobody else will tell of a defect of ours: there is no terminal
        with contextlib.suppress(ServeError):
            Events(folder(asked.command.name)).add("crash", traceback.format_exc(limit=-8))
    finally:
        os._exit(code)


class _Told(Observer):
    """Writes what happens as lines of JSON into a pipe, until nobody listens any more."""

    def __init__(self, writer: int) -> None:
        self._writer = os.fdopen(writer, "wb", buffering=0)

    def line(self, text: str) -> None:
        self.say("line", text)

    def phase(self, name: str, elapsed_s: float) -> None:
        self.say("phase", [name, elapsed_s])

    def ready(self, report: Ready) -> None:
        self.say("ready", dataclasses.asdict(report))

    def note(self, text: str) -> None:
        self.say("note", text)

    def stopping(self, why: str) -> None:
        self.say("stopping", why)

    def say(self, kind: str, what: Any) -> None:
        line = json.dumps([kind, what], default=str).encode() + b"\n"
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[self._writer.write(line) :]


def _listen(words: IO[bytes], observer: Observer, name: str) -> None:
    """Show what the background says, until the server is ready or has failed."""
    shows: dict[str, Callable[..., None]] = {
        "line": observer.line,
        "phase": lambda what: observer.phase(*what),
        "note": observer.note,
        "stopping": observer.stopping,
    }
    try:
        for line in words:
            kind, what = json.loads(line)
            if kind == "ready":
                observer.ready(_ready(what))
                return
            if kind == "failed":
                raise ServeError(what["what"], where=what["where"], fix=what["fix"], code=what["code"])
            if kind == "stopped":
                raise ServeError(f"{name} was stopped while it started", fix=f"serve restart {name}", code=what)
            shows[kind](what)
    except KeyboardInterrupt:
        fix = f"wait for it: serve wait {name}; end it: serve stop {name}"
        raise ServeError(f"{name} goes on starting in the background", fix=fix, code=INTERRUPTED) from None
    raise ServeError(f"the supervisor of {name} ended without a word", fix=f"serve status {name}", code=FAILED)


def _ready(told: dict[str, Any]) -> Ready:
    secret = told["secret"]
    if secret:
        secret = Secret(**{**secret, "path": Path(secret["path"]) if secret["path"] else None})
    return Ready(**{**told, "secret": secret})
