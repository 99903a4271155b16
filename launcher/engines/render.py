"""A deployment for a target: the command. Every key is expressed, decided upon aloud, or refused; none is dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from launcher import settings
from launcher.config import keys
from launcher.config.layers import LAYERS, Setting
from launcher.config.resolve import Deployment
from launcher.config.values import show
from launcher.engines import fit, weights
from launcher.engines.command import Argument, Command, Secret, checked_name
from launcher.engines.confidential import SECRETS, holds_secret
from launcher.engines.draft import Draft
from launcher.engines.engine import Engine
from launcher.engines.hints import instead
from launcher.engines.meanings import BY_NAME
from launcher.engines.release import TITLES
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError

# Keys that choose, name or supervise; `render` and its callers read them, no engine is told.
OURS = {"engine", "engine_version", "engine_python", "model", "served_name", "host", "port", "api_key"}
OURS |= {"allow_unauthenticated", "weights", "source"}
OURS |= {"restart", "stall_timeout", "hang_timeout", "wait_timeout"}
# Flags that this program sets itself, with what to use in their place.
_PLAIN_HTTP = "serve asks the server by plain HTTP at host and port: put a proxy in front of it"
RESERVED = {
    **{flag: instead.ours for flag, instead in SECRETS.items()},
    "--config": "write what it says into a file of serve's (args.ENGINE.FLAG): --config FILE",
    "--model": "set the key model",
    "--model-path": "set the key model",
    "--served-model-name": "set the key served_name, to one name",
    "--host": "set the key host",
    "--port": "set the key port",
    "--uds": _PLAIN_HTTP,
    "--ssl-certfile": _PLAIN_HTTP,
    "--ssl-keyfile": _PLAIN_HTTP,
}


def reserved(flag: str, values: Sequence[str], path: Sequence[str] = ()) -> str:
    """What to use in place of a flag that is not passed on with these values, or "" if it is passed on."""
    return RESERVED.get(flag, "") if flag not in SECRETS or holds_secret(flag, values, path) else ""


def render(deployment: Deployment, target: Target, checkpoint: Checkpoint, name: str | None = None) -> Command:
    """The command that serves the checkpoint on the target as the deployment asks.

    Args:
        deployment: the resolved keys.
        target: the release and what it runs on.
        checkpoint: the model.
        name: the instance's name; made from the served name unless given.

    Raises:
        ServeError: a value that the release cannot express, a flag that it does not have; all problems at once.
    """
    engine = _engine(deployment, target)
    draft = Draft(deployment, target, checkpoint, target.flags)
    served_name = deployment.get("served_name") or checkpoint.name
    name = checked_name(instance_name(served_name) if name is None else name, "--name")
    engine.model(draft, checkpoint.path)
    draft.add("served_name", "--served-model-name", served_name)
    draft.add("host", "--host", deployment.get("host"))
    draft.add("port", "--port", str(deployment.get("port")))
    secret, secret_file = _secret(draft, engine, name)
    problems = fit.problems(draft)
    for step in (_keys, _source, _weights, _verbatim):
        problems += step(draft, engine)
    if problems:
        raise ServeError.gather(problems)
    if engine.additions:
        engine.additions(draft)
    _draft_of_another_model(draft)
    draft.environment |= {name: setting.value for name, setting in deployment.below("env.").items()}
    return Command(
        name=name,
        target=target,
        checkpoint=checkpoint,
        program=engine.program(target),
        arguments=tuple(draft.arguments),
        environment=draft.environment,
        secret=secret,
        secret_file=secret_file,
        host=deployment.get("host"),
        port=deployment.get("port"),
        served_name=served_name,
        preset=deployment.preset,
        restart=deployment.get("restart"),
        stall_timeout_s=float(deployment.get("stall_timeout")),
        hang_timeout_s=float(deployment.get("hang_timeout")),
        wait_timeout_s=deployment.get("wait_timeout"),
        revision=deployment.get("revision"),
        source=deployment.get("source"),
        decisions=tuple(draft.decisions),
    )


def written(draft: Draft, engine: Engine) -> list[ServeError]:
    """Writes the keys that are set into a draft; returns what the release cannot express."""
    return _keys(draft, engine) + _weights(draft, engine)


def _engine(deployment: Deployment, target: Target) -> Engine:
    engine = BY_NAME[target.release.engine]
    if target.device not in engine.devices:
        raise ServeError(
            f"{TITLES[engine.name]} is not published for {target.device.upper()} hosts",
            where=deployment.settings["engine"].origin.place,
            fix="use --engine vllm",
        )
    return engine


def instance_name(served_name: str) -> str:
    """A name for files and units, from the model's: ``Qwen/Qwen3-14B`` -> ``qwen3-14b``."""
    return re.sub(r"[^a-z0-9.-]+", "-", served_name.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-.")[:63] or "model"


def _draft_of_another_model(draft: Draft) -> None:
    """A preset brings a model and its draft; with another model in its place the draft seldom fits."""
    model, head = (draft.deployment.settings.get(key) for key in ("model", "speculative.draft_model"))
    if not (model and head and head.value):
        return
    file = head.origin.place.rpartition(":")[0]
    made_for = [each for each in model.history() if file and each.origin.place.rpartition(":")[0] == file]
    if made_for and made_for[0].value != model.value:
        draft.decide("speculative.draft_model", f"{head.value} drafts for {made_for[0].value}, not for {model.value}")


def _keys(draft: Draft, engine: Engine) -> list[ServeError]:
    problems = []
    for key in keys.KEYS:
        value = draft.deployment.get(key.name)
        if value is None or key.name in OURS:
            continue
        try:
            if expression := engine.expressions.get(key.name):
                expression(draft, value)
            elif spellings := engine.flags.get(key.name):
                draft.flag(key.name, spellings, value)
            else:
                raise draft.refusal(key.name, f"{TITLES[engine.name]} has nothing for it", "leave it unset")
        except ServeError as error:
            problems.append(error)
    return problems


def _source(draft: Draft, engine: Engine) -> list[ServeError]:
    """ModelScope is a switch of both engines, and a package that neither brings along."""
    source = draft.deployment.get("source")
    if source in ("modelscope", "huggingface"):  # said either way: the variable may be set where serve was started
        draft.environment[engine.modelscope_variable] = str(source == "modelscope")
    packages = draft.target.packages
    if source != "modelscope" or packages is None or "modelscope" in packages:
        return []
    fix = f"uv pip install --python {draft.target.python} modelscope"
    why = f"the environment of {draft.target.release.title} has no package modelscope"
    return [draft.refusal("source", why, fix)]


def _weights(draft: Draft, engine: Engine) -> list[ServeError]:
    intents = draft.deployment.get("weights")
    if intents is None:
        return []
    asked = draft.deployment.settings["weights"].origin
    own = [
        (known.name, setting.origin)
        for flag, setting in draft.deployment.below(f"args.{engine.name}.").items()
        if (known := draft.catalog.find(flag)) and known.name in weights.flags(engine.name)
    ]
    if exact := next((each for each in own if LAYERS.index(each[1].layer) >= LAYERS.index(asked.layer)), None):
        draft.decide("weights", f"{show(intents)} of {asked} gives way to {exact[0]} of {exact[1]}")
        return []
    where = asked.place
    try:
        choice = weights.choose(intents, draft.target, draft.checkpoint, where=where)
        for intent, why in choice.passed_over:
            draft.decide("weights", f"{intent} passed over: {why}")
        if choice.row:
            for flag, value in choice.row.arguments.items():
                draft.add("weights", flag, value, note=f"{choice.intent} by {choice.row.method}")
            draft.environment |= choice.row.environment
        taken = {"none": ("unquantized",), "checkpoint": ()}.get(choice.intent, (f"{choice.intent} taken",))
        draft.decide("weights", "; ".join((*taken, *choice.notes)))
    except ServeError as error:
        return [error]
    return []


def _verbatim(draft: Draft, engine: Engine) -> list[ServeError]:
    problems = [_of_another_engine(draft, name, setting) for name, setting in _others(draft.deployment, engine)]
    for flag, setting in draft.deployment.below(f"args.{engine.name}.").items():
        where, known = setting.origin.place, draft.catalog.find(flag)
        try:
            values = setting.value if isinstance(setting.value, tuple) else (str(setting.value),)
            if why := reserved(known.name if known else flag, values, flag.split(".")[1:]):
                raise ServeError(f"{flag} is not passed on", where=where, fix=why)
            if known is None:
                text = setting.value if isinstance(setting.value, str) else ""
                what = f"{draft.target.release.title} has no flag {flag}"
                raise ServeError(what, where=where, fix=instead(flag, text, draft.catalog))
            draft.verbatim(known, flag, setting)
        except ServeError as error:
            problems.append(error)
    return problems


def _others(deployment: Deployment, engine: Engine) -> list[tuple[str, Setting]]:
    """Flags of another engine that were asked for by hand; a file may hold them for both."""
    return [
        (name, setting)
        for name, setting in deployment.below("args.").items()
        if setting.origin.layer == "command line" and not name.startswith(f"{engine.name}.")
    ]


def _of_another_engine(draft: Draft, name: str, setting: Setting) -> ServeError:
    what = f"args.{name} is for another engine than {draft.target.release.title}"
    return ServeError(what, where=setting.origin.place, fix=f"leave it out, or --engine {name.partition('.')[0]}")


def _secret(draft: Draft, engine: Engine, name: str) -> tuple[Secret | None, Path | None]:
    """How the API key reaches the engine: by its variable, or by a file that argv only names."""
    source, _, path = str(draft.deployment.get("api_key")).partition(":")
    if source == "none":
        return None, None
    file = None if source == "env" else settings.expanded(path).absolute() if path else settings.key_file(name)
    secret = Secret(source, file, engine.api_key_variable, engine.api_key_config)
    if engine.api_key_config is None:
        return secret, None
    secret_file = settings.secret_file(name)
    setting = draft.deployment.settings["api_key"]
    note = "holds the API key; written at start, readable by its owner only"
    draft.arguments.append(Argument(("--config", str(secret_file)), "api_key", setting, note))
    return secret, secret_file
