"""What our own command line says of a flag that a release does not have."""

from __future__ import annotations

import shlex

from launcher.config import keys
from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.release import TITLES
from launcher.engines.translate import Advice, Old, advise, by_key, gone_before

SHOWN = 4
OWN_OPTIONS = ("--preset", "--config", "--set", "--name", "--dry-run", "--json")  # of launch, beside the keys


def instead(spelling: str, text: str, known: Catalog) -> str:
    """What to write on a command line of ours in place of a flag that the release does not have.

    Args:
        spelling: the flag.
        text: the value that it was given.
        known: the release at hand.
    """
    if (name := spelling.lstrip("-").replace("-", "_")) in keys.BY_NAME:
        return f"write {keys.BY_NAME[name].option}"
    if old := known_elsewhere(spelling, (text,) if text else (), known):
        return f"{owner(old, known)}; {_told(by_key(old) or advise(old, known))}"
    begin = [each for flag in known.flags.values() for each in flag.spellings if each.startswith(spelling)]
    begin += [key.option for key in keys.KEYS if key.option.startswith(spelling)]
    if begin and spelling.startswith("--"):
        return f"flags are not abbreviated; these begin so: {', '.join(begin[:SHOWN])}"
    near = _nearest(spelling, known)
    return (
        f"did you mean {near}?" if near else "serve launch --help lists the options, and any flag of the release passes"
    )


def known_elsewhere(spelling: str, values: tuple[str, ...], known: Catalog) -> Old | None:
    """A flag that is none of a release's as the newest release that has it knows it, of either engine."""
    stem, _, path = spelling.partition(".")
    engine = known.release.engine
    last = catalog.last(stem, engine)
    if last is None or last[0].engine != engine:  # what its own engine once had comes before the other's
        gone = gone_before(stem.replace("_", "-") if engine == "vllm" else stem, values, engine)
        if gone or last is None:
            return gone
    release, flag = last
    exact = stem if stem in flag.spellings else stem.replace("_", "-")
    return Old(catalog.load(release), flag, exact, values, tuple(path.split(".")) if path else ())


def owner(old: Old, known: Catalog) -> str:
    """Which engine has a flag, or which releases of this one."""
    title = TITLES[old.engine]
    if old.engine != known.release.engine:
        return f"it is a flag of {title}"
    releases = catalog.history(old.engine, old.spelling)
    if not releases:
        return f"{title} had it before {old.known.release.version}"
    before = [release for release in releases if release < known.release]
    return f"{title} had it until {before[-1].version}" if before else f"{title} has it from {releases[0].version}"


def _told(advice: Advice) -> str:
    """An advice in the words of our own command line."""
    note = f" ({advice.note})" if advice.note else ""
    if advice.keys:
        return "write " + " ".join(f"{keys.BY_NAME[name].option} {text}" for name, text in advice.keys.items())
    if advice.words:
        return f"write {shlex.join(advice.words)}{note}"
    if advice.environment:
        return "write " + " ".join(f"--set env.{name}={value}" for name, value in advice.environment.items()) + note
    if advice.how == "lost":
        return f"choose by hand: {advice.note}"
    return f"leave it out: {advice.note}" if advice.how == "nothing" else "it has no counterpart that we know of"


def _nearest(spelling: str, known: Catalog) -> str | None:
    """The nearest of our options and of the release's flags."""
    import difflib  # noqa: PLC0415 - only needed on the way to an error

    options = [*OWN_OPTIONS, *(key.option for key in keys.KEYS)]
    candidates = [*options, *([near] if (near := known.nearest(spelling)) else [])]
    return next(iter(difflib.get_close_matches(spelling, candidates, n=1, cutoff=0.7)), None)
