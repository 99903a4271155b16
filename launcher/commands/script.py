"""The commands of a shell script: their words, assignments and here-documents. Nothing is expanded here.

As much of bash's grammar is read as it takes to know where a command begins. Compound commands (``if``, ``for``,
``case``, functions) are not built: what stands in them are commands of one list, each with its `Scope`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from launcher.commands.scopes import SCRIPT, Scope
from launcher.commands.source import Text, Trouble
from launcher.commands.words import DOCUMENT_RUN, TOO_DEEP, TOO_MANY, Open, Part, Raw, WordReader

DECLARES = frozenset({"declare", "export", "local", "readonly", "typeset"})
_FAULTS = 20  # told of one text
_ATTEMPTS = 5  # at a text in which things are not closed

_BLANK = re.compile(r"(?:[ \t]|\r(?=\n)|\\\r?\n)+")
_BLANKS = re.compile(r"[ \t\r\n]+")
_OPERATOR = re.compile(r"\n|;;&?|;&|;|&&|&>>?|&|\|\||\|&?|[()]|[0-9]*(?:<<<|<<-?|<>|<&|<|>>|>&|>\||>)")
_RESERVED = re.compile(
    r"(?:if|then|elif|else|fi|while|until|for|select|do|done|case|esac|function|time(?:[ \t]+-p)?|[{}!]|\[\[)"
    r"(?=[ \t\r\n;&|()<>]|\\\r?\n|\Z)"
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^\]\s]*\])?(\+?)=", re.ASCII)
_COUNTED = re.compile(
    r"([A-Za-z_]\w*)[ \t]*(?:\+\+|--|(?:[-+*/%&|^]|<<|>>)?=(?!=))|(?:\+\+|--)([A-Za-z_]\w*)", re.ASCII
)
_FUNCTION = re.compile(r"[ \t]*\)")
_FUNCTION_NAME = re.compile(r"function[ \t]+[^\s(){}]+(?:[ \t]*\([ \t]*\))?")
_TEST_END = re.compile(r"\]\](?=[ \t\r\n;&|()<>]|\Z)")
_ENGINES = re.compile("vllm|sglang")
_CLOSERS = {"if": "fi", "while": "done", "until": "done", "for": "done", "select": "done", "case": "esac", "{": "}"}
_LOOPS = frozenset({"while", "until", "for", "select"})


class Assignment(NamedTuple):
    """``name=value``, ``name+=value``, or an array's words; `whole` unless it is of one element, ``name[1]=value``."""

    name: str
    add: bool
    value: Raw | list[Raw]
    whole: bool = True


@dataclass
class Command:
    """A simple command."""

    scope: Scope = SCRIPT
    declares: bool = False  # whether its words may be assignments: export, local
    assignments: list[Assignment] = field(default_factory=list)
    words: list[Raw] = field(default_factory=list)
    documents: list[Raw] = field(default_factory=list)


@dataclass
class _Block:
    """An open compound command, group or substitution."""

    word: str
    closer: str
    at: int
    scope: Scope
    pattern: bool = False  # a case that waits for the `)` after its pattern


class _Document(NamedTuple):
    """A here-document that begins after the line at hand."""

    command: Command
    at: int
    delimiter: str
    verbatim: bool
    tabs: bool


def read(text: Text, *, only_split: bool = False) -> tuple[list[Command], list[Trouble]]:
    """The commands of a script, in the order in which they end; with `only_split`, line breaks do not end them.

    What is not closed is cut off at the end of its line and the text is read again, so that the rest is found.
    """
    broken: dict[int, Trouble] = {}
    while True:
        reader = _ScriptReader(text, frozenset(broken), only_split=only_split)
        try:
            reader.script()
            break
        except Open as error:
            at = reader.culprit(error)
            end = text.chars.find("\n", at)
            again = at in broken  # it has been cut, and that was no help
            broken[at] = Trouble(*text.span(at, len(text.chars) if end < 0 else end), error.what, error.fix)
            if error.what == TOO_MANY or again:
                break
        if len(broken) > _ATTEMPTS:
            what = "the rest is not read: too much before it is not closed"
            broken[len(text.chars)] = Trouble(*text.span(reader.at, len(text.chars)), what)
            break
    return reader.commands, [*broken.values(), *reader.faults]


