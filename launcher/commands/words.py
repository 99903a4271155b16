"""The words of a shell, as they are written: quotes, escapes, expansions. Nothing is expanded here.

The rules are those of bash's manual ("Quoting", "Shell Expansions"); the tests compare them with bash itself.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from launcher.commands.source import Text
from launcher.engines.flexible import UNKNOWN

DEPTH_LIMIT = 40  # of $(...) and the like in one another
COUNT_LIMIT = 100_000  # words, and pieces of words, in one text
TOO_DEEP = f"is nested more than {DEPTH_LIMIT} deep"
TOO_MANY = f"the rest is not read: more than {COUNT_LIMIT} words and signs"

RUN = re.compile(r"[^ \t\r\n'\"\\$`;&|<>()\0]+")
DOUBLE_RUN = re.compile(r'[^"\\$`\0]+')
DOCUMENT_RUN = re.compile(r"[^\\$`\0]+")
BRACE_RUN = re.compile(r"[^ \t\r\n'\"\\$`}\0]+")
_LINE_ENDED = re.compile(r"\\\r?\n")
_NAME = re.compile(r"\$(?:([A-Za-z_]\w*)|[0-9@*#?$!-])", re.ASCII)
_BRACED = re.compile(r"\$\{(?:([A-Za-z_]\w*)|[0-9]+|[@*])(\[[@*]\])?(?:(:?[-=+?])|(?=\}))", re.ASCII)
_BACKTICK = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL)
_BACKTICK_ESCAPE = re.compile(r"\\[^\r\n]")
_ANSI = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ANSI_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_ANSI_LETTERS = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class Part(NamedTuple):
    """A piece of a word: literal (`text`), a variable (`name`), or known only at run time (neither).

    A literal as long as its writing is written as it is; another is an escape. `words` are those after the operator of
    ``${name:-words}``; `array` is the ``[@]`` of ``${name[@]}``. `quoted` is how the quote around it begins.
    """

    text: str | None
    start: int
    end: int
    quoted: str = ""
    name: str = ""
    operator: str = ""
    words: tuple[Raw, ...] = ()
    array: str = ""


class Raw(NamedTuple):
    """A word as it is written, from `start` to `end` in the reader's text."""

    parts: list[Part]
    start: int
    end: int


