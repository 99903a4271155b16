"""The GPUs of this host, as the driver's own program tells them."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace

QUERY = ("index", "name", "uuid", "memory.total", "compute_cap", "driver_version")
TIMEOUT_S = 15.0  # a driver in trouble lets nvidia-smi hang


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: its number for nvidia-smi.
        name: as the driver calls it, such as ``NVIDIA H200``.
        uuid: its identity, ``GPU-...``.
        memory_bytes: total memory; None where the driver does not say (memory shared with the CPU).
        capability: CUDA compute capability, such as 9.0; None where the driver does not say.
        driver: the driver's version.
    """

    index: int
    name: str
    uuid: str
    memory_bytes: int | None
    capability: float | None
    driver: str


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that a process started from here may use: none without a driver; CUDA_VISIBLE_DEVICES narrows them."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ()
    argv = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if answer.returncode != 0:  # it is installed, but no driver answers
        return ()
    found = [_gpu(line) for line in answer.stdout.splitlines()]
    return _visible([gpu for gpu in found if gpu], os.environ.get("CUDA_VISIBLE_DEVICES"))


def _gpu(line: str) -> Gpu | None:
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != len(QUERY) or not fields[0].isdigit():
        return None
    index, name, uuid, mebibytes, capability, driver = fields
    memory = _number(mebibytes)
    return Gpu(int(index), name, uuid, None if memory is None else int(memory) << 20, _number(capability), driver)


def _number(text: str) -> float | None:
    """Of a field that may read ``[N/A]``."""
    try:
        return float(text)
    except ValueError:
        return None


def _visible(found: list[Gpu], variable: str | None) -> tuple[Gpu, ...]:
    """What CUDA_VISIBLE_DEVICES leaves, in its order; as in CUDA, an entry that names no GPU ends the list.

    A MIG slice is not in nvidia-smi's query: it is shown with the first GPU's facts, all but the memory.
    """
    if variable is None:
        return tuple(found)
    visible: list[Gpu] = []
    for entry in (word.strip() for word in variable.split(",")):
        if entry.startswith("MIG-") and found:
            visible.append(replace(found[0], uuid=entry, memory_bytes=None))
            continue
        match = [
            gpu for gpu in found if entry == str(gpu.index) or (len(entry) > len("GPU-") and gpu.uuid.startswith(entry))
        ]
        if len(match) != 1:
            break
        visible.append(match[0])
    return tuple(visible)
