"""The commands of a systemd unit or drop-in file.

The rules are those of systemd.service(5), "Command lines", systemd.syntax(7), "Quoting", and systemd.unit(5),
"Specifiers"; the tests compare the words with those that systemd itself reads.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import replace

from launcher.commands.source import Call, Escape, Reading, Text, Trouble, Word, harmless, split, variables
from launcher.commands.words import COUNT_LIMIT, TOO_MANY
from launcher.engines.flexible import UNKNOWN

_SETTING = re.compile(r"[ \t]*([A-Za-z]\w*)[ \t]*=[ \t]*", re.ASCII)
_COMMAND = re.compile(r"Exec(Start|StartPre|StartPost|Condition)\Z")
_CONTINUES = re.compile(r"(?<!\\)(?:\\\\)*\\\r?\n\Z")
_PREFIX = re.compile(r"[-@:+!|]*")
_PIECE = re.compile(
    r"""\\(?:x[0-9a-fA-F]{2}|[0-7]{3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)  # an escape
    | %.? | [^\\%'" \t\n]+ | .""",
    re.VERBOSE | re.DOTALL,
)
_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
_BARE_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)\Z", re.ASCII)
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\})")
_PLAIN = re.compile(r"[\w@%+=:,./$\[\]{}()*?&|<>!^~#-]+")


def read(text: Text) -> Reading:
    """The commands that a unit starts."""
    unit = _Unit()
    settings = list(_settings(text))
    for name, value in settings:
        if name == "Environment":
            unit.variables |= dict(variables(unit.words(value, dollar="$")))
    unit.environment = tuple(unit.variables.items())
    for name, value in settings:
        if _COMMAND.match(name):
            unit.reading.calls += unit.calls(value)
    return unit.reading


def quoted(escape: Escape, dollar: str, word: str) -> str:
    """A word as systemd reads it back; `dollar` is how a dollar sign is written there.

    Raises:
        ServeError: it cannot be written there.
    """
    text = _doubled(word, dollar)
    if not _PLAIN.fullmatch(word):
        quote = "'" if '"' in word and "'" not in word else '"'
        text = quote + text.replace(quote, "\\" + quote) + quote
    return escape(text)


def _settings(text: Text) -> Iterator[tuple[str, Text]]:
    """``Name=value`` of the section [Service]; a value goes on in the next line after a backslash."""
    at, section = 0, ""
    while at < len(text.chars):
        start, at = at, _line(text, at)
        line = text.chars[start:at].strip("\ufeff \t\r\n")
        if line.startswith("["):
            section = line.strip("[]")
        if not line or line[0] in "[#;":
            continue
        pieces = [text.cut(start, at)]
        while _CONTINUES.search(pieces[-1].chars) and at < len(text.chars):
            start, at = at, _line(text, at)
            if text.chars[start:at].lstrip()[:1] not in ("#", ";"):  # comments may stand in between
                pieces.append(text.cut(start, at))
        value = _continued(pieces, text.escape)
        if section == "Service" and (named := _SETTING.match(value.chars)):
            yield named[1], value.cut(named.end(), len(value.chars))


def _line(text: Text, at: int) -> int:
    end = text.chars.find("\n", at)
    return len(text.chars) if end < 0 else end + 1


def _continued(pieces: list[Text], escape: Escape) -> Text:
    """Lines as one; a space stands for the backslash and the line break."""
    lines: list[Text] = []
    for index, piece in enumerate(pieces):
        size = len(piece.chars.rstrip("\r\n"))
        if index < len(pieces) - 1:
            lines += [piece.cut(0, size - 1), Text.at(" ", *piece.span(size - 1, len(piece.chars)))]
        else:
            lines.append(piece.cut(0, size))
    return lines[0] if len(lines) == 1 else Text.join(lines, escape)


