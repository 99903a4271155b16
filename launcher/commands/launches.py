"""The launch commands of vLLM and SGLang in what others wrote: shell scripts, units, compose files, manifests.

A launch is found wherever it would be run: behind ``nohup`` or ``sudo``, in ``bash -c "..."``, in a container, in a
here-document. Only the words are read here; what a flag means is for others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from launcher.commands import compose, containers, shell, unit
from launcher.commands.source import BOM, Call, Escape, Source, Text, Trouble, Word, variables
from launcher.engines.flexible import UNKNOWN

Kind = Literal["command", "shell", "unit", "compose", "manifest", "config"]
COMMAND = "--command"  # stands for the path of a command that is given as text
DEPTH_LIMIT = 8  # of scripts in strings of scripts, of containers in containers
_TROUBLES = 50  # told of one file

# Programs that run the program that they are given, or what is in a string that they are given.
RUNNERS = frozenset({
    "apptainer", "bash", "chroot", "chrt", "command", "conda", "dash", "doas", "dumb-init", "enroot", "env", "eval",
    "exec", "flock", "hatch", "ionice", "ksh", "kubectl", "mamba", "micromamba", "mpirun", "ncu", "nice", "nohup",
    "nsys", "numactl", "oc", "pdm", "perf", "pipenv", "pixi", "poetry", "rye", "screen", "script", "setsid", "sh",
    "singularity", "srun", "ssh", "stdbuf", "strace", "su", "sudo", "systemd-run", "taskset", "time", "timeout",
    "tini", "tmux", "tsp", "uv", "uvx", "watch", "xargs", "zsh",
})  # fmt: skip
Engine = Literal["vllm", "sglang"]
Way = Literal["serve", "api_server", "launch_server"]
Environment = tuple[tuple[str, Word], ...]
# Modules that start a server, and the subcommand that they need for it.
_MODULES: dict[str, tuple[Engine, Way, str]] = {
    "vllm.entrypoints.openai.api_server": ("vllm", "api_server", ""),
    "vllm.entrypoints.cli.main": ("vllm", "serve", "serve"),
    "sglang.launch_server": ("sglang", "launch_server", ""),
    "sglang.cli.main": ("sglang", "serve", "serve"),
}
_PYTHON = re.compile(r"(?:.*/)?(?:python|pypy)[\d.]*|.*" + UNKNOWN, re.DOTALL)
_ENGINES = re.compile("vllm|sglang")
_COMMAND_SIGNS = re.compile(r"[\s;&|]")
# Images whose tags are releases, and those whose own entry point is `vllm serve`.
_RELEASES = re.compile(
    r"(?:.*/)?(?:vllm/vllm-openai|lmsysorg/sglang)[\w.-]*:v?(\d+\.\d+\.\d+(?:\.?(?:post|rc)\d+)?)(?![\d.])"
)
_OWN_ENTRY = re.compile(r"(?:.*/)?vllm/vllm-openai[\w.-]*(?:[:@]|\Z)")
_COMPOSE = re.compile(r"^services[ \t]*:", re.MULTILINE)
_MANIFEST = re.compile(r"^(?:apiVersion|kind)[ \t]*:", re.MULTILINE)
_SERVICE = re.compile(r"^\[Service\][ \t\r]*$", re.MULTILINE)
_FIRST_LINE = re.compile(r"^[ \t]*[^\s#].*", re.MULTILINE)
_YAML_LINE = re.compile(r"---|[\w.\"'-]+[ \t]*:(?:\s|\Z)")
_INTERPRETER = re.compile(r"#![ \t]*(\S+)(?:[ \t]+(?:-S[ \t]+)?(\S+))?")
_SHELL = re.compile(r"(?:.*/)?(?:ba|da|z|k|a)?sh")


@dataclass(frozen=True)
class Launch:
    """A command that starts an engine's server.

    Attributes:
        engine: whose server.
        entry: how it is called: ``vllm serve`` and ``sglang serve``, or by a module.
        program: the words that name the program (``vllm serve``, ``python3 -m ...``); the image, where that runs it.
        words: everything after them.
        environment: variables set for it, in order; a later one counts.
        image: the container image that it runs in, as it is written there.
        quote: how a further word is written after these; a ServeError where that is not possible.
        prefix: whether ``NAME=value`` may be written before the program.
    """

    engine: Engine
    entry: Way
    program: tuple[Word, ...]
    words: tuple[Word, ...]
    environment: Environment = ()
    image: str | None = None
    quote: Escape = field(default=str, compare=False, repr=False)
    prefix: bool = False

    @property
    def release(self) -> str | None:
        """The release that the image's tag names: ``0.11.0``."""
        tagged = _RELEASES.match(self.image or "")
        return tagged[1] if tagged else None


