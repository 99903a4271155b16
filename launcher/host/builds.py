"""What is known about installing each engine: `data/builds.yaml`, as values."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.engines.release import TITLES
from launcher.errors import ServeError
from launcher.files import load_data

DATA = Path(__file__).parent / "data" / "builds.yaml"


@dataclass(frozen=True)
class ThirdParty:
    """Builds that someone else than the engine's project publishes: by release, the hashes of the files we know."""

    distribution: str
    author: str
    releases: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Build:
    """How one engine is installed for one device; the fields are explained in `data/builds.yaml`."""

    engine: str
    device: str
    default: str
    python: tuple[str, ...]
    distribution: str
    module: str
    room_gb: float
    kernels: tuple[str, ...] = ()
    index: str | None = None
    third_party: ThirdParty | None = None
    torch: dict[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()


def of(engine: str, device: str) -> Build:
    """The build of an engine for ``cuda`` or ``cpu``.

    Raises:
        ServeError: the engine has none for the device.
    """
    devices = load()[engine]
    if device not in devices:
        others = " or ".join(name for name, known in load().items() if device in known)
        raise ServeError(
            f"{TITLES[engine]} has no packages for --device {device}",
            fix=f"choose {others}, or give an environment of your own: --engine-python PATH",
        )
    return devices[device]


@functools.cache
def load(path: Path = DATA) -> dict[str, dict[str, Build]]:
    """Every build: engine -> device -> build."""
    data = load_data(path)
    return {
        engine: {device: _build(engine, device, fields) for device, fields in devices.items()}
        for engine, devices in data.items()
    }


def _build(engine: str, device: str, fields: dict[str, Any]) -> Build:
    third = fields.pop("third_party", None)
    for name in ("python", "kernels", "without"):
        fields[name] = tuple(fields.get(name, ()))
    if third:
        third["releases"] = {version: tuple(hashes) for version, hashes in third["releases"].items()}
    return Build(engine, device, **fields, third_party=ThirdParty(**third) if third else None)
