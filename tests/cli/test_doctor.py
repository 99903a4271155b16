"""`serve doctor` as its users run it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Program
from tests.smi import install


def nowhere(serve: Program) -> dict[str, str]:
    """A PATH on which there is nothing of this host."""
    folder = serve.folder / "bin"
    folder.mkdir(exist_ok=True)
    return {"PATH": str(folder), "CUDA_VISIBLE_DEVICES": "0"}


def test_a_host_without_a_gpu_has_no_errors(serve: Program) -> None:
    done = serve("doctor", environment=nowhere(serve))
    assert done.code == 0
    assert done.files == ()  # it looks and changes nothing
    lines = done.out.splitlines()
    assert lines[-1].startswith("0 errors, ")
    levels = [line.split()[0] for line in lines if line.startswith(("error", "warning", "ok"))]
    assert levels == sorted(levels, key=["error", "warning", "ok"].index)
    assert "no engine is installed" in done.out
    assert "serve engines install vllm" in done.out


def test_errors_come_first_and_end_it_with_1(serve: Program) -> None:
    environment = nowhere(serve)
    install(Path(environment["PATH"]))(gpus=[{"compute_mode": "Prohibited"}, {"persistence_mode": "Disabled"}])
    done = serve("doctor", environment=environment)
    assert done.code == 1
    told = done.out.splitlines()
    assert "its compute mode is Prohibited, so no program may use it" in done.out
    assert "sudo nvidia-smi -i 0 -c DEFAULT" in done.out
    assert next(line for line in told if line.startswith(("error", "warning", "ok"))).startswith("error")
    assert told[-1].startswith("1 error, ")


def test_json_has_every_finding(serve: Program) -> None:
    environment = nowhere(serve)
    install(Path(environment["PATH"]))(fails=[9, "a driver \x1b[31mof its own\x1b[0m kind"])
    done = serve("doctor", "--json", environment=environment)
    found = json.loads(done.out)
    assert done.code == 1
    assert found[0] == {
        "level": "error",
        "subject": "driver",
        "what": "nvidia-smi fails (exit status 9): a driver \x1b[31mof its own\x1b[0m kind",
        "fix": "sudo dmesg | grep -i -e nvrm -e xid, then: sudo reboot",
    }
    assert {"driver", "memory", "/dev/shm", "data", "state", "models", "files", "serve", "port 8000", "orphans"} <= {  # noqa: S108
        each["subject"] for each in found
    }


def test_what_a_program_says_cannot_change_the_terminal(serve: Program) -> None:
    environment = nowhere(serve)
    install(Path(environment["PATH"]))(fails=[9, "\x1b]0;owned\x07 text"])
    assert "\x1b" not in serve("doctor", environment=environment).out
