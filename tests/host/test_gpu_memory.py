"""Whether a server that has stopped gave its GPU memory back, by what a fake nvidia-smi tells of real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.host import gpu_memory
from launcher.host.gpu_memory import GpuUse, Held, Snapshot
from tests.smi import install

GONE = 4_000_000  # no process has this pid
MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.fixture
def tell(folder: Path) -> Callable[..., None]:
    return install(folder)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as process:
        yield process
        process.kill()


def app(pid: int, used: int | str, gpu: int = 0, *, kept: bool = False) -> dict[str, Any]:
    return {"pid": pid, "used_memory": str(used), "gpu_uuid": f"GPU-{gpu}", "kept": kept}


def test_without_a_gpu_there_is_nothing_to_wait_for(folder: Path) -> None:
    assert gpu_memory.snapshot() == Snapshot()
    install(folder)(hangs=True)
    assert gpu_memory.back(Snapshot(), [1]) is None


def test_what_is_in_use_by_whom(tell: Callable[..., None], process: subprocess.Popen[bytes]) -> None:
    tell(gpus=[{"memory.used": "9", "utilization.gpu": "42"}, {"memory.used": "[N/A]", "utilization.gpu": "[N/A]"}],
         apps=[app(process.pid, 3590), app(GONE, 10), app(GONE, "[N/A]", 1, kept=True)])  # fmt: skip
    found = gpu_memory.snapshot()
    assert found.gpus == (
        GpuUse(0, "GPU-0", 3599 * MIB, 81559 * MIB, 42),
        GpuUse(1, "GPU-1", None, 81559 * MIB, None),
    )
    assert found.held == (Held(process.pid, 3590 * MIB, "GPU-0"), Held(GONE, None, "GPU-1"))
    assert [gpu.index for gpu in gpu_memory.snapshot("1").gpus] == [1]
    assert gpu_memory.snapshot("MIG-1").gpus == ()
    assert gpu_memory.snapshot("").held == ()


def test_memory_comes_back_when_its_process_is_gone(
    tell: Callable[..., None], process: subprocess.Popen[bytes]
) -> None:
    tell()
    before = gpu_memory.snapshot()
    tell(apps=[app(process.pid, 70_000)])
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        process.kill()
        process.wait()

    assert gpu_memory.back(before, [process.pid], 60, pause) is None
    assert len(waits) == 1


def test_memory_that_the_driver_keeps_is_told_with_gpu_size_and_holder(tell: Callable[..., None]) -> None:
    tell(gpus=[{}, {}])
    before = gpu_memory.snapshot()
    tell(gpus=[{}, {}], apps=[app(GONE, 20_480, 1, kept=True)])
    assert gpu_memory.back(before, [GONE], 0) == (
        f"GPU 1: 20.0 GiB are not free again; held by process {GONE}, which is not to be seen from here"
    )
    assert "GPU 1: 20.0 GiB" in (gpu_memory.back(before, [], 0) or "")  # whoever had it, it is gone
    tell(gpus=[{"memory.used": "1024"}, {}])
    assert gpu_memory.back(before, [GONE], 0) == (
        "GPU 0: 1.0 GiB are not free again; held by no process that the driver names"
    )


def test_a_process_of_ours_that_lives_on_is_named_with_user_and_command(
    tell: Callable[..., None], process: subprocess.Popen[bytes]
) -> None:
    tell()
    before = gpu_memory.snapshot()
    tell(apps=[app(process.pid, 2048)])
    told = gpu_memory.back(before, [process.pid], 0) or ""
    assert told.startswith(f"GPU 0: 2.0 GiB are not free again; held by process {process.pid} (")
    assert told.endswith(": " + " ".join(process.args) + ")")  # type: ignore[arg-type]


def test_what_others_take_or_free_meanwhile_is_theirs(
    tell: Callable[..., None], process: subprocess.Popen[bytes]
) -> None:
    tell(apps=[app(process.pid, 10_000)])
    before = gpu_memory.snapshot()
    tell(apps=[app(process.pid, 50_000)])
    assert gpu_memory.back(before, [GONE], 0) is None
    tell(gpus=[{"memory.used": "5120"}], apps=[app(process.pid, 1_000)])
    assert "GPU 0: 5.0 GiB" in (gpu_memory.back(before, [GONE], 0) or "")
    tell(gpus=[{"memory.used": "5120"}], apps=[app(process.pid, "[N/A]")])
    assert gpu_memory.back(before, [GONE], 0) is None  # who knows how much of it is theirs


def test_what_a_newcomer_has_is_theirs(tell: Callable[..., None], process: subprocess.Popen[bytes]) -> None:
    tell()
    before = gpu_memory.snapshot()
    tell(apps=[app(process.pid, 50_000)])
    assert gpu_memory.back(before, [GONE], 0) is None


def test_a_little_more_than_before_is_nothing(tell: Callable[..., None]) -> None:
    tell()
    before = gpu_memory.snapshot()
    tell(gpus=[{"memory.used": "256"}])
    assert gpu_memory.back(before, [GONE], 0) is None
    tell(gpus=[{"memory.used": "257"}])
    assert gpu_memory.back(before, [GONE], 0)


def test_only_the_gpus_of_the_snapshot_count(tell: Callable[..., None]) -> None:
    tell(gpus=[{}, {}])
    before = gpu_memory.snapshot("0")
    tell(gpus=[{}, {"memory.used": "50000"}])
    assert gpu_memory.back(before, [GONE], 0) is None


def test_a_driver_that_tells_no_sizes_has_nothing_to_compare(tell: Callable[..., None]) -> None:
    tell(gpus=[{"memory.used": "[N/A]"}])
    before = gpu_memory.snapshot()
    tell(hangs=True)
    assert gpu_memory.back(before, [GONE]) is None


def test_a_gpu_that_is_gone_meanwhile_is_told(tell: Callable[..., None]) -> None:
    tell(gpus=[{}, {}])
    before = gpu_memory.snapshot()
    tell(gpus=[{}])
    assert "is not known" in (gpu_memory.back(before, [GONE], 0) or "")


def test_a_driver_that_fails_meanwhile_is_told(tell: Callable[..., None]) -> None:
    tell()
    before = gpu_memory.snapshot()
    tell(fails=[9, "Unable to determine the device handle for GPU0000:01:00.0: GPU is lost."])
    assert gpu_memory.back(before, [GONE], 0) == (
        "nvidia-smi does not answer, so whether the GPU memory is back is not known"
    )
