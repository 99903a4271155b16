"""What instances use and do at this moment, as far as it is known without asking them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from launcher.host import gpu_memory
from launcher.run import orphans
from launcher.run.instances import PULSE, Instance
from launcher.run.record import SERVING, now_s

_FRESH_S = 30.0


@dataclass(frozen=True)
class Use:
    """What one instance uses and does.

    Attributes:
        gpus: bytes of memory by GPU, whose name is its number for nvidia-smi; 0 where the driver does not say.
        tokens_per_s: generated in the last seconds; None where nobody knows.
        running, waiting: requests, as of some seconds ago.
    """

    gpus: Mapping[str, int] = field(default_factory=dict)
    tokens_per_s: float | None = None
    running: int | None = None
    waiting: int | None = None


def uses(found: Sequence[Instance]) -> dict[str, Use]:
    """By name. The supervisors look at their servers every few seconds and leave what they saw; nobody is asked."""
    memory: dict[str, dict[str, int]] = {}
    holders = orphans.holders() if found else []
    names = {gpu.uuid: str(gpu.index) for gpu in gpu_memory.use()} if holders else {}
    for holder in holders:
        if holder.instance:
            own = memory.setdefault(holder.instance, {})
            gpu = names.get(holder.gpu, holder.gpu)
            own[gpu] = own.get(gpu, 0) + (holder.used_bytes or 0)
    return {each.name: Use(memory.get(each.name, {}), *_pulse(each)) for each in found}


def _pulse(instance: Instance) -> tuple[float | None, int | None, int | None]:
    try:
        told = json.loads((instance.folder / PULSE).read_text(encoding="utf-8"))
        age_s = now_s() - float(told["boottime_s"])
        if instance.state == SERVING and 0 <= age_s < _FRESH_S:
            return float(told["tokens_per_s"]), int(told["running"]), int(told["waiting"])
    except (OSError, ValueError, TypeError, KeyError):
        pass  # it has not been looked at yet, or what is there is no pulse
    return None, None, None
