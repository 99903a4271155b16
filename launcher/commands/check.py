"""Files and commands checked against releases: configuration files of ours, and launch commands that others wrote."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.commands.findings import Finding, merged
from launcher.commands.judge import Judgement, judge
from launcher.commands.launches import COMMAND, Found, Launch, command, find
from launcher.commands.source import Source
from launcher.config.keys import ENGINES
from launcher.config.layers import merge
from launcher.config.request import Request
from launcher.config.resolve import layers
from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.release import TITLES, Release, parse
from launcher.errors import ServeError
from launcher.host import environments
from launcher.host.environments import Environment
from launcher.plan import find_target, plan


@dataclass(frozen=True)
class Asked:
    """The releases that were asked for.

    Attributes:
        engine: ``vllm`` or ``vllm@0.33.0``; None leaves it to the file and the host.
        all_releases: every known release.
    """

    engine: str | None = None
    all_releases: bool = False

    @functools.cached_property
    def environments(self) -> tuple[Environment, ...]:
        """What is installed here, looked up once for all commands."""
        return environments.all_found()


@dataclass(frozen=True)
class Judged:
    """A launch command, and what each release makes of it.

    Attributes:
        launch: the command.
        releases: that it was judged by, oldest first.
        why: where the release comes from, in words.
        judgements: one for each release.
    """

    launch: Launch
    releases: tuple[Release, ...]
    why: str
    judgements: tuple[Judgement, ...]


@dataclass(frozen=True)
class Report:
    """What was found in one file.

    Attributes:
        source: the file.
        kind: ``config``, ``shell``, ``unit``, ``compose`` or ``command``.
        findings: in the order of the text.
        commands: the launch commands.
        releases: that a configuration file was checked for.
        argv: what a configuration file is rendered to for its one release.
    """

    source: Source
    kind: str
    findings: tuple[Finding, ...]
    commands: tuple[Judged, ...] = ()
    releases: tuple[Release, ...] = ()
    argv: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(each.level == "error" for each in self.findings)


def check(source: Source, asked: Asked) -> Report:
    """Checks one file.

    Args:
        source: the file, read.
        asked: the releases to check it for.
    """
    found = find(source)
    if found.kind == "config":
        return _configuration(source, asked)
    return _launches(source, found, asked)


def check_command(text: str, asked: Asked) -> Report:
    """Checks the text of one command."""
    found = command(text)
    return _launches(Source(COMMAND, text), found, asked)


def unreadable(source: Source, error: ServeError) -> Report:
    """The report on a file that cannot be read."""
    line = re.fullmatch(rf"{re.escape(source.path)}:(\d{{1,7}})", error.where)
    at = int(line[1]) - 1 if line else 0
    empty = Source(source.path, "\n" * at)  # as many lines as stand before the place
    what = f"{error.where}: {error.what}" if not line and error.where not in ("", source.path) else error.what
    return Report(empty, "unreadable", (Finding("unreadable", what, at, at, error.fix),))


def _launches(source: Source, found: Found, asked: Asked) -> Report:
    """A file with launch commands, or without."""
    commands = tuple(_judged(launch, asked) for launch in found.launches)
    findings = [Finding("unreadable", each.what, each.start, each.end, each.fix) for each in found.troubles]
    unread = {(each.start, each.rule) for each in findings}
    findings += [
        each
        for one in commands
        for judgement in one.judgements
        for each in judgement.findings
        if each.rule != "known-at-run-time" or (each.start, "unreadable") not in unread
    ]
    if not commands and not findings:
        fix = "launch commands are vllm serve, sglang serve, and the modules of their servers"
        findings.append(Finding("nothing-found", "no launch command of vLLM or SGLang in it", 0, 0, fix))
    return Report(source, found.kind, merged(findings), commands)


def _judged(launch: Launch, asked: Asked) -> Judged:
    releases, why = releases_for(launch, asked)
    return Judged(launch, releases, why, tuple(judge(launch, known(release, asked)) for release in releases))


def releases_for(launch: Launch, asked: Asked) -> tuple[tuple[Release, ...], str]:
    """The releases that a command is judged by, and why those.

    Raises:
        ServeError: one was asked for that is not known.
    """
    engine, version = parse(asked.engine, "--engine") if asked.engine else (None, None)
    if asked.all_releases:
        return catalog.known(launch.engine), "every known release"
    if version and engine == launch.engine:
        release = Release(launch.engine, version)
        known(release, asked)
        return (release,), "--engine"
    here = [each for each in asked.environments if each.release.engine == launch.engine]
    ours = {*catalog.known(launch.engine), *(each.release for each in here if each.probe)}
    if launch.image is not None:  # what is installed here is not what it runs
        return _of_image(launch, sorted(ours))
    if installed := sorted(each.release for each in here if each.release in ours):
        return (installed[-1],), "installed here"
    return catalog.known(launch.engine)[-1:], "the newest known"


def _of_image(launch: Launch, ours: list[Release]) -> tuple[tuple[Release, ...], str]:
    """The release that the tag of a command's image names, or the nearest to it that is known."""
    if launch.release is None:
        return (ours[-1],), f"the newest known, as {launch.image} names none"
    tagged = Release(launch.engine, launch.release)
    if tagged in ours:
        return (tagged,), f"the tag of its image {launch.image}"
    before = [release for release in ours if release < tagged]
    return ((before or ours[:1])[-1],), f"the nearest known to {launch.image}"


