"""The engine environments of this host: whether each can still be used. Nothing of an engine is imported."""

from __future__ import annotations

import fcntl
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import launcher
from launcher import settings
from launcher.doctor.finding import ERROR, OK, WARNING, Finding
from launcher.engines import catalog
from launcher.host import environments, machine
from launcher.host.environments import Environment
from launcher.host.machine import Gpu

_START_S = 10.0


def check() -> list[Finding]:
    """Each folder of ours, the environment that this program runs in, and this program."""
    folders = [path for path in sorted((settings.data_folder() / "engines").glob("[!.]*")) if path.is_dir()]
    gpus = machine.gpus()
    found = [_folder(path, gpus) for path in folders]
    if here := environments.beside():
        found.append(_fit("engines", here, gpus, " beside serve itself"))
    if not any(each.level != ERROR for each in found):
        found.append(Finding(WARNING, "engines", "no engine is installed", "serve engines install vllm"))
    ours = f"serve {launcher.__version__} on Python {platform.python_version()} ({sys.executable})"
    return [*found, Finding(OK, "serve", ours)]


def _folder(path: Path, gpus: tuple[Gpu, ...]) -> Finding:
    remove = f"rm -r {shlex.quote(str(path))}"
    if not (path / environments.MARK).exists():
        if _being_made(path):
            return Finding(OK, path.name, "is being installed")
        return Finding(WARNING, path.name, "its installation was broken off; nothing uses what is there", remove)
    environment = environments.read(path)
    if environment is None:
        python = path / "bin" / "python"
        why = "its mark is damaged" if python.exists() else f"{python} leads nowhere: its Python was removed"
        return Finding(ERROR, path.name, why, f"{remove}, then install it again: serve engines install --help")
    install = f"serve engines install {environment.release} --device {environment.device}"
    if why := _broken(environment, path):
        return Finding(ERROR, path.name, why, f"{remove} && {install}")
    if not environment.probe and environment.release not in catalog.known(environment.release.engine):
        return Finding(WARNING, path.name, "its flags are not known, so nothing can be launched with it", install)
    return _fit(path.name, environment, gpus)


def _fit(subject: str, environment: Environment, gpus: tuple[Gpu, ...], place: str = "") -> Finding:
    """Whether a whole environment has what it runs on; of a GPU that does not fit it another check tells."""
    what = f"{environment.release.title} for {environment.device}{place}"
    if environment.device != "cuda" or gpus:
        return Finding(OK, subject, what)
    cpu = f"vllm@{environments.default_version('vllm', 'cpu')}"
    fix = f"where there is a GPU, mend what is said of it; else: serve engines install {cpu} --device cpu"
    return Finding(WARNING, subject, f"{what} needs a GPU, and there is none to be used from here", fix)


def _broken(environment: Environment, path: Path) -> str:
    """What is wrong with it, in a sentence, or nothing."""
    versions = _versions(environment, path)
    if environment.release.version not in versions:
        held = f"has {', '.join(versions)} of" if versions else "has lost"
        return f"it {held} the package {environment.distribution}"
    try:
        done = subprocess.run(
            [environment.python, "-I", "-S", "-c", ""],
            capture_output=True, text=True, errors="replace", timeout=_START_S, check=False,
        )  # fmt: skip
    except OSError as error:
        return f"its Python does not start: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"its Python does not start within {_START_S:.0f} s"
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return f"its Python does not start: {said[-1]}" if done.returncode else ""


def _versions(environment: Environment, path: Path) -> list[str]:
    """Of the package that holds the engine, by its metadata; the local part (+cpu) left out."""
    name = environment.distribution.replace("-", "_")
    folders = path.glob(f"lib/python*/site-packages/{name}-*.dist-info")
    return [
        each.name[len(name) + 1 : -len(".dist-info")].partition("+")[0]
        for each in folders
        if (each / "METADATA").exists()
    ]


def _being_made(path: Path) -> bool:
    try:
        with (path.parent / f".{path.name}.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
