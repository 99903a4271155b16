"""Making an environment for a release, and seeing that it works."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from packaging.version import Version

from launcher.engines import catalog, probe
from launcher.engines.release import Release
from launcher.errors import FAILED, ServeError
from launcher.host import builds, drivers, environments, locks, machine, packages
from launcher.host.builds import Build
from launcher.host.environments import Environment
from launcher.host.locks import Lock
from launcher.host.packages import Echo
from launcher.host.recipe import Recipe, reachable
from launcher.host.recipe import of as recipe_of

LATEST = "latest"  # in place of a version
TRY_S = 900.0  # a first import reads gigabytes from a disk that may be slow
PROBE_S = 120.0  # a second import, and the flags


def install(
    engine: str,
    version: str | None = None,
    device: str = "auto",
    *,
    python: str | None = None,
    lock: Lock | None = None,
    echo: Echo,
) -> Environment:
    """An environment that holds a release, with the flags that its own parser declares.

    One that is there already is left as it is; it is only asked for its flags where that has not been done. A release
    that does not tell them is installed all the same.

    Args:
        engine: ``vllm`` or ``sglang``.
        version: its release, ``latest``, or None for the one that we take by default.
        device: ``cuda``, ``cpu``, or ``auto``: what this host has.
        python: the Python version to use, such as ``3.12``.
        lock: the user's own, whose release, device and Python are taken where no others are named.
        echo: takes lines of progress.

    Raises:
        ServeError: there is no such release (one that is newer than all that we know is tried), no such build, no
            room, or the installation failed; nothing is left of it then.
        SystemExit: SIGINT, SIGTERM or SIGHUP came; nothing is left then either.
    """
    if lock:
        version, python = version or lock.scope.version, python or lock.scope.python
        device = lock.scope.device if device == "auto" else device
    build = build_for(engine, device)
    return make(build, release_of(build, version, echo).version, python, echo, lock)


def build_for(engine: str, device: str) -> Build:
    """The build of an engine for ``cuda``, ``cpu``, or ``auto``: what this host has.

    Raises:
        ServeError: there is none.
    """
    if device not in ("auto", "cuda", "cpu"):
        raise ServeError(f"{device!r} is no device", where="--device", fix="auto, cuda or cpu")
    if device == "auto":
        device = "cuda" if machine.gpus() else "cpu"
    return builds.of(engine, device)


def release_of(build: Build, version: str | None, echo: Echo) -> Release:
    """The release that is meant: the default, ``latest``, or the one that is named.

    Raises:
        ServeError: there is no such release, or it is too old.
    """
    if version == LATEST:
        version = _newest(build, echo)
    release = Release(build.engine, version or build.default)
    if release < catalog.known(build.engine)[-1]:
        catalog.load(release)  # refuses what is no release, or one that is too old
    return release


def _newest(build: Build, echo: Echo) -> str:
    """The newest release that the user's indexes have a build of; the newest that we know where they do not answer."""
    environments.home().mkdir(parents=True, exist_ok=True)
    found = packages.newest(build.distribution, build.python[0], environments.home())
    if found is None:
        echo(f"no index answers for {build.distribution}: the newest release is taken that serve knows")
        return build.default if build.third_party else catalog.known(build.engine)[-1].version
    third = build.third_party
    if third and not (build.index and reachable(f"{build.index.format(version=found)}/{build.distribution}/")):
        return max(third.releases, key=Version)
    return found


def make(build: Build, version: str, python: str | None, echo: Echo, lock: Lock | None = None) -> Environment:
    """As `install`, of one build."""
    _refuse_no_python(build, python)
    release = Release(build.engine, version)
    path = environments.folder(release, build.device)
    with environments.only_one(path), packages.stoppable():
        if (known := environments.read(path)) is not None:
            _refuse_other(known, path, python, lock)
            if _holds(known, build.module):
                echo(f"{release.title} for {build.device} is installed already")
                return known if known.probe else _ask(known, path, echo)
            environments.refuse_used(known)
            echo(f"{release.title} for {build.device} was installed, but its files are gone: it is made again")
        room(path.parent, build, "free some space, or put SERVE_HOME on a larger disk")
        if build.device == "cuda" and (why := drivers.obstacle(release)):
            echo(f"warning: no server will start with it: {why}")
        shutil.rmtree(path, ignore_errors=True)  # half made
        try:
            return _perform(recipe_of(release, build, path.parent, python, lock), release, build, path, echo)
        except BaseException:  # a signal too
            shutil.rmtree(path, ignore_errors=True)
            raise


