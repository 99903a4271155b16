"""Packing: what goes into the archive, and the archive."""

from __future__ import annotations

import gzip
import importlib
import os
import shlex
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from launcher.bundle import own_wheel, wheels
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import environments, install, locks, packages, recipe
from launcher.host.builds import Build
from launcher.host.locks import Lock
from launcher.host.packages import Echo

TOP = "serve-bundle"  # the folder that unpacking makes
INSTALLER = Path(__file__).parent / "data" / "install.sh"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # what uv means by --torch-backend cpu
_LARGER = "free some space, or write it to a larger disk"
_GZIP_LEVEL = 1  # wheels and weights are compressed, or cannot be


def pack(build: Build, release: Release, python: str | None, model: Path | None, output: Path, echo: Echo) -> int:
    """Writes the archive, whole or not at all.

    Args:
        build: what the engine is for.
        release: of the build's engine.
        python: the version of Python, as for an installation.
        model: a folder that goes into the archive too.
        output: the archive; its name says how it is compressed.
        echo: takes lines of progress.

    Returns:
        Its size in bytes.

    Raises:
        ServeError: the archive cannot be written, something of the release is not to be had, or there is no room.
        SystemExit: a signal came; nothing is left then.
    """
    output = output.absolute()  # uv and pip run in folders of their own
    _refuse_name(output)
    if model and not (model / "config.json").is_file():
        raise ServeError("this folder holds no model: it has no config.json", where=str(model), fix="--model DIR")
    if not output.parent.is_dir():
        raise ServeError("there is no such folder", where=str(output.parent), fix="make it, or name another")
    install.room(output.parent, build, _LARGER)  # wheels and the archive of them take what an environment does, or less
    with packages.stoppable(), tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        folder = Path(scratch) / TOP
        folder.mkdir()
        _collect(build, release, python, model, folder, echo)
        unfinished = Path(scratch) / "archive"
        _room(folder, model, output.parent)
        echo(f"writing {output}")
        _archive(folder, model, unfinished, output.suffix)
        unfinished.replace(output)
    return output.stat().st_size


def _refuse_name(output: Path) -> None:
    if not output.name.endswith((".tar", ".tar.gz", ".tar.zst")):
        raise ServeError("this is no name of an archive", where=str(output), fix="a name that ends in .tar.gz")
    if output.name.endswith(".zst") and sys.version_info < (3, 14):
        what = "this Python cannot write zstd, which Python 3.14 can"
        raise ServeError(what, where=str(output), fix="a name that ends in .tar.gz")


def _collect(build: Build, release: Release, python: str | None, model: Path | None, folder: Path, echo: Echo) -> None:
    """Puts everything but the model into a folder."""
    home = environments.home()
    home.mkdir(parents=True, exist_ok=True)
    asked = recipe.of(release, build, home, python)
    lock = asked.lock or install.lock(build, release.version, asked.python, echo)
    indexes = tuple(each for each in (asked.index, CPU_INDEX if asked.options else None) if each)
    echo(f"packing {release.title} for {build.device} with Python {asked.python}: {asked.origin}")
    interpreter = _pip(folder.parent / "pip", asked.python, echo)
    echo(f"fetching the {lock.packages} packages of the engine")
    _engine(lock, interpreter, folder, indexes, echo)
    echo("fetching what serve itself needs")
    _serve(interpreter, asked.python, folder, echo)
    carried = _python(asked.python, folder / "python", echo)
    shutil.copy2(packages.uv(), folder / "uv")
    shutil.copy2(INSTALLER, folder / "install.sh")
    facts = {
        "RELEASE": str(release),
        "DEVICE": build.device,
        "PYTHON": asked.python,
        "MACHINE": lock.scope.machine,
        "MODEL": model.resolve().name if model else "",
    }
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in facts.items())
    (folder / "bundle.env").write_text(lines, encoding="utf-8")
    if not carried:
        echo(f"no Python goes into it: the other host needs Python {asked.python} of its own")


def _pip(folder: Path, python: str, echo: Echo) -> Path:
    """An environment that has pip; its interpreter."""
    settings, what = packages.settings(os.environ), "setting up pip"
    packages.run(["venv", "--quiet", "--python", python, str(folder)], folder.parent, what, echo, settings)
    interpreter = folder / "bin" / "python"
    words = ["pip", "install", "--quiet", "--python", str(interpreter), "pip"]
    packages.run(words, folder.parent, what, echo, settings)
    return interpreter


def _engine(lock: Lock, python: Path, folder: Path, indexes: tuple[str, ...], echo: Echo) -> None:
    into = folder / "wheels" / "engine"
    wheels.fetch(lock.requirements, python, into, indexes, echo)
    locks.write(Lock(lock.scope, wheels.pinned(into)), folder / "engine.lock")


def _serve(python: Path, version: str, folder: Path, echo: Echo) -> None:
    """This program and what it needs, for the engine's Python: the other host has one alone."""
    into, needed = folder / "wheels" / "serve", own_wheel.distribution().requires or []
    asked, locked = folder.parent / "serve.in", folder.parent / "serve.txt"
    asked.write_text("".join(f"{each}\n" for each in needed if "extra ==" not in each), encoding="utf-8")
    words = [*packages.LOCK, "--python-version", version, str(asked), "--output-file", str(locked)]
    packages.run(words, folder.parent, "resolving what serve needs", echo, packages.settings(os.environ))
    wheels.fetch(locked.read_text(encoding="utf-8"), python, into, (), echo)
    own_wheel.write(into)
    (folder / "serve.txt").write_text(wheels.pinned(into), encoding="utf-8")


def _python(version: str, folder: Path, echo: Echo) -> bool:
    """Fetches a Python that runs wherever it is put, if one is to be had."""
    words = ["python", "install", "--quiet", "--no-bin", "--install-dir", str(folder), version]
    try:
        packages.run(words, folder.parent, "fetching Python", lambda _line: None, packages.settings(os.environ))
    except ServeError as error:
        first, *rest = error.what.splitlines()
        echo(f"uv has no Python {version} to carry along: {(rest or [first])[-1].strip().rstrip(':')}")
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def _room(folder: Path, model: Path | None, place: Path) -> None:
    needed_bytes = sum(path.stat().st_size for path in _every(folder, model) if path.is_file())
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < needed_bytes:
        what = f"the archive takes up to {needed_bytes / 1e9:.1f} GB, {free_bytes / 1e9:.1f} GB are free"
        raise ServeError(what, where=str(place), fix=_LARGER)


def _every(folder: Path, model: Path | None) -> Iterator[Path]:
    yield from folder.rglob("*")
    yield from model.rglob("*") if model else ()


def _archive(folder: Path, model: Path | None, path: Path, suffix: str) -> None:
    """Streams the folders into an archive; a model's links, as in a hub's cache, become the files that they lead to."""
    with _stream(path, suffix) as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.add(folder, TOP, filter=_nobodys)
        if model:
            archive.dereference = True
            archive.add(model, f"{TOP}/model/{model.resolve().name}", filter=_nobodys)


def _stream(path: Path, suffix: str) -> IO[bytes]:
    """A file that compresses what is written to it."""
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "wb", compresslevel=_GZIP_LEVEL))
    if suffix == ".zst":
        return cast("IO[bytes]", importlib.import_module("compression.zstd").open(path, "wb"))
    return path.open("wb")


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owned by whoever unpacks it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
