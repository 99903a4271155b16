"""All layers together: the deployment, every value with its origin."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from launcher.config import keys, presets, sources
from launcher.config.layers import Layer, Origin, Setting, merge
from launcher.config.request import Request
from launcher.errors import ServeError


@dataclass(frozen=True)
class Deployment:
    """The resolved keys: names to settings that are set, and the preset's name."""

    settings: Layer
    preset: str | None = None

    def get(self, name: str) -> Any:
        """A key's value, or None where the matter is left to the engine."""
        setting = self.settings.get(name)
        return setting.value if setting else None

    def below(self, prefix: str) -> dict[str, Setting]:
        """The settings of an open map, such as ``env.`` or ``args.vllm.``, by their inner names."""
        return {
            name.removeprefix(prefix): setting
            for name, setting in self.settings.items()
            if name.startswith(prefix) and setting.value is not None
        }


def layers(request: Request) -> list[Layer]:
    """Every layer that the request names, lowest precedence first.

    Raises:
        ServeError: a file, variable or option that is wrong.
    """
    stack = [{name: Setting(*_default(name, text)) for name, text in keys.defaults().items()}]
    if request.preset is not None:
        stack += presets.layers(presets.chain(presets.find(request.preset, "--preset")))
    for path in request.configs:
        stack += presets.layers(presets.chain(path, "file"))
    stack.append(sources.environment(request.variables))
    stack.append(sources.command_line(request.options, request.assignments))
    return stack


def _default(name: str, text: str) -> tuple[Any, Origin]:
    return keys.BY_NAME[name].type.parse(text), Origin("launcher", "default")


def resolve(stack: list[Layer], preset: str | None = None) -> Deployment:
    """One deployment of all layers, its values checked against each other.

    Raises:
        ServeError: values that contradict each other.
    """
    settings = merge(stack)
    deployment = Deployment(settings, preset)
    problems = [problem for rule in RULES if (problem := rule(deployment))]
    if problems:
        raise ServeError.gather(problems)
    return deployment


def _engine_named_twice(deployment: Deployment) -> ServeError | None:
    _, at, version = str(deployment.get("engine")).partition("@")
    other = deployment.settings.get("engine_version")
    if not at or other is None or other.value in (None, version):
        return None
    return ServeError(
        f"engine says {version}, engine_version says {other.value}", where=other.origin.place, fix="give one of them"
    )


def _loopback(host: str) -> bool:
    """Whether only this machine can reach the address; a name other than localhost may be anything."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_address(deployment: Deployment) -> ServeError | None:
    """What resolves is known when it is bound; what can be neither an address nor a name is known now."""
    host = str(deployment.get("host"))
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return None
    if re.fullmatch(r"(?!.*\.[\d.]*$)(?!-)[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", host) and not host.isdigit():
        return None
    fix = "an IPv4 or IPv6 address, or a host's name; the port is --port"
    return ServeError(f"host: {host!r} is no address", where=deployment.settings["host"].origin.place, fix=fix)


def _open_to_others(deployment: Deployment) -> ServeError | None:
    host = deployment.get("host")
    if (
        _loopback(str(host))
        or deployment.get("api_key") not in (None, "none")
        or deployment.get("allow_unauthenticated")
    ):
        return None
    return ServeError(
        f"host {host} would serve other machines without an API key",
        where=deployment.settings["host"].origin.place,
        fix="add --api-key auto (a key is made and kept in a file), or --allow-unauthenticated",
    )


def _draft_without_model(deployment: Deployment) -> ServeError | None:
    given = {name: setting for name, setting in deployment.settings.items() if name.startswith("speculative.")}
    given = {name: setting for name, setting in given.items() if setting.value is not None}
    for needed in ("speculative.method", "speculative.draft_model"):
        if given and needed not in given:
            name, setting = next(iter(given.items()))
            return ServeError(f"{name} is set, {needed} is not", where=setting.origin.place, fix=f"set {needed}")
    return None


def _node_out_of_range(deployment: Deployment) -> ServeError | None:
    count, rank = deployment.get("nodes.count") or 1, deployment.get("nodes.rank")
    if rank is not None and rank >= count:
        place = deployment.settings["nodes.rank"].origin.place
        return ServeError(f"nodes.rank {rank} is not below nodes.count {count}", where=place, fix="ranks count from 0")
    if count > 1 and (rank is None or deployment.get("nodes.address") is None):
        place = deployment.settings["nodes.count"].origin.place
        return ServeError("nodes.count needs nodes.rank and nodes.address", where=place, fix="give all three")
    return None


RULES = (_engine_named_twice, _no_address, _open_to_others, _draft_without_model, _node_out_of_range)
