"""A launch command against the flags of one release: what its parser refuses, and what it does without a word."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.commands.findings import Finding
from launcher.commands.launches import Launch
from launcher.engines import catalog, translate
from launcher.engines.arguments import Entry, Reading, Stray, Use, read
from launcher.engines.catalog import Catalog
from launcher.engines.confidential import SECRETS, holds_secret, may_be_secret_flag
from launcher.engines.express import express
from launcher.engines.flexible import UNKNOWN
from launcher.engines.hints import known_elsewhere, owner
from launcher.engines.release import TITLES
from launcher.engines.translate import Advice, Old, advise

_HIDDEN = "(hidden)"
_GUESSES = 50  # at misspelled flags of one command: each takes a while
_SHOWN = 1000  # characters of one sentence


@dataclass(frozen=True)
class Judgement:
    """What one release makes of a command.

    Attributes:
        reading: the command as the release's parser reads it.
        findings: about it.
    """

    reading: Reading
    findings: tuple[Finding, ...]


def judge(launch: Launch, known: Catalog) -> Judgement:
    """A launch against a release of its engine."""
    reading = read([word.text for word in launch.words], known, entry_of(launch))
    return Judgement(reading, tuple(_Judge(launch, reading).findings()))


def entry_of(launch: Launch) -> Entry:
    """How a launch calls the engine's parser."""
    return "serve" if launch.entry == "serve" else "module"


def _may_hold_secrets(launch: Launch, reading: Reading) -> bool:
    """Whether a word of a command may be a secret that stands in the wrong place."""
    suspects = any(may_be_secret_flag(word.text) for word in launch.words)
    return suspects or any(use.flag.name in SECRETS for use in reading.uses)


def spelt_elsewhere(use: Use, known: Catalog) -> Old | None:
    """The flag of another release or engine that an abbreviation is in full; None where it is none."""
    old = known_elsewhere(use.written, use.values, known) if use.completed else None
    return None if old is None or use.spelling in old.flag.spellings else old


def is_use(use: Use, advice: Advice, known: Catalog) -> bool:
    """Whether what an advice says to write is the very flag that was used."""
    return bool(advice.words) and known.find(advice.words[0].partition("=")[0]) == use.flag


def described(launch: Launch, reading: Reading) -> list[dict[str, Any]]:
    """Each flag of a command: which releases have it, and what the release that read it takes for it."""
    rows = []
    for use in reading.uses:
        releases = catalog.history(reading.catalog.release.engine, use.spelling)
        secret = holds_secret(use.flag.name, use.values, use.path)
        rows.append(
            {
                "start": launch.words[use.place].start,
                "flag": use.spelling,
                "written": _shown(use.written),
                "values": [_HIDDEN if secret else _shown(value) for value in use.values],
                "takes": use.flag.takes,
                "choices": list(use.flag.choices),
                "first": releases[0].version,
                "last": releases[-1].version,
                "deprecated": use.flag.deprecated,
                "completed": use.completed,
            }
        )
    return rows


