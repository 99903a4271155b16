"""`presets/schema.json`: the vocabulary for editors, derived from the keys."""

from __future__ import annotations

from typing import Any

from launcher.config import keys


def schema() -> dict[str, Any]:
    """The JSON schema of presets and configuration files (draft 2020-12)."""
    properties: dict[str, Any] = {
        "extends": {"type": "string", "description": "The preset that this file builds on."},
        "description": {"type": "string", "description": "One line about this file."},
    }
    for key in keys.KEYS:
        entry = {"description": key.help, **_nullable(key.type.schema())}
        head, dot, member = key.name.partition(".")
        if dot:
            group = properties.setdefault(
                head, {"type": ["object", "null"], "additionalProperties": False, "properties": {}}
            )
            group["properties"][member] = entry
        else:
            properties[key.name] = entry
    scalar = {"type": ["string", "number", "boolean", "null"]}
    flags = {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "null", "array", "object"]},
    }
    properties["env"] = {"type": "object", "description": keys.OPEN_MAPS["env"], "additionalProperties": scalar}
    properties["args"] = {
        "type": "object",
        "description": keys.OPEN_MAPS["args"],
        "additionalProperties": False,
        "properties": dict.fromkeys(keys.ENGINES, flags),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A preset or configuration file of serve",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Null unsets a key, so it is allowed everywhere."""
    return (
        {"anyOf": [*schema["anyOf"], {"type": "null"}]} if "anyOf" in schema else {"anyOf": [schema, {"type": "null"}]}
    )
