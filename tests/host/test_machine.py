"""GPUs as a fake nvidia-smi, a real program on PATH, tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.host import machine

H200 = "0, NVIDIA H200, GPU-aaaa1111-0000, 143771, 9.0, 580.95.05"
L40S = "1, NVIDIA L40S, GPU-bbbb2222-0000, 46068, 8.9, 580.95.05"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "nvidia-smi"


def answer(smi: Path, *lines: str, status: int = 0) -> None:
    # It answers to this very query alone, so a change of the query shows here.
    query = "--query-gpu=index,name,uuid,memory.total,compute_cap,driver_version --format=csv,noheader,nounits"
    body = "\n".join(lines)
    smi.write_text(f'#!/bin/sh\n[ "$*" = "{query}" ] || exit 64\ncat <<"END"\n{body}\nEND\nexit {status}\n')
    smi.chmod(0o755)


def test_no_driver_no_gpus(smi: Path) -> None:
    assert not smi.exists()
    assert machine.gpus() == ()


def test_two_gpus(smi: Path) -> None:
    answer(smi, H200, L40S)
    first, second = machine.gpus()
    assert first == machine.Gpu(0, "NVIDIA H200", "GPU-aaaa1111-0000", 143771 << 20, 9.0, "580.95.05")
    assert (second.name, second.capability) == ("NVIDIA L40S", 8.9)


def test_driver_that_does_not_answer(smi: Path) -> None:
    answer(smi, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", status=9)
    assert machine.gpus() == ()


def test_words_in_place_of_a_list(smi: Path) -> None:
    answer(smi, "No devices were found")
    assert machine.gpus() == ()


def test_program_that_cannot_run(smi: Path) -> None:
    smi.write_bytes(b"\x7fELF")
    smi.chmod(0o755)
    assert machine.gpus() == ()


def test_facts_that_the_driver_does_not_give(smi: Path) -> None:
    answer(smi, "0, NVIDIA GB10, GPU-cccc, [N/A], [N/A], 580.95.05")
    (gpu,) = machine.gpus()
    assert (gpu.memory_bytes, gpu.capability) == (None, None)


@pytest.mark.parametrize(
    ("variable", "indexes"),
    [
        ("0", [0]),
        ("1,0", [1, 0]),
        ("GPU-bbbb2222", [1]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),
        ("7", []),
        ("0, 1", [0, 1]),
        ("GPU-", []),
    ],
)
def test_visible_devices(smi: Path, monkeypatch: pytest.MonkeyPatch, variable: str, indexes: list[int]) -> None:
    answer(smi, H200, L40S)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [gpu.index for gpu in machine.gpus()] == indexes


def test_mig_slice_counts_as_one_gpu_of_unknown_memory(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(smi, H200)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    (gpu,) = machine.gpus()
    assert (gpu.uuid, gpu.capability, gpu.memory_bytes) == ("MIG-1234", 9.0, None)
