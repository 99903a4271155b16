"""What an engine's flag means in our vocabulary, and what to write in place of one that a release does not have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.config import keys
from launcher.engines import catalog, sglang, vllm, weights
from launcher.engines.catalog import Catalog, Flag
from launcher.engines.draft import exact
from launcher.engines.engine import Engine
from launcher.engines.release import TITLES, Release

BY_NAME: dict[str, Engine] = {engine.name: engine for engine in (vllm.ENGINE, sglang.ENGINE)}
OWN_OPTIONS = ("--preset", "--config", "--set", "--name", "--dry-run", "--json")  # of launch, beside the keys
SHOWN = 4


@dataclass(frozen=True)
class Meaning:
    """A flag as a key: the key, and the text of its value."""

    key: str
    text: str


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
            return Meaning(key, _number_text(engine, text) if flag.takes_value else str(not negated).lower())
    return None


def _number_text(engine: Engine, text: str) -> str:
    """A number with the engine's own suffix (whose k may be 1000) as a plain one."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)([a-zA-Z])", text)
    factor = engine.suffixes.get(match[2]) if match else None
    return str(int(float(match[1]) * factor)) if match and factor else text


def instead(spelling: str, text: str, known: Catalog) -> str:
    """What to write in place of a flag that the release does not have; `text` is the value that it was given."""
    if (name := spelling.lstrip("-").replace("-", "_")) in keys.BY_NAME:
        return f"write {keys.BY_NAME[name].option}"
    own = known.release.engine
    for engine in (own, *(other for other in keys.ENGINES if other != own)):
        if releases := catalog.history(engine, spelling):
            then = catalog.load(releases[-1])
            if older := then.find(spelling):
                owner = _owner(engine, releases, known)
                return f"{owner}; {_counterpart(BY_NAME[engine], then, older, spelling, text, known)}"
    begin = [each for flag in known.flags.values() for each in flag.spellings if each.startswith(spelling)]
    begin += [key.option for key in keys.KEYS if key.option.startswith(spelling)]
    if begin and spelling.startswith("--"):
        return f"flags are not abbreviated; these begin so: {', '.join(begin[:SHOWN])}"
    near = _nearest(spelling, known)
    return (
        f"did you mean {near}?" if near else "serve launch --help lists the options, and any flag of the release passes"
    )


def _owner(engine: str, releases: tuple[Release, ...], known: Catalog) -> str:
    """Which engine has it, or which releases of this one."""
    if engine != known.release.engine:
        return f"it is a flag of {TITLES[engine]}"
    if releases[-1] > known.release:
        return f"{TITLES[engine]} has it from {releases[0].version}"
    return f"{TITLES[engine]} had it until {releases[-1].version}"


def _counterpart(engine: Engine, then: Catalog, older: Flag, spelling: str, text: str, known: Catalog) -> str:
    """What to write in its place."""
    meaning = means(engine, then, older, (text,) if text else (), negated=exact(older, spelling) in older.negations)
    if meaning:
        return f"write {keys.BY_NAME[meaning.key].option} {meaning.text}".rstrip()
    if older.successor and known.find(older.successor.split("=")[0]):
        return f"write {older.successor}"
    return "it has no counterpart that we know of"


def _nearest(spelling: str, known: Catalog) -> str | None:
    """The nearest of our options and of the release's flags."""
    import difflib  # noqa: PLC0415 - only needed on the way to an error

    options = [*OWN_OPTIONS, *(key.option for key in keys.KEYS)]
    candidates = [*options, *([near] if (near := known.nearest(spelling)) else [])]
    return next(iter(difflib.get_close_matches(spelling, candidates, n=1, cutoff=0.7)), None)
