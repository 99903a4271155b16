"""Whether an engine's environment works on this host: tried in a process of its own, by its own Python."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.version import Version

from launcher.doctor import trial
from launcher.doctor.finding import ERROR, OK, WARNING, Finding
from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.host import builds, drivers
from launcher.host.environments import Environment

TIMEOUT_S = 900.0  # a first import reads gigabytes from a disk that may be slow


@dataclass
class _Trial:
    """What a trial told.

    Attributes:
        said: what each step that went well said, by its name.
        failed: the step that did not, or "".
        error: why not.
    """

    said: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: str = ""
    error: str = ""


def verify(environment: Environment, timeout_s: float = TIMEOUT_S) -> list[Finding]:
    """What works of an environment and what does not; nothing of it is changed.

    Args:
        environment: for this host's GPUs, or for the CPU.
        timeout_s: how long the trial may take.
    """
    build = builds.of(environment.release.engine, environment.device)
    begin = time.monotonic()
    told = _try([environment.device, build.module, *build.kernels], environment.python, timeout_s)
    seconds = time.monotonic() - begin
    found = list(_gone_well(told, environment))
    if told.failed:
        found.append(_failure(told, environment))
    else:
        also = f"{', '.join(build.kernels)} and " if build.kernels else ""
        what = f"{also}{build.module} can be imported ({seconds:.0f} s in all)"
        found.append(Finding(OK, str(environment.release), what))
    return found


def _try(words: list[str], python: str, timeout_s: float) -> _Trial:
    """Runs the trial and reads its answer."""
    told, begun = _Trial(), "start"
    try:
        done = subprocess.run(
            [python, str(Path(trial.__file__)), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
        )  # fmt: skip
        output, status = done.stdout, done.returncode
    except OSError as error:
        return _Trial(failed="start", error=str(error.strerror))
    except subprocess.TimeoutExpired as error:
        output, status = _text(error.stdout), None
    for line in output.splitlines():
        answer = json.loads(line)
        if "error" in answer:
            told.failed, told.error = answer["step"], answer["error"]
            return told
        if "said" in answer:
            told.said[answer["step"]] = answer["said"]
        begun = answer.get("begins", "")
    if status is None:
        told.failed, told.error = begun or "end", f"does not end within {timeout_s:.0f} s"
    elif begun or status:
        how = f"is ended by {signal.Signals(-status).name}" if status < 0 else f"ends with exit status {status}"
        told.failed, told.error = begun or "end", f"the process {how}"
    return told


def _text(said: bytes | str | None) -> str:
    """The whole lines of what was said until the time was up."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    return text[: text.rfind("\n") + 1]


def _gone_well(told: _Trial, environment: Environment) -> list[Finding]:
    subject, said = str(environment.release), told.said
    if environment.device == "cpu":
        return [Finding(OK, subject, f"torch {said['torch']['torch']} can be imported")] if "torch" in said else []
    found = []
    if "torch" in said and "driver" in said:
        versions = f"torch {said['torch']['torch']} is built for CUDA {said['torch']['cuda']}"
        found.append(Finding(OK, subject, f"{versions}, the driver takes CUDA up to {said['driver']['cuda']}"))
    if "gpus" in said:
        names = ", ".join(f"{each['name']} ({each['capability']})" for each in said["gpus"]["gpus"])
        found.append(Finding(OK if names else WARNING, subject, f"torch sees {names or 'no GPU'}"))
    return found


def _failure(told: _Trial, environment: Environment) -> Finding:
    what, fix = _reason(told, environment)
    if not fix:
        release = f"{environment.release} --device {environment.device}"
        fix = f"serve engines remove {release} && " if environment.path else ""
        fix += f"serve engines install {release}"
    return Finding(ERROR, str(environment.release), f"{what}: {told.error.splitlines()[-1]}", fix)


def _reason(told: _Trial, environment: Environment) -> tuple[str, str]:
    """Why, where the facts tell, else only what failed; and what to do, unless that is to install it again."""
    step, said = told.failed, told.said
    driver, built = said.get("driver", {}).get("cuda"), said.get("torch", {}).get("cuda")
    on_gpu = step in ("gpus", "calculation")
    library = re.search(r"lib(?:cudart|cublas|nvrtc)\.so\.(\d+)", told.error)
    if step == "driver":
        return "there is no driver for CUDA here", "serve doctor says what the host lacks"
    if on_gpu and not built:
        return f"its torch {said['torch']['torch']} is built for the CPU alone", ""
    if driver and built and Version(driver).major < Version(built).major:
        what = f"torch is built for CUDA {built}, and the driver takes CUDA up to {driver}"
        return what, _for_driver(environment, driver, built)
    if on_gpu and (lacks := _weak(said)):
        return lacks, "leave it out: export CUDA_VISIBLE_DEVICES with the others"
    if on_gpu:
        return "torch cannot use the GPUs", "serve doctor looks at the driver and at each GPU"
    what = f"{'its Python' if step == 'start' else step} fails"
    return f"{step} is built for CUDA {library[1]}, and torch for CUDA {built}" if library else what, ""


def _weak(said: dict[str, dict[str, Any]]) -> str:
    """A GPU that is older than all that torch was built for, in a sentence."""
    targets = [int(each) for name in said.get("gpus", {}).get("built_for", ()) for each in re.findall(r"\d+", name)]
    for gpu in said.get("gpus", {}).get("gpus", ()):
        if targets and int(gpu["capability"].replace(".", "")) < min(targets):
            lowest = f"{min(targets) // 10}.{min(targets) % 10}"
            return (
                f"{gpu['name']} has compute capability {gpu['capability']}, and torch is built for {lowest} and newer"
            )
    return ""


def _for_driver(environment: Environment, driver: str, built: str) -> str:
    """A newer driver, or the newest release whose torch this driver takes."""
    release = environment.release
    needed = drivers.needs(built)
    upgrade = needed.upgrade if needed else "install a newer driver"
    fits = [each for each in catalog.known(release.engine) if _takes(driver, each)]
    return f"{upgrade}; or: serve engines install {fits[-1]}" if fits else upgrade


def _takes(driver: str, release: Release) -> bool:
    cuda = catalog.facts(release).cuda
    return bool(cuda) and Version(cuda).major <= Version(driver).major