class _Judge:
    """One launch and its reading."""

    def __init__(self, launch: Launch, reading: Reading) -> None:
        self.launch, self.reading, self.known = launch, reading, reading.catalog
        self.title = TITLES[self.known.release.engine]
        self.secretive = _may_hold_secrets(launch, reading)

    def findings(self) -> Iterator[Finding]:
        for use in self.reading.uses:
            yield from self._use(use)
        yield from self._twice()
        for number, stray in enumerate(self.reading.strays):
            yield self._stray(stray, guess=number < _GUESSES)
        for place, why in self.reading.complaints:
            yield self._at("refused-command", why, place, refuses=True)
        for place in self.reading.opaque:
            yield self._at("known-at-run-time", "known only when the command runs, and not checked", place)
        if self.known.release.engine == "vllm" and entry_of(self.launch) == "module" and self.reading.model is not None:
            what = "the API server's module serves its default model: it reads a model only from --model"
            yield self._at("ignored-model", what, self.reading.model, "write --model before it, or use vllm serve")
        yield from self._variables()

    def _at(self, rule: str, what: str, place: int | None, fix: str = "", *, refuses: bool = False) -> Finding:
        """A finding at a word; at the program where it is at none."""
        words = self.launch.words
        word = self.launch.program[-1] if place is None or place >= len(words) else words[place]
        return Finding(rule, cut(what), word.start, word.end, cut(fix), refuses, (self.known.release,))

    def _use(self, use: Use) -> Iterator[Finding]:
        flag, written = use.flag, _shown(use.written)
        if flag.refused:
            old = Old(self.known, flag, use.spelling, use.values, use.path)
            fix = told(advise(old, self.known), self.known) or flag.refused
            yield self._at("refused-flag", f"{written} is refused: {flag.refused}", use.place, fix, refuses=True)
            return
        secret = holds_secret(flag.name, use.values, use.path)
        if use.problem and secret and use.values:
            yield self._at("bad-value", f"{written}: its value is refused", use.places[0], refuses=True)
        elif use.problem:
            what = f"{written}: {use.problem.removeprefix(flag.name).removeprefix(use.spelling).lstrip()}"
            yield self._at("bad-value", what, (use.places or (use.place,))[0], self._instead(use), refuses=True)
        if flag.name == "--config" and not use.reads_config:
            what = f"{written} is taken, but the file is not read: {self.title} looks for the word --config"
            yield self._at("ignored-config", what, use.place, "write --config FILE, as two words")
        if use.completed:
            yield self._completed(use)
        if flag.deprecated:
            old = Old(self.known, flag, use.spelling, use.values, use.path)
            yield self._at("deprecated-flag", f"{use.spelling} is deprecated", use.place, self._beyond(old))
        elif flag.choices and not flag.enforced and not use.path and not use.problem:
            yield from self._unlisted(use)
        if secret and any(value and UNKNOWN not in value for value in use.values):
            ours = flag.name == "--api-key" and self.known.release.engine == "sglang"
            fix = "serve keeps it in a file: --api-key auto" if ours else SECRETS[flag.name].theirs
            yield self._at("key-in-argv", f"{written} shows the key to every user of the host", use.places[0], fix)

    def _instead(self, use: Use) -> str:
        """What to write in place of a value that is refused."""
        old = spelt_elsewhere(use, self.known) or Old(self.known, use.flag, use.spelling, use.values, use.path)
        advice = advise(old, self.known)
        if advice.words == (use.spelling, *use.values):
            return ""
        return told(advice, self.known) if advice.how in {"same", "words", "nothing"} else ""

    def _completed(self, use: Use) -> Finding:
        """An abbreviation; one that is a flag of another release or engine, which means something else, is an error."""
        what = f"{_shown(use.written)} is taken for {use.spelling}, which begins so"
        old = spelt_elsewhere(use, self.known)
        advice = advise(old, self.known) if old else None
        if old is None or advice is None or is_use(use, advice, self.known):
            return self._at("completed-flag", what, use.place, f"write {use.spelling}")
        fix = told(advice, self.known)
        return self._at("other-meaning", f"{what}; {owner(old, self.known)}", use.place, fix)

    def _beyond(self, old: Old) -> str:
        """What to write in place of a deprecated flag."""
        if advice := translate.successor(old, self.known):
            return told(advice, self.known)
        return f"write {old.flag.successor}" if old.flag.successor else ""

    def _unlisted(self, use: Use) -> Iterator[Finding]:
        for value, place in zip(use.values, use.places, strict=True):
            if value and UNKNOWN not in value and value not in use.flag.choices:
                what = f"{_shown(use.written)}: {self.title} does not list {value!r}"
                fix = self._instead(use) or f"it lists {', '.join(use.flag.choices)}"
                yield self._at("unlisted-value", what, place, fix)

    def _twice(self) -> Iterator[Finding]:
        seen: dict[tuple[str, tuple[str, ...]], Use] = {}
        for use in self.reading.uses:
            before = seen.get((use.flag.name, use.path))
            whole = seen.get((use.flag.name, ())) if use.path else None
            if before and not use.flag.repeats:
                what = f"{_shown(use.written)} is given twice: the last one counts"
                yield self._at("given-twice", what, use.place, "keep one of the two")
            elif whole:
                what = f"{_shown(use.written)} replaces all of {_shown(whole.written)}"
                yield self._at("given-twice", what, use.place, "write all of it as one JSON value, or all in parts")
            seen[use.flag.name, use.path] = use

    def _stray(self, stray: Stray, *, guess: bool) -> Finding:
        written = self._written(stray)
        if not stray.is_flag:
            what = f"{written} is neither a flag nor a flag's value"
            return self._at("stray-word", what, stray.place, "a flag's value follows its flag", refuses=True)
        values = tuple(self.launch.words[place].text for place in stray.places) or (stray.value,) * bool(stray.value)
        if may_be_secret_flag(stray.written):
            values = ("...",) * len(values)
        old = known_elsewhere(stray.written, values, self.known)
        if stray.candidates and (old is None or old.engine != self.known.release.engine):
            some = ", ".join(stray.candidates[:4])
            fix = "write the one that is meant"
            return self._at("ambiguous-flag", f"{written} may be {some}", stray.place, fix, refuses=True)
        if old is None:
            near = self.known.nearest(stray.written) if guess else None
            fix = f"perhaps {near} is meant: that is a guess by its spelling" if near else ""
            return self._at("unknown-flag", f"no flag {written}", stray.place, fix, refuses=True)
        fix = told(advise(old, self.known), self.known)
        if old.engine != self.known.release.engine:
            return self._at(
                "other-engine", f"no flag {written}: {owner(old, self.known)}", stray.place, fix, refuses=True
            )
        releases = catalog.history(old.engine, old.spelling)
        rule = "later-flag" if releases and releases[0] > self.known.release else "removed-flag"
        return self._at(rule, f"no flag {written}: {owner(old, self.known)}", stray.place, fix, refuses=True)

    def _written(self, stray: Stray) -> str:
        """A stray as it is told: nothing of what may be a secret in the wrong place."""
        before = self.launch.words[stray.place - 1].text if stray.place else ""
        if (may_be_secret_flag(before) and "=" not in before) or (self.secretive and not stray.is_flag):
            return _HIDDEN
        return _shown(stray.written) if stray.is_flag else repr(_shown(stray.written))

    def _variables(self) -> Iterator[Finding]:
        for name, word in self.launch.environment:
            if found := translate.variable(name, word.text, self.known):
                until, advice = found
                what = f"{self.title} read it until {until}" if until else "it is deprecated"
                rule, fix = "removed-variable" if until else "deprecated-variable", told(advice, self.known)
                yield Finding(rule, f"{name}: {what}", word.start, word.end, fix, releases=(self.known.release,))


