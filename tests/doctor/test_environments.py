"""Engine environments that an upgrade, a broken installation or somebody's hand has left unusable."""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
from pathlib import Path

import pytest

from launcher.doctor import environments
from launcher.doctor.finding import Finding
from launcher.host.environments import MARK, PROBE
from tests.doctor.conftest import Host


@pytest.fixture
def engine(host: Host) -> Path:
    """The folder of a vLLM that is fit as far as the doctor looks, on a host with a GPU."""
    host.gpus()
    path = host.data / "engines" / "vllm-0.33.0-cuda"
    metadata = path / "lib" / "python3.12" / "site-packages" / "vllm-0.33.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").touch()
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(sys.executable)
    mark(path, "0.33.0")
    return path


def mark(path: Path, version: str, device: str = "cuda") -> None:
    told = {"engine": "vllm", "version": version, "device": device, "distribution": "vllm", "origin": ""}
    (path / MARK).write_text(json.dumps(told))


def found(path: Path) -> Finding:
    (one,) = [each for each in environments.check() if each.subject == path.name]
    return one


def test_one_that_is_fit(engine: Path) -> None:
    assert found(engine) == Finding("ok", "vllm-0.33.0-cuda", "vLLM 0.33.0 for cuda")
    assert [each.subject for each in environments.check()] == ["vllm-0.33.0-cuda", "serve"]


@pytest.mark.parametrize("gone", ["the GPU", "the driver", "the variable"])
def test_one_that_finds_no_gpu(engine: Path, host: Host, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    if gone == "the GPU":
        (host.bin / "nvidia-smi").unlink()
    elif gone == "the driver":
        host.gpus()(fails=[9, "NVIDIA-SMI has failed"])
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert found(engine).level == "warning"
    assert found(engine).what == "vLLM 0.33.0 for cuda needs a GPU, and there is none to be used from here"
    assert "serve engines install vllm@0.32.0 --device cpu" in found(engine).fix
    mark(engine, "0.33.0", "cpu")
    assert found(engine).level == "ok"


@pytest.mark.usefixtures("host")
def test_one_for_cuda_beside_serve_finds_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site" / "vllm-0.33.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (beside,) = [each for each in environments.check() if each.subject == "engines"]
    assert beside.level == "warning"
    assert beside.what.startswith("vLLM 0.33.0 for cuda beside serve itself needs a GPU")


@pytest.mark.usefixtures("host")
def test_none_at_all() -> None:
    none, ours = environments.check()
    assert (none.level, none.fix) == ("warning", "serve engines install vllm")
    assert sys.executable in ours.what


def test_one_whose_python_is_gone(engine: Path) -> None:
    (engine / "bin" / "python").unlink()
    (engine / "bin" / "python").symlink_to("/usr/bin/python3.gone")
    assert found(engine).level == "error"
    assert found(engine).what.endswith("bin/python leads nowhere: its Python was removed")
    assert found(engine).fix.startswith(f"rm -r {engine}")
    assert "no engine is installed" in {each.what for each in environments.check()}


def test_one_whose_python_does_not_start(engine: Path) -> None:
    python = engine / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho 'libpython3.12.so.1.0: cannot open shared object file' >&2\nexit 127\n")
    python.chmod(0o755)
    assert found(engine).what == "its Python does not start: libpython3.12.so.1.0: cannot open shared object file"
    assert found(engine).fix == f"rm -r {engine} && serve engines install vllm@0.33.0 --device cuda"
    python.write_text("#!/bin/sh\nexit 3\n")
    assert found(engine).what == "its Python does not start: exit status 3"
    python.write_bytes(b"\x7fELF")
    assert found(engine).what == "its Python does not start: Exec format error"


def test_one_whose_engine_was_removed_or_exchanged(engine: Path) -> None:
    site = engine / "lib" / "python3.12" / "site-packages"
    (site / "vllm-0.33.0.dist-info").rename(site / "vllm-0.34.0+cu130.dist-info")
    assert (found(engine).level, found(engine).what) == ("error", "it has 0.34.0 of the package vllm")
    shutil.rmtree(site / "vllm-0.34.0+cu130.dist-info")
    assert (found(engine).level, found(engine).what) == ("error", "it has lost the package vllm")


def test_one_with_a_damaged_mark(engine: Path) -> None:
    (engine / MARK).write_text("{")
    assert (found(engine).level, found(engine).what) == ("error", "its mark is damaged")


def test_one_whose_installation_was_broken_off_or_goes_on(engine: Path) -> None:
    (engine / MARK).unlink()
    assert (found(engine).level, found(engine).fix) == ("warning", f"rm -r {engine}")
    with (engine.parent / f".{engine.name}.lock").open("w") as lock:
        assert found(engine).level == "warning"
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert (found(engine).level, found(engine).what) == ("ok", "is being installed")


def test_one_whose_flags_nobody_knows(engine: Path) -> None:
    site = engine / "lib" / "python3.12" / "site-packages"
    (site / "vllm-0.33.0.dist-info").rename(site / "vllm-9.9.9.dist-info")
    mark(engine, "9.9.9")
    assert (found(engine).level, found(engine).fix) == ("warning", "serve engines install vllm@9.9.9 --device cuda")
    (engine / PROBE).write_text("{}")
    assert found(engine).level == "ok"
