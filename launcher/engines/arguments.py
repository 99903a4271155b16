"""An engine's command line as its release's own parser reads it: which word is a flag, and whose value.

Both engines parse with Python's argparse, whose rules these are: a flag may be abbreviated to any unique beginning,
``--flag=value`` is one word, values are taken greedily. What vLLM does to the words before is in ``flexible``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from launcher.engines import catalog, flexible
from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag
from launcher.engines.flexible import UNKNOWN, Part, Token

# What follows the program's name: "serve" for `vllm serve` and `sglang serve`, "module" for `python -m`.
Entry = Literal["serve", "module"]
LIMIT = 20_000  # words; a kernel takes more, no server does
_HELP = ("--help", "-h")


@dataclass(frozen=True)
class Use:
    """A flag that was used.

    Attributes:
        flag: what the release takes it for.
        spelling: the release's exact spelling of it that was meant.
        written: the flag as it was written, without its value.
        place: of the word it stands in, counted from 0.
        values: what it was given.
        places: of the words that the values stand in; its own place for ``--flag=value``.
        path: of the part of a JSON value that it sets, ``("image",)`` for ``--limit-mm-per-prompt.image``.
        problem: why the parser refuses the values, or None.
        completed: whether it is an abbreviation, which the parser completes.
    """

    flag: Flag
    spelling: str
    written: str
    place: int
    values: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    path: tuple[str, ...] = ()
    problem: str | None = None
    completed: bool = False

    @property
    def negated(self) -> bool:
        """Whether it sets the opposite."""
        return self.spelling in self.flag.negations

    @property
    def reads_config(self) -> bool:
        """Whether it is ``--config FILE`` as both engines look for it: in full, the file in a word of its own."""
        return self.flag.name == self.written == "--config" and self.places[:1] != (self.place,)


@dataclass(frozen=True)
class Stray:
    """A word that the parser refuses.

    Attributes:
        written: the flag as it was written, without its value; or the word.
        place: of the word, counted from 0.
        candidates: the spellings that it may be an abbreviation of, where that is why it is refused.
        value: what was written after the flag, if anything.
        places: of the words that were written after it and are no flags.
        is_flag: whether the parser takes it for a flag.
    """

    written: str
    place: int
    candidates: tuple[str, ...] = ()
    value: str = ""
    places: tuple[int, ...] = ()
    is_flag: bool = True


@dataclass(frozen=True)
class Reading:
    """A command line, read.

    Attributes:
        catalog: of the release that read it.
        uses: the flags, in the order of their words.
        strays: what is no flag of the release and nobody's value.
        model: the place of the word that names the model without a flag, or None.
        complaints: what else is refused: (the place of the word or None, why).
        opaque: places of words that are known only when the command runs, and may be flags.
    """

    catalog: Catalog
    uses: tuple[Use, ...]
    strays: tuple[Stray, ...]
    model: int | None
    complaints: tuple[tuple[int | None, str], ...]
    opaque: tuple[int, ...]

    @property
    def refused(self) -> bool:
        """Whether the release's parser ends with an error."""
        faults = any(use.problem or use.flag.refused for use in self.uses)
        return faults or bool(self.strays or self.complaints)


def read(words: Sequence[str], known: Catalog, entry: Entry = "serve") -> Reading:
    """What a release's parser makes of a command line.

    Args:
        words: what follows the program; `UNKNOWN` in a word stands for text that is known only when it runs.
        known: the release's flags.
        entry: how the program was called.
    """
    known = known.of_module if entry == "module" else known
    reader = _Reader(known, takes_model=known.release.engine == "vllm")
    if len(words) > LIMIT:
        why = f"{len(words)} words are no server's command: at most {LIMIT} are read"
        return Reading(known, (), (), None, ((LIMIT, why),), ())
    if known.release.engine == "vllm":
        made = flexible.rewrite(words, known.release, serve=entry == "serve")
        reader.complaints += made.complaints
        reader.tokens = made.tokens
        reader.run()
        for name, parts in made.parts.items():
            reader.take_parts(name, parts)
    else:
        reader.tokens = reader.sglang([Token(word, place) for place, word in enumerate(words)], entry)
        reader.run()
    return reader.reading()


