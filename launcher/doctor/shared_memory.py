"""The shared memory by which the processes of an engine talk to each other: is it large enough, and what fills it."""

from __future__ import annotations

import functools
import os
import shlex
import time
from pathlib import Path
from typing import Any

from launcher.doctor.finding import ERROR, OK, WARNING, Finding

DATA = Path(__file__).parent / "data" / "shared_memory.yaml"
SHM = Path("/dev/shm")  # noqa: S108 - looked at
# vLLM makes queues of 240 and 160 MiB for the processes of a model (0.32.0, measured), and ends if they do not fit;
# NCCL and images come to that.
LEAST_BYTES = 1 << 30
_YOUNG_S = 60.0  # such a file may be on its way from one process to another
_SHOWN = 20
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


def _left(files: list[Path]) -> list[Finding]:
    if not files:
        return []
    taken = sum(path.stat().st_blocks * 512 for path in files if path.exists())
    names = shlex.join(map(str, files[:_SHOWN]))
    what = f"{len(files)} files that engines left, {taken / _MIB:,.1f} MiB; no process to be seen from here uses them"
    return [Finding(WARNING, str(SHM), what, f"rm {names}" + ("; serve doctor" if len(files) > _SHOWN else ""))]


def left_behind() -> list[Path]:
    """Files of killed engines: of their names, this user's (root: anybody's), not new, and open in no process."""
    candidates = [path for pattern in _patterns() for path in SHM.glob(pattern) if _may_be_stale(path)]
    if not candidates:
        return []
    used = _in_use()
    return sorted(path for path in candidates if str(path) not in used)


@functools.cache
def _patterns() -> tuple[str, ...]:
    import yaml  # noqa: PLC0415 - as elsewhere

    rows: list[dict[str, Any]] = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return tuple(row["name"] for row in rows)


def _may_be_stale(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.geteuid() in (0, found.st_uid) and time.time() - found.st_mtime > _YOUNG_S


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
