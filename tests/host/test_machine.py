"""GPUs as a fake nvidia-smi, a real program on PATH, tells them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.host import machine, smi
from tests.smi import install

H200 = {"name": "NVIDIA H200", "uuid": "GPU-aaaa1111-0000", "memory.total": "143771", "driver_version": "580.95.05"}
L40S = {"name": "NVIDIA L40S", "uuid": "GPU-bbbb2222-0000", "memory.total": "46068", "compute_cap": "8.9"}
BROKEN = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.fixture
def tell(folder: Path) -> Callable[..., None]:
    return install(folder)


def test_no_driver_no_gpus(folder: Path) -> None:
    assert not (folder / "nvidia-smi").exists()
    assert machine.gpus() == ()
    assert smi.ask("gpu", ("index",)) == smi.Answer()


def test_two_gpus(tell: Callable[..., None]) -> None:
    tell(gpus=[H200, L40S])
    first, second = machine.gpus()
    assert first == machine.Gpu(0, "NVIDIA H200", "GPU-aaaa1111-0000", 143771 << 20, 9.0, "580.95.05")
    assert (second.index, second.name, second.capability) == (1, "NVIDIA L40S", 8.9)


def test_driver_that_does_not_answer(tell: Callable[..., None]) -> None:
    tell(fails=[9, f"{BROKEN}\nMake sure that the latest NVIDIA driver is installed and running."])
    assert machine.gpus() == ()
    assert smi.ask("gpu", ("index",)).trouble == f"nvidia-smi fails (exit status 9): {BROKEN}"


def test_driver_that_hangs(tell: Callable[..., None]) -> None:
    tell(hangs=True)
    answer = smi.ask("gpu", ("index",), timeout_s=0.5)
    assert (answer.rows, answer.hangs) == ((), True)
    assert "hangs" in answer.trouble
    tell()
    assert smi.ask("gpu", ("index",)).rows == ({"index": "0"},)


def test_one_whose_output_stays_open_after_its_kill_is_not_waited_for(folder: Path) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nsleep 300 & echo $! >{folder}/child\nwait\n")
    program.chmod(0o755)
    assert smi.ask("gpu", ("index",), timeout_s=0.5).hangs
    os.kill(int((folder / "child").read_text()), 9)


def test_words_in_place_of_a_list(tell: Callable[..., None]) -> None:
    tell(fails=[0, "No devices were found"])
    assert machine.gpus() == ()


def test_program_that_cannot_run(folder: Path) -> None:
    (folder / "nvidia-smi").write_bytes(b"\x7fELF")
    (folder / "nvidia-smi").chmod(0o755)
    assert machine.gpus() == ()
    assert smi.ask("gpu", ("index",)).trouble == "nvidia-smi cannot be run: Exec format error"


def test_facts_that_the_driver_does_not_give(tell: Callable[..., None]) -> None:
    tell(gpus=[{"name": "NVIDIA GB10", "memory.total": "[N/A]", "compute_cap": "[N/A]"}])
    (gpu,) = machine.gpus()
    assert (gpu.memory_bytes, gpu.capability) == (None, None)


def test_fields_that_an_old_driver_does_not_know(tell: Callable[..., None]) -> None:
    tell(gpus=[H200], unknown=["compute_cap", "uuid"])
    assert smi.ask("gpu", ("uuid", "index", "compute_cap")).rows == ({"index": "0"},)
    assert smi.ask("gpu", ("uuid",)) == smi.Answer()
    tell(gpus=[H200], unknown=["compute_cap"])
    assert machine.gpus()[0].capability is None


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
def test_visible_devices(
    tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch, variable: str, indexes: list[int]
) -> None:
    tell(gpus=[H200, L40S])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [gpu.index for gpu in machine.gpus()] == indexes


@pytest.mark.parametrize("variable", ["", "GPU-"])
def test_of_one_gpu_no_word_is_the_beginning(
    tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    tell(gpus=[H200])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert machine.gpus() == ()


def test_mig_slice_counts_as_one_gpu_of_unknown_memory(
    tell: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(gpus=[H200])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    (gpu,) = machine.gpus()
    assert (gpu.uuid, gpu.capability, gpu.memory_bytes) == ("MIG-1234", 9.0, None)


def test_the_fake_refuses_what_the_real_one_refuses(tell: Callable[..., None], folder: Path) -> None:
    tell()
    argv = [str(folder / "nvidia-smi"), "--query-gpu=index,nosuch", "--format=csv,noheader,nounits"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, 'Field "nosuch" is not a valid field to query.\n\n')
    assert sys.executable in (folder / "nvidia-smi").read_text()
