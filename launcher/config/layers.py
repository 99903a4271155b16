"""Layers of settings: what each source says, where it says so, and which of them wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LAYERS = ("launcher", "preset", "file", "environment", "command line")


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: a layer, and the place in it (``balanced.yaml:7``, ``SERVE_PORT``, ``--port``)."""

    layer: str
    place: str

    def __str__(self) -> str:
        return self.place


@dataclass(frozen=True)
class Setting:
    """A value of a key, its origin, and the setting of a lower layer that it overrode."""

    value: Any
    origin: Origin
    overrode: Setting | None = None

    def history(self) -> tuple[Setting, ...]:
        """What it overrode, nearest first."""
        return () if self.overrode is None else (self.overrode, *self.overrode.history())


# A layer: names of keys (``context_length``, ``env.NAME``, ``args.vllm.--flag``) to settings, values parsed.
Layer = dict[str, Setting]


def merge(layers: list[Layer]) -> Layer:
    """One layer of all, lowest precedence first; each setting remembers what it overrode.

    None unsets a key: what the launcher itself says of it comes back, and else the matter is left to the engine.
    """
    merged: Layer = {}
    for layer in layers:
        for name, setting in layer.items():
            merged[name] = Setting(setting.value, setting.origin, merged.get(name))
    for name, setting in merged.items():
        own = (setting, *setting.history())[-1]
        if setting.value is None and own.origin.layer == LAYERS[0]:
            merged[name] = Setting(own.value, own.origin, setting)
    return merged
