"""Some keys alone as a release's own words: for commands that are not ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from launcher.config import keys
from launcher.config.layers import Origin, Setting
from launcher.config.resolve import Deployment
from launcher.config.values import show
from launcher.engines.catalog import Catalog
from launcher.engines.command import Argument, Decision
from launcher.engines.draft import Draft
from launcher.engines.flexible import UNKNOWN
from launcher.engines.meanings import BY_NAME
from launcher.engines.render import written
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError

# Keys that `render` writes itself, because every command of ours has them.
_PLAIN = {"served_name": "--served-model-name", "host": "--host", "port": "--port"}
# Keys whose value both engines take as it is, with one that stands for a value known only when the command runs.
_PASSED_ON = {
    **dict.fromkeys(("model", "revision", "chat_template", "served_name", "host"), "stand-in"),
    **dict.fromkeys(("port", "context_length", "max_concurrency", "prefill_tokens", "cuda_graphs"), "61"),
    **dict.fromkeys(("tensor_parallel", "pipeline_parallel", "data_parallel", "nodes.count", "nodes.rank"), "61"),
    "memory_fraction": "0.61",
    "dtype": "float16",
}


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
        texts: names of keys to the texts of their values; `UNKNOWN` stands in them for what is known only at run time.
        known: the release's flags.
    """
    engine = BY_NAME[known.release.engine]
    problems: list[ServeError] = []
    settings = {}
    unknown = {name: text for name, text in texts.items() if UNKNOWN in text}
    for name, text in texts.items():
        if name in unknown and name not in _PASSED_ON:
            problems.append(ServeError(f"{name}: the value is known only when the command runs"))
            continue
        given = _PASSED_ON[name] if name in unknown else text
        try:
            settings[name] = Setting(keys.BY_NAME[name].type.parse(given), Origin("command line", name))
        except ValueError as error:
            problems.append(ServeError(f"{name}: {text!r} {error}"))
    target = Target(known.release, "cuda", "python3", known.release.engine, installed=False)
    draft = Draft(Deployment(settings), target, Checkpoint("", ""), known)
    for name, flag in _PLAIN.items():
        if name in settings:
            draft.add(name, flag, show(settings[name].value))
    if "model" in settings:
        draft.add("model", engine.model_flag, show(settings["model"].value))
    problems += written(draft, engine)
    arguments = tuple(_filled(each, unknown) for each in draft.arguments)
    return Expressed(arguments, draft.environment, tuple(draft.decisions), tuple(problems))


def _filled(argument: Argument, unknown: Mapping[str, str]) -> Argument:
    """An argument with the value in it that something else stood for."""
    if argument.key is None or argument.key not in unknown:
        return argument
    text, stand_in = unknown[argument.key], _PASSED_ON[argument.key]
    return replace(argument, words=tuple(text if word == stand_in else word for word in argument.words))
