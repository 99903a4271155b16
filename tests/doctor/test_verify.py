"""Environments tried for real: tiny torches and engines, each with a fault of its own, and a library as its driver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.doctor.finding import ERROR, OK, Finding
from launcher.doctor.verify import verify
from launcher.engines.release import Release
from launcher.host.environments import Environment

# As much of torch as the trial asks, with one healthy H100; what differs is put before it.
TORCH = """
__version__ = "2.14.0"
class version:
    cuda = "13.0"
class _Gpu:
    name, major, minor = "NVIDIA H100 80GB HBM3", 9, 0
class cuda:
    def init(): pass
    def device_count(): return 1
    def get_device_properties(number): return _Gpu
    def get_arch_list(): return ["sm_75", "sm_90", "compute_120"]
class _Sum:
    def __mul__(self, other): return self
    def sum(self): return self
    def item(self): return 128
def ones(count, device): return _Sum()
"""
ENGINE = "vllm/entrypoints/openai/api_server.py"
DRIVER = "int cuDriverGetVersion(int *version) { *version = %d; return 0; }"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an engine and its torch are imported from."""
    site = tmp_path / "site"
    (site / ENGINE).parent.mkdir(parents=True)
    for each in list(Path(ENGINE).parents)[:-1]:
        (site / each / "__init__.py").touch()
    (site / ENGINE).write_text("import torch\nprint('what an engine says as it starts')\n")
    (site / "torch.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(site))
    return site


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library in the driver's place, for CUDA 13."""
    return replaced(tmp_path, monkeypatch, 13000)


def replaced(folder: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> Path:
    library = folder / "libcuda.so.1"
    source = folder / "driver.c"
    source.write_text(DRIVER % version)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    return library


def tried(device: str = "cuda", python: str = sys.executable, timeout_s: float = 60) -> list[Finding]:
    return verify(Environment(Release("vllm", "0.33.0"), device, python, "vllm", "given"), timeout_s)


def failure(device: str = "cuda", timeout_s: float = 60) -> Finding:
    *rest, last = tried(device, timeout_s=timeout_s)
    assert (last.level, last.subject) == (ERROR, "vllm@0.33.0")
    assert last.fix
    assert ERROR not in [each.level for each in rest]
    return last


def test_all_is_well(site: Path, driver: Path) -> None:
    versions, gpus, engine = tried()
    assert {each.level for each in (versions, gpus, engine)} == {OK}
    assert versions.what == "torch 2.14.0 is built for CUDA 13.0, the driver takes CUDA up to 13.0"
    assert gpus.what == "torch sees NVIDIA H100 80GB HBM3 (9.0)"
    assert "vllm.entrypoints.openai.api_server can be imported" in engine.what
    assert site.exists()
    assert driver.exists()


def test_the_cpu_needs_no_driver(site: Path) -> None:
    torch, engine = tried("cpu")
    assert (torch.what, engine.level) == ("torch 2.14.0 can be imported", OK)
    assert site.exists()


def test_no_driver(site: Path) -> None:
    if "LD_LIBRARY_PATH" not in os.environ and not Path("/proc/driver/nvidia").exists():
        found = failure()
        assert found.what.startswith("there is no driver for CUDA here: OSError: libcuda.so.1")
        assert "serve doctor" in found.fix
    assert site.exists()


def test_a_driver_that_is_too_old(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(tmp_path, monkeypatch, 12040)
    say = "raise RuntimeError('The NVIDIA driver on your system is too old (found version 12040).')"
    (site / "torch.py").write_text(TORCH.replace("def init(): pass", f"def init(): {say}"))
    found = failure()
    assert found.what.startswith("torch is built for CUDA 13.0, and the driver takes CUDA up to 12.4: RuntimeError")
    assert found.fix.startswith(
        "sudo apt install nvidia-driver-580, then: sudo reboot; or: serve engines install vllm@"
    )


@pytest.mark.parametrize(
    ("old", "new", "what", "fix"),
    [
        ('"13.0"', "None", "its torch 2.14.0 is built for the CPU alone", "serve engines install"),
        ("9, 0", "7, 0", "H100 80GB HBM3 has compute capability 7.0, and torch is built for 7.5", "CUDA_VISIBLE"),
        ("return 128", "return 0", "torch cannot use the GPUs: ArithmeticError: GPU 0 calculates", "serve doctor"),
        ("init(): pass", "init(): raise RuntimeError('No CUDA GPUs')", "torch cannot use the GPUs", "serve doctor"),
        ("__version__", "import os; os.kill(os.getpid(), 11); v", "torch fails: the process is ended by SIGSEGV", ""),
        ("__version__", "import os; os._exit(3); v", "torch fails: the process ends with exit status 3", ""),
        ("__version__", "import nothing_of_ours; v", "torch fails: ModuleNotFoundError: No module named 'noth", ""),
        ("__version__", "raise SystemExit('go away'); v", "torch fails: SystemExit: go away", ""),
    ],
)
def test_torch_that_does_not_work(site: Path, driver: Path, old: str, new: str, what: str, fix: str) -> None:
    text = TORCH.replace(old, new)
    if "capability" in what:
        text = text.replace("return 128", "raise RuntimeError('no kernel image is available')")
    if new == "None":
        text = text.replace("init(): pass", "init(): raise AssertionError('Torch not compiled with CUDA enabled')")
    (site / "torch.py").write_text(text)
    found = failure()
    assert what in found.what
    assert fix in found.fix
    assert driver.exists()


def test_kernels_for_another_cuda(site: Path, driver: Path) -> None:
    (site / "vllm" / "_C.py").write_text("import ctypes; ctypes.CDLL('libcudart.so.12')\n")
    found = failure()
    assert found.what.startswith("vllm._C is built for CUDA 12, and torch for CUDA 13.0: OSError: libcudart.so.12")
    assert found.fix == "serve engines install vllm@0.33.0 --device cuda"
    assert driver.exists()


def test_what_does_not_end(site: Path) -> None:
    (site / ENGINE).write_text("import time; time.sleep(600)\n")
    found = failure("cpu", timeout_s=3)
    assert found.what == "vllm.entrypoints.openai.api_server fails: does not end within 3 s"


def test_a_python_that_is_gone() -> None:
    (found,) = tried(python="/nothing/python")
    assert found.what == "its Python fails: No such file or directory"
