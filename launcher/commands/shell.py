"""The commands of a shell script with their words expanded, as far as the script itself says what they hold.

Nothing is run. A variable is known where the script sets it to one literal value; what is read, looped over or printed
by another program is not.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from launcher.commands import script
from launcher.commands.scopes import SCRIPT, Scope
from launcher.commands.script import Assignment, Command
from launcher.commands.source import Call, Escape, Reading, Text, Trouble, Word, harmless, refused, split
from launcher.commands.words import Part, Raw
from launcher.engines.flexible import UNKNOWN
from launcher.errors import ServeError

_GLOB = re.compile(r"[*?]")
_BLANKS = re.compile(r"[ \t\n]")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_LIMIT = 500_000  # characters that come out of variables
_EXPORTS = 500  # variables that are kept
_ENGINES = re.compile("vllm|sglang")
_SEQUENCE = re.compile(r"\{\w+\.\.\w+")
# Builtins that set variables to what nobody knows: which of their words are the names.
_SETTERS = {
    "for": slice(1, 2), "select": slice(1, 2), "read": slice(1, None), "mapfile": slice(1, None),
    "readarray": slice(1, None), "getopts": slice(2, 3), "let": slice(1, None), "unset": slice(1, None),
}  # fmt: skip


class _TooMuch(Exception):  # noqa: N818 - caught below, and never seen
    """Variables in variables have grown beyond what a script can mean."""


@dataclass
class _Value:
    """What a variable holds: pieces of one text, or the words of an array, each with the scope that added it."""

    start: int
    end: int
    texts: list[tuple[Text, Scope]] = field(default_factory=list)
    words: list[tuple[Word, Scope]] | None = None


def read(text: Text, environment: Iterable[tuple[str, Word]] = (), *, only_split: bool = False) -> Reading:
    """The commands of a script.

    Args:
        text: the script.
        environment: variables that it is run with, which it can use.
        only_split: whether it is split into words and nothing else: line breaks are blanks, a dollar sign is one.
    """
    commands, troubles = script.read(text, only_split=only_split)
    shell = _Shell(text, commands, only_split=only_split)
    shell.environment = tuple(environment)
    for name, word in shell.environment:
        shell.values[name] = _Value(word.start, word.end, [(word.inside(), SCRIPT)])
    reading = Reading(troubles=troubles)
    try:
        for command in commands:
            shell.run(command, reading)
    except _TooMuch:
        start = text.span(command.words[0].start, command.words[0].start)[0] if command.words else 0
        what = "the rest is not read: its variables hold more text than a script can mean"
        reading.troubles.append(Trouble(start, text.span(0, len(text.chars))[1], what))
    return reading


def quoted(escape: Escape, word: str) -> str:
    """A word as a shell reads it back, in the way that needs the fewest characters where it is to stand.

    Raises:
        ServeError: it cannot be written there.
    """
    double = '"' + re.sub(r'([\\"$`])', r"\\\1", word) + '"'
    forms: list[str] = []
    for form in (shlex.quote(word), double):
        try:
            forms.append(escape(form))
        except ServeError:
            if form is double and not forms:
                raise
    return min(forms, key=len)


class _Shell:
    """The variables of a script while its commands are gone through in order."""

    def __init__(self, text: Text, commands: list[Command], *, only_split: bool) -> None:
        self.text, self.only_split = text, only_split
        self.quote: Escape = functools.partial(quoted, text.escape)
        self.values: dict[str, _Value] = {}
        self.environment: tuple[tuple[str, Word], ...] = ()  # what is exported; the first ones of very many
        self.exports_all = False
        self.spent = 0
        self.random: set[str] = set()  # names whose value nobody knows
        self.changing: dict[str, Scope | None] = {}  # names with several values, and the scope of them all
        self._survey(commands)

    def _survey(self, commands: list[Command]) -> None:
        """Finds the variables whose value is not one for the whole script."""
        values: dict[str, set[str]] = {}
        scopes: dict[str, set[Scope]] = {}
        for command in commands:
            for name in self._set_by(command):
                self.random.add(name)
            for name, add, value, whole in command.assignments if not command.words or command.declares else ():
                if not whole:
                    self.random.add(name)
                scopes.setdefault(name, set()).add(command.scope)
                if not add and not _appends(name, value):
                    values.setdefault(name, set()).add(self._written(value))
        for name, different in values.items():
            if len(different) > 1:
                self.changing[name] = next(iter(scopes[name])) if len(scopes[name]) == 1 else None

    def _set_by(self, command: Command) -> Iterator[str]:
        first = self._written(command.words[0]) if command.words else ""
        names = command.words[_SETTERS.get(first, slice(0, 0))]
        if first == "printf" and len(command.words) > 2 and self._written(command.words[1]) == "-v":  # noqa: PLR2004
            names = command.words[2:3]
        for name in names:
            if match := _IDENTIFIER.match(self._written(name)):
                yield match.group()

    def _written(self, value: Raw | list[Raw]) -> str:
        words = value if isinstance(value, list) else [value]
        return self.text.chars[words[0].start : words[-1].end] if words else ""

    # Commands

    def run(self, command: Command, reading: Reading) -> None:
        """Takes in a command's assignments and adds it to what is read."""
        own = command.assignments if command.words and not command.declares else []
        words = tuple(word for raw in command.words for word in self.expand(raw, command.scope))
        if self.only_split or any(_ENGINES.search(word.text) for word in words):  # nothing else is a launch
            variables = self.environment
            if own:
                assigned = {each.name: self._assigned(each, command.scope) for each in own}
                variables = tuple((dict(variables) | assigned).items())
            literal = all(part.text is not None for raw in command.words[:1] for part in raw.parts)
            reading.calls.append(Call(words, variables, prefix=literal))
        for document in command.documents:
            reading.documents.append(self._joined(document, command.scope)[0])
        if own:
            return
        for assignment in command.assignments:
            self._assign(assignment, command.scope)
        self._export(command, words)

    def _export(self, command: Command, words: tuple[Word, ...]) -> None:
        texts = [word.text for word in words[:3]]
        if texts[:1] == ["set"]:
            for on, off in ((["-a"], ["+a"]), (["-o", "allexport"], ["+o", "allexport"])):
                self.exports_all = (self.exports_all or texts[1:] == on) and texts[1:] != off
        declared = texts[:1] == ["export"] or (command.declares and "-x" in texts)
        names = [each.name for each in command.assignments]
        names += [word.text for word in words[1:] if _IDENTIFIER.fullmatch(word.text)] if declared else []
        exported: dict[str, Word] = {}
        for name in names if (declared or self.exports_all) and len(self.environment) < _EXPORTS else ():
            value = self._lookup(name, command.scope)
            if value is not None and value.words is None:
                exported[name] = self._scalar(value, command.scope, value.start, value.end)
        if exported:
            self.environment = tuple((dict(self.environment) | exported).items())

    def _assigned(self, assignment: Assignment, scope: Scope) -> Word:
        """The value of ``name=value`` before a command."""
        if isinstance(assignment.value, list):
            return Word(UNKNOWN, 0, 0, quote=refused)
        return self._one(assignment.value, scope)

    def _assign(self, assignment: Assignment, scope: Scope) -> None:
        name, value = assignment.name, assignment.value
        old = self.values.get(name)
        if isinstance(value, list):
            words = [(word, scope) for raw in value for word in self.expand(raw, scope)]
            kept = old.words if assignment.add and old and old.words is not None else []
            self.values[name] = _Value(0, 0, words=kept)
            kept += words
            return
        start, end = self.text.span(value.start, value.end)
        kept_texts: list[tuple[Text, Scope]] = []
        if old and (assignment.add or _appends(name, value)):
            kept_texts = old.texts
            value = value if assignment.add else value._replace(parts=value.parts[1:])
        self.values[name] = _Value(start, end, [*kept_texts, (self._joined(value, scope, defined=True)[0], scope)])

    # Words

    def expand(self, raw: Raw, scope: Scope) -> list[Word]:
        """The words that a written word becomes."""
        if len(raw.parts) == 1:
            part = raw.parts[0]
            if part.text is not None and not part.quoted and not _GLOB.search(part.text) and "{" not in part.text:
                return [Word(part.text, *self._span(raw), quote=self._quote(raw))]
            if part.text is None and (words := self._expansion(part, raw, scope)) is not None:
                return words
        return [self._one(raw, scope)]

    def _one(self, raw: Raw, scope: Scope) -> Word:
        """A written word as one word."""
        content, many = self._joined(raw, scope)
        text = content.chars
        literal = "".join("_" if part.quoted else part.text or "_" for part in raw.parts)
        if not self.only_split and ((_GLOB.search(literal) and not text.startswith("-")) or _expands(literal)):
            text, many = re.split(r"[*?{]", text, maxsplit=1)[0] + UNKNOWN, True
        return Word(text, *self._span(raw), many=many, quote=self._quote(raw), content=content)

    def _span(self, raw: Raw) -> tuple[int, int]:
        return self.text.span(raw.start, raw.end)

    def _quote(self, raw: Raw) -> Escape:
        return self.quote if self.text.separate(raw.start, raw.end) else refused

    def _expansion(self, part: Part, raw: Raw, scope: Scope) -> list[Word] | None:
        """The words of an expansion that stands alone; None where it is one word like any other."""
        value = self._lookup(part.name, scope)
        if part.operator.endswith("+") or (value is None and part.operator.endswith(("-", "="))):
            return self._alternative(part, raw, scope, given=value is not None)
        if value is None:
            many = not part.quoted or bool(part.array)
            return [Word(UNKNOWN, *self._span(raw), many=many, quote=self._quote(raw))]
        if value.words is not None and part.array and (part.array == "[@]" or not part.quoted):
            self._spend(sum(len(word.text) for word, _ in value.words))
            words = [replace(word, perhaps=True) if added.outside(scope) else word for word, added in value.words]
            return words if part.quoted else [piece for word in words for piece in split(word)]
        if value.words is not None or part.array:
            return None
        word = self._scalar(value, scope, *self._span(raw), quote=self._quote(raw))
        return [word] if part.quoted else list(split(word))

    def _alternative(self, part: Part, raw: Raw, scope: Scope, *, given: bool) -> list[Word] | None:
        """The words of ``${name:-words}`` where the script sets no such variable, or of ``${name:+words}``."""
        optional = part.operator.endswith("+")
        if part.quoted and not optional:
            return None
        words = [word for each in part.words for word in self.expand(each, scope)]
        if optional:
            return words if given else [replace(word, perhaps=True) for word in words]
        start, end = self._span(raw)
        return words if len(words) != 1 else [replace(words[0], start=start, end=end, quote=self._quote(raw))]

    def _scalar(self, value: _Value, scope: Scope, start: int, end: int, quote: Escape | None = None) -> Word:
        texts = [
            text if len(value.texts) == 1 or not added.outside(scope)
            else Text.at(" " + UNKNOWN, *text.span(0, len(text.chars)))
            for text, added in value.texts
        ]  # fmt: skip
        content = texts[0] if len(texts) == 1 else Text.join(texts, harmless)
        self._spend(len(content.chars))
        return Word(content.chars, start, end, quote=quote or self.quote, content=content)

    def _joined(self, raw: Raw, scope: Scope, *, defined: bool = False) -> tuple[Text, bool]:
        """A written word as one text, and whether it may be several words.

        With `defined`, what variables hold keeps the places where they were set, not those where they are used.
        """
        texts: list[Text] = []
        many = False
        for part in raw.parts:
            if part.text is not None and len(part.text) == part.end - part.start:
                texts.append(self.text.cut(part.start, part.end))
                continue
            span = self.text.span(part.start, part.end)
            if part.text is not None:
                texts.append(Text.at(part.text, *span))
                continue
            value = self._value_of(part, scope)
            chars = value.chars if value is not None else UNKNOWN
            if not part.quoted and UNKNOWN not in chars and _BLANKS.search(chars) and not defined:
                value, chars = None, UNKNOWN
            many = many or (not part.quoted and UNKNOWN in chars) or bool(part.array)
            texts.append(value if value is not None and defined else Text.at(chars, *span))
        escape = _escape_of({part.quoted for part in raw.parts}, self.text.escape)
        if len(texts) == 1:
            return replace(texts[0], escape=escape), many
        return Text.join(texts, escape), many

    def _value_of(self, part: Part, scope: Scope) -> Text | None:
        """What one expansion in a longer word holds, if it is known and one text."""
        value = self._lookup(part.name, scope)
        if value is not None and value.words is None and not part.operator.endswith("+"):
            return self._scalar(value, scope, part.start, part.end).inside()
        if value is None and part.operator.endswith(("-", "=")) and len(part.words) <= 1:
            return self._joined(part.words[0], scope)[0] if part.words else Text.at("", part.start, part.end)
        return None

    def _lookup(self, name: str, scope: Scope) -> _Value | None:
        """A variable's value at a place, if it is certain what it is there."""
        if name in self.random:
            return None
        if name in self.changing:
            common = self.changing[name]
            if common is None or common.outside(scope) or "function" in scope.outside(common):
                return None
        return self.values.get(name)

    def _spend(self, size: int) -> None:
        self.spent += size
        if self.spent > _LIMIT:
            raise _TooMuch


def _appends(name: str, value: Raw | list[Raw]) -> bool:
    """Whether it is ``name="$name more"``, which adds to what is there."""
    return isinstance(value, Raw) and bool(value.parts) and value.parts[0].name == name


def _expands(literal: str) -> bool:
    """Whether a word holds ``{a,b}`` or ``{1..3}`` outside of quotes."""
    commas: list[bool] = []
    for char in literal if "{" in literal else "":
        if char == "{":
            commas.append(False)
        elif char == "," and commas:
            commas[-1] = True
        elif char == "}" and commas and commas.pop():
            return True
    return _SEQUENCE.search(literal) is not None


def _escape_of(quotes: set[str], outer: Escape) -> Escape:
    """How characters are written inside a word that is quoted so."""
    if quotes == {"'"}:
        return lambda text: outer(text.replace("'", "'\\''"))
    if quotes == {'"'}:
        return lambda text: outer(re.sub(r'([\\"$`])', r"\\\1", text))
    if quotes == {"<<"}:
        return lambda text: outer(re.sub(r"([\\$`])", r"\\\1", text))
    return outer if quotes == {"<<'"} else harmless