class _Reader:
    """The state of one reading: argparse's loop over the words."""

    def __init__(self, known: Catalog, *, takes_model: bool) -> None:
        self.known = known
        self.takes_model = takes_model
        self.tokens: list[Token] = []
        self.uses: list[Use] = []
        self.strays: list[Stray] = []
        self.complaints: list[tuple[int | None, str]] = []
        self.opaque: list[int] = []
        self.model: int | None = None
        self.helped = False

    def sglang(self, tokens: list[Token], entry: Entry) -> list[Token]:
        """What ``sglang serve`` does before argparse (``sglang/cli/serve.py``)."""
        release = self.known.release
        if entry == "module":
            return tokens
        if release.within("<0.5.5"):
            self.complaints.append((None, "there is no sglang serve before 0.5.5: python -m sglang.launch_server"))
        if release.within(">=0.5.10"):
            tokens = self._without_model_type(tokens)
        if tokens and not tokens[0].text.startswith("-") and release.within(">=0.5.16"):
            self.model = tokens[0].place
            return tokens[1:]
        return tokens

    def _without_model_type(self, tokens: list[Token]) -> list[Token]:
        rest: list[Token] = []
        skipped = False
        for token, after in itertools.zip_longest(tokens, tokens[1:]):
            name, _, value = token.text.partition("=")
            if skipped or name != "--model-type":
                if not skipped:
                    rest.append(token)
                skipped = False
                continue
            skipped = token.text == name
            given = after.text if skipped and after else value
            if given not in {"auto", "llm", "diffusion"} and UNKNOWN not in given:
                self.complaints.append((token.place, f"--model-type takes auto, llm or diffusion, not {given!r}"))
        return rest

    def run(self) -> None:
        """Reads the tokens, as ``ArgumentParser._parse_known_args`` does."""
        at = 0
        ended = next((place for place, token in enumerate(self.tokens) if token.text == "--"), len(self.tokens))
        while at < len(self.tokens) and not self.helped:
            text = self.tokens[at].text
            if at == ended:
                at += 1
            elif at < ended and self._is_option(text):
                at = self._option(at, ended)
            else:
                self._word(self.tokens[at])
                at += 1

    def _is_option(self, text: str) -> bool:
        """``ArgumentParser._parse_optional``: whether a word is a flag, known or not, rather than a value."""
        if not text.startswith("-") or text == "-":
            return False
        if self._candidates(text):
            return True
        return not re.fullmatch(r"-\d+|-\d*\.\d+", text) and " " not in text

    def _candidates(self, text: str) -> tuple[str, ...]:
        """The spellings that a flag may mean: its own alone, or all that begin with it."""
        exact = self.known.spellings
        name = text.partition("=")[0]
        for each in (text, name):
            if each in exact or each in _HELP:
                return (each,)
        if text.startswith("--"):
            found = self.known.beginning(name)
            return (*found, *(each for each in _HELP if each.startswith(name)))
        short = text[:2]  # argparse also reads -q4 as -q 4
        return (*((short,) if short in exact else ()), *(each for each in self.known.beginning(text) if each != short))

    def _option(self, at: int, ended: int) -> int:
        """Reads a flag and its values; returns where to go on."""
        token = self.tokens[at]
        name, equals, value = token.text.partition("=")
        candidates = self._candidates(token.text)
        follow = self._values_after(at, ended)
        if UNKNOWN in name:
            self.opaque.append(token.place)
            return at + 1
        if len(candidates) != 1:
            theirs = [] if equals else follow[: self._most_elsewhere(name, len(follow))]
            text = value if equals else theirs[0].text if theirs else ""
            self.strays.append(Stray(name, token.place, candidates, text, tuple(each.place for each in theirs)))
            return at + 1 + len(theirs)
        spelling = candidates[0]
        if spelling in _HELP:
            self.helped = True  # prints its help and ends, whatever follows
            return at + 1
        flag = self.known.spellings[spelling]
        if not name.startswith("--") and name != spelling and spelling == name[:2]:
            name, equals, value = spelling, "=", token.text[2:]
        use = Use(flag, spelling, name, token.place, completed=name != spelling)
        if equals:
            self.uses.append(self._checked(replace(use, values=(value,), places=(token.place,)), explicit=True))
            return at + 1
        taken = follow[: 0 if use.negated else _most(flag)]
        given = tuple(each.text for each in taken)
        self.uses.append(self._checked(replace(use, values=given, places=tuple(each.place for each in taken))))
        return at + 1 + len(taken)

    def _values_after(self, at: int, ended: int) -> list[Token]:
        """The words after a flag that are no flags."""
        found: list[Token] = []
        for token in self.tokens[at + 1 : ended]:
            if self._is_option(token.text):
                break
            found.append(token)
        return found

    def _most_elsewhere(self, name: str, follow: int) -> int:
        """How many of the words that follow it an unknown flag took where it is known."""
        last = catalog.last(name, self.known.release.engine)
        if last:
            return 0 if name in last[1].negations else _most(last[1])
        named = self.model is not None or any(token.text.partition("=")[0] == "--model" for token in self.tokens)
        return int(follow > 1 or named or not self.takes_model)

    def _checked(self, use: Use, *, explicit: bool = False) -> Use:
        """The use, with what the parser says against its values."""
        if use.negated or not use.flag.takes_value:
            return replace(use, problem=f"{use.spelling} takes no value") if explicit else use
        if any(UNKNOWN in value for value in use.values):
            return use
        return replace(use, problem=use.flag.refusal(use.values))

    def _word(self, token: Token) -> None:
        """A word that is nobody's value: the model, or too much."""
        if self.takes_model and self.model is None:
            self.model = token.place
        elif UNKNOWN in token.text:
            self.opaque.append(token.place)
        else:
            self.strays.append(Stray(token.text, token.place, is_flag=False))

    def take_parts(self, name: str, parts: list[Part]) -> None:
        """A JSON value that was given in parts, checked as a whole."""
        if self.helped:
            return
        first = parts[0]
        if any(UNKNOWN in text for part in parts for text in (part.flag, *part.path)):
            self.opaque += [part.place for part in parts]
            return
        candidates = self._candidates(name)
        if len(candidates) != 1:
            if self._is_option(name):
                self.strays += [Stray(_dotted(each), each.place, candidates, each.value) for each in parts]
            else:
                self._word(Token(name, first.place))
            return
        spelling = candidates[0]
        flag = self.known.spellings[spelling]
        problem = None
        if spelling in flag.negations or not flag.takes_value:
            problem = f"{spelling} takes no value"
        elif not any(UNKNOWN in part.value for part in parts):
            problem = self._merged_problem(flag, parts)
        self.uses += [
            Use(
                flag,
                spelling,
                _dotted(each),
                each.place,
                (each.value,),
                (each.value_place,),
                each.path,
                problem,
                completed=name != spelling,
            )
            for each in parts
        ]

    def _merged_problem(self, flag: Flag, parts: list[Part]) -> str | None:
        try:
            return flag.refusal((flexible.merged(parts, self.known.release),))
        except RecursionError:
            return f"{flag.name} is nested too deep"

    def reading(self) -> Reading:
        """What was read. SGLang requires a model, and its ``--config`` may name one."""
        named = any(use.flag.name == "--model-path" or use.reads_config for use in self.uses)
        if not (named or self.takes_model or self.helped or self.opaque or self.model is not None):
            self.complaints.append((None, "--model-path is required"))
        return Reading(
            self.known,
            tuple(sorted(self.uses, key=lambda use: use.place)),
            tuple(self.strays),
            self.model,
            tuple(self.complaints),
            tuple(self.opaque),
        )


def _most(flag: Flag) -> int:
    """The most words that a flag takes."""
    return flag.nargs if isinstance(flag.nargs, int) else 1 if flag.nargs in (None, "?") else LIMIT


def _dotted(part: Part) -> str:
    return ".".join((part.flag, *part.path))
