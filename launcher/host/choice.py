"""Which release `engine: vllm` and `engine: auto` mean on this host, where the user has said so.

The file lists releases, a line each, the latest choice first: the first is what ``auto`` means, the first of an engine
what the engine's name means.
"""

from __future__ import annotations

from pathlib import Path

from launcher import settings
from launcher.engines.release import Release, exactly
from launcher.errors import ServeError
from launcher.files import write_whole


def of(engine: str | None = None) -> Release | None:
    """The release that was chosen for an engine, or for ``auto``; None leaves it to what is installed.

    Raises:
        ServeError: the file holds something else.
    """
    return next((each for each in _read() if engine in (None, each.engine)), None)


def meanings(release: Release) -> list[str]:
    """The words that mean a release by choice: ``vllm``, ``auto``, both or none."""
    words = [release.engine] if of(release.engine) == release else []
    return [*words, "auto"] if of() == release else words


def choose(release: Release) -> None:
    """Lets an engine's name, and ``auto``, mean a release from now on."""
    _write([release, *(each for each in _read() if each.engine != release.engine)])


def forget(release: Release | None = None) -> None:
    """Takes one choice back, or all of them."""
    _write([each for each in _read() if each != release] if release else [])


def _file() -> Path:
    return settings.data_folder() / "engines" / "in-use"


def _read() -> list[Release]:
    path = _file()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise ServeError("this is no text", where=str(path), fix="serve engines use auto") from None
    try:
        return [exactly(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
    except ServeError as error:
        error.fix = "serve engines use auto, which forgets what was chosen"
        raise


def _write(releases: list[Release]) -> None:
    path = _file()
    if not releases:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(f"{each}\n" for each in releases))
