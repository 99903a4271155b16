"""From what was asked to the command: the one path that launch, explain and check share.

Reads files and asks the host what it has; starts nothing and writes nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from launcher.config import layers as layering
from launcher.config.keys import ENGINES
from launcher.config.layers import Layer, Origin, Setting
from launcher.config.request import Request
from launcher.config.resolve import Deployment, layers, resolve
from launcher.engines import catalog, words
from launcher.engines.catalog import Catalog
from launcher.engines.command import Command, Decision
from launcher.engines.meanings import BY_NAME
from launcher.engines.release import TITLES, Release, parse
from launcher.engines.render import render
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError
from launcher.host import choice, environments, machine, served
from launcher.host.environments import Environment
from launcher.models import checkpoint, demo

# Without a MODEL: what the owner's documents serve, and the smallest of its family for a host without a GPU.
DEFAULT_MODELS = {"cuda": "Qwen/Qwen3-14B", "cpu": "Qwen/Qwen3-0.6B"}


def plan(request: Request) -> Command:
    """The command for a request.

    Raises:
        ServeError: anything about the request that is wrong, all of it at once where possible.
    """
    return resolved(request)[0]


def resolved(request: Request) -> tuple[Command, Deployment]:
    """The command for a request, and the keys that it was made of.

    Raises:
        ServeError: as `plan`.
    """
    stack = layers(request)
    settings = layering.merge(stack)
    target = find_target(settings)
    flags = words.read(request.words, BY_NAME[target.release.engine], _flags_of(target, settings))
    if twice := words.contradictions(stack[-1], flags):
        raise ServeError.gather(twice)
    stack.append(flags)
    stack.insert(1, _default_model(target))
    deployment = resolve(stack, request.preset)
    found = model(deployment)
    if found.demo:
        deployment = _with_demo_draft(deployment)
    elif target.installed:
        _refuse_unserved(found, target, deployment)
    command = replace(render(deployment, target, found, request.name), draft=draft(deployment))
    return _said_aloud(command, deployment), deployment


def _refuse_unserved(found: Checkpoint, target: Target, deployment: Deployment) -> None:
    given = {name: str(setting.value) for name, setting in deployment.below("env.").items()}
    trusted = bool(deployment.get("trust_remote_code"))
    if problems := served.problems(found, target, {**os.environ, **given}, trusted=trusted):
        raise ServeError.gather(problems)


def _flags_of(target: Target, settings: Layer) -> Catalog:
    try:
        return target.flags
    except ServeError as error:
        if target.probe:
            raise
        names = ("engine_python", "engine_version", "engine")
        given = [settings[name].origin for name in names if name in settings]
        error.where = next((origin.place for origin in given if origin.layer != "launcher"), target.python)
        raise


def _said_aloud(command: Command, deployment: Deployment) -> Command:
    """A model that nobody named is never served without a word."""
    if deployment.settings["model"].origin.layer != "launcher":
        return command
    host = {"cuda": "a GPU host", "cpu": "a host without a GPU"}[command.target.device]
    said = Decision("model", f"none was named: {command.checkpoint.path} is the default for {host}")
    return replace(command, decisions=(said, *command.decisions))


def _with_demo_draft(deployment: Deployment) -> Deployment:
    """The demo model brings its own draft, in place of a preset's for another model."""
    key = "speculative.draft_model"
    given = deployment.settings.get(key)
    if given is None or given.value is None or given.origin.layer != "preset":
        return deployment
    own = Setting(str(demo.draft_folder()), Origin("launcher", "the demo model's own draft"), given)
    return replace(deployment, settings={**deployment.settings, key: own})


def model(deployment: Deployment) -> Checkpoint:
    """The checkpoint that a deployment names."""
    setting, source = deployment.settings["model"], deployment.settings["source"]
    found = _described(setting, deployment.get("revision"))
    if source.value == "local" and not (found.demo or Path(found.path).is_dir()):
        what = f"source is local, but model {setting.value!r} is no folder of this host"
        raise ServeError(what, where=source.origin.place, fix="give a folder, or set source to auto")
    return found


def draft(deployment: Deployment) -> Checkpoint | None:
    """The draft model that a deployment names; None without one, or where it is the demo model's own."""
    setting = deployment.settings.get("speculative.draft_model")
    if setting is None or setting.value in (None, str(demo.draft_folder())):
        return None
    return _described(setting)


def _described(setting: Setting, revision: str | None = None) -> Checkpoint:
    try:
        return checkpoint.describe(setting.value, revision)
    except ServeError as error:
        error.where = error.where or setting.origin.place
        raise


def _default_model(target: Target) -> Layer:
    return {"model": Setting(DEFAULT_MODELS[target.device], Origin("launcher", "default"))}


def find_target(settings: Layer) -> Target:
    """The release to run and the environment that holds it; one that is not installed can still be rendered for."""
    named = settings["engine"]
    engine, version = (None, None) if named.value == "auto" else parse(named.value, named.origin.place)
    if (asked := settings.get("engine_version")) and asked.value:
        version = asked.value
        engine = engine or next((name for name in ENGINES if Release(name, version) in catalog.known(name)), None)
    own = settings.get("engine_python")
    if own and own.value:
        try:
            environment = environments.at(own.value)
        except ServeError as error:
            error.where = own.origin.place
            raise
        _agrees(environment, engine, version, own.origin)
        return of_environment(environment)
    if version is None and (chosen := choice.of(engine)):  # what `serve engines use` has said
        engine, version = chosen.engine, chosen.version
    candidates = [each for each in environments.all_found() if engine in (None, each.release.engine)]
    candidates = [each for each in candidates if version in (None, each.release.version)]
    if candidates:
        return of_environment(_best(candidates))
    gpus = machine.gpus()
    return _not_installed(engine or ENGINES[0], version, gpus)


def of_environment(environment: Environment) -> Target:
    """The target of an environment, with this host's GPUs."""
    gpus = machine.gpus() if environment.device == "cuda" else ()
    return Target(
        release=environment.release,
        device=environment.device,
        python=str(environment.python),
        distribution=environment.distribution,
        capability=min((gpu.capability for gpu in gpus if gpu.capability), default=None),
        gpus=len(gpus),
        packages=environment.packages,
        probe=environment.probe,
    )


def _not_installed(engine: str, version: str | None, gpus: tuple[machine.Gpu, ...]) -> Target:
    device = "cuda" if gpus else environments.device_without_gpu(engine, version)
    release = Release(engine, version or environments.default_version(engine, device))
    return Target(
        release=release,
        device=device,
        python=str(environments.python_of(release, device)),
        distribution=environments.distribution_of(release, device),
        capability=min((gpu.capability for gpu in gpus if gpu.capability), default=None),
        gpus=len(gpus),
        installed=False,
    )


def _best(candidates: list[Environment]) -> Environment:
    """What this host can run before others, then releases whose flags we know, then vLLM, then the newest."""
    newest_first = sorted(candidates, key=lambda each: each.release, reverse=True)
    no_gpu = len(candidates) > 1 and not machine.gpus()
    return min(
        newest_first,
        key=lambda each: (
            each.device == "cuda" and no_gpu,
            not each.probe and each.release not in catalog.known(each.release.engine),
            ENGINES.index(each.release.engine),
        ),
    )


def _agrees(environment: Environment, engine: str | None, version: str | None, origin: Origin) -> None:
    found = environment.release
    if engine not in (None, found.engine) or version not in (None, found.version):
        asked = TITLES[engine or found.engine] + (f" {version}" if version else "")
        raise ServeError(
            f"{environment.python} holds {found.title}, not {asked}", where=origin.place, fix="give one of the two"
        )
