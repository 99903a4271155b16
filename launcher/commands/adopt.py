"""A launch command that others wrote as a configuration file of ours, whose dry run gives the same command back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.commands.findings import Finding
from launcher.commands.judge import entry_of, judge
from launcher.commands.launches import Found, Launch
from launcher.commands.source import Source, Word
from launcher.config import keys
from launcher.config.layers import Origin, Setting
from launcher.config.resolve import resolve
from launcher.config.sources import KEY_VARIABLES
from launcher.config.values import Flag as Switch
from launcher.engines.arguments import Entry, Use, read
from launcher.engines.catalog import Catalog
from launcher.engines.command import Command
from launcher.engines.confidential import holds_secret, is_secret_variable
from launcher.engines.engine import Engine
from launcher.engines.meanings import BY_NAME, means, number_text
from launcher.engines.render import RESERVED, render, reserved
from launcher.engines.target import Checkpoint, Target
from launcher.errors import FAILED, ServeError

_OPEN = "0.0.0.0"  # noqa: S104 - what vLLM binds unless told otherwise: every address
_SHOWN = 10  # lines of launch commands in one message
_ORDER = {key.name: place for place, key in enumerate(keys.KEYS)}
_PLAIN = ("model", "host", "port", "served_name")  # keys that every command of ours has
Values = dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], bool]]


@dataclass(frozen=True)
class Adopted:
    """A configuration file for a command.

    Attributes:
        settings: keys, ``args`` and ``env`` as they stand in the file, nested.
        command: what the file is rendered to.
        left: what is not carried over, and what to do about it.
    """

    settings: Mapping[str, Any]
    command: Command
    left: tuple[Finding, ...]


def adopt(source: Source, launch: Launch, known: Catalog, *, pinned: bool) -> Adopted:
    """The configuration file that means a command.

    Args:
        source: the text that holds it.
        launch: the command.
        known: the release that it is for.
        pinned: whether the file names the version, not the engine alone.

    Raises:
        ServeError: the release would refuse the command, or a part of it is known only when it runs.
    """
    _refuse_doubtful(source, launch, known)
    adopter = _Adopter(launch, known, pinned=pinned)
    for use in adopter.uses:
        adopter.take(use)
    adopter.complete()
    try:
        command = adopter.rendered()
    except ServeError:  # keys say less than flags: a quantized checkpoint's method, a node without its rank
        adopter.keep_all()
        command = adopter.rendered()
    while odd := adopter.different(command):  # a key that says it otherwise: the flag itself is kept
        for use in odd:
            adopter.keep(use)
        command = adopter.rendered()
    return Adopted(nested(adopter.texts), command, tuple(adopter.left))


def only(source: Source, found: Found) -> Launch:
    """The one launch command of a file.

    Raises:
        ServeError: it holds none, or several.
    """
    if not found.launches:
        what = found.troubles[0].what if found.troubles else "no launch command of vLLM or SGLang in it"
        raise ServeError(what, where=source.path, fix='give the command by --command "vllm serve ..."')
    if len(found.launches) > 1:
        places = [str(source.place(each.program[0].start)[0]) for each in found.launches]
        more = ", ..." if len(places) > _SHOWN else ""
        what = f"holds {len(places)} launch commands (lines {', '.join(places[:_SHOWN])}{more})"
        raise ServeError(what, where=source.path, fix="give the one that is meant by --command")
    return found.launches[0]


def _refuse_doubtful(source: Source, launch: Launch, known: Catalog) -> None:
    """Raises what stands in the way of reading the command as one thing."""
    doubts = [each for each in judge(launch, known).findings if each.level == "error"]
    unsure, fix = "known-at-run-time", "write it out first"
    doubts += [
        Finding(unsure, "what stands here is known only when the command runs", word.start, word.end, fix)
        if not word.known
        else Finding(unsure, "this stands there only under a condition", word.start, word.end, fix)
        for word in launch.words
        if not word.known or word.perhaps
    ]
    problems = [
        ServeError(each.text, where=":".join(map(str, (source.path, *source.place(each.start)))), fix=each.fix)
        for each in doubts
    ]
    if problems:
        raise ServeError.gather(problems)


class _Adopter:
    """The settings while they are gathered. Names are dotted: ``speculative.steps``, ``args.vllm.--seed``."""

    def __init__(self, launch: Launch, known: Catalog, *, pinned: bool) -> None:
        self.launch, self.known, self.engine = launch, known, BY_NAME[launch.engine]
        self.reading = read([word.text for word in launch.words], known, entry_of(launch))
        self.uses = _that_count(self.reading.uses)
        self.texts: dict[str, Any] = {"engine": str(known.release) if pinned else launch.engine}
        self.keys_of: dict[int, str] = {}
        self.kept: set[int] = set()
        self.left: list[Finding] = []
        if self.reading.model is not None:
            self.texts["model"] = launch.words[self.reading.model].text
        for name, word in launch.environment:
            self._variable(name, word)

    def take(self, use: Use) -> None:
        """A flag, as the key that it means if it means one."""
        if holds_secret(use.flag.name, use.values, use.path):
            self._secret(use)
            return
        meaning = None if use.path else means(self.engine, self.known, use.flag, use.values, negated=use.negated)
        if meaning and self._parses(meaning.key, meaning.text):
            self.texts[meaning.key] = meaning.text
            self.keys_of[use.place] = meaning.key
        elif why := reserved(use.flag.name, use.values, use.path):
            self._leave(use, f"{use.spelling} is not passed on", why, "refused-command")
        else:
            self.keep(use)

    def keep(self, use: Use) -> None:
        """A flag as it is, among the engine's own."""
        key = self.keys_of.pop(use.place, None)
        if key:
            self.texts.pop(key, None)
        self.kept.add(use.place)
        name = f"args.{self.engine.name}.{'.'.join((use.spelling, *use.path))}"
        value: Any = True if not use.values else use.values[0] if len(use.values) == 1 else list(use.values)
        if use.flag.repeats and name in self.texts:
            before = self.texts[name]
            value = [*(before if isinstance(before, list) else [before]), *use.values]
        self.texts[name] = value

    def keep_all(self) -> None:
        """The flags themselves, less those for which every command of ours has a key."""
        for use in self.uses:
            if self.keys_of.get(use.place) not in {None, *_PLAIN}:
                self.keep(use)

    def complete(self) -> None:
        """What the engine does without a flag, and this program does otherwise: where it listens, SGLang's metrics."""
        if self.engine.name == "sglang":
            self.texts.setdefault("metrics", "false")
        for name in ("host", "port"):
            flag = self.known.find(f"--{name}")
            self.texts.setdefault(name, (flag.default if flag else None) or _OPEN)
        if self.texts.get("api_key") is None and self.texts["host"] not in {"127.0.0.1", "localhost", "::1"}:
            self.texts["allow_unauthenticated"] = "true"
            word = self.launch.program[-1]
            what = f"the command serves every host that reaches {self.texts['host']}, without a key"
            fix = "put api_key: auto in place of allow_unauthenticated: true"
            self.left.append(Finding("key-in-argv", what, word.start, word.end, fix))

    def rendered(self) -> Command:
        """The command that the settings are rendered to, on a host that nothing is known of."""
        origin = Origin("file", "the imported file")
        layer = {name: Setting(self._value(name, value), origin) for name, value in self.texts.items()}
        launcher = {
            name: Setting(keys.BY_NAME[name].type.parse(text), Origin("launcher", "default"))
            for name, text in keys.defaults().items()
        }
        deployment = resolve([launcher, layer])
        target = Target(self.known.release, "cuda", "python3", self.engine.name, installed=False)
        model = deployment.get("model") or ""
        return render(
            deployment,
            target,
            Checkpoint(model, model if _is_repository(model) else model.rstrip("/").rpartition("/")[2]),
        )

    def different(self, command: Command) -> list[Use]:
        """The flags that the rendered command gives another value, or does not give."""
        words = [word for argument in command.arguments for word in argument.words]
        entry: Entry = "serve" if command.program[-1] == "serve" else "module"
        uses = read(words, self.known, entry).uses
        theirs, ours = _values(self.engine, uses), _values(self.engine, self.uses)
        more = {name for name, _ in theirs.keys() - ours.keys()}
        keys_of_more = {
            each.key for each in command.arguments if (flag := self.known.find(each.words[0])) and flag.name in more
        }
        return [
            use
            for use in self.uses
            if (key := self.keys_of.get(use.place)) not in {None, *_PLAIN}
            and (key in keys_of_more or theirs.get((use.flag.name, use.path)) != ours[use.flag.name, use.path])
        ]

    def _value(self, name: str, value: Any) -> Any:
        key = keys.BY_NAME.get(name)
        return key.type.parse(value) if key else tuple(value) if isinstance(value, list) else value

    @staticmethod
    def _parses(name: str, text: str) -> bool:
        try:
            keys.BY_NAME[name].type.parse(text)
        except ValueError:
            return False
        return True

    def _variable(self, name: str, word: Word) -> None:
        if name in KEY_VARIABLES:
            self.texts["api_key"] = "env"
            what, fix = f"{name} is not carried over", "set SERVE_API_KEY where serve is started"
        elif is_secret_variable(name):
            what, fix = f"{name} looks like a secret and is not carried over", f"set {name} where serve is started"
        elif not word.known:
            what, fix = (
                f"{name} is known only when the command runs",
                f"set {name} where serve is started, or env.{name}",
            )
        else:
            self.texts[f"env.{name}"] = word.text
            return
        self.left.append(Finding("key-in-argv", what, word.start, word.end, fix))

    def _secret(self, use: Use) -> None:
        if use.flag.name == "--api-key":
            self.texts["api_key"] = "env"
            self._leave(
                use,
                "the key is not carried over",
                "set SERVE_API_KEY to it where serve is started, or use api_key: auto",
            )
        else:
            self._leave(use, f"{use.spelling} is not carried over", RESERVED[use.flag.name])

    def _leave(self, use: Use, what: str, fix: str, rule: str = "key-in-argv") -> None:
        word = self.launch.words[use.place]
        self.left.append(Finding(rule, what, word.start, word.end, fix))


