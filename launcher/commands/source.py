"""A file as it is written, and the place of everything that is read in it.

Whatever is read out of a file keeps the offsets that it stands at: a word in quotes, a word of a script in a string of
YAML. `Text` carries them from one reading to the next.
"""

from __future__ import annotations

import array
import bisect
import functools
import itertools
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher.engines.flexible import UNKNOWN
from launcher.errors import ServeError

LIMIT_BYTES = 1024 * 1024
BOM = "\ufeff"
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=", re.ASCII)
_FIELD = re.compile(r"[^ \t\n]+")
_HARMLESS = re.compile(r"[\w@%+=:,./-]*", re.ASCII)

Escape = Callable[[str], str]


@dataclass(frozen=True)
class Source:
    """A file's text, its line ends as they are in the file.

    Attributes:
        path: as the user named it.
        text: the decoded text; offsets count its characters.
    """

    path: str
    text: str

    @functools.cached_property
    def _lines(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def place(self, offset: int) -> tuple[int, int]:
        """The line and the column of an offset, both counted from 1, the column in characters."""
        line = bisect.bisect_right(self._lines, offset)
        start = self._lines[line - 1] + (line == 1 and self.text.startswith(BOM))
        return line, max(offset - start, 0) + 1


@dataclass(frozen=True)
class Trouble:
    """A part of a file that cannot be read; the rest has been.

    Attributes:
        start: the offset where it begins.
        end: the offset after it.
        what: what is wrong, in one sentence.
        fix: what to do about it, or "".
    """

    start: int
    end: int
    what: str
    fix: str = ""


@dataclass(frozen=True)
class Text:
    """Characters as a reader takes them, each with the place where it is written.

    Attributes:
        chars: the characters; `UNKNOWN` stands for what is known only at run time.
        starts: for each character, the offset in the file where its writing begins (an escape is longer than one).
        ends: for each character, the offset after it.
        escape: how characters are written at this place; a ServeError where some cannot be.
    """

    chars: str
    starts: Sequence[int]
    ends: Sequence[int]
    escape: Escape = str

    @classmethod
    def of(cls, text: str) -> Text:
        """A whole file."""
        return cls(text, range(len(text)), range(1, len(text) + 1))

    @classmethod
    def at(cls, chars: str, start: int, end: int, escape: Escape | None = None) -> Text:
        """Characters that stand for something written as a whole, such as a variable's name."""
        size = len(chars)
        return cls(chars, [start] * size, [end] * size, escape or harmless)

    @classmethod
    def join(cls, texts: Sequence[Text], escape: Escape) -> Text:
        """One after the other."""
        return cls(
            "".join(text.chars for text in texts),
            array.array("l", itertools.chain.from_iterable(text.starts for text in texts)),
            array.array("l", itertools.chain.from_iterable(text.ends for text in texts)),
            escape,
        )

    def cut(self, start: int, end: int, escape: Escape | None = None) -> Text:
        """A part of it, by the places of its own characters."""
        return Text(self.chars[start:end], self.starts[start:end], self.ends[start:end], escape or self.escape)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of it is written."""
        if start < end:
            return self.starts[start], self.ends[end - 1]
        if start < len(self.starts):
            return self.starts[start], self.starts[start]
        return (self.ends[-1], self.ends[-1]) if self.ends else (0, 0)

    def separate(self, start: int, end: int) -> bool:
        """Whether a part is written by itself: it shares no writing with what stands before and after it."""
        if isinstance(self.starts, range) or start >= end:
            return True
        first, last = self.starts[start], self.ends[end - 1]
        return not (
            (start > 0 and self.starts[start - 1] >= first)
            or (end < len(self.ends) and self.ends[end] <= last)
            or last <= first
        )


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command.

    Attributes:
        text: the word as the program gets it; `UNKNOWN` stands in it for what is known only at run time.
        start: the offset where its writing begins, quotes included.
        end: the offset after it.
        many: whether it may become several words or none when it runs (``$EXTRA`` without quotes, ``*.gguf``).
        perhaps: whether it stands there only under a condition (``ARGS+=(...)`` after an ``if``, ``${KEY:+...}``).
        quote: how a word is written in the place of this one; a ServeError where that is not possible.
        content: its characters with their places, where something may be read inside it.
    """

    text: str
    start: int
    end: int
    many: bool = False
    perhaps: bool = False
    quote: Escape = field(default=str, compare=False, repr=False)
    content: Text | None = field(default=None, compare=False, repr=False)

    @property
    def known(self) -> bool:
        """Whether all of it is known."""
        return UNKNOWN not in self.text

    def inside(self) -> Text:
        """Its characters with their places."""
        if self.content is None and len(self.text) == self.end - self.start:  # written as it is
            return Text(self.text, range(self.start, self.end), range(self.start + 1, self.end + 1), harmless)
        return self.content or Text.at(self.text, self.start, self.end)

    def after(self, size: int) -> Word:
        """The word without its first characters, such as the value of ``NAME=value``."""
        inside = self.inside()
        content = inside.cut(size, len(inside.chars))
        span = inside.span(size, len(inside.chars))
        return Word(content.chars, *span, self.many, self.perhaps, quote=content.escape, content=content)


@dataclass(frozen=True)
class Call:
    """A command as it would be run.

    Attributes:
        words: the program and its arguments.
        environment: variables set for it, in order; a later one counts.
        image: the container image that it runs in.
        own: whether the words go to the image's own entry point.
        prefix: whether ``NAME=value`` may be written before the first word.
    """

    words: tuple[Word, ...]
    environment: tuple[tuple[str, Word], ...] = ()
    image: Word | None = None
    own: bool = False
    prefix: bool = False


@dataclass
class Reading:
    """What a file, or a text in it, holds.

    Attributes:
        calls: the commands, in the order in which they would run.
        documents: files that it writes (here-documents), which may hold commands too.
        troubles: what cannot be read.
    """

    calls: list[Call] = field(default_factory=list)
    documents: list[Text] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)


