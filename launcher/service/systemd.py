"""systemd, asked and told through its own programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import FAILED, ServeError
from launcher.service.scope import Scope, unit

_ASK_S = 60.0
STOP_S = 120.0  # TimeoutStopSec of the unit, and what systemd then needs
_LOOK_S = 0.25
_JOURNAL_LINES = 20
_NUMBERS = ("MainPID", "NRestarts", "Job", "ExecMainStartTimestampMonotonic")
_PROPERTIES = ("ActiveState", "SubState", "Result", "StatusText", "UnitFileState", *_NUMBERS)


STILL = ("inactive", "failed")  # nothing of it runs


@dataclass(frozen=True)
class Seen:
    """What systemd says of an instance.

    Attributes:
        state: ``active``, ``activating``, ``failed`` ...
        sub: ``running``, ``start``, ``auto-restart`` ...
        result: of the last run: ``success``, ``exit-code``, ``watchdog`` ...
        text: what serve said last.
        pid: of serve, 0 without one.
        restarts: how often systemd started it again.
        enabled: whether it starts with the host.
        busy: whether a start or a stop of it is under way or waits: until then the state is that of before.
        began_s: when its last process began, in seconds of the monotonic clock; 0 before the first.
    """

    state: str
    sub: str
    result: str
    text: str
    pid: int
    restarts: int
    enabled: bool
    busy: bool
    began_s: float

    @property
    def said(self) -> str:
        """How far it is, or why it ended: what serve said last holds no longer than its process, but for its reason."""
        if self.sub == "auto-restart":
            return f"it ended ({self.result}) and is started again"
        if self.pid or self.text.startswith(("failed", "refused")):
            return self.text
        return "" if self.result == "success" else self.result

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come of a start."""
        return not self.busy and self.state in {"active", *STILL}


def require(scope: Scope) -> None:
    """Refuse a host that systemd does not run.

    Raises:
        ServeError: it does not, or the user has no manager of their own.
    """
    if not Path("/run/systemd/system").is_dir() or not shutil.which("systemctl"):
        raise ServeError("this host does not run systemd", fix="serve launch --detach serves in the background")
    if scope.user and not os.environ.get("XDG_RUNTIME_DIR"):
        fix = "log in as this user (not by su), or: export XDG_RUNTIME_DIR=/run/user/$(id -u)"
        raise ServeError("this user's systemd cannot be reached", where="XDG_RUNTIME_DIR", fix=fix)


def systemctl(scope: Scope, *words: str, patience_s: float = _ASK_S) -> str:
    """Run systemctl; its output.

    Raises:
        ServeError: it failed, with what it said.
    """
    argv = ["systemctl", *scope.flags, *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=patience_s, check=False)
    except subprocess.TimeoutExpired:
        what = f"systemd did not answer within {patience_s:.0f} s"
        fix = "systemctl list-jobs shows what it is at"
        raise ServeError(what, where=" ".join(argv), fix=fix, code=FAILED) from None
    if done.returncode:
        fix = f"systemctl {' '.join([*scope.flags, 'unmask', words[-1]])}" if " is masked" in done.stderr else ""
        raise ServeError(done.stderr.strip() or "it failed", where=" ".join(argv), fix=fix, code=FAILED)
    return done.stdout


def see(scope: Scope, name: str) -> Seen:
    """What systemd says of an instance now."""
    words = ["show", unit(name), *(f"--property={each}" for each in _PROPERTIES)]
    told = dict(line.partition("=")[::2] for line in systemctl(scope, *words).splitlines())
    number = {each: int(told.get(each) or 0) for each in _NUMBERS}
    return Seen(
        told.get("ActiveState", ""),
        told.get("SubState", ""),
        told.get("Result", ""),
        told.get("StatusText", ""),
        number["MainPID"],
        number["NRestarts"],
        told.get("UnitFileState") == "enabled",
        number["Job"] > 0,
        number["ExecMainStartTimestampMonotonic"] / 1e6,
    )


def follow(scope: Scope, name: str) -> Iterator[Seen]:
    """What changes while an instance starts, until it is active or has failed for good."""
    before = None
    while True:
        seen = see(scope, name)
        if seen != before:
            before = seen
            yield seen
        if seen.settled:
            return
        time.sleep(_LOOK_S)


def last_words(scope: Scope, name: str) -> str:
    """The last lines that an instance's last run left in the journal."""
    run = systemctl(scope, "show", unit(name), "--property=InvocationID", "--value").strip()
    which = [f"_SYSTEMD_INVOCATION_ID={run}"] if run else ["--unit", unit(name)]
    argv = ["journalctl", *scope.flags, "--no-pager", "--output=cat", f"--lines={_JOURNAL_LINES}", *which]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(argv, capture_output=True, text=True, timeout=_ASK_S, check=False).stdout.strip()
    return ""


def lingers() -> bool:
    """Whether this user's services go on without a session, and start with the host."""
    words = ["loginctl", "show-user", "--property=Linger", "--value", str(os.getuid())]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ASK_S, check=False)
        return done.stdout.strip() == "yes"
    return False


def bring_up(scope: Scope, name: str, verb: str, show: Callable[[str], None], *, once: bool = False) -> None:
    """Start or restart an instance, and wait until it serves.

    Args:
        scope: whose.
        name: the instance.
        verb: ``start`` or ``restart``.
        show: takes each word of how far it is.
        once: whether the first start that fails is the end of it, whatever the unit says of restarts.

    Raises:
        ServeError: it failed, with what it said in the journal; unless `once`, systemd may go on trying.
    """
    with contextlib.suppress(ServeError):  # of a unit that never failed
        systemctl(scope, "reset-failed", unit(name))
    systemctl(scope, verb, "--no-block", unit(name))
    seen, told = see(scope, name), ""
    for seen in follow(scope, name):
        if seen.said and seen.said != told:
            told = seen.said
            show(told)
        if seen.restarts or (seen.sub == "auto-restart" and not seen.busy):
            if once:
                systemctl(scope, "stop", unit(name), patience_s=STOP_S)
            break
    if seen.state != "active":
        said = last_words(scope, name)
        fix = f"serve service logs {name}{scope.option}; systemctl {' '.join([*scope.flags, 'status'])} {unit(name)}"
        trying = seen.state == "activating"
        what = f"{unit(name)} {'has failed' if trying else f'is {seen.state}'} ({seen.result})"
        what += ", and systemd starts it again" if trying and not once else ""
        raise ServeError("\n  ".join([what, *said.splitlines()]), fix=fix, code=FAILED)
