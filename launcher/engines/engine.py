"""An engine as a set of differences: what `vllm.py` and `sglang.py` each fill in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from launcher.engines.draft import Draft
from launcher.engines.target import Target

# Writes a key's value into the draft in the engine's own way, or refuses it.
Expression = Callable[[Draft, Any], None]


@dataclass(frozen=True)
class Engine:
    """How one engine is told what our keys ask for.

    Attributes:
        name: ``vllm`` or ``sglang``.
        flags: keys that are one flag; where releases differ, the first spelling that the release has is taken.
        expressions: keys that are said in another way: writes them into the draft, or refuses them.
        meanings: flags that mean a key by other values than their own: flag -> (key, flag's value, key's text);
            None for the value means that the flag takes none, an empty one that the value is passed on.
        suffixes: what the engine takes ``32k`` and its like for, in its own flags.
        program: the first words of argv.
        model: writes the model into the draft.
        api_key_variable: the environment variable that hands over the API key, or None.
        api_key_config: the key of the engine's ``--config`` YAML that hands it over, or None.
        modelscope_variable: makes the engine look repositories up on ModelScope.
        additions: writes what no key asks for but the device or our supervision needs.
        devices: what the engine's published builds run on.
    """

    name: str
    flags: Mapping[str, tuple[str, ...]]
    expressions: Mapping[str, Expression]
    meanings: Mapping[str, tuple[str, str | None, str]]
    suffixes: Mapping[str, int]
    program: Callable[[Target], tuple[str, ...]]
    model: Callable[[Draft, str], None]
    model_flag: str
    modelscope_variable: str
    api_key_variable: str | None = None
    api_key_config: str | None = None
    additions: Callable[[Draft], None] | None = None
    devices: tuple[str, ...] = ("cuda",)
