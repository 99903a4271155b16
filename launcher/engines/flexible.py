"""What vLLM does to the words of a command line before argparse sees them.

The source of every rule is ``FlexibleArgumentParser.parse_args`` in vLLM's ``vllm/utils/argparse_utils.py``
(``vllm/utils/__init__.py`` in 0.11.0), compared over all releases from 0.11.0 to 0.33.0.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.engines.release import Release

UNKNOWN = "\0"  # stands in a word for text that is known only when the command runs


@dataclass(frozen=True)
class Token:
    """A word as argparse sees it, and the place of the word, counted from 0, that it comes from."""

    text: str
    place: int


@dataclass(frozen=True)
class Part:
    """``--flag.path VALUE``: one part of a JSON value; the places are those of the words that hold it."""

    flag: str
    path: tuple[str, ...]
    value: str
    place: int
    value_place: int


@dataclass
class Rewritten:
    """What argparse is given.

    Attributes:
        tokens: the words less those of the parts.
        parts: by flag; argparse sees each flag of them once, after all other words, with the parts merged to JSON.
        complaints: what is refused before argparse: (place, why).
    """

    tokens: list[Token] = field(default_factory=list)
    parts: dict[str, list[Part]] = field(default_factory=dict)
    complaints: list[tuple[int, str]] = field(default_factory=list)


def rewrite(words: Sequence[str], release: Release, *, serve: bool) -> Rewritten:
    """The words as vLLM hands them to argparse.

    Args:
        words: what follows ``vllm serve`` or ``python -m vllm.entrypoints.openai.api_server``.
        release: of vLLM.
        serve: whether the entry point is ``vllm serve``.
    """
    made = Rewritten()
    tokens = [Token(word, place) for place, word in enumerate(words)]
    if serve:
        tokens = _model_first(tokens, release, made)
    tokens = [
        token for each, after in itertools.zip_longest(tokens, tokens[1:]) for token in _spelt(each, after, release)
    ]
    taken = False
    for token, after in itertools.zip_longest(tokens, tokens[1:]):
        if taken:
            taken = False
        elif _dotted(token.text):
            taken = _part(token, after, made)
        else:
            made.tokens.append(token)
    return made


def _model_first(tokens: list[Token], release: Release, made: Rewritten) -> list[Token]:
    """``vllm serve --model X`` is read as ``vllm serve X``; before 0.11.1 it was refused."""
    given = next((at for at, token in enumerate(tokens) if re.match(r"--model(=.+|$)", token.text, re.DOTALL)), None)
    if given is not None:
        word = tokens[given]
        if release.within("<0.11.1"):
            if word.text == "--model":
                made.complaints.append((word.place, "vllm serve takes the model as its first word, not by --model"))
            return tokens
        if word.text != "--model":
            tokens = [Token(word.text.partition("=")[2], word.place), *tokens[:given], *tokens[given + 1 :]]
        elif given + 1 < len(tokens):
            tokens = [tokens[given + 1], *tokens[:given], *tokens[given + 2 :]]
        else:
            made.complaints.append((word.place, "--model needs a value"))
            return tokens[:given]
    named = [token for token in tokens if re.match(r"--served[-_]model[-_]name(=.+|$)", token.text, re.DOTALL)]
    config = any(re.match(r"--config(=.+|$)", token.text, re.DOTALL) for token in tokens)
    if named and not config and tokens[0].text.startswith("-") and release.within(">=0.17.0"):
        made.complaints.append(
            (named[0].place, "vllm serve takes --served-model-name only where its first word is the model")
        )
    return tokens


def _spelt(token: Token, after: Token | None, release: Release) -> list[Token]:
    """Underscores in the names of long flags, and the forms of -O."""
    text, place = token.text, token.place
    if text.startswith("--"):
        name, equals, value = text.partition("=")
        stem, dot, path = name[2:].partition(".")
        return [Token(f"--{stem.replace('_', '-')}{dot}{path}{equals}{value}", place)]
    if not text.startswith("-O"):
        return [token]
    bare = text == "-O"
    level = text[3:] if text[2:3] == "=" else text[2:]
    apart = bare and after is not None and after.text in {"0", "1", "2", "3"}  # -O 3
    if release.within("<0.12.0"):  # -O was --compilation-config, and a number the part of it that this names
        part = "-O.level" if release.within("<0.11.1") else "-O.mode"
        words = [part] if apart else [text] if bare or text[2] == "." else [f"{part}={level}"]
    elif text.startswith("-O.") and release.within("<0.13.0"):
        words = [text.replace("-O", "-cc", 1)]
    elif bare:
        words = ["--optimization-level" if apart else "-O"]
    else:
        words = ["--optimization-level", level]
    return [Token(word, place) for word in words]


def _dotted(text: str) -> bool:
    return text.startswith("-") and "." in text.partition("=")[0]


def _part(token: Token, after: Token | None, made: Rewritten) -> bool:
    """Adds a part; returns whether it took the word that follows, which it does whatever that is."""
    name, equals, value = token.text.partition("=")
    if not equals and after is None:
        made.complaints.append((token.place, f"{name} needs a value"))
        return False
    holder = token if equals or after is None else after
    value = value if equals else holder.text
    if name.endswith("+"):
        name, value = name[:-1], json.dumps(value.split(","))
    flag, *path = name.split(".")
    made.parts.setdefault(flag, []).append(Part(flag, tuple(path), value, token.place, holder.place))
    return not equals


def merged(parts: Sequence[Part], release: Release) -> str:
    """The JSON that parts of one value add up to."""
    whole: dict[str, Any] = {}
    for part in parts:
        value: Any = _value(part.value, release)
        for name in reversed(part.path):
            value = {name: value}
        _update(whole, value)
    return json.dumps(whole)


def _value(text: str, release: Release) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        sized = re.fullmatch(r"\s*(\d+(?:\.\d+)?)([kmgtKMGT])\s*", text)
        return 1 if sized and release.within(">=0.20.0") else text  # some number: its size does not matter here


def _update(whole: dict[str, Any], change: dict[str, Any]) -> None:
    for name, value in change.items():
        old = whole.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            _update(old, value)
        elif isinstance(value, list) and isinstance(old, list):
            old += value
        else:
            whole[name] = value
