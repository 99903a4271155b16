"""The commands of compose files and of Kubernetes manifests.

Compose: ``services`` with ``image``, ``entrypoint``, ``command`` (a list, or a text that compose splits into words as a
shell does) and ``environment``; ``$NAME`` and ``${NAME:-default}`` are filled in by compose, ``$$`` is a dollar sign.
Kubernetes: every container of every document, with ``command``, ``args`` and ``env``; ``$(NAME)`` is filled in by it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from launcher.commands import shell, yamltext
from launcher.commands.source import Call, Reading, Text, Word, refused, variables
from launcher.commands.yamltext import NODE_LIMIT, Node, TooMuch, Tree
from launcher.engines.flexible import UNKNOWN


@dataclass(frozen=True)
class _Filling:
    """How a kind of file fills variables in.

    Attributes:
        pattern: what is filled in; a doubled sign is its group ``sign``.
        sign: what has to be doubled to mean itself.
        declared: the only variables that are filled in; None for any, of which the file knows the defaults alone.
    """

    pattern: re.Pattern[str]
    sign: str
    declared: Mapping[str, Word] | None

    def fill(self, text: Text) -> Text:
        """A text with its variables filled in."""

        def escape(written: str) -> str:
            return text.escape(self.doubled(written))

        if "$" not in text.chars:
            return replace(text, escape=escape)
        pieces: list[Text] = []
        at = 0
        for match in self.pattern.finditer(text.chars):
            value = "$" if match["sign"] else self._value(match)
            if value is not None:
                pieces += [text.cut(at, match.start()), Text.at(value, *text.span(*match.span()))]
                at = match.end()
        return Text.join([*pieces, text.cut(at, len(text.chars))], escape)

    def doubled(self, text: str) -> str:
        """A text that means itself after it has been filled in."""
        return text.replace(self.sign, "$" + self.sign)

    def _value(self, match: re.Match[str]) -> str | None:
        if self.declared is None:
            return match["default"] if (match["operator"] or "").endswith("-") else UNKNOWN
        word = self.declared.get(match["name"])
        return word.text if word else None


_COMPOSE = _Filling(
    re.compile(
        r"\$(?:(?P<sign>\$)|[A-Za-z_]\w*|\{[A-Za-z_]\w*(?:(?P<operator>:?[-?+])(?P<default>[^{}]*))?\})", re.ASCII
    ),
    "$",
    None,
)
_KUBERNETES = _Filling(re.compile(r"\$(?:(?P<sign>\$)(?=\()|\((?P<name>[A-Za-z_][\w.-]*)\))", re.ASCII), "$(", {})


Kind = Literal["compose", "manifest", "config"]


def read(text: Text) -> tuple[Kind, Reading]:
    """What kind of file it is (``compose``, ``manifest``, or ``config``: neither), and the commands that it starts."""
    tree = yamltext.parse(text)
    reading = Reading(troubles=tree.troubles)
    kinds: list[Kind] = [kind for root in tree.roots if (kind := _kind(root)) != "config"]
    try:
        for root in tree.roots:
            _document(tree, root, reading)
    except TooMuch:
        what = f"more than {NODE_LIMIT} values: the rest is not read"
        tree.trouble(0, len(tree.chars), what, "is it the right file?")
    return kinds[0] if kinds else "config", reading


def _kind(root: Node) -> Kind:
    services = root.get("services")
    if services is not None and services.pairs is not None:
        return "compose"
    return "manifest" if any(root.get(name) for name in ("kind", "apiVersion", "containers")) else "config"


def _document(tree: Tree, root: Node, reading: Reading) -> None:
    """Adds what one document starts."""
    kind = _kind(root)
    if kind == "compose":
        reading.calls += _services(tree, root.get("services"))
    elif kind == "manifest":
        for node in root.walk():
            if node.get("image") and (node.get("command") or node.get("args")):
                reading.calls.append(_container(tree, node))
        data = root.get("data")  # of a ConfigMap: scripts, among others
        reading.documents += [tree.content(value) for _, value in (data.pairs or () if data else ()) if value.value]


def _services(tree: Tree, services: Node | None) -> Iterator[Call]:
    seen = set[Node | None]()
    for _, service in (services.pairs or ()) if services else ():
        entry, command, image = (_present(service.get(name)) for name in ("entrypoint", "command", "image"))
        if command and command in seen:
            continue  # several services share it: it is one command
        seen.add(command)
        words = [*_split(tree, entry), *_split(tree, command)]
        environment = tuple(_environment(tree, service.get("environment"), _COMPOSE))
        named = _word(tree, image, _COMPOSE) if image and image.value else None
        if words or named:
            yield Call(tuple(words), environment, named, own=service.get("entrypoint") is None)


def _present(node: Node | None) -> Node | None:
    return None if node is None or node.null else node


def _split(tree: Tree, node: Node | None) -> list[Word]:
    """The words of a compose file's command, which is a list or one text."""
    if node is None or node.value is None:
        return _words(tree, node, _COMPOSE)
    content = _COMPOSE.fill(tree.content(node))  # it goes to go-shellwords, which knows no line continuation
    reading = shell.read(content, only_split=True)
    tree.troubles += reading.troubles
    return list(reading.calls[0].words) if reading.calls else []


def _words(tree: Tree, node: Node | None, filling: _Filling) -> list[Word]:
    items = (node.items or ()) if node else ()
    return [_word(tree, item, filling) for item in items if item.value is not None]


def _container(tree: Tree, node: Node) -> Call:
    environment = tuple(_environment(tree, node.get("env"), _KUBERNETES))
    filling = replace(_KUBERNETES, declared=dict(environment))
    command, args, image = (_present(node.get(name)) for name in ("command", "args", "image"))
    words = (*_words(tree, command, filling), *_words(tree, args, filling))
    return Call(words, environment, _word(tree, image, _KUBERNETES) if image and image.value else None, own=not command)


def _environment(tree: Tree, node: Node | None, filling: _Filling) -> Iterator[tuple[str, Word]]:
    """Variables: a mapping, a list of ``NAME=value``, or Kubernetes' list of names with values."""
    for key, value in (node.pairs or ()) if node else ():
        if key.value and value.value is not None and not value.null:
            yield key.value, _word(tree, value, filling)
    for item in (node.items or ()) if node else ():
        name, given = item.get("name"), item.get("value")
        if item.value is not None:
            yield from variables([_word(tree, item, filling)])
        elif name and name.value and given and given.value is not None:
            yield name.value, _word(tree, given, filling)
        elif name and name.value:  # valueFrom: a secret, a field of the pod
            yield name.value, Word(UNKNOWN, *tree.text.span(name.start, name.end), quote=refused)


def _word(tree: Tree, node: Node, filling: _Filling) -> Word:
    """A text of YAML as one word."""
    content = filling.fill(tree.content(node))
    quote = functools.partial(_quoted, tree.text, filling)
    return Word(content.chars, *tree.text.span(node.start, node.end), quote=quote, content=content)


def _quoted(text: Text, filling: _Filling, word: str) -> str:
    return yamltext.quoted(text.escape, filling.doubled(word))
