"""How much memory of each GPU is in use, by whom, and whether a server that has stopped gave its share back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from launcher.engines.confidential import command_line
from launcher.host import machine, smi

# What the driver keeps of a GPU comes and goes with its contexts; the smallest context of CUDA takes more (H100, driver
# 580.159: 0.5 GiB).
TOLERANCE_BYTES = 256 << 20
_POLL_S = 0.2
_SHOWN = 3


@dataclass(frozen=True)
class GpuUse:
    """One GPU's memory now.

    Attributes:
        index: its number for nvidia-smi.
        uuid: its identity, ``GPU-...``.
        used_bytes: memory in use; None where the driver does not say (memory shared with the CPU, a MIG slice).
        total_bytes: all of it, or None.
        utilization_percent: of the last sample period in which a kernel ran, or None.
    """

    index: int
    uuid: str
    used_bytes: int | None
    total_bytes: int | None
    utilization_percent: int | None


@dataclass(frozen=True)
class Held:
    """Memory that one process has on one GPU.

    Attributes:
        pid: the process, in the driver's view: within a container it may be a number of the host's, or not be told.
        used_bytes: None where the driver does not say.
        uuid: the GPU's.
    """

    pid: int
    used_bytes: int | None
    uuid: str


@dataclass(frozen=True)
class Snapshot:
    """All memory in use at one moment; without a GPU there is nothing in it."""

    gpus: tuple[GpuUse, ...] = ()
    held: tuple[Held, ...] = ()


def use(devices: str | None = None, timeout_s: float = smi.TIMEOUT_S) -> tuple[GpuUse, ...]:
    """The memory of each GPU; nothing without a GPU, or if the driver does not answer.

    Args:
        devices: a value of CUDA_VISIBLE_DEVICES, which narrows the GPUs; None for all.
        timeout_s: how long to wait for the answer.
    """
    fields = ("index", "uuid", "memory.used", "memory.total", "utilization.gpu")
    found = tuple(
        GpuUse(
            index=int(row["index"]),
            uuid=row["uuid"],
            used_bytes=smi.mebibytes(row["memory.used"]),
            total_bytes=smi.mebibytes(row["memory.total"]),
            utilization_percent=None if (share := smi.number(row["utilization.gpu"])) is None else int(share),
        )
        for row in smi.ask("gpu", fields, timeout_s).rows
        if row["index"].isdigit()
    )
    return tuple(gpu for word, gpu in machine.visible(found, devices) if not word.startswith(machine.MIG))


def held(timeout_s: float = smi.TIMEOUT_S) -> tuple[Held, ...]:
    """Who has memory on which GPU of this host, whatever CUDA_VISIBLE_DEVICES says."""
    rows = smi.ask("compute-apps", ("pid", "used_memory", "gpu_uuid"), timeout_s).rows
    return tuple(
        Held(int(row["pid"]), smi.mebibytes(row["used_memory"]), row["gpu_uuid"])
        for row in rows
        if row["pid"].isdigit()
    )


def snapshot(devices: str | None = None, timeout_s: float = smi.TIMEOUT_S) -> Snapshot:
    """The memory in use; costs nothing without a GPU.

    Args:
        devices: a value of CUDA_VISIBLE_DEVICES, which narrows the GPUs; None for all.
        timeout_s: how long to wait for each of two answers.
    """
    gpus = use(devices, timeout_s)
    return Snapshot(gpus, held(timeout_s)) if gpus else Snapshot()


def back(
    before: Snapshot,
    pids: Collection[int],
    timeout_s: float = 10.0,
    pause: Callable[[float], object] = time.sleep,
) -> str | None:
    """Wait until a server that has stopped has given its GPU memory back.

    Back it is when each GPU has no more in use than before the start, apart from what other living processes have taken
    since. The driver frees memory some 0.1 s after a process is gone (H100, driver 580.159).

    Args:
        before: the snapshot from before the start; an empty one needs no waiting.
        pids: every process that the server had.
        timeout_s: how long to wait.
        pause: sleeps for the seconds given, or less.

    Returns:
        None if the memory is back, else a sentence: which GPU, how much and who has it.
    """
    devices = [gpu.uuid for gpu in before.gpus if gpu.used_bytes is not None]
    deadline_s = time.monotonic() + timeout_s
    while devices:
        now = snapshot(",".join(devices), max(1.0, deadline_s - time.monotonic()))
        missing = [text for gpu in now.gpus if (text := _missing(gpu, before, now, pids))]
        if len(now.gpus) == len(devices) and not missing:
            return None
        if time.monotonic() >= deadline_s:
            return "; ".join(missing) or "nvidia-smi does not answer, so whether the GPU memory is back is not known"
        pause(_POLL_S)
    return None


def _missing(gpu: GpuUse, before: Snapshot, now: Snapshot, pids: Collection[int]) -> str | None:
    """What of a GPU is not back, as a sentence."""
    (then,) = (each for each in before.gpus if each.uuid == gpu.uuid)
    if gpu.used_bytes is None or then.used_bytes is None:
        return None
    known = {each.pid for each in before.held}
    others = [each for each in now.held if each.uuid == gpu.uuid and each.pid not in pids]
    living = [each for each in others if each.pid in known or _lives(each.pid)]
    if any(each.used_bytes is None for each in living):
        return None  # theirs may be all of it
    of_others = sum(each.used_bytes or 0 for each in living)
    of_others_then = sum(each.used_bytes or 0 for each in before.held if each.uuid == gpu.uuid)
    excess = (gpu.used_bytes - of_others) - (then.used_bytes - of_others_then)
    if excess <= TOLERANCE_BYTES:
        return None
    holders = [each for each in now.held if each.uuid == gpu.uuid and each not in living]
    names = ", ".join(describe(each.pid) for each in holders[:_SHOWN]) or "no process that the driver names"
    return f"GPU {gpu.index}: {excess / 2**30:.1f} GiB are not free again; held by {names}"


def describe(pid: int) -> str:
    """A process in words: ``process 4711 (alice: python train.py)``."""
    import psutil  # noqa: PLC0415 - only where there is somebody to name

    try:
        process = psutil.Process(pid)
        command = "".join(filter(str.isprintable, command_line(process.cmdline()) or process.name()))
        return f"process {pid} ({process.username()}: {command[:120]})"
    except psutil.Error:
        return f"process {pid}, which is not to be seen from here"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
