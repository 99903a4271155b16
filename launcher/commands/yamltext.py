"""YAML as others write it: a tree of texts with the place of every character. Nothing is constructed or expanded.

Anchors, aliases and merges are followed; our own configuration files, read by ``launcher.config.yamlfile``, have none.
"""

from __future__ import annotations

import array
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from launcher.commands.source import BOM, Escape, Text, Trouble
from launcher.config.yamlfile import LOADER, NULLS
from launcher.engines.flexible import UNKNOWN
from launcher.errors import ServeError

DEPTH_LIMIT = 64
NODE_LIMIT = 50_000
_TROUBLES = 20  # told of one text
_STAND_IN = "\ue000"  # for what is known only at run time, which YAML would refuse
_BEFORE_VALUE = re.compile(r"(?:[&!][^ \t\r\n]*[ \t\r\n]+)*")
_BLOCK_HEAD = re.compile(r"[|>][^\n]*\n?")
_ESCAPED = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_BLANKS = re.compile(r"[ \t\r\n]*")
_BREAKS = re.compile(r"(?:\\\r?\n[ \t]*)*")
_PLAIN = re.compile(r"(?!-(?: |\Z))[^\s?,\[\]{}#&*!|>'\"%@`:](?:[^\s?,\[\]{}#:]|:(?=[^\s?,\[\]{}]))*")
_NO_TEXT = re.compile(r"(?i)~|null|true|false|yes|no|on|off|y|n|=|<<|[-+]?\.?[0-9][0-9_.:,eExo+a-f-]*|[-+]?\.(inf|nan)")
_ENDS_PLAIN = re.compile(r":(?: |\Z)|(?:^| )#|[\n\t]|^\?|^-(?: |\Z)")


class TooMuch(Exception):  # noqa: N818 - caught by those who ask for texts, and never seen
    """More texts than a file can mean."""


@dataclass(eq=False)
class Node:
    """A text (`value`), a mapping (`pairs`) or a list (`items`), and its places in the text."""

    start: int
    end: int
    value: str | None = None
    style: str = ""
    flow: bool = False  # whether it stands inside of [] or {}
    pairs: list[tuple[Node, Node]] | None = None
    items: list[Node] | None = None

    @property
    def null(self) -> bool:
        """Whether it says that there is nothing."""
        return not self.style and self.value in NULLS

    def get(self, name: str) -> Node | None:
        """A value of the mapping by its name; one that is merged in (``<<``) where it has none of its own."""
        waiting, seen = [self], set[Node]()
        for node in waiting:  # which grows meanwhile
            if node in seen:
                continue
            seen.add(node)
            for key, value in node.pairs or ():
                if key.value == name:
                    return value
                if key.value == "<<":
                    waiting += value.items if value.items is not None else [value]
        return None

    def walk(self) -> Iterator[Node]:
        """Every node in it, each once."""
        waiting, seen = [self], set[Node]()
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                yield node
                waiting += [value for _, value in reversed(node.pairs or ())] + list(reversed(node.items or ()))


@dataclass
class Tree:
    """The documents of a text, and what cannot be read."""

    text: Text
    chars: str
    roots: list[Node] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    count: int = 0  # of the texts that have been asked for

    def trouble(self, start: int, end: int, what: str, fix: str = "") -> None:
        """Notes what cannot be read; places count in the text."""
        size = len(self.chars)
        if len(self.troubles) < _TROUBLES:
            self.troubles.append(Trouble(*self.text.span(min(start, size), min(end, size)), what, fix))

    def content(self, node: Node) -> Text:
        """A text's characters, each with its place.

        Raises:
            TooMuch: after very many texts: a file can say the same ones again and again by aliases.
        """
        self.count += 1
        if self.count > NODE_LIMIT:
            raise TooMuch
        starts, ends = array.array("l"), array.array("l")
        for start, end in _places(self.chars, node):
            starts.append(self.text.span(start, end)[0])
            ends.append(self.text.span(start, end)[1])
        value = node.value or ""
        if len(starts) < len(value):  # its writing is not understood: it stands for itself as a whole
            return Text.at(_real(value), *self.text.span(node.start, node.end))
        return Text(_real(value), starts, ends, _escape_of(node, self.text.escape))


def parse(text: Text) -> Tree:
    """The documents of a text; after an error, reading goes on with the next one."""
    if text.chars.startswith(BOM):
        text = text.cut(1, len(text.chars))
    chars = text.chars.replace(UNKNOWN, _STAND_IN).encode(errors="replace").decode()
    tree = Tree(text, chars)
    offset = 0
    while offset >= 0 and len(tree.troubles) < _TROUBLES:
        try:
            _Builder(tree, offset).build(yaml.parse(chars[offset:], Loader=LOADER))
            break
        except yaml.YAMLError as error:
            mark: Any = getattr(error, "problem_mark", None)
            at = offset + (mark.index if mark else getattr(error, "position", 0))
            reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
            tree.trouble(at, at + 1, f"is not YAML: {reason}", "the rest of this document is not read")
            offset = chars.find("\n---", max(at - 1, offset)) + 1 or -1
    return tree


