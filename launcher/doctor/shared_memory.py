"""The shared memory by which the processes of an engine talk to each other: is it large enough, and what fills it."""

from __future__ import annotations

import functools
import os
import shlex
import time
from pathlib import Path
from typing import Any

from launcher.doctor.finding import ERROR, OK, WARNING, Finding
from launcher.files import load_data
from launcher.host import users

DATA = Path(__file__).parent / "data" / "shared_memory.yaml"
SHM = Path("/dev/shm")  # noqa: S108 - looked at
# vLLM makes queues of 240 and 160 MiB for the processes of a model (0.32.0, measured), and ends if they do not fit;
# NCCL and images come to that.
LEAST_BYTES = 1 << 30
_YOUNG_S = 60.0  # such a file may be on its way from one process to another
_SHOWN = 3
_MIB = 1 << 20


def check() -> list[Finding]:
    """Its size, then the files that nobody uses."""
    try:
        found = os.statvfs(SHM)
    except OSError as error:
        what = f"{SHM} cannot be used: {error.strerror}"
        return [Finding(ERROR, str(SHM), what, "sudo mount -t tmpfs tmpfs /dev/shm")]
    total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    what = f"{free / _MIB:,.0f} of {total / _MIB:,.0f} MiB are free"
    if not os.access(SHM, os.W_OK | os.X_OK):
        size = Finding(ERROR, str(SHM), "this user may not write there", "sudo chmod 1777 /dev/shm")
    elif free < LEAST_BYTES:
        needed = f"{LEAST_BYTES / _MIB:,.0f} MiB are needed, where a model has several processes (several GPUs, or CPU)"
        fix = "in a container: docker run --shm-size=8g, or --ipc=host; else: sudo mount -o remount,size=50% /dev/shm"
        size = Finding(WARNING, str(SHM), f"{what}; {needed}", fix)
    else:
        size = Finding(OK, str(SHM), what)
    return [size, *_left(left_behind())]


def _left(files: dict[Path, os.stat_result]) -> list[Finding]:
    if not files:
        return []
    found = files.values()
    taken = sum(each.st_blocks * 512 for each in found)
    owners = ", ".join(sorted({users.name(each.st_uid) for each in found}))
    changed_s = sorted((each.st_mtime for each in found), reverse=True)
    ages = dict.fromkeys(f"{(time.time() - each) / 3600:,.1f}" for each in (changed_s[0], changed_s[-1]))
    what = (
        f"files that may have been left by engines: {len(files)}, of {owners}, {taken / _MIB:,.1f} MiB, "
        f"{' to '.join(ages)} hours old; no process to be seen from here uses them"
    )
    names = list(map(str, files))
    more = (
        f"; {len(names) - _SHOWN} more: ls -lt {SHM}; a restart of the host removes all" if len(names) > _SHOWN else ""
    )
    return [Finding(WARNING, str(SHM), what, f"if nobody needs them: rm {shlex.join(names[:_SHOWN])}{more}")]


def left_behind() -> dict[Path, os.stat_result]:
    """Files as killed engines leave them: of their names, this user's (root: anybody's), not new, open in no process.

    Not all names are the engines' alone, so it is for the user to judge.
    """
    candidates = {path: found for pattern in _patterns() for path in SHM.glob(pattern) if (found := _stale(path))}
    used = _in_use() if candidates else set()
    return {path: candidates[path] for path in sorted(candidates) if str(path) not in used}


@functools.cache
def _patterns() -> tuple[str, ...]:
    rows: list[dict[str, Any]] = load_data(DATA)
    return tuple(row["name"] for row in rows)


def _stale(path: Path) -> os.stat_result | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found if os.geteuid() in (0, found.st_uid) and time.time() - found.st_mtime > _YOUNG_S else None


def _in_use() -> set[str]:
    """The files of /dev/shm that processes have mapped or open."""
    used: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            for line in (folder / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
                if (start := line.find(f" {SHM}/")) > 0:
                    used.add(line[start + 1 :])
            used.update(str(link.readlink()) for link in (folder / "fd").iterdir())
        except OSError:
            continue  # it has ended, or is another user's
    return used
