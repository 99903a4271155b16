"""What the kernel allows a process that is started from here, where engines need more than usual."""

from __future__ import annotations

import resource
from pathlib import Path

from launcher.doctor.finding import ERROR, OK, WARNING, Finding

# What vLLM and SGLang raise the soft limit to by themselves, as far as the hard limit lets them: set_ulimit in
# vllm/utils/system_utils.py (0.33.0) and sglang/srt/utils/common.py (0.5.23).
FILES = 65535
# A thread counts as a process here, and each process of an engine has some for every core.
PROCESSES = 4096
_CONF = "in /etc/security/limits.d/serve.conf "
_UNLIMITED = resource.RLIM_INFINITY


def check() -> list[Finding]:
    """Open files, processes, address space, locked memory, core files."""
    found = [finding for each in (_files, _processes, _address_space, _locked, _core) if (finding := each())]
    return found or [Finding(OK, "limits", "open files, processes, address space and locked memory suffice")]


def _files() -> Finding | None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == _UNLIMITED or hard >= FILES:
        return None
    what = f"at most {hard} files may be open, and each connection is one; the engines ask for {FILES}"
    fix = f"ulimit -n {FILES} as root; for good: {_CONF}* - nofile {FILES}; in a service: LimitNOFILE={FILES}"
    return Finding(WARNING, "open files", what, fix)


def _processes() -> Finding | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == _UNLIMITED or soft >= PROCESSES:
        return None
    what = f"this user may have {soft} processes and threads; an engine has hundreds"
    fix = f"ulimit -u {PROCESSES}; for good: {_CONF}* - nproc {PROCESSES}; in a service: LimitNPROC=infinity"
    return Finding(WARNING, "processes", what, fix)


def _address_space() -> Finding | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == _UNLIMITED:
        return None
    what = f"the address space is limited to {soft >> 30} GiB; CUDA reserves far more than it uses"
    return Finding(ERROR, "address space", what, "ulimit -v unlimited")


def _locked() -> Finding | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft == _UNLIMITED or not any(Path("/sys/class/infiniband").glob("*")):
        return None  # pinned memory of CUDA does not count
    what = f"{soft >> 10} KiB of memory may be locked, and this host has RDMA, which locks what it sends from"
    fix = f"ulimit -l unlimited; for good: {_CONF}* - memlock unlimited; in a service: LimitMEMLOCK=infinity"
    return Finding(WARNING, "locked memory", what, fix)


def _core() -> Finding | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8", errors="replace").strip()
    if soft != _UNLIMITED or pattern.startswith("|"):
        return None
    what = f"an engine that crashes writes a file as large as its memory ({pattern})"
    return Finding(WARNING, "core files", what, "ulimit -c 0, unless you want to debug it")
