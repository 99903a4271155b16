"""Words of a command replaced, removed and added in the text where they stand, in the way in which it is written."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.commands.launches import Launch
from launcher.commands.source import Source, Word
from launcher.engines.flexible import UNKNOWN

# What may stand between two words of one list: blanks, a line's continuation, and the commas and dashes of YAML.
_BETWEEN = re.compile(r"(?:[ \t,]|\\?\r?\n|(?<=[ \t\n])-[ \t]+)+")
_ENDS = re.compile(r"[ \t]*(?:\r?\n|\)|[ \t]#|\Z)")  # what may stand after the last word of a line, or of an array
_PAIR = 2  # a flag and its value


@dataclass(frozen=True)
class Change:
    """One replacement in the text, and why.

    Attributes:
        start: the offset where the replaced text begins.
        end: the offset after it.
        text: what takes its place.
        why: the reason, in one sentence; "" where the change speaks for itself.
        evidence: where it was read.
    """

    start: int
    end: int
    text: str
    why: str = ""
    evidence: tuple[str, ...] = ()


class Rewriter:
    """Changes to one command's text. Places count the words after the program, from 0."""

    def __init__(self, source: Source, launch: Launch) -> None:
        """Args: source: the text; launch: the command in it."""
        self.text, self.launch = source.text, launch
        self.forward: set[int] = set()  # places of words that are taken out with what stands after them

    def written(self, word: Word) -> str:
        """A word as it stands in the text."""
        return self.text[word.start : word.end]

    def replaced(
        self, places: Sequence[int], words: Sequence[str], why: str = "", evidence: tuple[str, ...] = ()
    ) -> Change | None:
        """New words in place of some that follow each other; none removes them; None where that cannot be done."""
        if not words:
            return self._removed(places, why, evidence)
        held = [self.launch.words[place] for place in places]
        if renamed := self._renamed(held, words):
            return Change(*renamed, why, evidence)
        first, last = held[0], held[-1]
        if len(words) == _PAIR and len(held) == 1 and "=" in self.written(first) and words[0].startswith("--"):
            words = ("=".join(words),)
        values = {word.text: self.written(word) for word in held[1:]}  # they stay as they are written: "$PORT"
        if any(UNKNOWN in word and word not in values for word in words) or not self._together(places):
            return None
        apart = self._before(places[0])
        inner = self.text[first.end : held[1].start] if len(held) > 1 else _inner(apart)
        new = [first.quote(words[0])]
        new += [(apart if word.startswith("-") else inner) + values.get(word, first.quote(word)) for word in words[1:]]
        return Change(first.start, last.end, "".join(new), why, evidence)

    def _renamed(self, held: Sequence[Word], words: Sequence[str]) -> tuple[int, int, str] | None:
        """Another flag in place of the first word, or of its part before ``=``, where the values stay."""
        first = held[0]
        name, equals, value = first.text.partition("=")
        flag, _, joined = words[0].partition("=") if equals and len(words) == 1 else (words[0], "", None)
        after = tuple(words[1:]) if joined is None else (joined,)
        if after != (*((value,) if equals else ()), *(word.text for word in held[1:])):
            return None
        if not equals:
            return first.start, first.end, first.quote(flag)
        return self._beginning(first, name, flag)

    def begun(self, word: Word, name: str, flag: str, why: str) -> Change | None:
        """Another beginning of a word, in place of `name`; None where that is not written by itself."""
        made = self._beginning(word, name, flag)
        return Change(*made, why) if made else None

    def _beginning(self, word: Word, name: str, flag: str) -> tuple[int, int, str] | None:
        if name == word.text:
            return word.start, word.end, word.quote(flag)
        inside = word.inside()
        start, end = inside.span(0, len(name))
        return (start, end, inside.escape(flag)) if self.text[start:end] == name else None

    def value(self, places: Sequence[int]) -> str:
        """A flag's one value as it is written, as a word of its own."""
        held = [self.launch.words[place] for place in places]
        if len(held) > 1:
            return self.written(held[-1])
        value = held[0].text.partition("=")[2]
        if UNKNOWN not in value:
            return self.launch.quote(value)
        return self.written(held[0].after(len(held[0].text) - len(value)))

    def prefixed(self, place: int, flag: str) -> Change:
        """A flag before a word that stays."""
        word = self.launch.words[place]
        return Change(word.start, word.start, word.quote(flag) + _inner(self._before(place)))

    def added(self, words: Sequence[str], why: str) -> Change:
        """Words after all others, or after those that stand there under no condition."""
        certain = list(itertools.takewhile(lambda word: not word.perhaps, self.launch.words))
        last = (*self.launch.program, *certain)[-1]
        apart = self._before(len(certain) - 1)
        return Change(last.end, last.end, apart + _inner(apart).join(map(self.launch.quote, words)), why)

    def variable(self, name: str, value: str) -> Change:
        """An environment variable before the program."""
        first = self.launch.program[0]
        return Change(first.start, first.start, f"{name}={self.launch.quote(value)} ")

    def program(self, words: Sequence[str], raw: str = "") -> Change:
        """Another program; `raw` follows it as it is."""
        first, last = self.launch.program[0], self.launch.program[-1]
        inner = _inner(self._before(1 - len(self.launch.program)))
        return Change(first.start, last.end, inner.join((*map(first.quote, words), *([raw] if raw else []))))

    def _removed(self, places: Sequence[int], why: str, evidence: tuple[str, ...]) -> Change | None:
        """Words taken out with what keeps them apart from one of their neighbours."""
        words = self.launch.words
        first, last = words[places[0]], words[places[-1]]
        before = words[places[0] - 1] if places[0] else self.launch.program[-1]
        after = words[places[-1] + 1] if places[-1] + 1 < len(words) else None
        if not self._together(places):
            return None
        follows = places[0] - 1 in self.forward
        if self._adjacent(before.end, first.start) and not follows:
            return Change(before.end, last.end, "", why, evidence)
        if after and self._adjacent(last.end, after.start):
            self.forward.update(places)
            return Change(first.start, after.start, "", why, evidence)
        if follows or (self._begins(first.start) and _ENDS.match(self.text, last.end)):
            return Change(first.start, last.end, "", why, evidence)
        return None

    def _begins(self, start: int) -> bool:
        """Whether nothing stands before a place in its line, or in an array."""
        while start > 0 and self.text[start - 1] in " \t":
            start -= 1
        return start == 0 or self.text[start - 1] in "\n("

    def _together(self, places: Sequence[int]) -> bool:
        """Whether words stand side by side in the text, not only in the command."""
        held = [self.launch.words[place] for place in places]
        return all(self._adjacent(one.end, other.start) for one, other in itertools.pairwise(held))

    def _adjacent(self, end: int, start: int) -> bool:
        return end <= start and _BETWEEN.fullmatch(self.text, end, start) is not None

    def _before(self, place: int) -> str:
        """What stands between a word and the one before it; where there is more, such as a comment, between others."""
        words = (*self.launch.program, *self.launch.words)
        at = len(self.launch.program) + place
        return self._between(words[at - 1], words[at]) or self._usual

    @functools.cached_property
    def _usual(self) -> str:
        pairs = itertools.pairwise((*self.launch.program, *self.launch.words))
        return next(filter(None, itertools.starmap(self._between, pairs)), " ")

    def _between(self, one: Word, other: Word) -> str:
        return self.text[one.end : other.start] if self._adjacent(one.end, other.start) else ""


def _inner(apart: str) -> str:
    """What stands between a flag and its value: a blank, or what parts the items of a list."""
    return apart if re.search(r"[-,]", apart) else " "
