"""What an engine's log says went wrong: its tracebacks, put together again, and its single lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

_READ_CHARACTERS = (
    4000  # of a line; an error stands at the start of one, a dump of arguments or a prompt may be endless
)
_FRAME_LINES = 400  # of one traceback; a recursion error has thousands
_MESSAGE_LINES = 20

# vLLM names the process on what it decorates, and puts level and place before each line of a message, also before each
# of a traceback (vllm 0.33.0, logging_utils/formatter.py and utils/system_utils.py); SGLang puts the time, and with
# several ranks their numbers, before the first line of a message alone (sglang 0.5.23, srt/utils/common.py).
_PREFIX = re.compile(
    r"(?P<process>\([\w.:/-]+ (?:rank=\d+ )?pid=\d+[^)]{0,80}\) )?"
    r"(?:(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?P<place>\[[^\]]{0,200}\]) ?"
    r"|(?P<time>\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]{0,80}\] ))?"
)
_LESS = {"DEBUG": "info", "INFO": "info", "WARNING": "warning"}
_TRACEBACK = "Traceback (most recent call last):"
_TYPE = re.compile(r"[\w.]{1,200}: ")
_ONCE_MORE = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


@dataclass
class Raised:
    """One exception.

    Attributes:
        frames: the lines of its traceback, files and source.
        message: its lines, the first of which begins with its type.
    """

    frames: list[str] = field(default_factory=list)
    message: list[str] = field(default_factory=list)


@dataclass
class Said:
    """A line that is no part of a traceback, or a traceback.

    Attributes:
        text: the line, without what its logger put before it; of a traceback the words that announce it, if any.
        chain: the exceptions of the traceback, the first that was raised first; empty for a line.
        level: ``info``, ``warning`` or ``error``; what has no level of its own may well be an error.
    """

    text: str
    chain: list[Raised] = field(default_factory=list)
    level: str = "error"


def read(lines: Iterable[str]) -> Iterator[Said]:
    """What a log says, in its order; a traceback comes when its first line does, and is complete at the end.

    What several processes wrote between each other is told apart as far as they marked it. Memory is bounded by the
    longest traceback for each of them, whoever keeps none.
    """
    open_: dict[str, _Reader] = {}
    for line in lines:
        match = _PREFIX.match(line)
        text = line[match.end() : match.end() + _READ_CHARACTERS].rstrip() if match else line  # it matches always
        process, level, place, time = match.group("process", "level", "place", "time") if match else (None,) * 4
        if level in _LESS:
            yield Said(text, level=_LESS[level])
            continue
        reader = open_.setdefault(f"{process}{place}", _Reader())
        if said := reader.take(text, time is not None):
            yield said


class _Reader:
    """The lines of one writer: of a process, or of one place in it that logs."""

    def __init__(self) -> None:
        self.before = ""
        self.bare: list[str] = []  # the last line that may be an exception without a traceback, and what followed
        self.said: Said | None = None
        self.chained = False

    def take(self, text: str, begins: bool) -> Said | None:
        """Take the next line; `begins` says that it cannot go on with a message."""
        if text.endswith(_TRACEBACK):
            return self.start(text[: -len(_TRACEBACK)].strip())
        if begins:
            self.said = None
        if self.said and (text in _ONCE_MORE or not self.said.chain[-1].message):
            self.traced(self.said.chain[-1], text)
            return None
        if text in _ONCE_MORE and self.bare:  # an exception that was raised in another place has lost its traceback
            self.said, self.bare, self.chained = Said("", [Raised(message=self.bare)]), [], True
            return self.said
        if not text:
            return None
        # of the last exception's message, or said by the same writer later: nothing tells which
        if self.said and len(self.said.chain[-1].message) < _MESSAGE_LINES:
            self.said.chain[-1].message.append(text)
        if _TYPE.match(text):
            self.bare = []
        self.bare += [text] * (len(self.bare) < _MESSAGE_LINES)
        self.before = text
        return Said(text)

    def traced(self, raised: Raised, text: str) -> None:
        if text in _ONCE_MORE:
            self.chained = True
        elif text and text[0] not in " \t":
            raised.message.append(text)
        elif len(raised.frames) < _FRAME_LINES:
            raised.frames.append(text)

    def start(self, announced: str) -> Said | None:
        if self.said and self.chained:
            self.said.chain.append(Raised())
            self.chained = False
            return None
        self.said = Said(announced or self.before, [Raised()])
        self.before, self.bare, self.chained = "", [], False
        return self.said