class Open(Exception):  # noqa: N818 - caught where the text is read again, and never seen
    """Something is not closed, or nested too deep: where it begins, and what is wrong."""

    def __init__(self, at: int, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.at, self.what, self.fix = at, what, fix


class WordReader:
    """Reads words from `at` on; commands in a substitution are left to `script`, which the subclass has.

    Args:
        text: what is read.
        broken: places where something begins that is not closed: it is taken to end with its line.
        only_split: whether nothing is expanded, and a line break is a blank like any other.
    """

    def __init__(self, text: Text, broken: frozenset[int], *, only_split: bool = False) -> None:
        self.chars, self.broken, self.only_split = text.chars, broken, only_split
        self.at, self.size = 0, len(text.chars)
        self.count = 0
        self.openers: list[int] = []  # of $(, ${, ` in one another
        self.suspects: list[int] = []  # strings over several lines that end strangely

    def script(self, opener: int | None = None) -> None:
        """Reads commands to the ``)`` of the substitution that begins at `opener`, or to the end."""
        raise NotImplementedError

    def word(self) -> Raw:
        """The word that begins here; it may be empty."""
        start = self.at
        parts: list[Part] = []
        while self.at < self.size:
            if self.run(parts, RUN, ""):
                continue
            char = self.chars[self.at]
            if char in " \t\n;&|)" or self.chars.startswith("\r\n", self.at, self.size):
                break
            if char == "(":  # of a pattern such as @(a|b); any other ends the word
                pattern = bool(parts) and (parts[-1].text or "").endswith(("?", "*", "+", "@", "!"))
                end = self.matching(self.at) if pattern else None
                if end is None:
                    break
                parts.append(Part(None, self.at, end))
                self.at = end
            elif char in "<>" and not self.chars.startswith("(", self.at + 1, self.size):
                break
            else:
                self.piece(parts, "")
        self.counted()
        return Raw(parts, start, self.at)

    def counted(self) -> None:
        """Counts one thing more that takes time and memory."""
        self.count += 1
        if self.count > COUNT_LIMIT:
            raise Open(self.at, TOO_MANY, "is it the right file?")

    def run(self, parts: list[Part], characters: re.Pattern[str], quoted: str) -> bool:
        """Takes characters that mean themselves; False where there are none."""
        match = characters.match(self.chars, self.at, self.size)
        if match:
            parts.append(Part(match.group(), self.at, match.end(), quoted))
            self.at = match.end()
        return match is not None

    def piece(self, parts: list[Part], quoted: str) -> None:
        """Takes a quoted string, an escape, an expansion or one character."""
        at, char = self.at, self.chars[self.at]
        self.counted()
        if self.cut():
            parts.append(Part(None, at, self.at, quoted))
        elif char == "'" and not quoted:
            end = self.chars.find("'", at + 1, self.size)
            if end < 0:
                raise Open(at, "the quote ' is not closed", "close it with '")
            parts.append(Part(self.chars[at + 1 : end], at + 1, end, "'"))
            self._string_ended(at, end + 1)
        elif char == '"' and quoted != "<<":
            self._double(parts)
        elif char == "\\":
            self._escape(parts, quoted)
        elif char == "$" and not self.only_split:
            self._dollar(parts, quoted)
        elif char == "`" and not self.only_split:
            self._backtick(parts, quoted)
        elif char in "<>" and not quoted and self.chars.startswith("(", at + 1, self.size):
            self._substitution(parts, quoted)
        else:
            parts.append(Part(None if char == UNKNOWN else char, at, at + 1, quoted))
            self.at += 1

    def cut(self) -> bool:
        """Passes over the rest of the line, where something begins that is not closed."""
        found = self.at in self.broken
        if found:
            self.at = self.line_end()
        return found

    def line_end(self) -> int:
        """The place of the line break, or the end of the text."""
        end = self.chars.find("\n", self.at, self.size)
        return self.size if end < 0 else end

    def arithmetic(self, at: int) -> int | None:
        """Where the ``((...))`` that begins here ends; None when it is something else."""
        if not self.chars.startswith("((", at, self.size):
            return None
        inner, outer = self.matching(at + 1), self.matching(at)
        return outer if inner and outer == inner + 1 and outer <= self.size else None

    def matching(self, at: int) -> int | None:
        """The place after the ``)`` that belongs to the ``(`` here, when nothing but parentheses counts."""
        return self._parentheses.get(at)

    @functools.cached_property
    def _parentheses(self) -> dict[int, int]:
        opened: list[int] = []
        pairs: dict[int, int] = {}
        for match in re.finditer("[()]", self.chars):
            if match.group() == "(":
                opened.append(match.start())
            elif opened:
                pairs[opened.pop()] = match.end()
        return pairs

    def _string_ended(self, start: int, end: int) -> None:
        self.at = end
        after = self.chars[end : end + 1]
        if (after.isalnum() or after in ("$", "-", "/", "{", "_")) and self.chars.find("\n", start, end) > 0:
            self.suspects.append(start)

    def _double(self, parts: list[Part]) -> None:
        start, before = self.at, len(parts)
        self.at += 1
        while not self.chars.startswith('"', self.at, self.size):
            if self.at >= self.size:
                raise Open(start, 'the quote " is not closed', 'close it with "')
            if not self.run(parts, DOUBLE_RUN, '"'):
                self.piece(parts, '"')
        if len(parts) == before:
            parts.append(Part("", self.at, self.at, '"'))
        self._string_ended(start, self.at + 1)

    def _escape(self, parts: list[Part], quoted: str) -> None:
        at = self.at
        after = self.chars[at + 1 : at + 2] if at + 1 < self.size else ""
        if not self.only_split and (ended := _LINE_ENDED.match(self.chars, at, self.size)):
            self.at = ended.end()
        elif after and (not quoted or after in ("$`\\" if quoted == "<<" else '$`"\\')):
            parts.append(Part(None if after == UNKNOWN else after, at, at + 2, quoted or "\\"))
            self.at += 2
        else:
            parts.append(Part("\\", at, at + 1, quoted or "\\"))
            self.at += 1

    def _dollar(self, parts: list[Part], quoted: str) -> None:
        at = self.at
        after = self.chars[at + 1 : at + 2] if at + 1 < self.size else ""
        if after == "'" and not quoted:
            self._ansi(parts)
        elif after == '"' and not quoted:
            self.at += 1
            self.piece(parts, quoted)
        elif after == "(" and (end := self.arithmetic(at + 1)):
            parts.append(Part(None, at, end, quoted))
            self.at = end
        elif after == "(":
            self._substitution(parts, quoted)
        elif after == "{":
            self._braced(parts, quoted)
        elif named := _NAME.match(self.chars, at, self.size):
            parts.append(Part(None, at, named.end(), quoted, named[1] or "", array="[@]" if after == "@" else ""))
            self.at = named.end()
        else:
            parts.append(Part("$", at, at + 1, quoted))
            self.at += 1

    def _ansi(self, parts: list[Part]) -> None:
        """``$'...'``."""
        string = _ANSI.match(self.chars, self.at, self.size)
        if string is None:
            raise Open(self.at, "the quote $' is not closed", "close it with '")
        at = string.start(1)
        for escape in _ANSI_ESCAPE.finditer(self.chars, at, string.end(1)):
            if at < escape.start():
                parts.append(Part(self.chars[at : escape.start()], at, escape.start(), "$'"))
            parts.append(Part(_ansi_char(escape), *escape.span(), "$'"))
            at = escape.end()
        parts.append(Part(self.chars[at : string.end(1)], at, string.end(1), "$'"))
        self.at = string.end()

    def _substitution(self, parts: list[Part], quoted: str) -> None:
        """``$(...)`` and ``<(...)``: commands of their own, whose output is not known."""
        at = self.at
        self._deeper(at)
        self.at += 2
        self.script(at)
        self.openers.pop()
        parts.append(Part(None, at, self.at, quoted))

    def _backtick(self, parts: list[Part], quoted: str) -> None:
        at, ended = self.at, _BACKTICK.match(self.chars, self.at, self.size)
        if ended is None:
            raise Open(at, "the quote ` is not closed", "close it with `")
        if not _BACKTICK_ESCAPE.search(ended[1]):  # what is escaped in it would have other places
            self._deeper(at)
            size, self.size, self.at = self.size, ended.end(1), at + 1
            self.script()
            self.size = size
            self.openers.pop()
        self.at = ended.end()
        parts.append(Part(None, at, self.at, quoted))

    def _braced(self, parts: list[Part], quoted: str) -> None:
        """``${name}``, ``${name[@]}``, ``${name:-words}``; any other ``${...}`` is not known."""
        at, named = self.at, _BRACED.match(self.chars, self.at, self.size)
        self._deeper(at)
        self.at = named.end() if named else at + 2
        words = self._braced_words(at, quoted)
        self.openers.pop()
        name, array, operator = named.groups("") if named else ("", "", "")
        if self.chars.startswith("@", at + 2):
            array = "[@]"
        parts.append(Part(None, at, self.at, quoted, name, operator, tuple(words) if operator else (), array))

    def _braced_words(self, opener: int, quoted: str) -> list[Raw]:
        words: list[Raw] = []
        parts: list[Part] = []
        start = self.at
        while not self.chars.startswith("}", self.at, self.size):
            if self.at >= self.size:
                raise Open(opener, "`${` is not closed", "close it with `}`")
            if self.run(parts, BRACE_RUN, quoted):
                continue
            if self.chars[self.at] not in " \t\r\n" or quoted:
                self.piece(parts, quoted)
                continue
            if parts:
                words.append(Raw(parts, start, self.at))
            self.at += 1
            parts, start = [], self.at
        if parts:
            words.append(Raw(parts, start, self.at))
        self.at += 1
        return words

    def _deeper(self, at: int) -> None:
        self.openers.append(at)
        if len(self.openers) > DEPTH_LIMIT:
            raise Open(at, TOO_DEEP)


def _ansi_char(escape: re.Match[str]) -> str | None:
    """The character of an escape in ``$'...'``; None for one that is no whole character."""
    byte, short, long, octal, control, letter = escape.groups()
    if letter is not None:
        return _ANSI_LETTERS.get(letter, letter if letter in "\\'\"?" else "\\" + letter)
    if control is not None:
        return chr(ord(control) & 31) if control.isascii() and ord(control) & 31 else None
    code = int(octal, 8) if octal else int(byte or short or long, 16)
    return chr(code) if 0 < code < (0x80 if octal or byte else 0xD800) else None
