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
    return Finding(WARNING, "open files", what, _raise("nofile", str(FILES)))


def _processes() -> Finding | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == _UNLIMITED or soft >= PROCESSES:
        return None
    what = f"this user may have {soft} processes and threads; an engine has hundreds"
    return Finding(WARNING, "processes", what, _raise("nproc", "unlimited"))


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
    return Finding(WARNING, "locked memory", what, _raise("memlock", "unlimited"))


def _core() -> Finding | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8", errors="replace").strip()
    if soft != _UNLIMITED or pattern.startswith("|"):
        return None
    what = f"an engine that crashes writes a file as large as its memory ({pattern})"
    return Finding(WARNING, "core files", what, "ulimit -c 0, unless you want to debug it")


def _raise(limit: str, value: str) -> str:
    """The commands; limits.conf(5) applies no wildcard to root, so the user is named there."""
    container = f"docker run --ulimit {limit}={value.replace('unlimited', '-1')}"
    service = f"Limit{limit.upper()}={value.replace('unlimited', 'infinity')}"
    conf = f'echo "$USER - {limit} {value}" | sudo tee -a /etc/security/limits.d/serve.conf'
    shell = f"sudo prlimit --pid $$ --{limit}={value}"
    return f"in this shell: {shell}; in a container: {container}; in a service: {service}; at each login: {conf}"
