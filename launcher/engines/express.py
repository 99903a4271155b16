"""Some keys alone as a release's own words: for commands that are not ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from launcher.config import keys
from launcher.config.layers import Origin, Setting
from launcher.config.resolve import Deployment
from launcher.engines.catalog import Catalog
from launcher.engines.command import Argument, Decision
from launcher.engines.draft import Draft
from launcher.engines.meanings import BY_NAME
from launcher.engines.render import written
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError

# Keys that `render` writes itself, because every command of ours has them.
_PLAIN = {"served_name": "--served-model-name", "host": "--host", "port": "--port"}


@dataclass(frozen=True)
class Expressed:
    """Keys in an engine's words.

    Attributes:
        arguments: each with the key that it expresses.
        environment: variables that they need.
        decisions: what was chosen, or why a key needs no words.
        problems: keys that the release cannot express.
    """

    arguments: tuple[Argument, ...]
    environment: Mapping[str, str]
    decisions: tuple[Decision, ...]
    problems: tuple[ServeError, ...]


def express(texts: Mapping[str, str], known: Catalog) -> Expressed:
    """The words of a release for some keys, on a host with a GPU that nothing is known of.

    Args:
        texts: names of keys to the texts of their values.
        known: the release's flags.
    """
    engine = BY_NAME[known.release.engine]
    problems: list[ServeError] = []
    settings = {}
    for name, text in texts.items():
        try:
            settings[name] = Setting(keys.BY_NAME[name].type.parse(text), Origin("command line", name))
        except ValueError as error:
            problems.append(ServeError(f"{name}: {text!r} {error}"))
    target = Target(known.release, "cuda", "python3", known.release.engine, installed=False)
    draft = Draft(Deployment(settings), target, Checkpoint("", ""), known)
    for name, flag in _PLAIN.items():
        if name in settings:
            draft.add(name, flag, texts[name])
    if "model" in settings:
        draft.add("model", engine.model_flag, texts["model"])
    problems += written(draft, engine)
    return Expressed(tuple(draft.arguments), draft.environment, tuple(draft.decisions), tuple(problems))
