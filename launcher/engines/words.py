"""The words of a command line that are none of our options: MODEL, and the engine's own flags in its exact spelling.

A flag that means a key sets the key; any other flag that the release has passes through checked; a flag that it does
not have is refused with what replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.config import keys
from launcher.config.layers import Layer, Origin, Setting
from launcher.config.sources import command_line
from launcher.engines import catalog, weights
from launcher.engines.catalog import Catalog, Flag
from launcher.engines.engine import Engine
from launcher.engines.release import TITLES
from launcher.engines.render import BY_NAME, RESERVED
from launcher.errors import ServeError


@dataclass(frozen=True)
class Meaning:
    """A flag as a key: the key, and the text of its value."""

    key: str
    text: str


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
            if not word.startswith("-") or word == "-":
                if "model" in layer:
                    raise ServeError(
                        f"{word!r} is one word too many: MODEL is {layer['model'].value!r} already",
                        fix="a flag's value follows its flag; options are listed by --help",
                    )
                layer |= command_line({"model": word}, ())
                layer["model"] = Setting(word, Origin("command line", "MODEL"))
                continue
            spelling, equals, value = word.partition("=")
            flag = known.find(spelling)
            if flag is None:
                raise ServeError(
                    f"{known.release.title} has no flag {spelling}", fix=instead(spelling, value, rest, known)
                )
            if why := RESERVED.get(flag.name):
                raise ServeError(f"{spelling} is not passed on: {why}", fix="see api_key in: serve keys")
            values = (value,) if equals else _values(flag, spelling, rest)
            layer |= _settings(engine, known, flag, spelling, values)
        except ServeError as error:
            problems.append(error)
            while rest and not rest[0].startswith("-"):
                rest.pop(0)  # what follows a wrong flag is its value, not a MODEL
    if problems:
        raise ServeError.gather(problems)
    return layer


def _values(flag: Flag, spelling: str, rest: list[str]) -> tuple[str, ...]:
    """Takes a flag's values from the words that follow it, as argparse counts them."""
    if not flag.takes_value or spelling in flag.negations or (spelling.startswith("-O") and spelling != "-O"):
        return ()
    most = flag.nargs if isinstance(flag.nargs, int) else 1 if flag.nargs in (None, "?") else len(rest)
    values: list[str] = []
    while rest and len(values) < most and (not rest[0].startswith("-") or _number(rest[0])):
        values.append(rest.pop(0))
    if not values and flag.nargs not in ("?", "*"):
        raise ServeError(f"{spelling} needs a value", fix=f"one of {', '.join(flag.choices)}" if flag.choices else "")
    return tuple(values)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _settings(engine: Engine, known: Catalog, flag: Flag, spelling: str, values: tuple[str, ...]) -> Layer:
    origin = Origin("command line", spelling)
    meaning = means(engine, known, flag, values, negated=spelling in flag.negations)
    if meaning:
        kind = keys.BY_NAME[meaning.key].type
        try:
            return {meaning.key: Setting(kind.parse(meaning.text), origin)}
        except ValueError:
            pass  # a value that only the engine knows goes to it as it is
    value = True if not values and spelling not in flag.negations else values[0] if len(values) == 1 else values
    return {f"args.{engine.name}.{spelling}": Setting(value or True, origin)}


def means(
    engine: Engine, known: Catalog, flag: Flag, values: tuple[str, ...], *, negated: bool = False
) -> Meaning | None:
    """The key that a flag stands for with these values, or None."""
    text = values[0] if len(values) == 1 else ""
    for spelling in flag.spellings:
        if intent := weights.meaning(engine.name, spelling, text):
            return Meaning("weights", intent)
        if spelling in engine.meanings:
            key, given, stands_for = engine.meanings[spelling]
            if given == "":
                return Meaning(key, _number_text(engine, text))
            return Meaning(key, stands_for) if given in (None, text) and not negated else None
    spellings = {**engine.flags, "model": (engine.model_flag,), "served_name": ("--served-model-name",)}
    spellings |= {"host": ("--host",), "port": ("--port",)}
    for key, names in spellings.items():
        if any(found.name == flag.name for name in names if (found := known.find(name))):
            return Meaning(key, _number_text(engine, text) if values else str(not negated).lower())
    return None


def _number_text(engine: Engine, text: str) -> str:
    """A number with the engine's own suffix (whose k may be 1000) as a plain one."""
    factor = engine.suffixes.get(text[-1:])
    return str(int(float(text[:-1]) * factor)) if factor and _number(text[:-1]) else text


def instead(spelling: str, value: str, rest: list[str], known: Catalog) -> str:
    """What to write in place of a flag that the release does not have."""
    name = known.release.engine
    text = value or (rest[0] if rest and not rest[0].startswith("-") else "")
    for engine in (name, *(other for other in keys.ENGINES if other != name)):
        releases = catalog.history(engine, spelling)
        if not releases:
            continue
        then = catalog.load(releases[-1])
        older = then.find(spelling)
        if older is None:
            continue
        owner = f"it is a flag of {TITLES[engine]}"
        if engine == name:
            later = releases[-1] > known.release
            owner = (
                f"{TITLES[engine]} has it from {releases[0].version}"
                if later
                else f"{TITLES[engine]} had it until {releases[-1].version}"
            )
        if meaning := means(BY_NAME[engine], then, older, (text,) if text else ()):
            return f"{owner}; write {keys.BY_NAME[meaning.key].option} {meaning.text}".rstrip()
        if older.successor and known.find(older.successor.split("=")[0]):
            return f"{owner}; write {older.successor}"
        return f"{owner}; it has no counterpart that we know of"
    options = [key.option for key in keys.KEYS]
    near = catalog_or_key(spelling, known, options)
    return f"did you mean {near}?" if near else "serve explain lists what is passed; options are listed by --help"


def catalog_or_key(spelling: str, known: Catalog, options: list[str]) -> str | None:
    """The nearest of our options and of the release's flags."""
    import difflib  # noqa: PLC0415 - only needed on the way to an error

    candidates = [*options, *([near] if (near := known.nearest(spelling)) else [])]
    close = difflib.get_close_matches(spelling, candidates, n=1, cutoff=0.6)
    return close[0] if close else None
