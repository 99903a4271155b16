"""The changes that write one launch command for another release or for the other engine, and what is left of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from launcher.commands.findings import Finding
from launcher.commands.judge import cut, entry_of, is_use, shown, spelt_elsewhere, told
from launcher.commands.launches import Launch
from launcher.commands.rewrite import Change, Rewriter
from launcher.commands.source import Source
from launcher.engines.across import across
from launcher.engines.arguments import Reading, Stray, Use, read
from launcher.engines.catalog import Catalog
from launcher.engines.command import Argument
from launcher.engines.express import Expressed, express
from launcher.engines.flexible import UNKNOWN
from launcher.engines.hints import known_elsewhere, owner
from launcher.engines.release import TITLES
from launcher.engines.translate import Advice, Old, advise, variable
from launcher.errors import ServeError

# How each engine's server is started, and where it listens unless told otherwise (read in their parsers' defaults).
_PROGRAMS = {"vllm": ("vllm", "serve"), "sglang": ("python3", "-m", "sglang.launch_server")}
_MODULES = {"vllm": ("vllm.entrypoints.cli.main", "serve"), "sglang": ("sglang.launch_server",)}
_VARIABLES = {"vllm": ("VLLM_",), "sglang": ("SGLANG_", "SGL_")}
_LISTENS = {"vllm": {"host": "0.0.0.0", "port": "8000"}, "sglang": {"host": "127.0.0.1", "port": "30000"}}  # noqa: S104


@dataclass(frozen=True)
class Migration:
    """A command's way to another release.

    Attributes:
        changes: what is rewritten, in the order of the text.
        left: what could not be translated, or needs a person.
    """

    changes: tuple[Change, ...]
    left: tuple[Finding, ...]


@dataclass(frozen=True)
class _Item:
    """A flag with its values as it was written: the places of its words, and what it was to the release that has it."""

    places: tuple[int, ...]
    old: Old


def migrate(source: Source, launch: Launch, target: Catalog, before: Catalog) -> Migration:
    """How a command is written for another release.

    Args:
        source: the text that holds it.
        launch: the command.
        target: the release to write it for.
        before: the release that it was written for, of its own engine.
    """
    mover = _Mover(source, launch, target)
    if launch.engine == target.release.engine:
        mover.within_engine()
    else:
        mover.to_other_engine(before)
    mover.changes.sort(key=lambda change: (change.start, change.end))
    return Migration(tuple(mover.changes), tuple(mover.left))


class _Mover:
    """The changes of one command while they are gathered."""

    def __init__(self, source: Source, launch: Launch, known: Catalog) -> None:
        self.launch, self.known = launch, known
        self.text = Rewriter(source, launch)
        self.title = known.release.title
        self.changes: list[Change] = []
        self.left: list[Finding] = []

    def within_engine(self) -> None:
        """Words that the release does not take are replaced one by one; all others stay."""
        reading = self._read(self.known)
        found: list[Use | Stray] = [*reading.uses, *reading.strays]
        for each in sorted(found, key=lambda each: each.place):
            if isinstance(each, Use):
                self._use(each)
            elif unknown := self._stray(each, self.known):
                what = f"no flag {each.written}, {owner(unknown.old, self.known)}"
                self._alone(unknown, advise(unknown.old, self.known), what)
        for place, why in reading.complaints:
            self._leave(place, why)
        self._unread(reading)
        if self.launch.release not in (None, self.known.release.version):
            self._leave(None, f"the image {self.launch.image} holds another release", f"name that of {self.title}")
        for name, word in self.launch.environment:
            found_for = variable(name, word.text, self.known)
            if found_for and found_for[1].how != "nothing":
                what = f"{name} is read no longer" if found_for[0] else f"{name} is deprecated"
                fix = told(found_for[1], self.known)
                self.left.append(Finding("removed-variable", what, word.start, word.end, fix))

    def to_other_engine(self, before: Catalog) -> None:
        """Keys are said together, as one flag of one engine may be two of the other; other flags one by one."""
        reading = self._read(before)
        items = [_item(use, before) for use in reading.uses]
        items += [item for stray in reading.strays if (item := self._stray(stray, before))]
        items.sort(key=lambda item: item.places)
        found = list(zip(items, across([item.old for item in items], self.known), strict=True))
        texts = {name: text for _, advice in found for name, text in advice.keys.items()}
        model = next((item for item, advice in found if "model" in advice.keys), None)
        if model and self.known.release.engine == "vllm":
            del texts["model"]  # it is no flag there
        listens = {key: text for key, text in _LISTENS[self.launch.engine].items() if key not in texts}
        if self._closed(found):
            listens = {}
            what = (
                f"{TITLES[self.launch.engine]} listens on {_LISTENS[self.launch.engine]['host']} unless told otherwise"
            )
            self._leave(None, f"where it is to listen: {what}", "give --host and --port, and the key if it has one")
        expressed = express({**texts, **listens}, self.known)
        rest = list(expressed.arguments)
        for item, advice in found:
            if item is model and self.known.release.engine == "vllm":
                self._replace(item, (), "the model is the first word of vllm serve")
            elif advice.keys:
                self._by_key(item, advice, expressed, rest)
            else:
                self._alone(item, advice, f"{TITLES[self.known.release.engine]} has nothing for it that we know of")
        self._program(reading.model, model)
        for argument in rest:
            default = f"{TITLES[self.launch.engine]} does so by default"
            why = default if argument.key in {"host", "port"} else argument.note
            self._change(None, shlex.join(argument.words), lambda: self.text.added(argument.words, why))  # noqa: B023 - called at once
        self._unread(reading)
        self._variables(expressed.environment)
        self._their_variables()

    def _closed(self, found: Sequence[tuple[_Item, Advice]]) -> bool:
        """Whether it lets in only who has a key, or listens on no port: with an address alone, anybody could come."""
        keyed = any(name == "VLLM_API_KEY" for name, _ in self.launch.environment)
        return keyed or any(item.old.flag.name in {"--uds", "--headless", "--config"} for item, _ in found)

    def _by_key(self, item: _Item, advice: Advice, expressed: Expressed, rest: list[Argument]) -> None:
        """A flag that means a key: what the key is written as, where the flag stood."""
        name = next(iter(advice.keys))
        mine = [each for each in rest if each.key in advice.keys]
        for each in mine:
            rest.remove(each)
        problem = next((each for each in expressed.problems if each.what.startswith(name) or name == "weights"), None)
        if problem and not mine:
            self._leave(item.places[0], f"{item.old.spelling}: {problem.what}", problem.fix)
            return
        notes = [each.text for each in expressed.decisions if each.key == name] or [each.note for each in mine]
        why = "; ".join(filter(None, notes)) or ("" if mine else f"{name} is part of another flag")
        self._replace(item, tuple(word for each in mine for word in each.words), why)

    def _alone(self, item: _Item, advice: Advice, why: str) -> None:
        """A flag that is translated by itself."""
        old, place = item.old, item.places[0]
        what = why if old.spelling in why else f"{old.spelling}: {why}"
        if advice.how == "unknown" and any(UNKNOWN in value for value in old.values):
            depends = "what takes its place depends on the value, which is known only when the command runs"
            self._leave(place, f"{old.spelling}: {depends}")
        elif advice.how == "lost":
            self._leave(place, what if advice.note in what else f"{old.spelling}: {advice.note}")
        elif advice.how == "unknown":
            near = None if old.spelling in self.known.spellings else self.known.nearest(old.spelling)
            guess = f"perhaps {near}, by its spelling: that is a guess" if near else ""
            self._leave(place, what, guess)
        elif advice.how == "keys":
            expressed = express(advice.keys, self.known)
            if expressed.problems:
                self._leave(place, f"{what}; {expressed.problems[0].what}", expressed.problems[0].fix)
                return
            told_of = (*(each.text for each in expressed.decisions), *(each.note for each in expressed.arguments))
            notes = "; ".join(filter(None, told_of))
            self._replace(item, tuple(word for each in expressed.arguments for word in each.words), notes)
            self._variables(expressed.environment)
        elif advice.how == "environment":
            self._replace(item, (), advice.note, advice.evidence)
            self._variables(advice.environment)
        elif self._hides_a_whole(advice.words):
            fix = f"write {shlex.join(advice.words)} into the JSON of that flag"
            self._leave(place, f"{old.spelling} becomes part of a flag that is given as a whole", fix)
        else:
            self._replace(item, advice.words, advice.note, advice.evidence)

    def _hides_a_whole(self, words: Sequence[str]) -> bool:
        """Whether a part of a JSON value would stand beside the whole of it: the parts replace the whole."""
        flags = {word.partition(".")[0] for word in words if re.match(r"--[\w-]+\.", word)}
        return bool(flags) and any(word.text.partition("=")[0] in flags for word in self.launch.words)

    def _replace(self, item: _Item, words: Sequence[str], why: str, evidence: tuple[str, ...] = ()) -> None:
        given = tuple(self.launch.words[place].text for place in item.places)
        if words and tuple(words) in (given, tuple(given[0].split("=", 1))):
            return
        what = (
            f"{item.old.spelling} is to become {shown(words)}" if words else f"{item.old.spelling} is to be taken out"
        )
        self._change(
            item.places[0],
            f"{what}: {why}" if why else what,
            lambda: self.text.replaced(item.places, words, why, evidence),
        )

    def _change(self, place: int | None, what: str, make: Callable[[], Change | None]) -> None:
        """Makes a change, or names what cannot be written where it belongs."""
        try:
            change = make()
        except ServeError as error:
            self._leave(place, f"{what}; {error.what}", error.fix)
            return
        if change is None:
            self._leave(place, what)
        else:
            self.changes.append(change)

    def _completed(self, use: Use) -> None:
        """An abbreviation, in full."""
        word = self.launch.words[use.place]
        name = re.split(r"[=.]", word.text, maxsplit=1)[0]
        if name.replace("_", "-") != use.written.partition(".")[0]:  # a form such as -O3
            self._leave(use.place, f"{use.written} abbreviates {use.spelling}", f"write {use.spelling}")
            return
        what = f"{name} abbreviates {use.spelling}"
        self._change(use.place, what, lambda: self.text.begun(word, name, use.spelling, f"{name} abbreviates it"))

    def _use(self, use: Use) -> None:
        """A flag that the release has: refused, abbreviated, or with a value that has another name by now."""
        item, other = _item(use, self.known), spelt_elsewhere(use, self.known)
        if other and not is_use(use, advice := advise(other, self.known), self.known):
            self._alone(_Item(item.places, other), advice, f"no flag {use.written}")
            return
        advice = advise(item.old, self.known)
        if use.flag.refused or use.problem or advice.how in {"words", "nothing"}:
            self._alone(item, advice, use.problem or use.flag.refused)
        elif use.completed:
            self._completed(use)

    def _unread(self, reading: Reading) -> None:
        for place in reading.opaque:
            word = self.launch.words[place]
            what = "what stands here is known only when the command runs"
            self.left.append(Finding("known-at-run-time", what, word.start, word.end))

    def _program(self, given: int | None, model: _Item | None) -> None:
        """The program, and the model: a word of its own in vLLM, a flag's value in SGLang."""
        launch, engine = self.launch, self.known.release.engine
        if launch.image:
            word = launch.program[0]
            what = f"the image {launch.image} holds {TITLES[launch.engine]}"
            fix = f"name an image of {self.title}, and give it the command {shlex.join(_PROGRAMS[engine])}"
            self.left.append(Finding("other-engine", what, word.start, word.end, fix))
        if engine == "sglang" and given is not None:
            self._change(given, "--model-path belongs before it", lambda: self._model_path(given))
        if "/" in launch.program[0].text and launch.program[0].text != launch.image:
            what = f"{launch.program[0].text} is of an environment of {TITLES[launch.engine]}"
            self._leave(None, what, f"name a Python that has {self.title}")
        raw = ""
        if engine == "vllm" and model:
            raw = self.text.value(model.places)
        python = re.fullmatch(r"\S*python[\d.]*", launch.program[0].text)
        program = (launch.program[0].text, "-m", *_MODULES[engine]) if python else _PROGRAMS[engine]
        if launch.program[0].text != launch.image:  # an image that runs its own program is another's to change
            what = f"the program is to become {shlex.join(program)}"
            self._change(None, what, lambda: self.text.program(program, raw))

    def _model_path(self, given: int) -> Change | None:
        """The model's flag: ``vllm serve`` takes the model with ``--model`` too, and makes it the first word."""
        words = self.launch.words
        for word in (words[given - 1 : given] or words[:1])[0], words[given]:
            if word.text.partition("=")[0] == "--model":
                return self.text.begun(word, "--model", "--model-path", "")
        return self.text.prefixed(given, "--model-path")

    def _their_variables(self) -> None:
        """Variables of the engine that is left behind."""
        for name, word in self.launch.environment:
            if name.startswith(_VARIABLES[self.launch.engine]):
                what = f"{name} is a variable of {TITLES[self.launch.engine]}"
                self.left.append(Finding("removed-variable", what, word.start, word.end, f"see what {self.title} has"))

    def _variables(self, variables: Mapping[str, str]) -> None:
        """Variables go before a command of a shell; elsewhere a person knows their place."""
        first = self.launch.program[0]
        for name, value in variables.items():
            what = f"the environment variable {name}={shown([value])} is needed"
            if self.launch.prefix and UNKNOWN not in value:
                self._change(None, what, lambda: self.text.variable(name, value))  # noqa: B023 - called at once
            else:
                fix = "set it where variables are set"
                self.left.append(Finding("removed-flag", what, first.start, first.end, fix))

    def _read(self, known: Catalog) -> Reading:
        return read([word.text for word in self.launch.words], known, entry_of(self.launch))

    def _stray(self, stray: Stray, reader: Catalog) -> _Item | None:
        """A flag that the release which read it does not have, as one that has it knows it; None is left and named."""
        words = self.launch.words
        values = tuple(words[place].text for place in stray.places) or ((stray.value,) if stray.value else ())
        old = known_elsewhere(stray.written, values, reader) if stray.is_flag else None
        if old and stray.candidates and old.engine != self.launch.engine:
            old = None  # an abbreviation of two flags, not a flag of the other engine
        if old is None and stray.candidates:
            some = ", ".join(stray.candidates[:4])
            self._leave(stray.place, f"{shown([stray.written])} may be {some}", "write the one that is meant")
        elif old is None:
            near = self.known.nearest(stray.written) if stray.is_flag else None
            guess = f"perhaps {near}, by its spelling: that is a guess" if near else ""
            nothing = "is not known to any release" if stray.is_flag else "is neither a flag nor a flag's value"
            self._leave(stray.place, f"{shown([stray.written])} {nothing}", guess)
        return _Item((stray.place, *stray.places), old) if old else None

    def _leave(self, place: int | None, what: str, fix: str = "") -> None:
        words = self.launch.words
        word = self.launch.program[-1] if place is None or place >= len(words) else words[place]
        self.left.append(Finding("refused-command", cut(what), word.start, word.end, cut(fix)))


def _item(use: Use, known: Catalog) -> _Item:
    places = tuple(sorted({use.place, *use.places}))
    return _Item(places, Old(known, use.flag, use.spelling, use.values, use.path))
