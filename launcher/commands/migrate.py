"""A launch command rewritten for another release or for the other engine, in the place where it stands.

Every change has its reason; what cannot be translated is left as it is and named.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.commands.check import Asked, known, releases_for
from launcher.commands.edits import apply
from launcher.commands.findings import Finding
from launcher.commands.judge import judge
from launcher.commands.launches import COMMAND, Found, Launch, command, find
from launcher.commands.mover import migrate
from launcher.commands.rewrite import Change
from launcher.commands.source import Source
from launcher.engines.catalog import Catalog
from launcher.engines.release import TITLES, Release
from launcher.errors import ServeError


@dataclass(frozen=True)
class Rewritten:
    """A file with its commands written for another release.

    Attributes:
        source: the file.
        release: that its commands are written for.
        text: what becomes of it.
        changes: what is rewritten, in the order of the text.
        left: what could not be translated, or needs a person.
    """

    source: Source
    release: Release
    text: str
    changes: tuple[Change, ...]
    left: tuple[Finding, ...]


def rewritten(source: Source, found: Found, release: Release) -> Rewritten:
    """Every command of a file written for a release.

    Raises:
        ServeError: the file holds none.
    """
    if not found.launches:
        fix = "a configuration file of serve's needs no migration: serve check says what a release makes of it"
        what = found.troubles[0].what if found.troubles else "holds no launch command of vLLM or SGLang"
        raise ServeError(what, where=source.path, fix=fix)
    asked = Asked()
    target = known(release, asked)
    own = [launch for launch in found.launches if launch.engine == release.engine]
    parts = [
        migrate(source, each, target, known(releases_for(each, asked)[0][0], asked)) for each in own or found.launches
    ]
    every = dict.fromkeys(change for part in parts for change in part.changes)  # several commands may share words
    untouched = [launch for launch in found.launches if own and launch not in own]
    shared = [change for change in every if any(_within(change, launch) for launch in untouched)]
    changes = sorted(every.keys() - shared, key=lambda each: (each.start, each.end, each.text))
    unread = {each.start for each in found.troubles}
    left = [finding for part in parts for finding in part.left]
    left = [each for each in left if each.rule != "known-at-run-time" or each.start not in unread]
    left += [_of_other_engine(launch) for launch in untouched]
    left += [
        Finding("refused-command", f"a command of the other engine uses this too: {each.why}", each.start, each.end)
        for each in shared
    ]
    left += [Finding("unreadable", each.what, each.start, each.end, each.fix) for each in found.troubles]
    text = apply(source, [(each.start, each.end, each.text) for each in changes])
    if not left:
        left = _still_refused(source, text, target)
    return Rewritten(source, release, text, tuple(changes), tuple(sorted(left, key=lambda each: each.start)))


def _within(change: Change, launch: Launch) -> bool:
    """Whether a change touches the words of a command."""
    return any(word.start <= change.start and change.end <= word.end for word in launch.words)


def _of_other_engine(launch: Launch) -> Finding:
    what = f"a command of {TITLES[launch.engine]}, beside commands of the engine that is migrated to"
    start, end = launch.program[0].start, launch.program[-1].end
    return Finding("other-engine", what, start, end, "to move it to the other engine, give it by --command")


def _still_refused(source: Source, text: str, target: Catalog) -> list[Finding]:
    """What the release's parser says against the new text, if anything: our own check of our own work."""
    again = Source(source.path, text)
    found = command(text) if source.path == COMMAND else find(again)
    return [
        Finding(each.rule, f"in the rewritten text: {each.what}", 0, 0, each.fix)
        for launch in found.launches
        if launch.engine == target.release.engine
        for each in judge(launch, target).findings
        if each.refuses
    ]
