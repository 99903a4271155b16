"""YAML as data only: a tree of texts with their lines.

The parser's events are read one by one, so that duplicate keys are seen, every text keeps its line, and nothing is ever
expanded or constructed: anchors, aliases and tags are refused where they stand.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from launcher.errors import ServeError

SIZE_LIMIT_BYTES = 256 * 1024
DEPTH_LIMIT = 16
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class Node:
    """A text (None for null), a mapping of names to nodes or a list of nodes, and the line it begins on."""

    value: str | dict[str, Node] | list[Node] | None
    line: int
    quoted: bool = False


def read(path: Path) -> Node:
    """The tree of a file; an empty file is an empty mapping.

    Raises:
        ServeError: the file cannot be read, is too large, is not YAML, or uses more of YAML than data.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT_BYTES + 1)
        text = data.decode()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ServeError(what, where=str(path), fix="give the path of a YAML file") from None
    except UnicodeDecodeError as error:
        raise ServeError(f"is not UTF-8 text (byte {error.start})", where=str(path)) from None
    if len(data) > SIZE_LIMIT_BYTES:
        raise ServeError(f"is larger than {SIZE_LIMIT_BYTES // 1024} KiB", where=str(path), fix="is it the right file?")
    return parse(text, str(path))


def parse(text: str, name: str) -> Node:
    """As `read`, of a text; `name` stands for the file in errors."""
    try:
        return _Builder(name).build(yaml.parse(text, Loader=LOADER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        raise ServeError(f"is not YAML: {reason}", where=place) from None


class _Builder:
    """Builds the tree with a stack of open mappings and lists."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[Node] = []
        self.names: list[str | None] = []  # per open mapping or list: the key that waits for its value
        self.root: Node | None = None

    def build(self, events: Any) -> Node:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise self._error(line, "anchors and aliases are not used here", "write the value out, or use extends")
            if getattr(event, "tag", None):
                raise self._error(line, f"the tag {event.tag!r} is not used here", "write plain values")
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open(Node({} if isinstance(event, yaml.MappingStartEvent) else [], line))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self.stack.pop()
                self.names.pop()
            elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
                raise self._error(line, "a second document begins", "one document a file")
        return self.root if self.root and self.root.value is not None else Node({}, 1)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        quoted = bool(event.style)  # None or empty: plain
        if self.stack and isinstance(self.stack[-1].value, dict) and self.names[-1] is None:
            if event.value in self.stack[-1].value:
                first = self.stack[-1].value[event.value].line
                raise self._error(line, f"{event.value!r} stands twice (first in line {first})", "keep one of the two")
            self.names[-1] = event.value
            return
        self._add(Node(None if not quoted and event.value in NULLS else event.value, line, quoted))

    def _open(self, node: Node) -> None:
        if len(self.stack) >= DEPTH_LIMIT:
            raise self._error(node.line, f"is nested more than {DEPTH_LIMIT} deep", "is it the right file?")
        if self.stack and isinstance(self.stack[-1].value, dict) and self.names[-1] is None:
            raise self._error(node.line, "a list or mapping stands where a name should", "names are plain words")
        self._add(node)
        self.stack.append(node)
        self.names.append(None)

    def _add(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        container = self.stack[-1].value
        if isinstance(container, dict):
            name = self.names[-1]
            if name is not None:
                container[name] = node
                self.names[-1] = None
        elif isinstance(container, list):
            container.append(node)

    def _error(self, line: int, what: str, fix: str) -> ServeError:
        return ServeError(what, where=f"{self.name}:{line}", fix=fix)


def plain(node: Node) -> Any:
    """The node as Python data, words read as JSON reads them (``true``, ``12``, ``0.5``)."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    if node.value is None or node.quoted:
        return node.value
    if node.value in ("true", "false"):
        return node.value == "true"
    if not re.fullmatch(r"-?(0|[1-9]\d{0,300})(\.\d+)?([eE][+-]?\d{1,2})?", node.value):
        return node.value
    return json.loads(node.value)
