"""How far a start is, read from the engine's own log. The patterns are data: data/phases.yaml."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from launcher.files import load_data

RULES = Path(__file__).parent / "data" / "phases.yaml"
FIRST = "starting the engine"
_READ_CHARACTERS = 2000  # phases and facts stand at the start of a line; a dump of arguments may have 16,000 characters


@dataclass(frozen=True)
class _Rules:
    phases: tuple[tuple[re.Pattern[str], str], ...]
    facts: tuple[tuple[str, re.Pattern[str]], ...]


class Progress:
    """What the lines so far say.

    Attributes:
        phase: in the words of people, such as ``loading weights``.
        facts: numbers by name, the unit in the name, such as ``weights_gib`` and ``kv_tokens``; phases.yaml lists them.
    """

    def __init__(self, engine: str) -> None:
        """For the log of ``vllm`` or ``sglang``."""
        self.phase = FIRST
        self.facts: dict[str, float | int] = {}
        self._rules = load_rules(engine)

    def line(self, text: str) -> bool:
        """Take one line of the log; true if another phase begins with it."""
        text = text[:_READ_CHARACTERS]
        for name, pattern in self._rules.facts:
            if name not in self.facts and (match := pattern.search(text)):
                digits = match[1].replace(",", "")
                self.facts[name] = float(digits) if "." in digits else int(digits)
        for pattern, phase in self._rules.phases:
            if pattern.search(text):
                changed, self.phase = phase != self.phase, phase
                return changed
        return False


@functools.cache
def load_rules(engine: str) -> _Rules:
    """The patterns for an engine."""
    rules = load_data(RULES)[engine]
    return _Rules(
        phases=tuple((re.compile(pattern), phase) for pattern, phase in rules["phases"]),
        facts=tuple((name, re.compile(pattern)) for name, pattern in rules["facts"].items()),
    )
