"""The GPUs of this host: whether a driver answers, fits the engines that are installed, and what state they are in."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from launcher.doctor.finding import ERROR, OK, WARNING, Finding
from launcher.files import load_data
from launcher.host import drivers, environments, gpu_memory, machine, smi
from launcher.host.environments import Environment
from launcher.host.gpu_memory import GpuUse
from launcher.host.machine import Gpu
from launcher.run import orphans
from launcher.run.orphans import Holder

DATA = Path(__file__).parent / "data" / "gpu.yaml"
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # the vendor's number on the PCI bus, and the class of what draws or computes
_FREE_BYTES = 1 << 30  # what a desktop or the driver itself may have without a word
_GIB = 1 << 30


def check() -> list[Finding]:
    """The driver, then what it tells of each GPU."""
    if not smi.program():
        return [_without_program()]
    answer = smi.ask("gpu", ("index", *dict.fromkeys(state["field"] for state in _known()["states"])))
    if answer.trouble:
        fixes = (each["fix"] for each in _known()["failures"] if each["says"] in answer.trouble)
        fix = "sudo dmesg | grep -i -e nvrm -e xid, then: sudo reboot"
        return [Finding(ERROR, "driver", answer.trouble, next(fixes, fix))]
    gpus = machine.every_gpu()
    if not gpus:
        return [Finding(WARNING, "driver", "nvidia-smi lists no GPU", "sudo dmesg | grep -i -e nvrm -e xid")]
    found = [Finding(OK, "driver", f"version {gpus[0].driver} answers"), *_hidden(gpus)]
    usable = machine.gpus()
    for environment in environments.all_found():
        found += _fit(environment, gpus[0].driver, usable)
    states = {row["index"]: row for row in answer.rows}
    for gpu in gpus:
        found += _state(gpu, states.get(str(gpu.index), {}))
    return found + _memory(gpu_memory.use(), orphans.holders())


@functools.cache
def _known() -> Any:
    return load_data(DATA)


def _without_program() -> Finding:
    if Path("/proc/driver/nvidia/version").exists():
        return Finding(
            ERROR,
            "driver",
            "the NVIDIA driver is loaded, but there is no nvidia-smi on PATH",
            "in a container: docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility; else: "
            "sudo apt install nvidia-utils-VERSION, for the version that cat /proc/driver/nvidia/version shows",
        )
    if devices := _pci_devices():
        what = f"there is an NVIDIA GPU (PCI {', '.join(devices)}), but no driver"
        return Finding(ERROR, "driver", what, "sudo ubuntu-drivers install, then: sudo reboot")
    return Finding(OK, "GPU", "none of NVIDIA's in this machine: it takes an engine for cpu")


def _pci_devices() -> list[str]:
    found = []
    for device in sorted(Path("/sys/bus/pci/devices").glob("*")):
        try:
            vendor, kind = ((device / name).read_text(encoding="ascii").strip() for name in ("vendor", "class"))
        except (OSError, UnicodeDecodeError):
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            found.append(device.name)
    return found


def _hidden(gpus: tuple[Gpu, ...]) -> list[Finding]:
    """What CUDA_VISIBLE_DEVICES keeps from servers: no fault where each of its words names a GPU."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = machine.visible(gpus, value)
    left = len({gpu.index for _, gpu in named})
    if value is None or left == len(gpus):
        return []
    what = f"CUDA_VISIBLE_DEVICES={shlex.quote(value)} leaves {left} of {len(gpus)} GPUs to servers"
    if len(named) == len(value.split(",")):
        return [Finding(OK, "GPU", what)]
    return [Finding(WARNING, "GPU", f"{what}: not all of it names a GPU", "unset CUDA_VISIBLE_DEVICES")]