def quoted(escape: Escape, word: str) -> str:
    """A text as YAML reads it back, wherever it stands.

    Raises:
        ServeError: it cannot be written there.
    """
    if _PLAIN.fullmatch(word) and not _NO_TEXT.fullmatch(word):
        return escape(word)
    if word.isprintable() and ("'" not in word or '"' in word):
        return escape("'" + word.replace("'", "''") + "'")
    return escape(json.dumps(word, ensure_ascii=False))


class _Builder:
    """Builds trees from a parser's events."""

    def __init__(self, tree: Tree, offset: int) -> None:
        self.tree, self.offset = tree, offset
        self.anchors: dict[str, Node] = {}
        self.opened: list[Node] = []
        self.keys: list[Node | None] = []  # per open node: the key that waits for its value
        self.names: list[set[str]] = []
        self.flow = 0
        self.count = 0

    def build(self, events: Any) -> None:
        for event in events:
            start, end = (self.offset + mark.index for mark in (event.start_mark, event.end_mark))
            if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                node = self.opened.pop()
                self.keys.pop()
                self.names.pop()
                node.end = end
                self.flow -= node.flow or self.flow > 0
            elif isinstance(event, yaml.AliasEvent):
                anchor = event.anchor or ""
                node = self.anchors.get(anchor) or Node(start, end)
                if anchor not in self.anchors:
                    self.tree.trouble(start, end, f"the alias *{anchor} names nothing", "define it before")
                self._add(node)
            elif isinstance(event, yaml.NodeEvent):
                self._node(event, start, end)
                self.count += 1
                if self.count > NODE_LIMIT or len(self.opened) > DEPTH_LIMIT:
                    what = (
                        f"more than {NODE_LIMIT} values" if self.count > NODE_LIMIT else f"more than {DEPTH_LIMIT} deep"
                    )
                    self.tree.trouble(start, end, f"{what}: the rest is not read", "is it the right file?")
                    return

    def _node(self, event: Any, start: int, end: int) -> None:
        flow = self.flow > 0
        if isinstance(event, yaml.ScalarEvent):
            node = Node(start, end, event.value, event.style or "", flow)
        elif isinstance(event, yaml.MappingStartEvent):
            node = Node(start, end, flow=flow, pairs=[])
        else:
            node = Node(start, end, flow=flow, items=[])
        if event.anchor:
            self.anchors[event.anchor] = node
        self._add(node)
        if node.value is None:
            self.opened.append(node)
            self.keys.append(None)
            self.names.append(set())
            self.flow += flow or bool(event.flow_style)

    def _add(self, node: Node) -> None:
        if not self.opened:
            self.tree.roots.append(node)
            return
        around = self.opened[-1]
        if around.items is not None:
            around.items.append(node)
        elif self.keys[-1] is None:
            self.keys[-1] = node
            name = node.value
            if name is not None and name in self.names[-1] and name != "<<":
                self.tree.trouble(node.start, node.end, f"{name!r} stands twice", "keep one of the two")
            self.names[-1].add(name or "")
        elif around.pairs is not None:
            around.pairs.append((self.keys[-1], node))
            self.keys[-1] = None


def _places(chars: str, node: Node) -> Iterator[tuple[int, int]]:
    """Where each character of a text is written; fewer than it has, if its writing is not understood.

    What YAML folds away or adds is white space only: all other characters stand there in their order.
    """
    at = _end_of(_BEFORE_VALUE, chars, node.start, node.end)
    if node.style in {"|", ">"}:
        at = _end_of(_BLOCK_HEAD, chars, at, node.end)
    elif node.style:
        at += 1
    double, end = node.style == '"', node.end
    for char in node.value or "":
        space = char in " \t\n"
        if not space:
            at = _end_of(_BLANKS, chars, at, end)
        if double:
            at = _end_of(_BREAKS, chars, at, end)
        size = 2 if char == "'" and node.style == "'" else 1
        if double and (escape := _ESCAPED.match(chars, at, end)):
            size = len(escape.group())
        elif space:
            size = int(at < end and chars[at] in " \t\r\n")
        elif chars[at : at + size] != char * size:
            return
        yield at, at + size
        at += size


def _end_of(pattern: re.Pattern[str], chars: str, at: int, end: int) -> int:
    match = pattern.match(chars, at, end)
    return match.end() if match else at


def _escape_of(node: Node, outer: Escape) -> Escape:
    """How characters are written inside a text of its style."""

    def escape(text: str) -> str:
        if node.style == '"':
            return outer(text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        if node.style == "'" and "\n" not in text:
            return outer(text.replace("'", "''"))
        plain = not node.style and not _ENDS_PLAIN.search(text) and not (node.flow and re.search(r"[?,\[\]{}]", text))
        if not plain and (node.style not in {"|", ">"} or "\n" in text):
            raise ServeError(f"{text!r} cannot be written in this text of YAML", fix="put the whole text in quotes")
        return outer(text)

    return escape


def _real(value: str) -> str:
    return value.replace(_STAND_IN, UNKNOWN)
