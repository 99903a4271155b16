"""Which memory and processors are near the GPUs of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from launcher.host import smi

_DEVICES = Path("/sys/bus/pci/devices")


def node(environment: Mapping[str, str], devices: Path = _DEVICES) -> int | None:
    """The NUMA node of all GPUs that an engine may use; None if there are several, or only one in the host.

    Args:
        environment: of the engine: ``CUDA_VISIBLE_DEVICES`` chooses among the GPUs.
        devices: a folder of each PCI device, as the kernel shows them (sysfs-bus-pci, ``numa_node``; -1 is unknown).
    """
    places = {}
    for row in smi.ask("gpu", ("index", "uuid", "pci.bus_id")).rows:
        domain, _, rest = row.get("pci.bus_id", "").lower().partition(":")
        with contextlib.suppress(OSError, ValueError):  # nvidia-smi writes the domain with eight digits
            number = int((devices / f"{domain[-4:]}:{rest}" / "numa_node").read_text(encoding="ascii"))
            places[row["index"]] = places[row["uuid"]] = number
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    nodes = {places.get(each.strip(), -1) for each in chosen.split(",")} if chosen else set(places.values())
    return nodes.pop() if len(nodes) == 1 and min(nodes) >= 0 and len(set(places.values())) > 1 else None
