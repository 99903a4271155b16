"""The GPUs of this host, as the driver's own program tells them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from launcher.host import smi

FIELDS = ("index", "name", "uuid", "memory.total", "compute_cap", "driver_version")
MIG = "MIG-"  # how the identity of a slice of a GPU begins


class Device(Protocol):
    """What tells one GPU of a host from another."""

    @property
    def index(self) -> int:
        """Its number for nvidia-smi."""

    @property
    def uuid(self) -> str:
        """Its identity, ``GPU-...``."""


G = TypeVar("G", bound=Device)


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
    pairs = visible(every_gpu(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return tuple(replace(gpu, uuid=word, memory_bytes=None) if word.startswith(MIG) else gpu for word, gpu in pairs)


def every_gpu() -> tuple[Gpu, ...]:
    """The GPUs of this host; none where no driver answers."""
    return tuple(
        Gpu(
            index=int(row["index"]),
            name=row["name"],
            uuid=row["uuid"],
            memory_bytes=smi.mebibytes(row["memory.total"]),
            capability=smi.number(row.get("compute_cap")),
            driver=row["driver_version"],
        )
        for row in smi.ask("gpu", FIELDS).rows
        if row["index"].isdigit()
    )


def visible(found: Sequence[G], variable: str | None) -> list[tuple[str, G]]:
    """What a value of CUDA_VISIBLE_DEVICES leaves, in its order, each with the word that names it.

    As in CUDA, an entry that names no GPU ends the list. A MIG slice is not in nvidia-smi's query: it comes with the
    first GPU.
    """
    if variable is None:
        return [(gpu.uuid, gpu) for gpu in found]
    chosen: list[tuple[str, G]] = []
    for word in (word.strip() for word in variable.split(",")):
        if word.startswith(MIG) and found:
            chosen.append((word, found[0]))
            continue
        begins = len(word) > len("GPU-")
        match = [gpu for gpu in found if word == str(gpu.index) or (begins and gpu.uuid.startswith(word))]
        if len(match) != 1:
            break
        chosen.append((word, match[0]))
    return chosen
