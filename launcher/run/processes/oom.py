"""Whether the kernel's OOM killer struck: a process that it kills says nothing, and its parent knows only SIGKILL."""

from __future__ import annotations

import re
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def oom_kills(proc: Path = _PROC, cgroup: Path = _CGROUP) -> int:
    """How many processes the OOM killer has ended so far; a later number that is larger tells that it struck between.

    Those of our own control group where the kernel counts them there (cgroup v2, ``memory.events``; not the root group,
    which has none), otherwise those of the whole host (``/proc/vmstat``). 0 where neither can be read.

    Args:
        proc: where procfs is mounted.
        cgroup: where the cgroup v2 hierarchy is mounted.
    """
    ours = re.search(r"^0::/(.*)$", _text(proc / "self" / "cgroup"), re.MULTILINE)
    counted = _text(cgroup / ours[1] / "memory.events") if ours else ""
    match = re.search(r"^oom_kill (\d+)$", counted or _text(proc / "vmstat"), re.MULTILINE)
    return int(match[1]) if match else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