def _that_count(uses: tuple[Use, ...]) -> tuple[Use, ...]:
    """The uses less those that a later one overrides; the parts of a JSON value replace the whole, wherever it is."""
    last = {(use.flag.name, use.path): use.place for use in uses}
    parts = {use.flag.name for use in uses if use.path}
    return tuple(
        use
        for use in uses
        if (use.flag.repeats or last[use.flag.name, use.path] == use.place) and (use.path or use.flag.name not in parts)
    )


def _values(engine: Engine, uses: tuple[Use, ...]) -> Values:
    """What each flag is given, numbers in full: 32k is 32000."""
    return {
        (use.flag.name, use.path): (tuple(number_text(engine, value) for value in use.values), use.negated)
        for use in uses
    }


def _is_repository(model: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+", model) is not None


def nested(texts: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as they stand in a file; the rest of a name after ``args.ENGINE.`` or ``env.`` is one name."""
    made: dict[str, Any] = {}
    for name, value in sorted(texts.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER))):
        head, _, rest = name.partition(".")
        path = [head, *rest.split(".", 1)] if head == "args" else [head, rest] if rest else [head]
        place = made
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = _plain(name, value)
    return made


def _plain(name: str, value: Any) -> Any:
    """A text as YAML writes it without quotes where the reader takes it for the same."""
    if isinstance(value, list):
        return [_plain(name, each) for each in value]
    if not isinstance(value, str):
        return value
    key = keys.BY_NAME.get(name)
    if key and isinstance(key.type, Switch):
        return value == "true"
    if re.fullmatch(r"0|[1-9]\d{0,17}", value):
        return int(value)
    return float(value) if re.fullmatch(r"\d\.\d{1,6}", value) and str(float(value)) == value else value


def write(path: Path, text: str) -> None:
    """Writes a new file; one that is there already is never replaced.

    Raises:
        ServeError: it is there, or it cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink()
                raise
    except FileExistsError:
        raise ServeError("is there already", where=str(path), fix="take another name") from None
    except OSError as error:
        raise ServeError(f"cannot be written: {error.strerror}", where=str(path), code=FAILED) from None


def lines(adopted: Adopted, origin: str) -> Iterator[str]:
    """The file's lines."""
    import yaml  # noqa: PLC0415 - only an import writes YAML

    yield f"# From {origin if origin.isprintable() else ascii(origin)}, by serve import."
    yield yaml.safe_dump(dict(adopted.settings), sort_keys=False, allow_unicode=True, width=120).rstrip("\n")
