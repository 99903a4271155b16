"""The words of a command line that are none of our options: MODEL, and the engine's own flags in its exact spelling.

A flag that means a key sets the key; any other flag that the release has passes through checked; a flag that it does
not have is refused with what replaces it. The engine's parser would complete abbreviations; here they are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from launcher.config import keys
from launcher.config.layers import Layer, Origin, Setting
from launcher.config.values import show
from launcher.engines import arguments
from launcher.engines.arguments import Stray, Use
from launcher.engines.catalog import Catalog
from launcher.engines.confidential import may_be_secret_flag
from launcher.engines.engine import Engine
from launcher.engines.hints import instead
from launcher.engines.meanings import Meaning, means
from launcher.engines.render import reserved
from launcher.errors import ServeError

WORDS = ("context_length", "prefill_tokens")  # keys for whose flags -1 is a word of the engines: automatic, or off


def read(words: tuple[str, ...], engine: Engine, known: Catalog) -> Layer:
    """The layer that the words make.

    Raises:
        ServeError: a word or flag that the release does not take; all of them at once.
    """
    reading = arguments.read(words, known, "module")
    found: list[tuple[int, Use | Stray | str]] = [(use.place, use) for use in reading.uses]
    found += [(stray.place, stray if stray.is_flag else stray.written) for stray in reading.strays]
    if reading.model is not None:
        found.append((reading.model, words[reading.model]))
    # beside a flag of a secret, a word in a wrong place may be that secret, and none is told back
    shown = (lambda _: "a word") if any(map(may_be_secret_flag, words)) else repr
    layer: Layer = {}
    problems = [ServeError(why, where=words[place]) for place, why in reading.complaints if place is not None]
    for _, each in sorted(found, key=lambda pair: pair[0]):
        try:
            made = _model(each, layer, shown) if isinstance(each, str) else _flag(each, engine, known)
            if isinstance(each, Use) and each.flag.repeats:
                made = _with_those_before(made, layer)
            elif twice := contradictions(layer, made):
                raise twice[0]
            layer |= made
        except ServeError as error:
            problems.append(error)
    if problems:
        raise ServeError.gather(problems)
    return layer


def _with_those_before(made: Layer, layer: Layer) -> Layer:
    """A flag each use of which adds to those before: all of its values."""
    ((name, setting),) = made.items()
    if (before := layer.get(name)) is None:
        return made
    values = [
        value for each in (before.value, setting.value) for value in (each if isinstance(each, tuple) else (each,))
    ]
    return {name: Setting(tuple(values), setting.origin)}


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


def _model(word: str, layer: Layer, shown: Callable[[str], str]) -> Layer:
    if "model" in layer and layer["model"].origin.place == "MODEL":
        raise ServeError(
            f"{shown(word)} is one word too many: MODEL is {shown(layer['model'].value)} already",
            fix="a flag's value follows its flag; options are listed by --help",
        )
    try:
        return {"model": Setting(keys.BY_NAME["model"].type.parse(word), Origin("command line", "MODEL"))}
    except ValueError as error:
        raise ServeError(f"model: {word!r} {error}", where="MODEL", fix="demo, a folder or a repository id") from None


def _flag(each: Use | Stray, engine: Engine, known: Catalog) -> Layer:
    """The setting that a flag makes with its values."""
    title = known.release.title
    if isinstance(each, Stray):
        raise ServeError(f"{title} has no flag {each.written}", fix=instead(each.written, each.value, known))
    if each.completed:
        text = each.values[0] if len(each.values) == 1 else ""
        raise ServeError(f"{title} has no flag {each.written}", fix=instead(each.written, text, known))
    flag, spelling = each.flag, ".".join((each.spelling, *each.path))
    if flag.refused:
        raise ServeError(f"{title} refuses {spelling}: {flag.refused}", fix=instead(spelling, "", known))
    if each.path and not flag.type.startswith("json"):
        raise ServeError(f"{title} has no flag {spelling}", fix=f"{each.spelling} is no JSON value that has parts")
    origin = Origin("command line", spelling)
    meaning = None if each.path else means(engine, known, flag, each.values, negated=each.negated)
    why = reserved(flag.name, each.values, each.path)
    if not why:  # nothing of what those are given is told back: it may be a key
        _check(each, known, meaning)
    if meaning:
        try:
            return {meaning.key: Setting(keys.BY_NAME[meaning.key].type.parse(meaning.text), origin)}
        except ValueError as error:
            if _number(meaning.text) and not (meaning.text == "-1" and meaning.key in WORDS):
                raise ServeError(f"{meaning.key}: {meaning.text!r} {error}", where=spelling) from None
            # any other value that only the engine knows goes to it as it is
    if why:
        raise ServeError(f"{spelling} is not passed on", where=spelling, fix=why)
    name = spelling if each.negated or each.path else flag.name
    given: Any = each.values if len(each.values) > 1 else each.values[0] if each.values else True
    return {f"args.{engine.name}.{name}": Setting(given, origin)}


def _check(use: Use, known: Catalog, meaning: Meaning | None) -> None:
    """Refuses what the release's parser would refuse."""
    flag = use.flag
    if use.problem and not use.values and flag.takes_value and not use.negated:
        fix = f"one of {', '.join(flag.choices)}" if flag.choices else "write it after the flag, or --flag=value"
        raise ServeError("needs a value", where=use.spelling, fix=fix)
    if use.problem:
        fix = f"serve's own option for it is {keys.BY_NAME[meaning.key].option}" if meaning else ""
        raise ServeError(f"{known.release.title}: {use.problem}", where=use.spelling, fix=fix)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
