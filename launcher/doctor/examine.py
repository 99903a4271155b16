"""All checks of a host, each in a process of its own, so that one that hangs or fails is a finding like another."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from launcher import settings
from launcher.doctor import environments, folders, gpus, limits, memory, processes, shared_memory
from launcher.doctor.finding import ERROR, LEVELS, Finding
from launcher.errors import of_file

# Twice what an nvidia-smi that hangs is given.
TIMEOUT_S = 20.0

Check = Callable[[], list[Finding]]
CHECKS: dict[str, Check] = {
    "GPU": gpus.check,
    "engines": environments.check,
    "processes": processes.orphans,
    "ports": processes.ports,
    "memory": memory.check,
    "shared memory": shared_memory.check,
    "disk": folders.disk,
    "files": folders.modes,
    "limits": limits.check,
}


@dataclass(frozen=True)
class _Running:
    name: str
    pid: int
    answer: int


def examine(checks: Mapping[str, Check] = CHECKS, timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """Everything that was found, the gravest first. For a process without threads.

    Args:
        checks: what to look at, by name.
        timeout_s: how long the checks may take, which run beside each other.
    """
    deadline_s = time.monotonic() + timeout_s
    running = [_start(name, check) for name, check in checks.items()]
    found = [finding for each in running for finding in _findings(each, deadline_s)]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level), reverse=True)


def _start(name: str, check: Check) -> _Running:
    answer, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return _Running(name, pid, answer)
    try:
        _answer(name, check, writer)
    finally:
        os._exit(0)  # whatever came: this copy of the program goes no further


def _answer(name: str, check: Check, writer: int) -> None:
    """Writes the findings, or, of a check with a defect, what came of it."""
    said: object = None
    try:
        said = [asdict(finding) for finding in _looked(name, check)]
    finally:
        error = sys.exc_info()[1]
        with os.fdopen(writer, "w", encoding="utf-8", errors="replace") as file:  # the name of a file may be no text
            json.dump(f"{type(error).__name__}: {error}" if error else said, file, ensure_ascii=False)


def _looked(name: str, check: Check) -> list[Finding]:
    try:
        return check()
    except OSError as error:
        if not error.filename:
            raise
        trouble = of_file(error, settings.own_folders())
        return [Finding(ERROR, name, f"{trouble.where}: {trouble.what}", trouble.fix)]


def _findings(check: _Running, deadline_s: float) -> list[Finding]:
    said = b""
    while select.select([check.answer], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
        if not (chunk := os.read(check.answer, 1 << 16)):
            break
        said += chunk
    else:  # it is not waited for: within the kernel it may outlive SIGKILL
        os.kill(check.pid, signal.SIGKILL)
        return [Finding(ERROR, check.name, "the check does not end: a disk, a mount or a driver hangs", "dmesg | tail")]
    os.close(check.answer)
    os.waitpid(check.pid, 0)
    try:
        found = json.loads(said)
    except ValueError:
        found = "it was killed"
    if isinstance(found, str):
        return [Finding(ERROR, check.name, f"the check failed: {found}", "tell us, with this line")]
    return [Finding(**each) for each in found]
