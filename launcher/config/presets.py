"""Presets: found by name, and read with everything that they extend."""

from __future__ import annotations

from pathlib import Path

from launcher import settings
from launcher.config.layers import Layer
from launcher.config.sources import Document, document
from launcher.errors import ServeError, nearest


def names() -> tuple[str, ...]:
    """The presets that ship with serve: the six, then ``examples/NAME``."""
    folder = settings.share_folder("presets")
    return tuple(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("examples/*.yaml"))]
    )


def find(name: str, where: str) -> Path:
    """The file of a preset: one that ships, or the path of a YAML file.

    Raises:
        ServeError: there is none of that name; `where` says who asked for it.
    """
    folder = settings.share_folder("presets")
    shipped = names()
    if name in shipped:
        return folder / f"{name}.yaml"
    if f"examples/{name}" in shipped:
        return folder / "examples" / f"{name}.yaml"
    path = settings.expanded(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ServeError(f"there is no file {name!r}", where=where, fix="give the path of a YAML file")
        return path
    fix = nearest(name, shipped) or f"presets: {', '.join(shipped)}"
    raise ServeError(f"{name!r} is not a preset", where=where, fix=fix)


def chain(path: Path, layer: str = "preset") -> tuple[Document, ...]:
    """The file and all that it extends, the base first. `layer` is the file's own; what it extends are presets.

    Raises:
        ServeError: a file extends itself, by whatever way round.
    """
    documents = [document(path, layer)]
    seen = [path.resolve()]
    while extends := documents[0].extends:
        name, where = extends
        beside = documents[0].path.parent / name
        base = beside if name.endswith((".yaml", ".yml")) and beside.is_file() else find(name, where)
        if base.resolve() in seen:
            circle = " -> ".join([*(f.stem for f in seen), base.stem])
            raise ServeError(f"extends goes in a circle: {circle}", where=where, fix="remove one of the extends lines")
        seen.append(base.resolve())
        documents.insert(0, document(base, "preset"))
    return tuple(documents)


def layers(documents: tuple[Document, ...]) -> list[Layer]:
    """What the documents say, in their order."""
    return [each.settings for each in documents]
