"""How much work a server has and whether it does it: read from its /metrics. The names are data: data/metrics.yaml."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path

from launcher.files import load_data

NAMES = Path(__file__).parent / "data" / "metrics.yaml"
_SAMPLE = re.compile(r"([\w:]+)(?:\{(.*)\})? (\S+)")  # name, labels, whose values may hold braces, and number
_READ_CHARACTERS = 500  # a line that tells of tokens does so at its start
_Samples = dict[str, list[tuple[str, float]]]


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
    """A name, what its label set has to contain, and the labels that do not tell numbers apart."""

    name: str
    label: str
    repeats: re.Pattern[str]

    def total(self, samples: _Samples) -> float | None:
        """The sum over the label sets that fit, each number once; None if there is none."""
        values: dict[str, float] = {}
        for labels, value in samples.get(self.name, ()):
            if self.label in labels:
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

    @functools.cached_property
    def every(self) -> set[str]:
        """All names that are read."""
        return {series.name for series in (*self.tokens, *self.running, *self.waiting, *self.work, *self.awake)}


def read(engine: str, text: str) -> Load:
    """The load in a text of Prometheus, of ``vllm`` or ``sglang``; a text that is none says nothing.

    It takes less than 1 ms; a library would parse all of the 100 kB that an engine gives, for a few numbers.
    """
    names = load_names(engine)
    samples = _samples(text, names.every)
    work = (series.total(samples) for series in names.work)
    return Load(
        tokens=_first(names.tokens, samples),
        running=_first(names.running, samples),
        waiting=_first(names.waiting, samples),
        work=tuple(total for total in work if total is not None),
        asleep=_first(names.awake, samples) == 0,
    )


def tells_of_tokens(engine: str, line: str) -> bool:
    """Whether a line of the log says that the engine has worked on a request since the last such line."""
    return bool(load_names(engine).line.search(line[:_READ_CHARACTERS]))


def _samples(text: str, names: set[str]) -> _Samples:
    """Labels and value by name, of the series that have a finite number."""
    found: _Samples = {}
    text = f"\n{text}\n"
    for name in names:
        at = text.find(f"\n{name}")  # all lines one by one would take ten times as long
        while at >= 0:
            end = text.index("\n", at + 1)
            if (match := _SAMPLE.match(text, at + 1, end)) and match[1] == name:
                with contextlib.suppress(ValueError):
                    value = float(match[3])
                    if math.isfinite(value):
                        found.setdefault(name, []).append((match[2] or "", value))
            at = text.find(f"\n{name}", end)
    return found


def _first(names: tuple[_Series, ...], samples: _Samples) -> int | None:
    totals = (series.total(samples) for series in names)
    return next((int(total) for total in totals if total is not None), None)


@functools.cache
def load_names(engine: str) -> _Names:
    """The names of an engine."""
    said = load_data(NAMES)[engine]
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
    return _Series(name, label, repeats)
