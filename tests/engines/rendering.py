"""Commands for releases and hardware that this host need not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from launcher.config.layers import Layer, Origin, Setting
from launcher.config.request import Request
from launcher.config.resolve import layers, resolve
from launcher.engines import catalog, words
from launcher.engines.command import Command
from launcher.engines.meanings import BY_NAME
from launcher.engines.release import Release, parse
from launcher.engines.render import render
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError

Made = TypeVar("Made")

RELEASES = tuple(str(release) for engine in ("vllm", "sglang") for release in catalog.known(engine))
MODEL = "org/model"


def release(text: str) -> Release:
    engine, version = parse(text)
    assert version
    return Release(engine, version)


def target(text: str, device: str = "cuda") -> Target:
    """One release on eight Hopper GPUs, or on a CPU."""
    known = release(text)
    if device == "cpu":
        return Target(known, "cpu", "python", f"{known.engine}-cpu", packages=frozenset())
    return Target(known, "cuda", "python", known.engine, 9.0, 8, packages=frozenset({"modelscope"}))


def read(text: str, *given: str) -> Layer:
    """The settings that words of a command line make."""
    known = release(text)
    return words.read(given, BY_NAME[known.engine], catalog.load(known))


def attempt(make: Callable[[], Made]) -> tuple[Made | None, tuple[ServeError, ...]]:
    """What is made, or the errors for people; any other exception is a defect and goes on."""
    try:
        return make(), ()
    except ServeError as error:
        return None, error.every()


def command(  # noqa: PLR0913 - a request in parts
    text: str,
    *given: str,
    options: Mapping[str, str] | None = None,
    assignments: tuple[str, ...] = (),
    configs: tuple[Path, ...] = (),
    preset: str | None = None,
    variables: Mapping[str, str] | None = None,
    device: str = "cuda",
    checkpoint: Checkpoint | None = None,
    name: str | None = None,
    host: Target | None = None,
) -> Command:
    """The command for a release, as `launcher.plan` makes it, for hardware that this host need not have."""
    request = Request(preset, configs, variables or {}, options or {}, assignments, given, name)
    stack = layers(request)
    stack.insert(1, {"model": Setting(MODEL, Origin("launcher", "default"))})
    stack.append(read(text, *given))
    deployment = resolve(stack, preset)
    model = deployment.get("model")
    return render(deployment, host or target(text, device), checkpoint or Checkpoint(model, model), name)


def value_of(made: Command, flag: str) -> str | None:
    """The word after a flag in argv; the flag stands there once at most."""
    assert made.argv.count(flag) <= 1
    return made.argv[made.argv.index(flag) + 1] if flag in made.argv else None
