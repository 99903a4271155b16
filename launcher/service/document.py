"""A deployment as the file that a service serves: every key that was decided, and nothing that the launcher derives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launcher import settings
from launcher.config import keys
from launcher.config.layers import LAYERS
from launcher.config.resolve import Deployment
from launcher.engines.command import Command
from launcher.engines.confidential import is_secret_variable
from launcher.errors import ServeError

_PATHS = ("engine_python", "chat_template", "model", "speculative.draft_model")  # what may name a file
_RELEASE = ("engine", "engine_version")


def document(command: Command, deployment: Deployment, key: Path | None, secrets: Path) -> str:
    """The text of the file; read again it gives the same command, wherever that happens.

    Args:
        command: what the deployment became here: its release and model are written down.
        deployment: the resolved keys.
        key: the file of the API key as the service finds it, or None for a server without one.
        secrets: the file that secrets of the environment belong into, for the error.

    Raises:
        ServeError: a key holds a secret, which a file that all may read must not.
    """
    import yaml  # noqa: PLC0415 - only here

    values: dict[str, Any] = {"engine": str(command.target.release)}
    order = {name: number for number, name in enumerate(keys.BY_NAME)}  # whatever layers they came from
    for name, setting in sorted(deployment.settings.items(), key=lambda each: order.get(each[0], len(order))):
        if name in _RELEASE or setting.value is None:
            continue
        if setting.origin.layer == LAYERS[0] and name != "model" and setting.overrode is None:
            continue
        variable = name.removeprefix("env.")
        if variable != name and is_secret_variable(variable):
            fix = f"write {variable}=... into {secrets} (chmod 600), which the service reads"
            raise ServeError(f"{variable} is a secret", where=setting.origin.place, fix=fix)
        if name != "api_key":
            values[name] = _absolute(setting.value) if name in _PATHS else setting.value
    if key:
        values["api_key"] = f"file:{key}"
    text = yaml.safe_dump(_nested(values), sort_keys=False, allow_unicode=True, width=120)
    return f"# What serve@{command.name}.service serves. Written by serve service install.\n{text}"


def _absolute(value: Any) -> Any:
    """A folder or file of this host from its root; a model's id as it is."""
    path = settings.expanded(str(value))
    return str(path.absolute()) if path.exists() else value


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """Names with dots as maps; the name of a flag or variable may hold dots of its own."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        head, *rest = name.split(".", 2 if name.startswith("args.") else 1)
        inner = nested
        for part in [head, *rest][:-1]:
            inner = inner.setdefault(part, {})
        inner[[head, *rest][-1]] = list(value) if isinstance(value, tuple) else value
    return nested
