"""Making an environment for a release: which packages, from where, and whether they work."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.engines import catalog, probe
from launcher.engines.release import Release
from launcher.errors import FAILED, ServeError
from launcher.host import builds, environments, machine, packages
from launcher.host.builds import Build
from launcher.host.environments import Environment
from launcher.host.packages import Echo

REACH_S = 5.0  # an index that takes longer to answer one request is as good as out of reach
TRY_S = 900.0  # a first import reads gigabytes from a disk that may be slow
PROBE_S = 120.0  # a second import, and the flags


@dataclass(frozen=True)
class Recipe:
    """What is asked of uv.

    Attributes:
        distribution: the package that holds the engine.
        requirement: the one line of the requirements file.
        python: the version of Python.
        origin: in words, who built the packages.
        without: packages to leave out although others ask for them.
        options: further options of `uv pip install`.
        index: an index that is asked before all others.
    """

    distribution: str
    requirement: str
    python: str
    origin: str
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    index: str | None = None


def install(
    engine: str, version: str | None = None, device: str = "auto", *, python: str | None = None, echo: Echo
) -> Environment:
    """An environment that holds a release, with the flags that its own parser declares.

    One that is there already is left as it is; it is only asked for its flags where that has not been done. A release
    that does not tell them is installed all the same.

    Args:
        engine: ``vllm`` or ``sglang``.
        version: its release; the newest that we know for the device unless given.
        device: ``cuda``, ``cpu``, or ``auto``: what this host has.
        python: the Python version to use, such as ``3.12``.
        echo: takes lines of progress.

    Raises:
        ServeError: there is no such release (one that is newer than all that we know is tried), no such build, no
            room, or the installation failed; nothing is left of it then.
        SystemExit: SIGINT, SIGTERM or SIGHUP came; nothing is left then either.
    """
    if device not in ("auto", "cuda", "cpu"):
        raise ServeError(f"{device!r} is no device", where="--device", fix="auto, cuda or cpu")
    if device == "auto":
        device = "cuda" if machine.gpus() else "cpu"
    build = builds.of(engine, device)
    release = Release(engine, version or build.default)
    if release < catalog.known(engine)[-1]:
        catalog.load(release)  # refuses what is no release, or one that is too old
    return make(build, version or build.default, python, echo)


def make(build: Build, version: str, python: str | None, echo: Echo) -> Environment:
    """As `install`, of one build."""
    if python and not re.fullmatch(r"3\.\d+(\.\d+)?", python):
        raise ServeError(
            f"{python!r} is no version of Python", where="--python", fix=f"write it like {build.python[0]}"
        )
    release = Release(build.engine, version)
    path = environments.folder(release, build.device)
    with environments.only_one(path), packages.stoppable():
        if (known := environments.read(path)) is not None:
            echo(f"{release.title} for {build.device} is installed already")
            return known if known.probe else _ask(known, path, echo)
        _room(path.parent, build)
        shutil.rmtree(path, ignore_errors=True)  # half made
        try:
            return _perform(_recipe(release, build, path.parent, python), release, build, path, echo)
        except BaseException:  # a signal too
            shutil.rmtree(path, ignore_errors=True)
            raise


def _perform(recipe: Recipe, release: Release, build: Build, path: Path, echo: Echo) -> Environment:
    settings = packages.settings(os.environ)
    if recipe.index:
        settings["UV_INDEX"] = f"{recipe.index} {settings.get('UV_INDEX', '')}".strip()
    what = f"installing {release.title} for {build.device}"
    echo(f"{what} with Python {recipe.python}: {recipe.origin}")
    packages.run(["venv", "--quiet", "--python", recipe.python, str(path)], path.parent, what, echo, settings)
    interpreter = str(path / "bin" / "python")
    with tempfile.TemporaryDirectory() as scratch:
        requirements, overrides = Path(scratch, "requirements.txt"), Path(scratch, "overrides.txt")
        requirements.write_text(recipe.requirement + "\n", encoding="utf-8")
        # Without compiled bytecode each of an engine's processes compiles thousands of modules at every start, for good
        # where the environment is read-only or PYTHONDONTWRITEBYTECODE is set.
        words = ["pip", "install", "--python", interpreter, "--compile-bytecode", *recipe.options]
        words += ["--requirements", str(requirements)]
        if recipe.without:  # a marker that never holds: in the resolution, out of the environment
            overrides.write_text(
                "".join(f'{name} ; python_version < "3"\n' for name in recipe.without), encoding="utf-8"
            )
            words += ["--override", str(overrides)]
        packages.run(words, path.parent, what, echo, settings)
    echo(f"trying it: import {build.module}")
    _try(interpreter, build.module, release)
    made = Environment(release, build.device, interpreter, recipe.distribution, "installed", path, recipe.origin)
    return environments.mark(_ask(made, path, echo))


def _recipe(release: Release, build: Build, folder: Path, python: str | None) -> Recipe:
    pythons = (python,) if python else packages.on_host_first(build.python, folder)
    if build.device == "cuda":
        requirement = f"{build.distribution}=={release.version}"
        return Recipe(build.distribution, requirement, pythons[0], f"{build.distribution} of the package index")
    torch = build.torch.get(release.version)
    ours = next((each for each in pythons if torch and packages.available(f"torch=={torch}", each, folder)), None)
    # The user's own settings lead to the torch that is needed; whether to matching siblings of it, nobody knows.
    without = build.without if ours else ()
    options = () if ours else ("--torch-backend", "cpu")
    place = "torch as your uv or pip settings find it" if ours else "torch of PyTorch's CPU index"
    index = build.index.format(version=release.version) if build.index else None
    third = build.third_party
    if index and _reachable(f"{index}/{build.distribution}/"):
        distribution, requirement = build.distribution, f"{build.distribution}=={release.version}+cpu"
        origin = f"{release.title} project's own CPU build, {place}"
    elif third and release.version in third.releases:
        hashes = " ".join(f"--hash={each}" for each in third.releases[release.version])
        distribution, requirement, index = third.distribution, f"{third.distribution}=={release.version} {hashes}", None
        origin = f"{third.distribution}, a third party's build (by {third.author}; pinned by hash), {place}"
    else:
        known = ", ".join(third.releases) if third else "none"
        raise ServeError(
            f"no CPU build of {release.title} is in reach",
            where=index or "",
            fix=f"releases that a third party builds: {known}",
        )
    return Recipe(distribution, requirement, ours or pythons[0], origin, without, options, index)


def _reachable(url: str) -> bool:
    import requests  # noqa: PLC0415 - only an installation asks

    try:
        return requests.get(url, timeout=REACH_S).ok
    except requests.RequestException:
        return False


def _room(folder: Path, build: Build) -> None:
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < build.room_gb:
        raise ServeError(
            f"{build.room_gb:g} GB are needed, {free_gb:.1f} GB are free",
            where=str(folder),
            fix="free some space, or put SERVE_HOME on a larger disk",
        )


def _try(python: str, module: str, release: Release) -> None:
    try:
        answer = subprocess.run(
            [python, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRY_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ServeError(
            f"{release.title} is installed but its import does not end", fix="try again", code=FAILED
        ) from None
    if answer.returncode != 0:
        last = "\n".join(answer.stderr.strip().splitlines()[-6:])
        raise ServeError(
            f"{release.title} is installed but cannot be imported:\n{last}",
            fix=f"this may be a wrong package for this machine ({platform.machine()})",
            code=FAILED,
        )


def _ask(environment: Environment, path: Path, echo: Echo) -> Environment:
    """Asks the engine's own parser for its flags and keeps the answer in the environment's folder."""
    release, unfinished = environment.release, path / f"{environments.PROBE}.part"
    echo(f"asking {release.title} for its flags")
    try:
        answer = subprocess.run(
            [environment.python, str(probe.__file__), release.engine],
            capture_output=True, text=True, errors="replace", timeout=PROBE_S, check=False,
        )  # fmt: skip
        if answer.returncode != 0:
            raise ValueError((answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1])
        unfinished.write_text(answer.stdout, encoding="utf-8")
        flags = catalog.of_probe(unfinished, release).flags
        unfinished.replace(path / environments.PROBE)
    except (OSError, ValueError, subprocess.TimeoutExpired, ServeError) as error:
        unfinished.unlink(missing_ok=True)
        instead = "those that serve knows are used" if release in catalog.known(release.engine) else "serve knows none"
        echo(f"warning: its own parser does not tell its flags, {instead}: {error}")
        return environment
    echo(f"its own parser declares {len(flags)} flags")
    return replace(environment, probe=path / environments.PROBE)
