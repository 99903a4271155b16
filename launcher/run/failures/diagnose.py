"""Why an engine ended, as far as its exit status and its log tell. What they can tell is data: data/diagnoses.yaml."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.run.failures import causes
from launcher.run.failures.causes import Sign, filled
from launcher.run.failures.tracebacks import Said, read
from launcher.run.output.lines import clean

UNKNOWN = "unknown"
_SHOWN_CHARACTERS = 500
_SHOWN_LINES = 6
_KEPT = 50  # tracebacks of one kind; requests that fail for days leave thousands
_TYPE = re.compile(r"[\w.]{1,200}: |Value error, ")  # of an exception, before what it says; the second is pydantic's


@dataclass(frozen=True)
class Diagnosis:
    """Why an engine ended.

    Attributes:
        cause: its id in data/diagnoses.yaml, or ``unknown``.
        title: one sentence.
        line: the decisive line of the log, without control characters; empty if no line says it.
        lines: with an unknown cause, what is known of the first error of the process that died first.
        advice: one sentence: what to do about it.
        changes: the keys to change, each with the text of its value, as far as the log gives one.
        restartable: whether the same command may well succeed when it is started again.
        remedy: whether `changes` may be tried without asking.
        sure: whether the engine's own words say so; otherwise it follows from the exit status, or they leave it open.
    """

    cause: str
    title: str
    line: str = ""
    lines: tuple[str, ...] = ()
    advice: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)
    restartable: bool = False
    remedy: bool = False
    sure: bool = False


def diagnose(
    engine: str,
    version: str,
    status: int | None,
    lines: Iterable[str],
    *,
    serving: bool,
    oom_killed: bool = False,
) -> Diagnosis:
    """Classify an end that nobody asked for. An unknown one stays unknown.

    The cause is the first error of the process that died first: what its parents say of it, and how the log ends, is
    left aside. An error that a server got over is none of its end's.

    Args:
        engine: ``vllm`` or ``sglang``.
        version: its release.
        status: of its first process: an exit status, negative for a signal; None if it was ended by us (as it hangs).
        lines: its log, as much as there is; read once, a line at a time.
        serving: whether it had been ready.
        oom_killed: whether the kernel's OOM killer struck meanwhile (`launcher.run.processes.oom`).
    """
    case = _Case(Release(engine, version), "serving" if serving else "loading")
    for said in read(lines):
        case.take(said)
    return case.judge(status, oom_killed)


class _Case:
    """What was read so far that may tell the cause."""

    def __init__(self, release: Release, when: str) -> None:
        self.rules, self.release, self.when = causes.load(), release, when
        self.signs = [
            sign
            for sign in self.rules.signs
            if sign.engine in {"", release.engine} and sign.when in {"", when} and release.within(sign.releases)
        ]
        self.lines = [sign for sign in self.signs if sign.line]
        said = [sign.line.pattern for sign in self.lines if sign.line]
        echoes = "|".join(f"(?:{pattern.pattern})" for pattern in self.rules.echoes)
        self.noticed = _any([*said, f"(?:{_TYPE.pattern})?(?:{echoes})"])
        self.settings = self.rules.settings[release.engine]
        self.any_setting = _any(setting.said.pattern for setting in self.settings.values())
        self.names: dict[str, str] = {}  # what the log says of the settings
        self.count = 0
        self.hits: list[tuple[int, Sign, re.Match[str]]] = []
        self.dying: list[tuple[int, Said]] = []
        self.first: list[tuple[int, Said]] = []  # of the tracebacks that no dying process announced
        self.last: tuple[int, Said] | None = None  # of them, unless the engine went on after it
        self.echo = ""  # what a parent says of a child's end, and the exit status that it gives
        self.child: int | None = None

    def take(self, said: Said) -> None:
        self.count += 1
        if said.chain:
            self.take_traceback(said)
            return
        if self.any_setting.match(said.text):
            found = {name: setting.said.match(said.text) for name, setting in self.settings.items()}
            self.names |= {name: match[1] for name, match in found.items() if match}
        if self.last and (said.level == "info" or self.rules.working.match(said.text)):
            self.last = self.last if self.rules.ending.match(said.text) else None
        if said.level == "info" or not self.noticed.match(said.text):
            return
        self.echoed(said.text)
        for sign in self.lines if said.level == "error" else ():
            if len(self.hits) < _KEPT and (match := sign.line.match(said.text) if sign.line else None):
                self.hits.append((self.count, sign, match))

    def take_traceback(self, said: Said) -> None:
        if self.rules.handled.match(said.text):
            return
        if self.rules.dying.match(said.text):
            self.dying += [(self.count, said)] * (len(self.dying) < _KEPT)
        else:
            self.first += [(self.count, said)] * (len(self.first) < _KEPT)
            self.last = self.count, said

    def judge(self, status: int | None, oom_killed: bool) -> Diagnosis:
        root_at, root = self.root(status)
        for at, sign, match in self.hits:
            if (root is None or at < root_at) and sign.exit in {None, status}:
                return self.said(sign, match, match.string)
        if root:
            return self.explained(root) or self.unknown(root)
        if self.echo:
            status = self.child
        for sign in self.signs:
            silent = not (sign.error or sign.line) and sign.exit == status
            if silent and (self.echo or not sign.echoed) and (oom_killed or not sign.oom):
                return self.known(sign, {}, self.echo, sure=False)
        return self.unknown(None)

    def root(self, status: int | None) -> tuple[int, Said | None]:
        """The first error of the process that died first, with its place."""
        raised: list[tuple[int, Said]] = []  # which nobody announced
        if self.last and self.by_itself(status):
            raised = [self.last, *(self.first if self.when == "loading" else ())]
        for at, said in [*self.dying, *raised]:
            echoes = [self.echoed(line) for raised in said.chain for line in raised.message[:1]]
            if echoes and not echoes[0]:
                return at, said
        return 0, None

    def by_itself(self, status: int | None) -> bool:
        """Whether an error of the first process may end the engine with this status."""
        if status == -signal.SIGKILL and self.release.engine == "sglang":
            return True  # it kills itself (sglang 0.5.23 srt/utils/common.py, kill_process_tree)
        return (status or 0) > 0 if self.when == "serving" else (status or 0) >= 0

    def echoed(self, line: str) -> bool:
        """Whether a line only says that another process ended; the first exit status that one gives is noted."""
        kind = _TYPE.match(line)
        for pattern in self.rules.echoes:
            if match := pattern.match(line, kind.end() if kind else 0) or pattern.match(line):
                self.echo = self.echo or line
                if self.child is None and (match.groupdict().get("exit")):
                    self.child, self.echo = int(match["exit"]), line
                return True
        return False

    def explained(self, root: Said) -> Diagnosis | None:
        lines = [line for raised in root.chain for line in raised.message]
        frames = "\n".join(line for raised in root.chain for line in raised.frames)
        for sign in self.signs:
            if sign.error is None or (sign.within and not sign.within.search(frames)):
                continue
            for line in lines:
                if match := _message(sign.error, line):
                    return self.said(sign, match, line)
        return None

    def said(self, sign: Sign, match: re.Match[str], line: str) -> Diagnosis:
        return self.known(sign, match.groupdict(), line, sure=sign.sure)

    def known(self, sign: Sign, groups: Mapping[str, str | None], line: str, *, sure: bool) -> Diagnosis:
        cause = sign.cause
        names = self.defaults() | self.names | {name: value for name, value in groups.items() if value}
        found = {key: filled(text, names) for key, text in cause.changes.items()}
        changes = {key: text for key, text in found.items() if text is not None}
        advice = filled(cause.advice, names) or cause.advice
        if beside := self.rules.beside.search(line):
            changes, advice = {}, f"{filled(self.rules.beside_advice, beside.groupdict())}; otherwise, {advice}"
        return Diagnosis(
            cause=cause.id,
            title=cause.title,
            line=_shown(line),
            advice=advice,
            changes=changes,
            restartable=cause.restart,
            remedy=cause.remedy and bool(changes),
            sure=sure,
        )

    def defaults(self) -> dict[str, str]:
        """What settings are where nobody set them, as the release's own parser has it."""
        try:
            flags = catalog.load(self.release)
        except ServeError:
            return {}  # a release that we do not know
        found = {name: flags.find(setting.flag) for name, setting in self.settings.items() if setting.flag}
        return {name: flag.default for name, flag in found.items() if flag and flag.default}

    def unknown(self, root: Said | None) -> Diagnosis:
        title = "why is not known"
        if root is None:
            return Diagnosis(UNKNOWN, title)
        raised = next(each for each in root.chain if each.message)
        frame = [line for line in raised.frames if line.lstrip().startswith("File ")][-1:]
        lines = [*frame, *raised.message]
        return Diagnosis(UNKNOWN, title, _shown(raised.message[0]), tuple(map(_shown, lines[:_SHOWN_LINES])))


def _message(pattern: re.Pattern[str], line: str) -> re.Match[str] | None:
    """The match at the start of a line, or after the type of the exception there."""
    line = line.lstrip()
    kind = _TYPE.match(line)
    return pattern.match(line) or (pattern.match(line[kind.end() :]) if kind else None)


def _shown(line: str) -> str:
    text = " ".join(clean(line).split())
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " ..."


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    """One pattern for several, to look at most lines only once; group names would collide, and are not needed."""
    return re.compile(re.sub(r"\(\?P<\w+>", "(?:", "|".join(f"(?:{pattern})" for pattern in patterns)))