def _fit(environment: Environment, driver: str, gpus: tuple[Gpu, ...]) -> list[Finding]:
    """Whether an installed engine's torch can use this driver and these GPUs."""
    title = environment.release.title
    cuda = torch_cuda(environment)
    if cuda is None:
        return []  # no torch, or one without CUDA: told with the environments
    needed = drivers.needs(cuda)
    if needed is None:
        what = f"{title} is built for CUDA {cuda}, of which serve does not know the driver that it needs"
        return [Finding(WARNING, "driver", what, "nvidia-smi, which shows the newest CUDA that this driver has")]
    if needed.too_old(driver):
        what = f"{title} is built for CUDA {cuda}, which needs driver {needed.driver} or newer; this one is {driver}"
        return [Finding(ERROR, "driver", what, f"{needed.upgrade}; or install an older release")]
    weak = [gpu for gpu in gpus if gpu.capability is not None and gpu.capability < needed.capability]
    return [
        Finding(
            ERROR,
            f"GPU {gpu.index}",
            f"{gpu.name} has compute capability {gpu.capability}; {title}, built for CUDA {cuda}, needs "
            f"{needed.capability}",
            "leave it out: export CUDA_VISIBLE_DEVICES with the others",
        )
        for gpu in weak
    ] or [Finding(OK, "driver", f"{driver} is new enough for {title} (CUDA {cuda})")]


def torch_cuda(environment: Environment) -> str | None:
    """The CUDA version that an environment's torch was built for, such as ``13.0``, read without importing it."""
    folders = environment.path.glob("lib/python*/site-packages") if environment.path else map(Path, sys.path)
    for folder in folders:
        try:
            text = (folder / "torch" / "version.py").read_text(encoding="utf-8")
        except OSError:
            continue
        match = re.search(r"^cuda\b[^=\n]*= '(\d+\.\d+)'", text, re.MULTILINE)
        return match[1] if match else None
    return None


def _state(gpu: Gpu, told: dict[str, str]) -> list[Finding]:
    found = []
    for state in _known()["states"]:
        value = told.get(state["field"])
        if value is not None and _at_fault(state, value):
            what = f"{gpu.name}: {state['what'].format(value=value)}"
            found.append(Finding(state["level"], f"GPU {gpu.index}", what, state["fix"].format(index=gpu.index)))
    if found:
        return found
    size = f", {gpu.memory_bytes / _GIB:.1f} GiB" if gpu.memory_bytes else ""
    what = f"{gpu.name}{size}, compute capability {gpu.capability or 'unknown'}: it reports no fault"
    return [Finding(OK, f"GPU {gpu.index}", what)]


def _at_fault(state: dict[str, Any], value: str) -> bool:
    if "above" in state:
        return (smi.number(value) or 0) > float(state["above"])
    return value == str(state["is"]) if "is" in state else value not in state["isnt"]


def _memory(gpus: tuple[GpuUse, ...], holders: list[Holder]) -> list[Finding]:
    """Who has memory of a GPU, but instances of ours: of those that are orphans another check tells."""
    found = []
    for gpu in gpus:
        if gpu.used_bytes is None:
            continue
        on_it = [each for each in holders if each.gpu == gpu.uuid]
        foreign = [each for each in on_it if each.instance is None]
        unknown_bytes = gpu.used_bytes - sum(each.used_bytes or 0 for each in on_it)
        if not foreign and unknown_bytes < _FREE_BYTES:
            continue
        size = f"{gpu.used_bytes / _GIB:.1f}" + (f" of {gpu.total_bytes / _GIB:.1f}" if gpu.total_bytes else "")
        who = ", ".join(map(_holder, foreign)) or "no process that the driver names"
        pids = " ".join(str(each.pid) for each in foreign if each.command)
        fix = (
            f"end it if it is not needed: kill {pids}"
            if pids
            else "look for it on the host and in other containers: sudo fuser -v /dev/nvidia*"
        )
        what = f"{size} GiB of its memory are in use, by {who}"
        found.append(
            Finding(WARNING, f"GPU {gpu.index}", what, f"{fix}; or choose another GPU, or a smaller --memory-fraction")
        )
    return found


def _holder(holder: Holder) -> str:
    size = "" if holder.used_bytes is None else f", {holder.used_bytes / _GIB:.1f} GiB"
    if not holder.command:
        return f"process {holder.pid}, which is not to be seen from here{size}"
    return f"process {holder.pid} of {holder.user} ({holder.command}){size}"
