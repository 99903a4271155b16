"""Each source of settings read into a layer: a YAML file, the environment, the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.config import keys
from launcher.config.layers import Layer, Origin, Setting
from launcher.config.values import FALSE, TRUE, Many
from launcher.config.yamlfile import Node, plain, read
from launcher.errors import ServeError, nearest

PROBLEM_LIMIT = 20
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
FLAG = re.compile(r"-{0,2}[A-Za-z][A-Za-z0-9_.-]*")
KEY_VARIABLES = ("VLLM_API_KEY", "SERVE_API_KEY")
OWN_VARIABLES = ("SERVE_HOME", "SERVE_API_KEY")  # read elsewhere: settings.py, and `environment` below


@dataclass(frozen=True)
class Document:
    """A preset or configuration file.

    Attributes:
        path: where it lies.
        settings: what it says, without what it extends.
        extends: the preset that it builds on, with the place of that word, or None.
        description: its own one line about itself.
    """

    path: Path
    settings: Layer
    extends: tuple[str, str] | None = None
    description: str = ""


def document(path: Path, layer: str) -> Document:
    """Reads one file; every problem in it is reported at once."""
    root = read(path)
    if not isinstance(root.value, dict):
        raise ServeError("is not a mapping of keys to values", where=f"{path}:{root.line}", fix="see: serve keys")
    reader = _Reader(str(path), layer)
    extends, description = None, ""
    for name, node in root.value.items():
        if name == "extends" and isinstance(node.value, str):
            extends = (node.value, f"{path}:{node.line}")
        elif name == "description" and isinstance(node.value, str):
            description = node.value
        elif name in ("extends", "description"):
            reader.problems.append(
                ServeError(f"{name} is not one line of text", where=f"{path}:{node.line}", fix="or leave it out")
            )
        else:
            reader.top(name, node)
    if reader.problems:
        raise ServeError.gather(reader.problems[:PROBLEM_LIMIT])
    return Document(path, reader.settings, extends, description)


def environment(variables: Mapping[str, str]) -> Layer:
    """The ``SERVE_*`` variables. ``SERVE_API_KEY`` holds the key itself: that it is set means ``api_key: env``."""
    by_variable = {key.variable: key for key in keys.KEYS if key.name != "api_key"}
    settings: Layer = {}
    problems = []
    for variable in sorted(variables):
        if not variable.startswith("SERVE_") or variable in OWN_VARIABLES or not variables[variable]:
            continue
        if variable not in by_variable:
            # only what resembles a key is a mistyped one: Kubernetes sets SERVE_SERVICE_HOST for a service named serve
            names = tuple(each.removeprefix("SERVE_") for each in by_variable)
            if hint := nearest(variable.removeprefix("SERVE_"), names):
                fix = hint.replace("'", "'SERVE_", 1)
                problems.append(ServeError(f"{variable} is not a variable of serve", fix=fix))
            continue
        try:
            setting = _value(by_variable[variable].name, variables[variable], Origin("environment", variable))
        except ServeError as error:
            problems.append(error)
        else:
            settings[by_variable[variable].name] = setting
    if problems:
        raise ServeError.gather(problems)
    if "SERVE_API_KEY" in variables:  # also when it is empty: nobody who exports it means a server without a key
        settings["api_key"] = Setting("env", Origin("environment", "SERVE_API_KEY"))
    return settings


def command_line(options: Mapping[str, str], assignments: Iterable[str]) -> Layer:
    """Options (names of keys to texts) over ``--set KEY=VALUE`` assignments."""
    settings: Layer = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        place = f"--set {name}"
        if not equals:
            begin = re.split(r"[\s:]", assignment)[0]  # what follows may be a key
            raise ServeError(f"{begin!r} is not KEY=VALUE", where="--set", fix="write --set context_length=32k")
        reader = _Reader(place, "command line", lines=False)
        head, _, rest = name.partition(".")
        if name in keys.BY_NAME:
            settings[name] = _value(name, text, Origin("command line", place))
            continue
        node = Node(text if text != "null" else None, 0)
        for part in reversed(rest.split(".", 1) if head == "args" and rest else [rest] if rest else []):
            node = Node({part: node}, 0)
        reader.top(head, node)
        if reader.problems:
            raise ServeError.gather(reader.problems)
        settings |= reader.settings
    for name, text in options.items():
        settings[name] = _value(name, text, Origin("command line", keys.BY_NAME[name].option))
    return settings


def _value(name: str, text: str | None, origin: Origin) -> Setting:
    """A setting of one key from one text; ``null`` unsets."""
    if text is None or text == "null":
        return Setting(None, origin)
    try:
        return Setting(keys.BY_NAME[name].type.parse(text), origin)
    except ValueError as error:
        # what stands in place of api_key's words may be the key itself
        what = "what is given" if name == "api_key" else repr(text)
        takes = takes_form(name)
        raise ServeError(f"{name}: {what} {error}", where=origin.place, fix=takes) from None


def takes_form(name: str) -> str:
    """What to write instead: the words that a key takes, or what it means where those would say nothing."""
    key = keys.BY_NAME[name]
    return f"{name} takes {key.type.metavar}" if "|" in key.type.metavar else f"{name}: {key.help}"


class _Reader:
    """Collects the settings and the problems of one mapping."""

    def __init__(self, place: str, layer: str, *, lines: bool = True) -> None:
        self.place, self.layer, self.lines = place, layer, lines
        self.settings: Layer = {}
        self.problems: list[ServeError] = []

    def top(self, name: str, node: Node) -> None:
        """One name at the top of a file."""
        if name in keys.GROUPS:
            self._group(name, node)
        elif name == "env":
            for variable, child in self._mapping(name, node):
                self._variable(variable, child)
        elif name == "args":
            for engine, child in self._mapping(name, node):
                if engine not in keys.ENGINES:
                    self._problem(
                        child,
                        f"args: {engine!r} is not an engine",
                        nearest(engine, keys.ENGINES) or "args.vllm or args.sglang",
                    )
                    continue
                for flag, value in self._mapping(f"args.{engine}", child):
                    self._flag(engine, flag, value)
        elif name in keys.BY_NAME:
            self._key(name, node)
        else:
            near = nearest(name, keys.settable()) or "see: serve keys"
            self._problem(node, f"{name!r} is not a key", near)

    def _group(self, name: str, node: Node) -> None:
        members = keys.GROUPS[name]
        if node.value is None:
            self.settings |= {f"{name}.{member}": Setting(None, self._origin(node)) for member in members}
            return
        for member, child in self._mapping(name, node):
            if member in members:
                self._key(f"{name}.{member}", child)
            else:
                self._problem(child, f"{name}: {member!r} is not a key", nearest(member, tuple(sorted(members))))

    def _key(self, name: str, node: Node) -> None:
        kind = keys.BY_NAME[name].type
        try:
            if isinstance(node.value, list) and isinstance(kind, Many):
                texts = [child.value for child in node.value]
                if not all(isinstance(text, str) for text in texts):
                    raise ValueError("holds more than plain words")
                self.settings[name] = Setting(kind.parse_items([str(text) for text in texts]), self._origin(node))
            elif isinstance(node.value, (dict, list)):
                form = "mapping" if isinstance(node.value, dict) else "list"
                self._problem(node, f"{name} is a {form}", takes_form(name))
            else:
                self.settings[name] = _value(name, node.value, self._origin(node))
        except ValueError as error:
            self._problem(node, f"{name} {error}", takes_form(name))
        except ServeError as error:
            self.problems.append(error)

    def _variable(self, variable: str, node: Node) -> None:
        if not VARIABLE.fullmatch(variable):
            self._problem(node, f"env: {variable!r} is not the name of a variable", "letters, digits and _")
        elif variable in KEY_VARIABLES:
            fix = "export SERVE_API_KEY where serve is started, or api_key: auto"
            self._problem(node, f"env: {variable} would put the key into a file or an argument", fix)
        elif isinstance(node.value, (dict, list)):
            self._problem(node, f"env.{variable} is not a plain value", "write a text")
        elif node.value is not None and "\0" in node.value:
            self._problem(node, f"env.{variable} holds a NUL byte", "")
        else:
            self.settings[f"env.{variable}"] = Setting(node.value, self._origin(node))

    def _flag(self, engine: str, flag: str, node: Node) -> None:
        if not FLAG.fullmatch(flag):
            name = flag.partition("=")[0]
            self._problem(node, f"args.{engine}: {name!r} is not the name of a flag", "write it as the engine does")
            return
        name = flag if flag.startswith("-") else f"--{flag.replace('_', '-')}"
        self.settings[f"args.{engine}.{name}"] = Setting(verbatim(node), self._origin(node))

    def _mapping(self, name: str, node: Node) -> Iterable[tuple[str, Node]]:
        if isinstance(node.value, dict):
            return node.value.items()
        if node.value is not None:
            self._problem(node, f"{name} is not a mapping", "write names and values below it, indented")
        return ()

    def _origin(self, node: Node) -> Origin:
        return Origin(self.layer, f"{self.place}:{node.line}" if self.lines else self.place)

    def _problem(self, node: Node, what: str, fix: str) -> None:
        self.problems.append(ServeError(what, where=self._origin(node).place, fix=fix))


def verbatim(node: Node) -> Any:
    """The value of an engine's own flag: True or False, a tuple of texts, or one text (a mapping becomes JSON)."""
    if isinstance(node.value, dict):
        return json.dumps(plain(node))
    if isinstance(node.value, list):
        return tuple(
            json.dumps(plain(child)) if isinstance(child.value, (dict, list)) else str(child.value)
            for child in node.value
        )
    if node.value is not None and not node.quoted and node.value.lower() in TRUE[:1] + FALSE[:1]:
        return node.value.lower() == "true"
    return node.value
