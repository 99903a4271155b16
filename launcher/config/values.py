"""The types of values: how text becomes a value, and how the type is written in help and in the JSON schema.

Every layer supplies text (a YAML scalar, a variable, an option), so one parser a type serves them all, and YAML's own
readings (``off`` as false, ``8:30`` as 510) never apply. ``parse`` raises ValueError with a reason to show.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, Protocol

from launcher.errors import nearest

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class Type(Protocol):
    """What a key's value may be."""

    @property
    def metavar(self) -> str:
        """The form shown in help, such as ``auto|fp8``."""

    def parse(self, text: str) -> Any:
        """The value that the text stands for; ValueError with the reason when it stands for none."""

    def schema(self) -> dict[str, Any]:
        """The same as a JSON schema."""


@dataclass(frozen=True)
class Text:
    """Any text of one line that is not empty; `pattern` (with `form` to say it in words) narrows it."""

    metavar: str = "TEXT"
    pattern: str = ""
    form: str = ""

    def parse(self, text: str) -> str:
        """The text itself."""
        if not text.strip():
            raise ValueError("is empty")
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text):
            raise ValueError("holds a control character or is not UTF-8")
        if text.startswith("-"):
            raise ValueError("begins with a hyphen, as flags do")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise ValueError(f"is not {self.form}")
        return text

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "minLength": 1, **({"pattern": f"^(?:{self.pattern})$"} if self.pattern else {})}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    metavar: str = "true|false"

    def parse(self, text: str) -> bool:
        """``true``/``yes``/``on``/``1`` or their opposites."""
        word = text.lower()
        if word in TRUE:
            return True
        if word in FALSE:
            return False
        raise ValueError("is neither true nor false")

    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds. `tokens` also takes ``32k`` (x 1024) and ``1m`` (x 1024 x 1024)."""

    least: int = 1
    most: int = 2**31 - 1
    tokens: bool = False
    metavar: str = "N"

    def parse(self, text: str) -> int:
        """The number."""
        match = re.fullmatch(r"([+-]?\d{1,18})([kKmM]?)", text.replace("_", ""))
        if not match or (match[2] and not self.tokens):
            raise ValueError("is not a whole number" + (" (such as 8192 or 32k)" if self.tokens else ""))
        number = int(match[1]) * {"": 1, "k": 1024, "m": 1024**2}[match[2].lower()]
        if not self.least <= number <= self.most:
            raise ValueError(f"is not between {self.least} and {self.most}")
        return number

    def schema(self) -> dict[str, Any]:
        """An integer, or text with a suffix."""
        number: dict[str, Any] = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return {"anyOf": [number, {"type": "string", "pattern": r"^\d+[kKmM]?$"}]} if self.tokens else number


@dataclass(frozen=True)
class Fraction:
    """A number above 0 and at most `most`."""

    most: float = 1.0
    metavar: str = "0..1"

    def parse(self, text: str) -> float:
        """The number."""
        try:
            number = float(text)
        except ValueError:
            raise ValueError("is not a number") from None
        if not math.isfinite(number) or not 0 < number <= self.most:
            raise ValueError(f"is not above 0 and at most {self.most:g}")
        return number

    def schema(self) -> dict[str, Any]:
        """A number."""
        return {"type": "number", "exclusiveMinimum": 0, "maximum": self.most}


@dataclass(frozen=True)
class Choice:
    """One of some words, or what `other` takes."""

    words: tuple[str, ...]
    other: Type | None = None
    also: dict[str, str] = field(default_factory=dict, hash=False)  # spelling -> word, such as half -> float16

    @property
    def metavar(self) -> str:
        """The words, joined."""
        return "|".join([*self.words, *([self.other.metavar] if self.other else [])])

    def parse(self, text: str) -> Any:
        """The word itself, or the other type's value."""
        if text in self.words:
            return text
        if text in self.also:
            return self.also[text]
        if self.other:
            try:
                return self.other.parse(text)
            except ValueError as error:
                raise ValueError(f"is not {' or '.join(self.words)}, and {error}") from None
        hint = nearest(text, self.words)
        raise ValueError(f"is none of {', '.join(self.words)}" + (f"; {hint}" if hint else ""))

    def schema(self) -> dict[str, Any]:
        """An enumeration; YAML reads the words on and off as booleans, so editors must let those pass."""
        words: list[Any] = [*self.words, *self.also]
        words += [value for word, value in (("on", True), ("off", False)) if word in words]
        return {"anyOf": [{"enum": words}, self.other.schema()]} if self.other else {"enum": words}


@dataclass(frozen=True)
class Many:
    """One or more of a type, in order: a YAML list, or words joined by commas."""

    of: Type

    @property
    def metavar(self) -> str:
        """The element's form, repeated."""
        return f"{self.of.metavar}[,...]"

    def parse(self, text: str) -> tuple[Any, ...]:
        """The values in order."""
        return self.parse_items([item.strip() for item in text.split(",")])

    def parse_items(self, items: list[str]) -> tuple[Any, ...]:
        """As `parse`, of a list."""
        values = []
        for item in items:
            try:
                values.append(self.of.parse(item))
            except ValueError as error:
                raise ValueError(f"holds {item!r}, which {error}") from None
        if not values:
            raise ValueError("is an empty list")
        if len(set(values)) != len(values):
            raise ValueError("names a value twice")
        return tuple(values)

    def schema(self) -> dict[str, Any]:
        """One, or an array of them."""
        one = self.of.schema()
        return {"anyOf": [one, {"type": "array", "minItems": 1, "uniqueItems": True, "items": one}]}


def show(value: Any) -> str:
    """A value as a user would write it."""
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(show(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
