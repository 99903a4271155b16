"""The words of a command line that are none of our options: MODEL, and the engine's own flags in its exact spelling.

A flag that means a key sets the key; any other flag that the release has passes through checked; a flag that it does
not have is refused with what replaces it.
"""

from __future__ import annotations

from typing import Any

from launcher.config import keys
from launcher.config.layers import Layer, Origin, Setting
from launcher.config.values import show
from launcher.engines.catalog import Catalog, Flag
from launcher.engines.draft import exact
from launcher.engines.engine import Engine
from launcher.engines.meanings import Meaning, instead, means
from launcher.engines.render import RESERVED
from launcher.errors import ServeError

WORDS = ("context_length", "prefill_tokens")  # keys for whose flags -1 is a word of the engines: automatic, or off


def read(words: tuple[str, ...], engine: Engine, known: Catalog) -> Layer:
    """The layer that the words make.

    Raises:
        ServeError: a word or flag that the release does not take; all of them at once.
    """
    layer: Layer = {}
    problems: list[ServeError] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        try:
            found = _flag(word, rest, engine, known) if word.startswith("-") else _model(word, layer)
            if twice := contradictions(layer, found):
                raise twice[0]
            layer |= found
        except ServeError as error:
            problems.append(error)
            while rest and not rest[0].startswith("-"):
                rest.pop(0)  # what follows a wrong flag is its value, not a MODEL
    if problems:
        raise ServeError.gather(problems)
    return layer


def contradictions(one: Layer, other: Layer) -> list[ServeError]:
    """What two parts of one command line say differently: no order between them would be plain to a reader."""
    return [
        ServeError(
            f"{name} is given twice: {show(one[name].value)} by {one[name].origin}, "
            f"{show(setting.value)} by {setting.origin}",
            fix="keep one of the two",
        )
        for name, setting in other.items()
        if name in one and one[name].value != setting.value
    ]


def _model(word: str, layer: Layer) -> Layer:
    if "model" in layer and layer["model"].origin.place == "MODEL":
        raise ServeError(
            f"{word!r} is one word too many: MODEL is {layer['model'].value!r} already",
            fix="a flag's value follows its flag; options are listed by --help",
        )
    try:
        return {"model": Setting(keys.BY_NAME["model"].type.parse(word), Origin("command line", "MODEL"))}
    except ValueError as error:
        raise ServeError(f"model: {word!r} {error}", where="MODEL", fix="demo, a folder or a repository id") from None


def _flag(word: str, rest: list[str], engine: Engine, known: Catalog) -> Layer:
    """The setting that a flag makes with its values, which are taken from the rest."""
    spelling, equals, value = word.partition("=")
    if spelling.startswith("-O") and spelling != "-O" and known.find(spelling):
        spelling, equals, value = "-O", "=", spelling[2:]  # vLLM's -O3
    flag = known.find(spelling)
    if flag is None:
        text = value or (rest[0] if rest and not rest[0].startswith("-") else "")
        raise ServeError(f"{known.release.title} has no flag {spelling}", fix=instead(spelling, text, known))
    spelling = exact(flag, spelling)
    values = (value,) if equals else _values(flag, spelling, rest)
    origin = Origin("command line", spelling)
    negated = spelling in flag.negations
    meaning = means(engine, known, flag, values, negated=negated)
    if flag.name not in RESERVED:  # nothing of what those are given is told back: it may be a key
        _check(known, flag, spelling, values, meaning)
    if meaning:
        try:
            return {meaning.key: Setting(keys.BY_NAME[meaning.key].type.parse(meaning.text), origin)}
        except ValueError as error:
            if _number(meaning.text) and not (meaning.text == "-1" and meaning.key in WORDS):
                raise ServeError(f"{meaning.key}: {meaning.text!r} {error}", where=spelling) from None
            # any other value that only the engine knows goes to it as it is
    if why := RESERVED.get(flag.name):
        raise ServeError(f"{spelling} is not passed on", where=spelling, fix=why)
    name = spelling if negated or "." in spelling else flag.name
    given: Any = values if len(values) > 1 else values[0] if values else True
    return {f"args.{engine.name}.{name}": Setting(given, origin)}


def _values(flag: Flag, spelling: str, rest: list[str]) -> tuple[str, ...]:
    """Takes a flag's values from the words that follow it, as argparse counts them."""
    if not flag.takes_value or spelling in flag.negations:
        return ()
    most = flag.nargs if isinstance(flag.nargs, int) else 1 if flag.nargs in (None, "?") else len(rest)
    values: list[str] = []
    while rest and len(values) < most and (not rest[0].startswith("-") or _number(rest[0])):
        values.append(rest.pop(0))
    if not values and flag.nargs not in ("?", "*"):
        fix = f"one of {', '.join(flag.choices)}" if flag.choices else "write it after the flag, or --flag=value"
        raise ServeError("needs a value", where=spelling, fix=fix)
    return tuple(values)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _check(known: Catalog, flag: Flag, spelling: str, values: tuple[str, ...], meaning: Meaning | None) -> None:
    """Refuses what the release's parser would refuse."""
    if spelling in flag.negations:
        reason = f"it takes no value, {values[0]!r} given" if values else None
    else:
        reason = None if "." in spelling else known.check_value(flag, values)  # a part of a JSON value may be anything
    if reason:
        fix = f"serve's own option for it is {keys.BY_NAME[meaning.key].option}" if meaning else ""
        raise ServeError(f"{known.release.title}: {reason}", where=spelling, fix=fix)
