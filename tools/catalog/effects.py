"""Statements that were not run and may change what the parser was built from.

The interpreter runs a module-level statement when a name that it binds is asked for. A decorator, a call or a loop may
fill a list of another name; importing the module would run it.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterable, Iterator
from typing import Any

from catalog.source import Module, UnreadableError, Wheel

Name = tuple[str, str]  # of a module, and in it
_DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _mutable(value: Any) -> bool:
    """Whether a value is a list, dict or set, or a class or an object of the wheel that holds one."""
    if isinstance(value, (list, dict, set)):
        return True
    kind = value if isinstance(value, type) else type(value)
    if "__node__" not in vars(kind) or issubclass(kind, (enum.Enum, tuple)):
        return False
    held = getattr(value, "__dict__", {}).items()
    return any(isinstance(part, (list, dict, set)) for name, part in held if not name.startswith("__"))


def _run(node: ast.stmt) -> list[ast.AST]:
    """What an import evaluates of a statement: of a function its decorators and defaults, not its body."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return []
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.keywords, *(part for child in node.body for part in _run(child))]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    return [node]


def _code(root: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree, less annotations: to name a type there does nothing to it."""
    yield root
    for field, value in ast.iter_fields(root):
        if field not in {"annotation", "returns"}:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _code(child)


def _acts(node: ast.stmt) -> bool:
    """Whether a statement may do more than bind its names: it calls, decorates, or changes a part of a value."""
    if getattr(node, "decorator_list", ()) or getattr(node, "keywords", ()):
        return True
    parts = [part for root in _run(node) for part in ast.walk(root)]
    stored = (part for part in parts if isinstance(part, (ast.Attribute, ast.Subscript)))
    return any(isinstance(part, ast.Call) for part in parts) or any(not isinstance(p.ctx, ast.Load) for p in stored)


class Effects:
    """The names that hold something mutable in the modules that were read, and who reaches them."""

    def __init__(self, wheel: Wheel, modules: Iterable[Module]) -> None:
        """Args: wheel: as evaluated; modules: those of which a name was read."""
        self._wheel, self._modules = wheel, list(modules)
        self._state = {
            (module.name, name)
            for module in self._modules
            for name, value in module.values.items()
            if name in module.read and _mutable(value)
        }

    def check(self) -> None:
        """Find a statement that was not run and that mentions such a name, or calls what does.

        Raises:
            UnreadableError: there is one.
        """
        for module in self._modules:
            for node in module.statements:
                bases = [base for base in getattr(node, "bases", ()) if self._tells(base, module)]
                acts = node not in module.ran and (bases or _acts(node))
                if acts and (name := self._reached([*bases, *_run(node)], module)):
                    text = f"this was not run and may change {name}, which the parser was built from"
                    raise UnreadableError(text, f"{module.path}:{node.lineno}")

    def _tells(self, base: ast.expr, module: Module) -> bool:
        """Whether a base class, or one of its own, is told of each class derived from it."""
        found = self._target(base, module)
        place = self._wheel.module(found[0]) if isinstance(found, tuple) else None
        if not isinstance(found, tuple) or place is None:
            return False
        made = [node for node in place.bindings[found[1]] if isinstance(node, ast.ClassDef)]
        told = any(getattr(child, "name", "") == "__init_subclass__" for node in made for child in node.body)
        return told or any(self._tells(each, place) for node in made for each in node.bases)

    def _reached(self, nodes: list[ast.AST], module: Module) -> str | None:
        """The mutable name that code reaches, through the functions and classes that it mentions."""
        seen: set[Name] = set()
        todo = [(nodes, module)]
        while todo:
            nodes, module = todo.pop()
            for found, called in self._mentioned(nodes, module):
                if found in self._state and not called:
                    return found[1]
                place = self._wheel.module(found[0])
                if place and found not in seen:
                    seen.add(found)
                    bodies = [node for node in place.bindings[found[1]] if isinstance(node, _DEFINED)]
                    todo.append((list(bodies), place))
        return None

    def _mentioned(self, nodes: list[ast.AST], module: Module) -> Iterator[tuple[Name, bool]]:
        """The wheel's names that code mentions, and whether it merely calls them there."""
        parts = [part for root in nodes for part in _code(root)]
        callees = {id(part.func) for part in parts if isinstance(part, ast.Call)}
        for part in parts:
            if isinstance(part, ast.ImportFrom) and (source := self._wheel.module(module.absolute(part))):
                targets = [self._member(source, alias.name) for alias in part.names]
            else:
                targets = [self._target(part, module)]
            for target in targets:
                if isinstance(target, tuple):
                    yield target, id(part) in callees

    def _target(self, node: ast.AST, module: Module) -> Module | Name | None:
        """The module or the name that an expression such as ``registry.EXTRA`` is."""
        if isinstance(node, ast.Name):
            return self._member(module, node.id)
        base = self._target(node.value, module) if isinstance(node, ast.Attribute) else None
        return self._member(base, node.attr) if isinstance(node, ast.Attribute) and isinstance(base, Module) else None

    def _member(self, module: Module, name: str, deep: int = 0) -> Module | Name | None:
        """What a module's name stands for, where it is defined."""
        for node in module.bindings.get(name, ()):
            if isinstance(node, ast.Import):
                alias = next(each for each in node.names if (each.asname or each.name).partition(".")[0] == name)
                return self._wheel.module(alias.name if alias.asname else name)
            if isinstance(node, ast.ImportFrom):
                original = next(each.name for each in node.names if (each.asname or each.name) == name)
                source = self._wheel.module(module.absolute(node))
                return self._member(source, original, deep + 1) if source and deep < 20 else None  # noqa: PLR2004
        if name in module.bindings:
            return module.name, name
        for star in module.stars:
            source = self._wheel.module(module.absolute(star))
            if source and deep < 20 and (found := self._member(source, name, deep + 1)):  # noqa: PLR2004
                return found
        return self._wheel.module(f"{module.name}.{name}") if module.path.endswith("__init__.py") else None