def variables(words: Iterable[Word]) -> list[tuple[str, Word]]:
    """The ``NAME=value`` among words, as ``env`` and ``docker run -e`` take them."""
    named = ((_VARIABLE.match(word.text), word) for word in words)
    return [(match[1], word.after(match.end())) for match, word in named if match]


def harmless(text: str) -> str:
    """The escape of a place where only characters without a meaning of their own can be written.

    Raises:
        ServeError: there are others in the text.
    """
    if text and not _HARMLESS.fullmatch(text):
        raise ServeError(f"{text!r} cannot be written there", fix="write the command out in one place first")
    return text


def split(word: Word) -> Iterator[Word]:
    """The words that a variable's value becomes where it is split at blanks, each at its own place in the value."""
    content = word.inside()
    fields = list(_FIELD.finditer(word.text))
    if len(fields) == 1 and len(fields[0].group()) == len(word.text):
        yield replace(word, many=word.many or not word.known)
        return
    for match in fields:
        piece = content.cut(*match.span())
        together = all(end == start for end, start in zip(piece.ends[:-1], piece.starts[1:], strict=True))
        start, end = content.span(*match.span()) if together else (word.start, word.end)
        quote = functools.partial(_unquoted, content.escape) if together else refused
        many = UNKNOWN in match.group()
        yield Word(match.group(), start, end, many, word.perhaps, quote=quote, content=piece)


def refused(text: str) -> str:
    """The escape of a place where nothing can be written.

    Raises:
        ServeError: always.
    """
    raise ServeError(f"{text!r} cannot be written there", fix="write the value out where the variable is used")


def _unquoted(escape: Escape, text: str) -> str:
    return escape(harmless(text)) if text else refused(text)


def read(path: Path) -> Source:
    """A file's text, UTF-8.

    Raises:
        ServeError: there is no such file, it is not a plain one, it is too large, or it is not text.
    """
    where = str(path)
    try:
        status = path.stat()  # before it is opened: opening a pipe waits, reading a device need not end
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a plain file"
            raise ServeError(f"is {kind}", where=where, fix="give the path of a file")
        with path.open("rb") as file:
            data = b"" if status.st_size > LIMIT_BYTES else file.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ServeError(f"cannot be read: {reason}", where=where, fix="give the path of a file") from None
    if max(status.st_size, len(data)) > LIMIT_BYTES:
        what = f"is larger than {LIMIT_BYTES // 1024} KiB"
        raise ServeError(what, where=where, fix="is it the right file? Launch commands stand in small text files")
    return Source(where, _decoded(data, where))


def _decoded(data: bytes, where: str) -> str:
    position = data.find(0)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        position = error.start if position < 0 else min(position, error.start)
    if position < 0:
        return text
    line = data.count(b"\n", 0, position) + 1
    fix = "save it as UTF-8" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "is it the right file?"
    raise ServeError(f"is not UTF-8 text (byte {position})", where=f"{where}:{line}", fix=fix)
