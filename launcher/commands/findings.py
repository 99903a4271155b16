"""What is found in a launch command: one value a finding, with its rule, its place and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from launcher.engines import catalog
from launcher.engines.release import TITLES, Release

Level = Literal["error", "warning", "note"]

# rule -> how grave it is, and what it says in one sentence
RULES: dict[str, tuple[Level, str]] = {
    "removed-flag": ("error", "The release no longer has the flag."),
    "later-flag": ("error", "A later release has the flag, this one does not."),
    "unknown-flag": ("error", "No known release has the flag."),
    "other-engine": ("error", "It is a flag of the other engine."),
    "ambiguous-flag": ("error", "It abbreviates more than one flag."),
    "refused-flag": ("error", "The release has the flag only to refuse it."),
    "bad-value": ("error", "The release's parser refuses the value."),
    "stray-word": ("error", "It is neither a flag nor a flag's value."),
    "refused-command": ("error", "The release's parser refuses the command."),
    "unreadable": ("error", "This part of the file cannot be read."),
    "bad-configuration": ("error", "A configuration file of serve's asks for something wrong."),
    "other-meaning": ("error", "It is a flag of another release or engine, which the parser completes to another one."),
    "completed-flag": ("warning", "It is an abbreviation, which the parser completes."),
    "deprecated-flag": ("warning", "The release still takes the flag, and advises against it."),
    "given-twice": ("warning", "It is given twice, and the last one counts."),
    "unlisted-value": ("warning", "The parser takes the value, but the engine does not list it."),
    "ignored-model": ("warning", "The API server's module ignores a model that has no flag before it."),
    "ignored-config": ("warning", "The engine reads its configuration file only from --config in a word of its own."),
    "key-in-argv": ("warning", "Every user of the host can read a key on a command line."),
    "removed-variable": ("warning", "The release no longer reads the environment variable."),
    "deprecated-variable": ("warning", "The release still reads the environment variable, and advises against it."),
    "nothing-found": ("warning", "The file holds no launch command of vLLM or SGLang."),
    "known-at-run-time": ("note", "What stands here is known only when the command runs."),
}


@dataclass(frozen=True)
class Finding:
    """Something about a command that its writer should know.

    Attributes:
        rule: a name in `RULES`.
        what: the finding in one sentence, without the release.
        start: the offset in the file's text where it begins.
        end: the offset after its last character.
        fix: what to do, or "".
        refuses: whether the engine's own parser would end with an error here.
        releases: that it is true of, oldest first; none where no release matters.
    """

    rule: str
    what: str
    start: int
    end: int
    fix: str = ""
    refuses: bool = False
    releases: tuple[Release, ...] = ()

    @property
    def level(self) -> Level:
        """How grave it is."""
        return RULES[self.rule][0]

    @property
    def text(self) -> str:
        """The finding with the releases that it is true of."""
        return f"{span(self.releases)}: {self.what}" if self.releases else self.what


def span(releases: tuple[Release, ...]) -> str:
    """Releases of one engine in words: ``vLLM 0.11.0 to 0.19.1, 0.33.0``."""
    order = catalog.known(releases[0].engine)
    places = {release: place for place, release in enumerate(order)}
    runs: list[list[Release]] = []
    for release in sorted(releases):
        place = places.get(release)
        follows = runs and place is not None and places.get(runs[-1][-1]) == place - 1
        if follows:
            runs[-1].append(release)
        else:
            runs.append([release])
    words = [run[0].version if len(run) == 1 else f"{run[0].version} to {run[-1].version}" for run in runs]
    return f"{TITLES[releases[0].engine]} {', '.join(words)}"


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings in the order of their places; what several releases say alike is one finding.

    What to do may differ between them: then it is told for the newest.
    """
    alike: dict[tuple[str, str, int, int], list[Finding]] = {}
    for each in findings:
        alike.setdefault((each.rule, each.what, each.start, each.end), []).append(each)
    return tuple(sorted(map(_one, alike.values()), key=lambda each: (each.start, each.end, each.rule)))


def _one(alike: list[Finding]) -> Finding:
    newest = max(alike, key=lambda each: each.releases)
    differ = len({each.fix for each in alike}) > 1 and newest.releases
    fix = f"for {newest.releases[-1].title}: {newest.fix}" if differ and newest.fix else newest.fix
    return replace(newest, fix=fix, releases=tuple(sorted({release for each in alike for release in each.releases})))
