"""The NUMA node of the GPUs that an engine may use, on a host of two nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.service import numa
from tests import smi

# What nvidia-smi calls a GPU, what the kernel calls it, and its node.
GPUS = (("00000000:1B:00.0", "0000:1b:00.0", "0"), ("00000000:43:00.0", "0000:43:00.0", "0"),
        ("00000001:9C:00.0", "0001:9c:00.0", "1"))  # fmt: skip


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    smi.install(tmp_path)(gpus=[{"pci.bus_id": bus} for bus, _, _ in GPUS])
    for _, name, node in GPUS:
        (tmp_path / "devices" / name).mkdir(parents=True)
        (tmp_path / "devices" / name / "numa_node").write_text(f"{node}\n")
    return tmp_path / "devices"


@pytest.mark.parametrize(
    ("chosen", "node"),
    [
        ("0,1", 0),
        ("0", 0),
        ("2", 1),
        ("GPU-2", 1),
        ("1, 2", None),
        (None, None),
        ("", None),
        ("7", None),
        ("MIG-1", None),
    ],
)
def test_gpus_of_one_node_have_it(devices: Path, chosen: str | None, node: int | None) -> None:
    assert numa.node({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen}, devices) == node


def test_a_host_of_one_node_has_nothing_to_choose(devices: Path) -> None:
    (devices / "0001:9c:00.0" / "numa_node").write_text("0\n")
    assert numa.node({"CUDA_VISIBLE_DEVICES": "0"}, devices) is None


def test_a_kernel_that_does_not_know_is_not_asked_for_more(devices: Path) -> None:
    for each in devices.glob("*/numa_node"):
        each.write_text("-1\n")
    assert numa.node({}, devices) is None
    assert numa.node({"CUDA_VISIBLE_DEVICES": "2"}, devices) is None
