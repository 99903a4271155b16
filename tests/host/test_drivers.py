"""What a build for a version of CUDA needs of NVIDIA's driver."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from launcher.engines.release import Release
from launcher.host import drivers
from tests.smi import install


@pytest.mark.parametrize(
    ("cuda", "driver", "too_old"),
    [
        ("13.0", "580.65.06", False),
        ("13.0", "579.1", True),
        ("12.4", "525.60", False),
        ("12.9", "524", True),
        ("13.0", "N/A", False),
    ],
)
def test_a_major_version_of_cuda_needs_one_of_the_driver(cuda: str, driver: str, *, too_old: bool) -> None:
    needed = drivers.needs(cuda)
    assert needed
    assert needed.too_old(driver) is too_old


def test_the_data_names_its_rows_in_order() -> None:
    rows = [Version(each["from"]) for each in drivers._rows()]
    assert rows == sorted(set(rows))


def test_a_cuda_that_nobody_knows_needs_nothing_known() -> None:
    assert drivers.needs("99.0") is None


@pytest.mark.parametrize(
    ("release", "driver", "told"),
    [("0.33.0", "550.54", True), ("0.33.0", "580.95", False), ("0.11.0", "550.54", False), ("99.0.0", "550.54", False)],
)
def test_a_release_that_this_host_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str, driver: str, *, told: bool
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    install(tmp_path)(gpus=[{"driver_version": driver}])
    why = drivers.obstacle(Release("vllm", release))
    assert bool(why) is told
    assert not told or ("needs driver 580 or newer; this host has 550.54" in why and "nvidia-driver-580" in why)