def known(release: Release, asked: Asked) -> Catalog:
    """The catalog of a release: of the environment that holds it, if its parser was asked, else the built-in one.

    Raises:
        ServeError: there is none, or what the parser said cannot be read.
    """
    probe = next((each.probe for each in asked.environments if each.release == release and each.probe), None)
    return catalog.of_probe(probe, release) if probe else catalog.load(release)


# Configuration files


def _configuration(source: Source, asked: Asked) -> Report:
    """A preset or configuration file, rendered for each release."""
    if not asked.all_releases:
        return _rendered(source, asked.engine)
    engine = parse(asked.engine, "--engine")[0] if asked.engine else _engine_of(source)
    releases = catalog.known(engine)
    findings: list[Finding] = []
    for release in releases:
        try:
            plan(_request(source, str(release)))
        except ServeError as error:
            findings += _problems(source, error, (release,))
    return Report(source, "config", merged(findings), releases=releases)


def _rendered(source: Source, engine: str | None) -> Report:
    """A configuration file for the release that a launch would take."""
    try:
        command = plan(_request(source, engine))
    except ServeError as error:
        return Report(source, "config", merged(_problems(source, error, ())), releases=_release_of(source, engine))
    return Report(source, "config", (), releases=(command.target.release,), argv=tuple(command.argv))


def _request(source: Source, engine: str | None) -> Request:
    # which engine is the host's to say; what its other SERVE_ variables say is not what the file says
    variables = {name: value for name, value in os.environ.items() if name.startswith("SERVE_ENGINE")}
    return Request(configs=(Path(source.path),), variables=variables, options={"engine": engine} if engine else {})


def _release_of(source: Source, engine: str | None) -> tuple[Release, ...]:
    """The release that a launch with the file would take; none where the file does not say that rightly."""
    try:
        return (find_target(merge(layers(_request(source, engine)))).release,)
    except ServeError:
        return ()


def _engine_of(source: Source) -> str:
    """The engine that a file asks for, or that this host would take."""
    found = _release_of(source, None)
    return found[0].engine if found else ENGINES[0]


def _problems(source: Source, error: ServeError, releases: tuple[Release, ...]) -> Iterator[Finding]:
    """An error of the configuration at its line; the place of one that stands elsewhere is told in words."""
    for each in error.every():
        line = re.fullmatch(rf"{re.escape(source.path)}(?::(\d+))?", each.where)
        start, end = _line(source, int(line[1])) if line and line[1] else (0, 0)
        what = each.what if line or not each.where else f"{each.where}: {each.what}"
        fix = each.fix
        for release in releases:  # named before each finding, so that releases that say the same are one
            what, fix = (text.replace(release.title, TITLES[release.engine]) for text in (what, fix))
        yield Finding("bad-configuration", what, start, end, fix, releases=releases)


def _line(source: Source, number: int) -> tuple[int, int]:
    """Where the text of a line begins and ends."""
    lines = source.text.splitlines(keepends=True)
    start = sum(map(len, lines[: number - 1]))
    text = lines[number - 1] if number <= len(lines) else ""
    return start + len(text) - len(text.lstrip()), start + len(text.rstrip())
