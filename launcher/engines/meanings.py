"""What an engine's flag means in our vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.engines import sglang, vllm, weights
from launcher.engines.catalog import Catalog
from launcher.engines.engine import Engine
from launcher.engines.flags import Flag

BY_NAME: dict[str, Engine] = {engine.name: engine for engine in (vllm.ENGINE, sglang.ENGINE)}


@dataclass(frozen=True)
class Meaning:
    """A flag as a key: the key, and the text of its value."""

    key: str
    text: str


def means(
    engine: Engine, known: Catalog, flag: Flag, values: tuple[str, ...], *, negated: bool = False
) -> Meaning | None:
    """The key that a flag stands for with these values, or None."""
    text = values[0] if len(values) == 1 else ""
    for spelling in flag.spellings:
        if intent := weights.meaning(engine.name, spelling, text, known.release):
            return Meaning("weights", intent)
        if spelling in engine.meanings:
            key, given, stands_for = engine.meanings[spelling]
            if given == "":
                return Meaning(key, number_text(engine, text))
            return Meaning(key, stands_for) if given in (None, text) and not negated else None
    spellings = {**engine.flags, "model": (engine.model_flag,), "served_name": ("--served-model-name",)}
    spellings |= {"host": ("--host",), "port": ("--port",)}
    for key, names in spellings.items():
        if any(found.name == flag.name for name in names if (found := known.find(name))):
            return Meaning(key, number_text(engine, text) if flag.takes_value else str(not negated).lower())
    return None


def number_text(engine: Engine, text: str) -> str:
    """A number with the engine's own suffix (whose k may be 1000) as a plain one."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)([a-zA-Z])", text)
    factor = engine.suffixes.get(match[2]) if match else None
    return str(int(float(match[1]) * factor)) if match and factor else text
