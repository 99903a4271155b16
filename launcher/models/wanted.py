"""What to pull: a repository that is named, or those that a preset serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.config import presets
from launcher.config.layers import merge
from launcher.errors import ServeError
from launcher.models import demo
from launcher.models.checkpoint import REPOSITORY
from launcher.models.hub import HUGGINGFACE, MODELSCOPE, check_source


@dataclass(frozen=True)
class Wanted:
    """What to pull.

    Attributes:
        name: a repository id.
        revision: a branch, tag or commit; the hub's main branch unless given.
        source: ``huggingface``, ``modelscope``, or ``auto``: the one, and the other where the one does not give it.
        include: patterns of file names that decide instead of what engines need.
        to: a folder in place of the cache.
    """

    name: str
    revision: str | None = None
    source: str = HUGGINGFACE
    include: tuple[str, ...] = ()
    to: Path | None = None


def wanted(
    reference: str | None,
    preset: str | None,
    *,
    revision: str | None = None,
    source: str | None = None,
    include: tuple[str, ...] = (),
    to: str | None = None,
) -> list[Wanted]:
    """What a command line asks for.

    Args:
        reference: a repository id; a preset's own model unless given.
        preset: the name of one, or a file: its model, and the draft model of a speculative one.
        revision: of the model, not of its draft.
        source: see `Wanted`; the preset's, else Hugging Face.
        include: see `Wanted`.
        to: see `Wanted`; for one model alone.

    Raises:
        ServeError: nothing is named, or what cannot be pulled.
    """
    settings_of = merge(presets.layers(presets.chain(presets.find(preset, "--preset")))) if preset else {}
    said = {key: setting.value for key, setting in settings_of.items()}
    name = reference or said.get("model")
    if not name:
        where = f"preset {preset!r} names no model" if preset else "no model is named"
        raise ServeError(where, fix="name one: serve models pull Qwen/Qwen3-8B, or a preset that brings one: eagle3")
    if not reference:
        revision = revision or said.get("revision")
    check_source(source)
    if source is None:
        source = MODELSCOPE if said.get("source") == MODELSCOPE else HUGGINGFACE
    if to is not None and not to.strip():
        raise ServeError("names no folder", where="--to", fix="name one, or leave it out for the cache")
    folder = settings.expanded(to).resolve() if to else None  # one folder has one name, whoever links to it
    if folder and folder.exists() and not folder.is_dir():
        raise ServeError("is no folder", where=str(folder))
    models = [Wanted(_repository(name), revision, source, include, folder)]
    draft = said.get("speculative.draft_model")
    if draft and not settings.expanded(draft).is_dir():
        models.append(Wanted(_repository(draft), None, source, include))
    if folder and len(models) > 1:
        raise ServeError(f"preset {preset!r} has a draft model too: two models do not fit one folder", where="--to")
    return models


def _repository(name: str) -> str:
    if name == demo.NAME:
        raise ServeError(f"model {name!r} is made on this host, not pulled", fix="serve launch demo")
    if settings.expanded(name).is_dir() and not REPOSITORY.fullmatch(name):
        raise ServeError(f"model {name!r} is a folder of this host already", fix="serve launch takes it as it is")
    if not REPOSITORY.fullmatch(name):
        raise ServeError(f"model {name!r} is no repository id", fix="write it ORGANIZATION/NAME, such as Qwen/Qwen3-8B")
    return name
