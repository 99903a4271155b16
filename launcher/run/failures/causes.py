"""The causes for which engines end, and their signs: data/diagnoses.yaml, as values."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add, sub, truediv
from pathlib import Path
from typing import Any

from launcher.files import load_data

DATA = Path(__file__).parent / "data" / "diagnoses.yaml"
_PATTERNS = ("error", "within", "line")
_COMPUTED = re.compile(r"\{(\w+)(?:([-+/])([\w.]+))?\}")
_OPERATORS = {"-": sub, "+": add, "/": truediv}
_FRACTION_LIMIT = 0.95  # of GPU memory; something is left for what neither engine counts


@dataclass(frozen=True)
class Cause:
    """Why an engine ends; the fields are explained in data/diagnoses.yaml."""

    id: str
    title: str
    advice: str
    changes: Mapping[str, str] = field(default_factory=dict)
    restart: bool = False
    remedy: bool = False


@dataclass(frozen=True)
class Sign:
    """One way in which a cause shows; the fields are explained in data/diagnoses.yaml."""

    cause: Cause
    engine: str = ""
    releases: str = ""
    when: str = ""
    error: re.Pattern[str] | None = None
    within: re.Pattern[str] | None = None
    line: re.Pattern[str] | None = None
    exit: int | None = None
    echoed: bool = False
    oom: bool = False
    sure: bool = True
    measured: tuple[str, ...] = ()
    read: str = ""


@dataclass(frozen=True)
class Setting:
    """Where a log tells a setting (the first group), and the flag whose default counts where it does not."""

    said: re.Pattern[str]
    flag: str = ""


@dataclass(frozen=True)
class Causes:
    """All of data/diagnoses.yaml, which explains the fields; settings by engine and name."""

    signs: tuple[Sign, ...]
    dying: re.Pattern[str]
    handled: re.Pattern[str]
    working: re.Pattern[str]
    ending: re.Pattern[str]
    echoes: tuple[re.Pattern[str], ...]
    settings: Mapping[str, Mapping[str, Setting]]
    beside: re.Pattern[str]
    beside_advice: str


@functools.cache
def load() -> Causes:
    """What is known."""
    data = load_data(DATA)
    signs = []
    for name, fields in data["causes"].items():
        own = fields.pop("signs")
        cause = Cause(name, **fields)
        signs += [Sign(cause, **_read(sign)) for sign in own]
    return Causes(
        signs=tuple(signs),
        dying=re.compile("|".join(data["dying"])),
        handled=re.compile("|".join(data["handled"])),
        working=re.compile("|".join(data["working"])),
        ending=re.compile("|".join(data["ending"])),
        echoes=tuple(map(re.compile, data["echoes"])),
        settings={
            engine: {
                name: Setting(re.compile(setting["said"]), setting.get("flag", ""))
                for name, setting in settings.items()
            }
            for engine, settings in data["settings"].items()
        },
        beside=re.compile(data["beside"]["line"]),
        beside_advice=data["beside"]["advice"],
    )


def _read(sign: dict[str, Any]) -> dict[str, Any]:
    patterns = {name: re.compile(sign[name]) for name in _PATTERNS if name in sign}
    return {**sign, **patterns, "measured": tuple(sign.get("measured", ()))}


def filled(text: str, names: Mapping[str, str]) -> str | None:
    """A text with the values of what it names, ``{one-0.05}``, ``{one+0.1}`` and ``{one/other}`` computed.

    Results of integers are integers; others are shares of memory, with two decimals, rounded down.

    Returns:
        None where a name has no value, or where the result is nothing that a setting could be.
    """

    def value(match: re.Match[str]) -> str:
        name, operator, other = match.groups()
        if not operator:
            return names[name]
        left, right = names[name], names.get(other, other)
        result = _OPERATORS[operator](float(left), float(right))
        whole = left.isdigit() and right.isdigit()
        if result <= 0 or (not whole and result > _FRACTION_LIMIT):
            raise ValueError
        return str(int(result)) if whole else f"{math.floor(result * 100 + 1e-6) / 100:g}"

    try:
        return _COMPUTED.sub(value, text)
    except (KeyError, ValueError, ZeroDivisionError):
        return None
