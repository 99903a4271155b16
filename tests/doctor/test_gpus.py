"""GPUs and drivers in every state, as a fake nvidia-smi tells of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from launcher.doctor import gpus
from launcher.doctor.finding import Finding
from tests.doctor.conftest import Host, marked

BUS = "mount -t tmpfs none /sys/bus; mkdir -p /sys/bus/pci/devices/{0}; cd /sys/bus/pci/devices/{0}"
PRESENT = f"{BUS}; echo 0x10de >vendor; echo {{1}} >class"
# The value that finds fault, by field, and what must be said and advised then.
FAULTS = [
    ("gpu_recovery_action", "Reset", "error", "recovery (Reset)", "--gpu-reset -i {}"),
    ("remapped_rows.failure", "Yes", "error", "more faulty rows", "replaced"),
    ("remapped_rows.pending", "Yes", "warning", "faulty rows", "--gpu-reset -i {}"),
    ("retired_pages.pending", "Yes", "warning", "faulty pages", "--gpu-reset -i {}"),
    ("ecc.errors.uncorrected.volatile.total", "3", "warning", "3 memory errors", "--gpu-reset -i {}"),
    ("compute_mode", "Prohibited", "error", "no program may use it", "-i {} -c DEFAULT"),
    ("compute_mode", "Exclusive_Process", "warning", "lets one process use it", "-i {} -c DEFAULT"),
    ("mig.mode.current", "Enabled", "warning", "MIG", "CUDA_VISIBLE_DEVICES=MIG-"),
    ("persistence_mode", "Disabled", "warning", "persistence mode", "-i {} -pm 1"),
    ("clocks_event_reasons.hw_thermal_slowdown", "Active", "warning", "too hot", "-i {}"),
    ("clocks_event_reasons.hw_power_brake_slowdown", "Active", "warning", "power supply", "-i {}"),
    ("clocks_event_reasons.sw_thermal_slowdown", "Active", "warning", "too hot", "-i {}"),
]


def environment(host: Host, cuda: str | None, version: str = "0.33.0") -> None:
    """An installed vLLM for CUDA, as far as the doctor looks into one; without torch if `cuda` is None."""
    path = host.data / "engines" / f"vllm-{version}-cuda"
    site = path / "lib" / "python3.12" / "site-packages"
    (site / f"vllm-{version}.dist-info").mkdir(parents=True)
    (site / f"vllm-{version}.dist-info" / "METADATA").touch()
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(sys.executable)
    (path / "serve-environment.json").write_text(
        f'{{"engine": "vllm", "version": "{version}", "device": "cuda", "distribution": "vllm", "origin": ""}}'
    )
    if cuda:
        (site / "torch").mkdir()
        (site / "torch" / "version.py").write_text(
            f"from typing import Optional\n__version__ = '2.11.0'\ndebug = False\ncuda: Optional[str] = {cuda}\n"
        )


def about(subject: str) -> list[Finding]:
    return [each for each in gpus.check() if each.subject == subject]


def test_a_host_without_a_gpu_is_fine(host: Host) -> None:
    (found,) = host.ask("gpus.check", "mount -t tmpfs none /sys/bus")
    assert (found.level, found.fix) == ("ok", "")


def test_a_gpu_without_a_driver_is_found_on_the_bus(host: Host) -> None:
    (found,) = host.ask("gpus.check", PRESENT.format("0000:00:06.0", "0x030200"))
    assert (found.level, found.what) == ("error", "there is an NVIDIA GPU (PCI 0000:00:06.0), but no driver")


def test_what_else_nvidia_makes_is_no_gpu(host: Host) -> None:
    (found,) = host.ask("gpus.check", PRESENT.format("0000:00:06.0", "0x020700"))  # a network card
    assert found.level == "ok"


def test_a_loaded_driver_without_its_program_is_told(host: Host) -> None:
    loaded = "mount -t tmpfs none /proc/driver; mkdir /proc/driver/nvidia; touch /proc/driver/nvidia/version"
    (found,) = host.ask("gpus.check", loaded)
    assert found.level == "error"
    assert "no nvidia-smi on PATH" in found.what
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in found.fix


@pytest.mark.parametrize(
    ("status", "text", "fix"),
    [
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "modprobe nvidia"),
        (18, "Failed to initialize NVML: Driver/library version mismatch", "sudo reboot"),
        (6, "No devices were found", "docker run --gpus all"),
        (15, "Unable to determine the device handle for GPU0000:01:00.0: GPU is lost.", "fallen off the bus"),
        (77, "something new", "dmesg"),
    ],
)
def test_a_driver_that_fails_is_told_in_its_words(host: Host, status: int, text: str, fix: str) -> None:
    host.gpus()(fails=[status, text])
    (found,) = about("driver")
    assert (found.level, found.what) == ("error", f"nvidia-smi fails (exit status {status}): {text}")
    assert fix in found.fix


def test_a_driver_that_hangs_is_told(host: Host) -> None:
    host.gpus()(hangs=True)
    (found,) = about("driver")
    assert found.level == "error"
    assert "the driver hangs" in found.what


def test_a_driver_that_lists_nothing_is_told(host: Host) -> None:
    host.gpus()(gpus=[])
    (found,) = about("driver")
    assert (found.level, found.what) == ("warning", "nvidia-smi lists no GPU")


def test_each_fault_of_a_gpu_is_told_with_what_to_do(host: Host) -> None:
    host.gpus()(gpus=[{field: value} for field, value, *_ in FAULTS] + [{}])
    output = {each.subject: each for each in gpus.check()}
    for index, (field, _, level, said, advised) in enumerate(FAULTS):
        found = output[f"GPU {index}"]
        assert (found.level, said in found.what, advised.format(index) in found.fix) == (level, True, True), field
    healthy = output[f"GPU {len(FAULTS)}"]
    assert (healthy.level, healthy.fix) == ("ok", "")
    assert "NVIDIA H100 80GB HBM3, 79.6 GiB, compute capability 9.0" in healthy.what


def test_every_state_that_is_known_is_tested() -> None:
    states = yaml.safe_load(gpus.DATA.read_text())["states"]
    assert sorted(each["field"] for each in states) == sorted(field for field, *_ in FAULTS)


def test_fields_that_a_driver_does_not_know_are_no_fault(host: Host) -> None:
    unknown = [field for field, *_ in FAULTS if field != "compute_mode"]
    host.gpus()(gpus=[{"compute_cap": "[N/A]", "memory.total": "[N/A]", "memory.used": "[N/A]"}], unknown=unknown)
    (found,) = about("GPU 0")
    assert (found.level, found.what) == (
        "ok",
        "NVIDIA H100 80GB HBM3, compute capability unknown: it reports no fault",
    )


def test_memory_in_use_is_told_with_who_has_it(host: Host) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "--token", "hf_x"]) as process:
        host.gpus()(
            gpus=[{}, {"memory.used": "5120"}, {"memory.used": "1000"}, {}],
            apps=[
                {"pid": process.pid, "used_memory": "40960"},
                {"pid": 4_000_000, "used_memory": "[N/A]", "gpu_uuid": "GPU-3", "kept": True},
            ],
        )
        found = {each.subject: each for each in gpus.check()}
        process.kill()
    assert found["GPU 0"].level == found["GPU 1"].level == found["GPU 3"].level == "warning"
    assert found["GPU 2"].level == "ok"
    assert found["GPU 0"].what.startswith(f"40.0 of 79.6 GiB of its memory are in use, by process {process.pid} of ")
    assert found["GPU 0"].what.endswith("--token (hidden)), 40.0 GiB")
    assert f"kill {process.pid};" in found["GPU 0"].fix
    assert "by no process that the driver names" in found["GPU 1"].what
    assert "fuser" in found["GPU 1"].fix
    assert "process 4000000, which is not to be seen from here" in found["GPU 3"].what
    assert "fuser" in found["GPU 3"].fix


def test_memory_of_an_instance_of_ours_is_no_fault(host: Host) -> None:
    environment = marked(host.state / "instances" / "x")
    argv = [sys.executable, "-c", "import time; time.sleep(300)"]
    with subprocess.Popen(argv, env=environment, start_new_session=True) as process:
        host.gpus()(apps=[{"pid": process.pid, "used_memory": "40960"}])
        (found,) = about("GPU 0")
        process.kill()
    assert found.level == "ok"


@pytest.mark.parametrize(
    ("value", "level", "said"),
    [
        ("-1", "warning", "CUDA_VISIBLE_DEVICES=-1 leaves 0 of 3 GPUs to servers: not all of it names a GPU"),
        ("", "warning", "CUDA_VISIBLE_DEVICES='' leaves 0 of 3 GPUs"),
        ("0,7,1", "warning", "CUDA_VISIBLE_DEVICES=0,7,1 leaves 1 of 3 GPUs"),
        ("2,GPU-0-", "ok", "CUDA_VISIBLE_DEVICES=2,GPU-0- leaves 2 of 3 GPUs to servers"),
    ],
)
def test_a_variable_that_hides_gpus_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, value: str, level: str, said: str
) -> None:
    host.gpus()(gpus=[{"uuid": f"GPU-{index}-"} for index in range(3)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    (found,) = about("GPU")
    assert (found.level, said in found.what) == (level, True)


def test_a_variable_that_hides_no_gpu_is_not_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.gpus()(gpus=[{}, {}])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert about("GPU") == []


def test_a_gpu_that_is_too_old_and_left_out_is_no_fault(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.gpus()(gpus=[{"compute_cap": "7.0"}, {}])
    environment(host, "'13.0'")
    assert "error" in {each.level for each in gpus.check()}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert {each.level for each in gpus.check()} == {"ok"}


@pytest.mark.parametrize(
    ("cuda", "driver", "capability", "level", "said"),
    [
        ("'13.0'", "580.65.06", "9.0", "ok", "580.65.06 is new enough for vLLM 0.33.0 (CUDA 13.0)"),
        ("'13.2'", "580.65.06", "7.5", "ok", "CUDA 13.2"),
        ("'13.0'", "575.57.08", "9.0", "error", "needs driver 580 or newer; this one is 575.57.08"),
        ("'12.9'", "525.60.13", "9.0", "ok", "525.60.13 is new enough"),
        ("'12.9'", "520.61.05", "9.0", "error", "needs driver 525 or newer"),
        (
            "'12.8'",
            "580.65.06",
            "7.0",
            "error",
            "has compute capability 7.0; vLLM 0.33.0, built for CUDA 12.8, needs 7.5",
        ),
        ("'12.6'", "580.65.06", "7.0", "ok", "CUDA 12.6"),
        ("'14.1'", "580.65.06", "9.0", "warning", "CUDA 14.1, of which serve does not know the driver"),
    ],
)
def test_a_driver_and_a_gpu_that_do_not_fit_an_engine_are_told(
    host: Host, cuda: str, driver: str, capability: str, level: str, said: str
) -> None:
    host.gpus()(gpus=[{"driver_version": driver, "compute_cap": capability}])
    environment(host, cuda)
    found = [each for each in gpus.check() if said in each.what]
    assert [each.level for each in found] == [level]


@pytest.mark.parametrize("cuda", ["None", None])
def test_without_a_torch_for_cuda_there_is_nothing_to_fit(host: Host, cuda: str | None) -> None:
    host.gpus()
    environment(host, cuda)
    assert [each.level for each in about("driver")] == ["ok"]
