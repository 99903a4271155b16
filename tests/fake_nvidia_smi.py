"""A stand-in for nvidia-smi: answers the queries that serve makes as the real program does (580.159.04 on an H100).

    FAKE_NVIDIA_SMI=state.json nvidia-smi --query-gpu=index,uuid --format=csv,noheader,nounits

What it tells is read from a file at every call, so that a test can change the GPUs under a running program:

- ``gpus``: a list of GPUs, each with the fields in which it differs from a healthy H100;
- ``apps``: who holds memory: ``pid``, ``used_memory`` (MiB or ``[N/A]``) and, unless it is the first GPU, ``gpu_uuid``.
  As with a real driver it is in use as long as the process lives; with ``"kept": true`` it stays in use;
- ``unknown``: fields that this driver does not know;
- ``fails``: an exit status and what is said then, in place of any answer;
- ``hangs``: no answer at all.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HEALTHY = {
    "name": "NVIDIA H100 80GB HBM3",
    "pci.bus_id": "00000000:1B:00.0",
    "memory.total": "81559",
    "memory.used": "0",
    "compute_cap": "9.0",
    "driver_version": "580.159.04",
    "utilization.gpu": "0",
    "persistence_mode": "Enabled",
    "compute_mode": "Default",
    "mig.mode.current": "Disabled",
    "ecc.errors.uncorrected.volatile.total": "0",
    "retired_pages.pending": "[N/A]",
    "remapped_rows.pending": "No",
    "remapped_rows.failure": "No",
    "gpu_recovery_action": "None",
    "clocks_event_reasons.hw_slowdown": "Not Active",
    "clocks_event_reasons.hw_thermal_slowdown": "Not Active",
    "clocks_event_reasons.hw_power_brake_slowdown": "Not Active",
    "clocks_event_reasons.sw_thermal_slowdown": "Not Active",
}
APP_FIELDS = {"pid", "used_memory", "gpu_uuid"}


def answer() -> tuple[int, str]:
    """The exit status, and what is said."""
    state = json.loads(Path(os.environ["FAKE_NVIDIA_SMI"]).read_text())
    if state.get("hangs"):
        time.sleep(1e6)
    if failure := state.get("fails"):
        status, text = failure
        return int(status), text
    query, _, names = sys.argv[1].partition("=")
    if sys.argv[2:] != ["--format=csv,noheader,nounits"]:
        return 6, f"Invalid combination of input arguments: {sys.argv[1:]}"
    gpus = [{"index": str(index), "uuid": f"GPU-{index}", **HEALTHY, **gpu} for index, gpu in enumerate(state["gpus"])]
    apps = [{"gpu_uuid": gpus[0]["uuid"], **app} for app in state.get("apps", ()) if app.get("kept") or lives(app)]
    rows: list[dict[str, Any]] = {"--query-gpu": gpus, "--query-compute-apps": apps}[query]
    known = ({*HEALTHY, "index", "uuid"} if rows is gpus else APP_FIELDS) - {*state.get("unknown", ())}
    for gpu in gpus:
        held = sum(int(app["used_memory"]) for app in apps if app["gpu_uuid"] == gpu["uuid"] and known_size(app))
        if gpu["memory.used"].isdigit():
            gpu["memory.used"] = str(int(gpu["memory.used"]) + held)
    for name in names.split(","):
        if name not in known:
            return 2, f'Field "{name}" is not a valid field to query.\n'
    return 0, "\n".join(", ".join(str(row[name]) for name in names.split(",")) for row in rows)


def lives(app: dict[str, Any]) -> bool:
    """Whether the process that holds the memory runs."""
    return Path(f"/proc/{app['pid']}").exists()


def known_size(app: dict[str, Any]) -> bool:
    """Whether the driver tells how much the process holds."""
    return str(app["used_memory"]).isdigit()


if __name__ == "__main__":
    status, text = answer()
    sys.stdout.write(text + "\n" if text else "")
    sys.exit(status)