@dataclass(frozen=True)
class Found:
    """What a file holds.

    Attributes:
        kind: what it was read as; ``config`` is YAML that is none of the others, of which nothing is read here.
        launches: in the order in which they stand in the file.
        troubles: what cannot be read, in that order too.
    """

    kind: Kind
    launches: tuple[Launch, ...] = ()
    troubles: tuple[Trouble, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """Where the engine's program stands among the words of a command."""

    engine: Engine
    way: Way
    start: int
    end: int


def find(source: Source) -> Found:
    """Every launch command of a file, and what of it cannot be read."""
    text = Text.of(source.text)
    if source.text.startswith(BOM):
        text = text.cut(1, len(source.text))
    kind = kind_of(text.chars, source.path)
    if kind == "shell" and (language := _other_language(text.chars, source.path)):
        end = text.chars.partition("\n")[0]
        what = f"is a program in {language}, not a shell script"
        return Found(kind, (), (Trouble(*text.span(0, len(end)), what, f"give its command by {COMMAND}"),))
    return _Finder().found(text, kind)


def command(text: str) -> Found:
    """As `find`, for one command that is given as text; its path is ``--command``."""
    return _Finder().found(Text.of(text), "command")


def kind_of(text: str, path: str = "") -> Kind:
    """What a text is to be read as: by its name, else by how it begins and what stands in it."""
    name = path.lower()
    first = _FIRST_LINE.search(text)
    line = first.group() if first else ""
    if name.endswith((".service", ".conf")) or (line.startswith("[") and _SERVICE.search(text)):
        return "unit"
    if name.endswith((".yaml", ".yml", ".json")):
        return "compose"
    yaml = _YAML_LINE.match(line) is not None and not text.startswith("#!")
    return "compose" if yaml and (_COMPOSE.search(text) or _MANIFEST.search(text)) else "shell"


def _other_language(text: str, path: str) -> str:
    """The language of a script that is none of a shell's."""
    line = _INTERPRETER.match(text)
    if line is None:
        return "Python" if path.endswith(".py") else ""
    program = line[2] if line[1].endswith("/env") and line[2] else line[1]
    return "" if _SHELL.fullmatch(program) else program.rpartition("/")[2]


class _Finder:
    """The launches and troubles of one file while it is read."""

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.troubles: list[Trouble] = []
        self.image: Word | None = None
        self.depth = 0

    def found(self, text: Text, kind: Kind) -> Found:
        """What a whole file holds."""
        kind = self.file(text, kind)
        if kind == "config":
            return Found(kind)
        launches = sorted(dict.fromkeys(self.launches), key=lambda launch: launch.program[0].start)
        troubles = sorted(self.troubles, key=lambda trouble: trouble.start)
        return Found(kind, tuple(launches), tuple(troubles[:_TROUBLES]))

    def file(self, text: Text, kind: Kind, environment: Environment = ()) -> Kind:
        """Reads a text, and what is written in it; YAML may turn out to be of another kind."""
        if kind == "unit":
            reading = unit.read(text)
        elif kind in {"shell", "command"}:
            reading = shell.read(text, environment)
        else:
            kind, reading = compose.read(text)
        self.troubles += reading.troubles
        for call in reading.calls:
            self._call(call)
        for document in reading.documents:
            self._inner(document, kind_of(document.chars))
        return kind

    def _inner(self, text: Text, kind: Kind, environment: Environment = ()) -> None:
        """Reads a text in another; it may be no script at all, so its troubles count only where it holds launches."""
        launches, troubles = len(self.launches), len(self.troubles)
        self.depth += 1
        if self.depth <= DEPTH_LIMIT:
            self.file(text, kind, environment)
        self.depth -= 1
        if len(self.launches) == launches:
            del self.troubles[troubles:]

    def _call(self, call: Call, containers_in: int = 0) -> None:
        """A launch, or a command that runs one."""
        words = call.words
        if call.own and call.image and _OWN_ENTRY.match(call.image.text):
            self._own(call, call.image)
            return
        first = _name(words[0]) if words else ""
        runs = first in RUNNERS or first in containers.PROGRAMS or first == UNKNOWN
        if contained := containers.command(words) if runs and containers_in < DEPTH_LIMIT else None:
            self._call(contained, containers_in + 1)
        elif entry := _entry(words, everywhere=runs):
            self._launch(call, entry)
        elif runs:
            environment = (*call.environment, *variables(words))
            outer, self.image = self.image, call.image or self.image
            for word in words[1:]:
                if _ENGINES.search(word.text) and _COMMAND_SIGNS.search(word.text):
                    self._inner(word.inside(), "shell", environment)
            self.image = outer

    def _launch(self, call: Call, entry: _Entry) -> None:
        image = call.image or self.image
        program, words = call.words[entry.start : entry.end], call.words[entry.end :]
        self.launches.append(
            Launch(
                entry.engine,
                entry.way,
                program,
                words,
                (*call.environment, *variables(call.words[: entry.start])),
                image.text if image else None,
                (words or program)[-1].quote,
                prefix=call.prefix and entry.start == 0,
            )
        )

    def _own(self, call: Call, image: Word) -> None:
        """Words for an image that runs ``vllm serve``, or the module in older releases, by itself."""
        doubled = _entry(call.words, everywhere=False)
        if doubled or (call.words and _name(call.words[0]) in RUNNERS):
            last = call.words[doubled.end - 1 if doubled else 0]
            what = f"{image.text} runs `vllm serve` by itself, and is given these words as well"
            fix = "leave them out, or set the entry point to them"
            self.troubles.append(Trouble(call.words[0].start, last.end, what, fix))
            self._call(replace(call, own=False))
            return
        by_flag = any(word.text.partition("=")[0] == "--model" for word in call.words)
        quote = (call.words[-1] if call.words else image).quote
        way: Way = "api_server" if by_flag else "serve"
        self.launches.append(Launch("vllm", way, (image,), call.words, call.environment, image.text, quote))


def _name(word: Word) -> str:
    return word.text.rpartition("/")[2]


def _entry(words: Sequence[Word], *, everywhere: bool) -> _Entry | None:
    """The engine's program among the words of a command; only at their beginning unless `everywhere`."""
    python: int | None = None
    for at in range(len(words) - 1):
        name, after = _name(words[at]), words[at + 1].text
        if name in {"vllm", "sglang"} and after == "serve" and (everywhere or at == 0):
            return _Entry("vllm" if name == "vllm" else "sglang", "serve", at, at + 2)
        if _PYTHON.fullmatch(words[at].text):
            python = at
        elif words[at].text == "-m" and after in _MODULES and python is not None and (everywhere or python == 0):
            engine, way, subcommand = _MODULES[after]
            if not subcommand or (at + 2 < len(words) and words[at + 2].text == subcommand):
                return _Entry(engine, way, python, at + 2 + bool(subcommand))
        elif at == 0 and not everywhere and python is None:
            return None
    return None