def _shown(text: str) -> str:
    return text.replace(UNKNOWN, "$...")


def shown(words: Sequence[str]) -> str:
    """Words as a shell takes them, ``$...`` in the place of what is known only when the command runs."""
    return " ".join(shlex.quote(word) if UNKNOWN not in word else _shown(word) for word in words)


def cut(text: str) -> str:
    """A sentence that may hold a value of any length."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} ... {text[-_SHOWN // 2 :]}"


def told(advice: Advice, known: Catalog) -> str:
    """An advice in the engine's own words, or "" where there is none."""
    if advice.how == "nothing":
        return f"leave it out: {advice.note}"
    if advice.how == "lost":
        return f"choose by hand: {advice.note}"
    environment, words, notes = dict(advice.environment), list(advice.words), [advice.note]
    if advice.keys:
        expressed = express(advice.keys, known)
        if expressed.problems:
            return "; ".join(filter(None, (advice.note, *(each.what for each in expressed.problems))))
        words = [word for argument in expressed.arguments for word in argument.words]
        environment |= expressed.environment
        notes += [argument.note for argument in expressed.arguments]
        notes += [decision.text for decision in expressed.decisions if not words]
    named = [f"{name}={shown([value])}" for name, value in environment.items()]
    text = " ".join([*named, *([shown(words)] if words else [])])
    note = "; ".join(filter(None, notes))
    if text:
        return f"write {text}" + (f" ({note})" if note else "")
    return f"leave it out: {note}" if note else ""