def lock(build: Build, version: str, python: str | None, echo: Echo) -> Lock:
    """Resolves all packages of a release, as an installation without a lock would, and pins them by hash.

    Raises:
        ServeError: as `install`.
    """
    _refuse_no_python(build, python)
    release, folder = Release(build.engine, version), environments.home()
    folder.mkdir(parents=True, exist_ok=True)
    with packages.stoppable(), tempfile.TemporaryDirectory() as scratch:
        asked = recipe_of(release, build, folder, python, resolve=True)
        echo(f"resolving {release.title} for {build.device} with Python {asked.python}: {asked.origin}")
        locked = Path(scratch, "locked.txt")
        words = [*packages.LOCK, "--python-version", asked.python]
        words += [*asked.words(Path(scratch)), "--output-file", str(locked)]
        packages.run(words, folder, f"locking {release.title} for {build.device}", echo, asked.settings())
        wanted = locks.scope(release, build.device, asked.distribution, asked.python)
        return locks.of_resolution(wanted, locked.read_text(encoding="utf-8"))


def _refuse_other(known: Environment, path: Path, python: str | None, lock: Lock | None) -> None:
    """An environment that is there is no answer to whoever asks for another Python or other packages."""
    has = next((each.name.removeprefix("python") for each in path.glob("lib/python*")), "")
    other = f"it has Python {has}" if python and not f"{python}.".startswith(f"{has}.") else ""
    if lock and lock.digest != known.lock:
        other = "it was made by another lock, or by none"
    if other:
        what = f"{known.release.title} for {known.device} is installed already, and {other}"
        raise ServeError(what, where=str(path), fix=f"serve engines remove {known.release}, then the same again")


def _refuse_no_python(build: Build, python: str | None) -> None:
    if python and not re.fullmatch(r"3\.\d+(\.\d+)?", python):
        raise ServeError(
            f"{python!r} is no version of Python", where="--python", fix=f"write it like {build.python[0]}"
        )


def _perform(recipe: Recipe, release: Release, build: Build, path: Path, echo: Echo) -> Environment:
    settings = recipe.settings()
    what = f"installing {release.title} for {build.device}"
    echo(f"{what} with Python {recipe.python}: {recipe.origin}")
    wanted = locks.scope(release, build.device, recipe.distribution, recipe.python)
    echo(
        f"what its lock pins is installed, each package checked by hash: {recipe.lock.packages} in all"
        if recipe.lock
        else f"there is no lock of {wanted}: uv resolves what it needs now"
    )
    packages.run(["venv", "--quiet", "--python", recipe.python, str(path)], path.parent, what, echo, settings)
    interpreter = str(path / "bin" / "python")
    with tempfile.TemporaryDirectory() as scratch:
        # Without compiled bytecode each of an engine's processes compiles thousands of modules at every start, for good
        # where the environment is read-only or PYTHONDONTWRITEBYTECODE is set.
        words = ["pip", "install", "--python", interpreter, "--compile-bytecode", "--requirements"]
        words += recipe.words(Path(scratch))
        packages.run(words, path.parent, what, echo, settings)
    echo(f"trying it: import {build.module}")
    _try(interpreter, build.module, release)
    locked = recipe.lock.digest if recipe.lock else ""
    made = Environment(
        release, build.device, interpreter, recipe.distribution, "installed", path, recipe.origin, lock=locked
    )
    return environments.mark(_ask(made, path, echo))


def room(folder: Path, build: Build, fix: str) -> None:
    """Refuse a disk that has less room than an environment takes.

    Args:
        folder: on the disk.
        build: whose environment it is.
        fix: what to do about it.

    Raises:
        ServeError: it has.
    """
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < build.room_gb:
        raise ServeError(
            f"{build.room_gb:g} GB are needed, {free_gb:.1f} GB are free",
            where=str(folder),
            fix=fix,
        )


def _holds(environment: Environment, module: str) -> bool:
    """Whether the engine is still there, as far as can be told without the seconds that its import takes."""
    program = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module.partition('.')[0]!r}) is None)"
    try:
        answer = subprocess.run([environment.python, "-I", "-c", program], timeout=TRY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


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