class _Unit:
    """A unit's variables, while its settings are read."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.variables: dict[str, Word] = {}
        self.environment: tuple[tuple[str, Word], ...] = ()
        self.count = 0

    def calls(self, value: Text) -> Iterator[Call]:
        """The commands of one setting, of which ``;`` as a word of its own makes several."""
        words: list[Word] = []
        prefix = _PREFIX.match(value.chars)
        signs = prefix.group() if prefix else ""
        for word in self.words(value.cut(len(signs), len(value.chars)), dollar="$" if ":" in signs else "$$"):
            if word.text == ";" and word.end - word.start == 1:
                yield Call(tuple(words), self.environment)
                words = []
            else:
                words.append(word)
        if "@" in signs:  # the second word is the program's own name for itself
            del words[1:2]
        yield Call(tuple(words), self.environment)

    def words(self, value: Text, *, dollar: str) -> Iterator[Word]:
        """The words of a value; where a dollar sign is written ``$$``, a single one begins a variable."""
        at, size = 0, len(value.chars)
        while at < size and self.count < COUNT_LIMIT:
            if value.chars[at] in " \t":
                at += 1
                continue
            start, quote, opened = at, "", at
            pieces: list[Text] = []
            while at < size and (quote or value.chars[at] not in " \t"):
                match = _PIECE.match(value.chars, at)
                written = match.group() if match else value.chars[at]
                if written == quote:
                    quote = ""
                elif written in {"'", '"'} and not quote:
                    quote, opened = written, at
                else:
                    pieces.append(_piece(value, at, written))
                at += len(written)
                self.count += 1
            if quote:
                what, fix = f"the quote {quote} is not closed", f"close it with {quote}"
                self.reading.troubles.append(Trouble(*value.span(opened, size), what, fix))
            yield from self._finished(value, start, at, pieces, dollar)
        if at < size:
            self.reading.troubles.append(Trouble(*value.span(at, size), TOO_MANY, "is it the right file?"))

    def _finished(self, value: Text, start: int, end: int, pieces: list[Text], dollar: str) -> Iterator[Word]:
        """A word with its variables, which are filled in after its quotes are gone; or several, for ``$NAME`` alone."""
        span = value.span(start, end)
        quote = functools.partial(quoted, value.escape, dollar)
        inside = functools.partial(_inside, value.escape, dollar, value.chars[start])
        content = replace(pieces[0], escape=inside) if len(pieces) == 1 else Text.join(pieces, inside)
        bare = _BARE_VARIABLE.match(content.chars) if dollar == "$$" else None
        if bare is None:
            if dollar == "$$" and "$" in content.chars:
                content = self._filled(content)
            yield Word(content.chars, *span, quote=quote, content=content)
        elif (known := self.variables.get(bare[1])) and known.known:
            yield from split(replace(known, start=span[0], end=span[1], quote=quote))
        else:
            yield Word(UNKNOWN, *span, many=True, quote=quote)

    def _filled(self, content: Text) -> Text:
        pieces: list[Text] = []
        at = 0
        for match in _VARIABLE.finditer(content.chars):
            word = self.variables.get(match[1] or "")
            value = "$" if match[1] is None else word.text if word else UNKNOWN
            pieces += [content.cut(at, match.start()), Text.at(value, *content.span(*match.span()))]
            at = match.end()
        return Text.join([*pieces, content.cut(at, len(content.chars))], content.escape)


def _piece(value: Text, at: int, written: str) -> Text:
    """The characters of one escape, specifier or run of plain ones."""
    span = value.span(at, at + len(written))
    if written[0] == "\\" and len(written) > 1:
        return Text.at(_escaped(written), *span)
    if written[0] == "%":
        return Text.at("%" if written == "%%" else UNKNOWN, *span)
    return value.cut(at, at + len(written))


def _escaped(written: str) -> str:
    letter = written[1]
    if len(written) == 2:  # noqa: PLR2004 - the backslash and a letter
        return letter if letter in "\\'\"" else _LETTERS.get(letter, written)
    code = int(written[1:].lstrip("xuU"), 8 if letter.isdigit() else 16)
    return chr(code) if 0 < code < (0xD800 if letter in "uU" else 0x80) else UNKNOWN


def _inside(escape: Escape, dollar: str, quote: str, text: str) -> str:
    """Characters as they are written inside a word that begins with this quote."""
    if quote not in {"'", '"'}:
        return harmless(text)
    return escape(_doubled(text, dollar).replace(quote, "\\" + quote))


def _doubled(text: str, dollar: str) -> str:
    text = text.replace("\\", "\\\\").replace("%", "%%").replace("$", dollar)
    return text.replace("\n", "\\n").replace("\t", "\\t")
