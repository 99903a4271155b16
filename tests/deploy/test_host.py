"""What deploy/host.sh says of drivers, CUDA and sizes is what the launcher's own data says."""

from __future__ import annotations

import re
from pathlib import Path

from launcher.engines import catalog
from launcher.host import builds, drivers

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy" / "host.sh").read_text()


def number(name: str) -> int:
    found = re.search(rf"\b{name}\]?=(\d+)", TEXT)
    assert found, name
    return int(found[1])


def test_drivers() -> None:
    for name, cuda in (("LEAST_DRIVER", "12.0"), ("NEWEST_DRIVER", "13.0")):
        assert (needed := drivers.needs(cuda))
        assert number(name) == needed.driver


def test_rooms() -> None:
    for device in ("cuda", "cpu"):
        largest = max(engine[device].room_gb for engine in builds.load().values() if device in engine)
        assert re.search(rf"\[{device}\]={largest:g}\b", TEXT)


def test_the_last_releases_of_cuda_12() -> None:
    named = re.search(r'^LAST_OF_CUDA_12="(\S+) or (\S+)"$', TEXT, re.MULTILINE)
    assert named
    for engine, release in zip(("vllm", "sglang"), named.groups(), strict=True):
        of_12 = [each for each in catalog.known(engine) if catalog.facts(each).cuda.startswith("12.")]
        assert str(of_12[-1]) == release
