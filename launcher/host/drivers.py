"""Which of NVIDIA's drivers and GPUs a build for a version of CUDA needs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.files import load_data
from launcher.host import machine


@dataclass(frozen=True)
class Needs:
    """What data/drivers.yaml says of a version of CUDA.

    Attributes:
        driver: the least major version of the driver.
        capability: the least compute capability of a GPU.
    """

    driver: int
    capability: float

    def too_old(self, driver: str) -> bool:
        """Whether a driver's version, such as ``550.54.15``, is below what is needed."""
        major = driver.partition(".")[0]
        return major.isdecimal() and int(major) < self.driver

    @property
    def upgrade(self) -> str:
        """What to do about a driver that is."""
        return f"sudo apt install nvidia-driver-{self.driver}, then: sudo reboot"


def needs(cuda: str) -> Needs | None:
    """What a version of CUDA, such as ``13.0``, needs; None where nothing is known of its major version."""
    rows = [row for row in _rows() if Version(row["from"]) <= Version(cuda)]
    same_major = [row for row in rows if Version(row["from"]).major == Version(cuda).major]
    return Needs(same_major[-1]["driver"], same_major[-1]["capability"]) if same_major else None


def obstacle(release: Release) -> str:
    """Why this host's driver cannot run a release for CUDA; empty if it can, or that is not known."""
    try:
        cuda = catalog.facts(release).cuda
    except ServeError:  # newer than all that we know
        return ""
    gpus, needed = machine.every_gpu(), needs(cuda) if cuda else None
    if not gpus or needed is None or not needed.too_old(gpus[0].driver):
        return ""
    what = f"it is built for CUDA {cuda}, which needs driver {needed.driver} or newer; this host has {gpus[0].driver}"
    return f"{what} ({needed.upgrade})"


@functools.cache
def _rows() -> Any:
    return load_data(Path(__file__).parent / "data" / "drivers.yaml")
