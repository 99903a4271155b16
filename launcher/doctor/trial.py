"""Tries an engine's environment on this host, step by step.

    PYTHON trial.py DEVICE MODULE KERNELS...

run by the Python of the environment, for ``cuda`` or ``cpu``: imports torch, sees the GPUs, calculates on each, imports
the modules that hold the engine's compiled kernels, then the engine. Prints a line of JSON before each step
(``begins``) and one after it (``said``, or ``error``), so that a step that ends the process is known as well. What
torch and the engine print goes to stderr. The standard library is all that may be imported here besides.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def driver() -> dict[str, Any]:
    """The newest CUDA that the driver takes, such as 13000 for 13.0."""
    version = ctypes.c_int()
    status = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    if status:
        raise OSError(f"cuDriverGetVersion ends with {status}")
    return {"cuda": f"{version.value // 1000}.{version.value % 1000 // 10}"}


def torch() -> dict[str, Any]:
    """Which torch it is, and the CUDA that it is built for."""
    import torch  # noqa: PLC0415 - the step is its import

    return {"torch": torch.__version__, "cuda": torch.version.cuda}


def gpus() -> dict[str, Any]:
    """The GPUs that torch sees, and the architectures that it has machine code for."""
    import torch  # noqa: PLC0415

    torch.cuda.init()  # raises with the reason, where is_available() says no more than False
    found = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return {
        "gpus": [{"name": each.name, "capability": f"{each.major}.{each.minor}"} for each in found],
        "built_for": torch.cuda.get_arch_list(),
    }


def calculation() -> dict[str, Any]:
    """A kernel on each GPU."""
    import torch  # noqa: PLC0415

    for number in range(torch.cuda.device_count()):
        result = (torch.ones(64, device=f"cuda:{number}") * 2).sum().item()
        if result != 128:  # noqa: PLR2004 - twice 64
            raise ArithmeticError(f"GPU {number} calculates twice 64 as {result}")
    return {}


def module(name: str) -> Callable[[], dict[str, Any]]:
    """The step that imports a module; one that this release does not have is none."""

    def step() -> dict[str, Any]:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name or "." not in name:
                raise
            return {"absent": True}
        return {}

    return step


def main() -> None:
    """Performs the steps in turn; the first that fails is the last."""
    device, engine, *kernels = sys.argv[1:]
    here = Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != here]  # our modules are not the engine's
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as answer:
        os.dup2(2, 1)
        steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [("torch", torch)]
        if device == "cuda":
            steps = [("driver", driver), *steps, ("gpus", gpus), ("calculation", calculation)]
        steps += [(name, module(name)) for name in [*kernels, engine]]
        for name, step in steps:
            print(json.dumps({"begins": name}), file=answer)
            try:
                said = step()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - an engine may raise whatever it likes
                text = str(error).strip() or "without a word"
                print(json.dumps({"step": name, "error": f"{type(error).__name__}: {text}"}), file=answer)
                return
            print(json.dumps({"step": name, "said": said}), file=answer)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
