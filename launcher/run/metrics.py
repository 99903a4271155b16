"""How much work a server has and whether it does it: read from its /metrics. The names are data: data/metrics.yaml."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

NAMES = Path(__file__).parent / "data" / "metrics.yaml"
_READ_CHARACTERS = 500  # a line that tells of tokens does so at its start


@dataclass(frozen=True)
class Load:
    """What a server says of itself; None for what it does not say.

    Attributes:
        tokens: generated since its start.
        running: requests that it works on.
        waiting: requests that wait for their turn.
        work: only to be compared: it differs from before when the engine has made a step, that of a prefill included.
            Empty when nothing is known of its steps.
        asleep: its user has put it to sleep, so that it works on nothing.
    """

    tokens: int | None = None
    running: int | None = None
    waiting: int | None = None
    work: tuple[float, ...] = ()
    asleep: bool = False

    @property
    def requests(self) -> int:
        """All that are there, running and waiting, as far as it is said."""
        return (self.running or 0) + (self.waiting or 0)


@dataclass(frozen=True)
class _Series:
    """A name, and what its label set has to contain; `pattern` finds labels and value."""

    pattern: re.Pattern[str]
    label: str
    repeats: re.Pattern[str]

    def total(self, text: str) -> float | None:
        """The sum over the label sets that fit, each number once; None if there is none."""
        values: dict[str, float] = {}
        for labels, number in self.pattern.findall(text):
            try:
                value = float(number)
            except ValueError:
                continue
            if self.label in labels and math.isfinite(value):
                who = self.repeats.sub("", labels)
                values[who] = max(value, values.get(who, value))
        return sum(values.values()) if values else None


@dataclass(frozen=True)
class _Names:
    tokens: tuple[_Series, ...]
    running: tuple[_Series, ...]
    waiting: tuple[_Series, ...]
    work: tuple[_Series, ...]
    awake: tuple[_Series, ...]
    line: re.Pattern[str]


def read(engine: str, text: str) -> Load:
    """The load in a text of Prometheus, of ``vllm`` or ``sglang``; a text that is none says nothing.

    It takes less than 1 ms for the 100 kB that an engine gives; a library would parse all of it for a few numbers.
    """
    names, text = _names(engine), "\n" + text
    work = (series.total(text) for series in names.work)
    return Load(
        tokens=_first(names.tokens, text),
        running=_first(names.running, text),
        waiting=_first(names.waiting, text),
        work=tuple(total for total in work if total is not None),
        asleep=_first(names.awake, text) == 0,
    )


def tells_of_tokens(engine: str, line: str) -> bool:
    """Whether a line of the log says that the engine has worked on a request since the last such line."""
    return bool(_names(engine).line.search(line[:_READ_CHARACTERS]))


def _first(names: tuple[_Series, ...], text: str) -> int | None:
    totals = (series.total(text) for series in names)
    return next((int(total) for total in totals if total is not None), None)


@functools.cache
def _names(engine: str) -> _Names:
    said = yaml.safe_load(NAMES.read_text(encoding="utf-8"))[engine]
    repeats = re.compile("|".join(rf'\b{label}="[^"]*"' for label in said["repeats"]) or "(?!)")

    def series(key: str) -> tuple[_Series, ...]:
        return tuple(_series(name, repeats) for name in said.get(key, ()))

    return _Names(
        tokens=series("tokens"),
        running=series("running"),
        waiting=series("waiting"),
        work=series("work"),
        awake=series("awake"),
        line=re.compile(said["line"]),
    )


def _series(selector: str, repeats: re.Pattern[str]) -> _Series:
    name, _, label = selector.rstrip("}").partition("{")
    # it begins with the end of the line before, and not with ^, so that the search is one for a fixed string
    return _Series(re.compile(rf"\n{re.escape(name)}(?:\{{(.*)\}})? (\S+)"), label, repeats)
