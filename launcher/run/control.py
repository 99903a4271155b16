"""What is done to instances from outside: stopped, waited for. Their supervisors do it; this asks and looks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from launcher.errors import FAILED, ServeError
from launcher.host import ports
from launcher.run import orphans
from launcher.run.instances import Instance, look
from launcher.run.lock import LOCK
from launcher.run.processes.process import GRACE_S
from launcher.run.record import STARTING

_POLL_S = 0.05
# Of a supervisor that was asked to stop: its grace, KILL and what a driver may take to let go, the GPU memory.
_STOP_S = GRACE_S + 45.0
_KILLED_S = 30.0


@dataclass(frozen=True)
class Stopped:
    """What a stop found and did, in sentences; `clean` unless something is left."""

    name: str
    notes: tuple[str, ...] = ()
    clean: bool = True


def ask_to_stop(instance: Instance) -> None:
    """Send the supervisor TERM, and have it go on if it was stopped (Ctrl-Z); it stops the engine.

    Raises:
        ServeError: it is another user's, or cannot be found.
    """
    _send(instance, signal.SIGTERM)
    _send(instance, signal.SIGCONT)


def stop(instance: Instance, pause: Callable[[float], object] = time.sleep) -> Stopped:
    """Stop an instance; done when its processes are gone and its port is free.

    A supervisor that does not end in its time is killed; its guard then kills the engine. What an earlier supervisor
    left behind is ended as well.

    Raises:
        ServeError: it is another user's, or something of it cannot be ended.
    """
    notes = []
    if instance.alive:
        ask_to_stop(instance)
        if not _gone(instance, _STOP_S, pause):
            notes.append(f"its supervisor did not end within {_STOP_S:.0f} s and was killed")
            _send(instance, signal.SIGKILL)
            if not _gone(instance, _KILLED_S, pause):
                what = f"the supervisor of {instance.name} survives SIGKILL"
                raise ServeError(what, where=f"process {instance.supervisor}", code=FAILED)
    else:
        notes.append("it was not running")
    left = _left(instance.name)
    end_s = time.monotonic() + (_KILLED_S if instance.alive else 0)
    while left and time.monotonic() < end_s:  # a guard may still be at work
        pause(_POLL_S)
        left = _left(instance.name)
    if left:
        reaped = orphans.reap(left)
        notes += [f"ended process {each.pid} of an earlier run: {each.command}" for each in reaped.ended]
        if reaped.left:
            told = "; ".join(f"process {each.pid} ({each.user}): {why}" for each, why in reaped.left)
            raise ServeError(f"{instance.name} has left processes: {told}", code=FAILED)
    still = _port(instance)
    return Stopped(instance.name, (*notes, *still), clean=not still)


def stop_all(chosen: Sequence[Instance]) -> tuple[list[Stopped], list[ServeError]]:
    """Stop several at once; what was done, and what could not be."""
    done, problems = [], {}
    for act in (ask_to_stop, stop) if len(chosen) > 1 else (stop,):
        for each in chosen:
            try:
                if (stopped := act(each)) is not None:
                    done.append(stopped)
            except ServeError as error:
                problems[error.what] = error
    return done, list(problems.values())


def wait(name: str, timeout_s: float | None, pause: Callable[[float], object] = time.sleep) -> Instance:
    """Wait until an instance serves, or will not.

    Returns:
        It; its state is no longer ``starting``, unless the time is over.

    Raises:
        ServeError: there is none of that name.
    """
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    while (instance := look(name)).state == STARTING:
        if end_s is not None and time.monotonic() >= end_s:
            break
        pause(_POLL_S)
    return instance


def _left(name: str) -> list[orphans.Orphan]:
    return [each for each in orphans.find() if each.instance == name]


def _gone(instance: Instance, timeout_s: float, pause: Callable[[float], object]) -> bool:
    end_s = time.monotonic() + timeout_s
    with contextlib.suppress(ServeError):  # somebody removed it meanwhile
        while look(instance.name).supervisor == instance.supervisor:
            if time.monotonic() >= end_s:
                return False
            pause(_POLL_S)
    return True


def _port(instance: Instance) -> list[str]:
    """Whether the port is still held, in a sentence."""
    record = instance.record
    if not (instance.alive and record and record.host and record.port):
        return []
    with contextlib.suppress(ServeError):  # an address that this host does not have any more
        if holder := ports.holder(record.host, record.port):
            return [f"port {record.port} is still in use by {holder}"]
    return []


def _send(instance: Instance, number: signal.Signals) -> None:
    pid = instance.supervisor
    if not pid:
        what = f"{instance.name} is running, but it cannot be known which process supervises it"
        fix = "fuser -v names who holds that file; end that process"
        raise ServeError(what, where=str(instance.folder / LOCK), fix=fix, code=FAILED)
    try:
        descriptor = os.pidfd_open(pid)
        try:
            if look(instance.name).supervisor == pid:  # still: so what was opened is it, and no reused pid
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        return  # it has just ended
    except PermissionError:
        user = psutil.Process(pid).username()
        what, fix = f"{instance.name} belongs to user {user}", f"sudo -u {user} serve stop {instance.name}"
        raise ServeError(what, where=f"process {pid}", fix=fix, code=FAILED) from None