class _ScriptReader(WordReader):
    """One reading, from the first character to the last."""

    def __init__(self, text: Text, broken: frozenset[int], *, only_split: bool) -> None:
        super().__init__(text, broken, only_split=only_split)
        self.blank = _BLANKS if only_split else _BLANK
        self.text = text
        self.commands: list[Command] = []
        self.faults: list[Trouble] = []
        self.command = Command()
        self.blocks: list[_Block] = []
        self.base = 0  # of the blocks of the script at hand, which may stand in another
        self.pending: list[_Document] = []
        self.function = False  # what comes next is a function's body
        self.before = False  # a command stands before the operator that comes next
        self.joined: tuple[int, str] | None = None  # the place of &&, || or |, which a command has to follow

    def culprit(self, error: Open) -> int:
        """What to cut: a string that has run on to the next one's beginning is at fault, not the last one."""
        if error.what == TOO_DEEP:
            return self.openers[0]
        quote = self.chars[error.at]
        return next((at for at in self.suspects if self.chars[at] == quote), error.at)

    def script(self, opener: int | None = None) -> None:
        """Reads commands to the end, or to the ``)`` of the substitution that begins at `opener`."""
        outer = self.command, self.base, self.before, self.joined
        self.command, self.base, self.before, self.joined = Command(), len(self.blocks), False, None
        own = None if opener is None else self._push("$(", ")", opener, "condition")
        while True:
            if blank := self.blank.match(self.chars, self.at, self.size):
                self.at = blank.end()
            if self.at >= self.size:
                if opener is not None:
                    raise Open(opener, "`$(` is not closed", "close it with `)`")
                break
            at, sign = self.at, _OPERATOR.match(self.chars, self.at, self.size)
            if self.chars[at] == "#":
                self.at = self.line_end()
            elif sign is None or (sign.group() in "<>" and self.chars.startswith("(", sign.end(), self.size)):
                self._word_of_command()
            else:
                self.at = sign.end()
                if self._operator(sign.group(), at, own):
                    break
        self._finish()
        self._joins_nothing()
        for block in self.blocks[self.base :]:
            self._fault(block.at, block.word, f"`{block.word}` is not closed", f"close it with `{block.closer}`")
        del self.blocks[self.base :]
        self.command, self.base, self.before, self.joined = outer

    def _finish(self) -> None:
        """Ends a command, if there is one; what stands before the ``)`` of a case is none."""
        command = self.command
        if command.words or command.assignments:
            self.before = True
            if not self._in_pattern():
                command.scope = self._scope()
                self.commands.append(command)
        self.command = Command()

    def _joins_nothing(self) -> None:
        if self.joined and not self.before:
            at, sign = self.joined
            self._fault(at, sign, f"no command follows `{sign}`", "write one, or take it out")
        self.joined = None

    def _scope(self) -> Scope:
        scope = self.blocks[-1].scope if self.blocks else SCRIPT
        return scope.inner("condition") if self.joined and self.joined[1] in {"&&", "||"} else scope

    def _in_pattern(self) -> bool:
        return len(self.blocks) > self.base and self.blocks[-1].pattern

    def _push(self, word: str, closer: str, at: int, kind: str) -> _Block:
        """Opens a block; one without a kind runs with what is around it."""
        self.counted()
        scope = self._scope()
        block = _Block(word, closer, at, scope.inner(kind) if kind else scope, pattern=word == "case")
        self.blocks.append(block)
        self.function, self.joined = False, None
        return block

    def _close(self, closer: str, at: int) -> _Block | None:
        """Ends the innermost block that this closes, and what has been left open in it."""
        for index in range(len(self.blocks) - 1, self.base - 1, -1):
            if self.blocks[index].closer == closer:
                self.before = True
                block, *inner = self.blocks[index:]
                del self.blocks[index:]
                for each in inner:
                    what = f"`{each.word}` is not closed before `{closer}`"
                    self._fault(each.at, each.word, what, f"close it with `{each.closer}`")
                return block
        self._fault(at, closer, f"`{closer}` closes nothing", "take it out, or write what it closes")
        return None

    def _fault(self, at: int, written: str, what: str, fix: str) -> None:
        if len(self.faults) < _FAULTS:
            self.faults.append(Trouble(*self.text.span(at, at + len(written)), what, fix))

    def _operator(self, sign: str, at: int, own: _Block | None) -> bool:
        """What an operator does; True when it ends the substitution at hand."""
        if "<" in sign or ">" in sign:
            self._redirection(sign, at)
        elif sign == "(":
            self._parenthesis(at)
        elif sign == ")" and self._in_pattern():
            self.command = Command()
            self.blocks[-1].pattern = False
        else:
            self._finish()
            return self._separator(sign, at, own)
        return False

    def _separator(self, sign: str, at: int, own: _Block | None) -> bool:
        """What a sign between two commands does; True when it ends the substitution at hand."""
        case = len(self.blocks) > self.base and self.blocks[-1].word == "case"
        if sign in {"&&", "||", "|", "|&", ";", "&"} and not self.before and not self._in_pattern():
            self._fault(at, sign, f"no command stands before `{sign}`", "write one, or take it out")
        if sign != "\n" or self.before:
            self.joined = self.joined if sign == ")" else (at, sign) if sign in {"&&", "||", "|", "|&"} else None
        if sign == ")":
            self._joins_nothing()
        self.before = False
        if sign == ")":
            block = self._close(")", at)
            return block is not None and block is own
        if sign == "\n":
            self._documents()
        elif sign in {";;", ";&", ";;&"} and case:
            self.blocks[-1].pattern = True
        return False

    def _parenthesis(self, at: int) -> None:
        """A subshell, ``((arithmetic))``, a function's ``()``, or the one before a case's pattern."""
        words = self.command.words
        if self._in_pattern():
            return
        if not words or [self._written(word) for word in words] in (["for"], ["select"]):
            if end := self.arithmetic(at):
                self.at, self.before = end, True
                unknown = Raw([Part(None, at, end)], at, end)
                for counted in _COUNTED.finditer(self.chars, at, end):
                    name = counted[1] or counted[2]
                    self.command.assignments.append(Assignment(name, add=False, value=unknown))
            else:
                self._push("(", ")", at, "function" if self.function else "condition")
        elif len(words) == 1 and (ended := _FUNCTION.match(self.chars, self.at, self.size)):
            self.at, self.command, self.function = ended.end(), Command(), True
        else:
            self._fault(at, "(", "`(` cannot stand here", "put the word in quotes")

    def _redirection(self, sign: str, at: int) -> None:
        if blank := _BLANK.match(self.chars, self.at, self.size):
            self.at = blank.end()
        target = self.word()
        self.before = True
        if target.start == target.end:
            self._fault(at, sign, f"no word follows `{sign}`", "write where to, or take it out")
        if "<<" in sign and "<<<" not in sign and at not in self.broken:
            written = self._written(target)
            delimiter = re.sub(r"[\\'\"]", "", written)
            self.pending.append(_Document(self.command, at, delimiter, delimiter != written, sign.endswith("-")))

    def _documents(self) -> None:
        """Reads the here-documents that were announced in the line that has just ended."""
        pending, self.pending = self.pending, []
        for document in pending:
            tabs, delimiter = r"\t*" if document.tabs else "", re.escape(document.delimiter)
            ended = re.compile(rf"^{tabs}{delimiter}\r?$", re.MULTILINE).search(self.chars, self.at, self.size)
            if ended is None:
                what = f"the here-document has no line {document.delimiter!r}"
                raise Open(document.at, what, "end it with that line")
            if _ENGINES.search(self.chars, self.at, ended.start()):
                document.command.documents.append(self._document(ended.start(), verbatim=document.verbatim))
            self.at = ended.end()

    def _document(self, end: int, *, verbatim: bool) -> Raw:
        start, parts = self.at, list[Part]()
        if verbatim:
            parts.append(Part(self.chars[start:end], start, end, "<<'"))
            return Raw(parts, start, end)
        size, self.size = self.size, end
        while self.at < end:
            if not self.run(parts, DOCUMENT_RUN, "<<"):
                self.piece(parts, "<<")
        self.size = size
        return Raw(parts, start, end)

    def _word_of_command(self) -> None:
        """A word of a simple command; or a reserved word or an assignment, where a command may begin."""
        command, at = self.command, self.at
        reserved = _RESERVED.match(self.chars, at, self.size)
        if reserved and self._begins(reserved.group()) and self._reserved(reserved.group(), at):
            return
        if (not command.words or command.declares) and (named := _ASSIGNMENT.match(self.chars, at, self.size)):
            self._assignment(named)
            return
        word = self.word()
        command.declares = command.declares or (not command.words and self._written(word) in DECLARES)
        command.words.append(word)

    def _written(self, word: Raw) -> str:
        return self.chars[word.start : word.end]

    def _begins(self, word: str) -> bool:
        """Whether a command may begin here, or it is ``for name do``, ``case word in esac``."""
        words = [self._written(each) for each in self.command.words[:3]]
        if word in {"do", "esac"} and words:
            return words[0] == "for" if word == "do" else words[0] == "case" and words[-1] == "in"
        return not words and not self.command.assignments

    def _reserved(self, word: str, at: int) -> bool:
        """What a reserved word does; False where it is a word like any other."""
        if self._in_pattern() and word != "esac":
            return False
        self.at += len(word)
        if word in _CLOSERS:
            kind = "loop" if word in _LOOPS else "condition" if word != "{" else "function" if self.function else ""
            self._push(word, _CLOSERS[word], at, kind)
            if word in {"for", "select", "case"}:
                self.command.words.append(Raw([Part(word, at, self.at)], at, self.at))
        elif word in {"fi", "done", "esac", "}"}:
            self.command = Command()
            self._close(word, at)
        elif word == "function" and (named := _FUNCTION_NAME.match(self.chars, at, self.size)):
            self.at, self.function = named.end(), True
        elif word == "[[":
            self._test(at)
        elif word == "do":
            self._finish()
            self.before = False
        elif word == "time":
            self.before = True
        return True

    def _test(self, at: int) -> None:
        """Passes over ``[[ ... ]]``, where parentheses and signs mean other things."""
        if at in self.broken:
            self.at = self.line_end()
            return
        while not _TEST_END.match(self.chars, self.at, self.size):
            if self.at >= self.size:
                raise Open(at, "`[[` is not closed", "close it with `]]`")
            if self.chars[self.at] in " \t\r\n()<>|&!;":
                self.at += 1
            else:
                self.word()
        self.at, self.before = self.at + 2, True

    def _assignment(self, named: re.Match[str]) -> None:
        name, index, add = named.groups()
        self.at = named.end()
        value: Raw | list[Raw] = []
        if not self.chars.startswith("(", self.at, self.size):
            value = self.word()
        elif self.cut():
            value = Raw([Part(None, named.end(), self.at)], named.end(), self.at)
        else:
            value = self._array()
        self.command.assignments.append(Assignment(name, bool(add), value, whole=index is None))

    def _array(self) -> list[Raw]:
        opener = self.at
        self.at += 1
        words: list[Raw] = []
        while not self.chars.startswith(")", self.at, self.size):
            if self.at >= self.size:
                raise Open(opener, "the array's `(` is not closed", "close it with `)`")
            if blank := _BLANK.match(self.chars, self.at, self.size):
                self.at = blank.end()
            elif self.chars[self.at] == "#":
                self.at = self.line_end()
            elif self.chars[self.at] in "\n;&|<>(":
                self.at += 1
            else:
                words.append(self.word())
        self.at += 1
        return words
