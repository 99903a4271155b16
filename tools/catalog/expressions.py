"""Evaluates expressions of engine source: operators, calls, comprehensions, and assignment to their targets."""

from __future__ import annotations

import abc
import ast
import operator
from collections.abc import Callable, Iterator
from typing import Any

from catalog.source import Module, UnreadableError

BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_, ast.LShift: operator.lshift, ast.RShift: operator.rshift,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {
    ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.inv,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
YIELDED = "<yielded>"  # the name of what a generator has given so far: generators run to their end at once


class Scope:
    """Names of a function call, a comprehension, a class body or a module (which alone has no parent)."""

    def __init__(self, module: Module, parent: Scope | None = None, values: Any = None) -> None:
        """Args: module: where the code stands; parent: the enclosing scope; values: its names, for a module all."""
        self.module, self.parent = module, parent
        self.values: dict[str, Any] = module.values if parent is None else values


class Expressions(abc.ABC):
    """The expressions; what names, modules and functions are is left to the interpreter that extends it."""

    @abc.abstractmethod
    def value(self, module: str, name: str) -> Any:
        """The value of a name of a module of the wheel."""

    @abc.abstractmethod
    def lookup(self, name: str, scope: Scope) -> Any:
        """The value of a name in a scope."""

    @abc.abstractmethod
    def function(self, node: ast.FunctionDef | ast.Lambda, scope: Scope, owner: list[type] | None = None) -> Any:
        """A function that evaluates a body."""

    @abc.abstractmethod
    def called(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The result of a call."""

    def assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Give a target (a name, an attribute, an item or a tuple of them) a value."""
        match target:
            case ast.Name():
                scope.values[target.id] = value
            case ast.Tuple() | ast.List():
                items = list(value)
                for place, part in enumerate(target.elts):
                    if isinstance(part, ast.Starred):
                        end = len(items) - (len(target.elts) - place - 1)
                        items[place:end] = [items[place:end]]
                for part, item in zip(target.elts, items, strict=True):
                    self.assign(part.value if isinstance(part, ast.Starred) else part, item, scope)
            case ast.Subscript():
                self.eval(target.value, scope)[self.eval(target.slice, scope)] = value
            case ast.Attribute():
                setattr(self.eval(target.value, scope), target.attr, value)
            case _:
                raise UnreadableError(f"cannot assign to {ast.unparse(target)!r}")

    def eval(self, node: ast.expr, scope: Scope) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case a kind of expression
        """The value of an expression.

        Raises:
            UnreadableError: a kind of expression that is not known here.
        """
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self.lookup(node.id, scope)
            case ast.Attribute():
                return self._attribute(self.eval(node.value, scope), node.attr)
            case ast.Subscript():
                return self.eval(node.value, scope)[self.eval(node.slice, scope)]
            case ast.Slice():
                return slice(*(part and self.eval(part, scope) for part in (node.lower, node.upper, node.step)))
            case ast.Call():
                return self._call(node, scope)
            case ast.Tuple():
                return tuple(self._items(node.elts, scope))
            case ast.List():
                return list(self._items(node.elts, scope))
            case ast.Set():
                return set(self._items(node.elts, scope))
            case ast.Dict():
                return self._dict(node, scope)
            case ast.BinOp():
                return BINARY[type(node.op)](self.eval(node.left, scope), self.eval(node.right, scope))
            case ast.UnaryOp():
                return _UNARY[type(node.op)](self.eval(node.operand, scope))
            case ast.BoolOp():
                return self._either(node, scope)
            case ast.Compare():
                return self._compare(node, scope)
            case ast.IfExp():
                return self.eval(node.body if self.eval(node.test, scope) else node.orelse, scope)
            case ast.JoinedStr():
                return "".join(str(self.eval(part, scope)) for part in node.values)
            case ast.FormattedValue():
                value = self.eval(node.value, scope)
                return repr(value) if node.conversion == ord("r") else value
            case ast.Lambda():
                return self.function(node, scope)
            case ast.ListComp():
                return [self.eval(node.elt, inner) for inner in self._each(node.generators, scope)]
            case ast.SetComp():
                return {self.eval(node.elt, inner) for inner in self._each(node.generators, scope)}
            case ast.GeneratorExp():
                return (self.eval(node.elt, inner) for inner in self._each(node.generators, scope))
            case ast.DictComp():
                return {
                    self.eval(node.key, inner): self.eval(node.value, inner)
                    for inner in self._each(node.generators, scope)
                }
            case ast.Yield():
                self.lookup(YIELDED, scope).append(self.eval(node.value, scope) if node.value else None)
                return None
            case ast.NamedExpr():
                value = self.eval(node.value, scope)
                self.assign(node.target, value, scope)
                return value
        raise UnreadableError(f"{ast.unparse(node)!r} is not understood")

    def _attribute(self, value: Any, name: str) -> Any:
        return self.value(value.name, name) if isinstance(value, Module) else getattr(value, name)

    def _items(self, nodes: list[ast.expr], scope: Scope) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self.eval(node.value, scope)
            else:
                yield self.eval(node, scope)

    def _dict(self, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                made.update(self.eval(value, scope))
            else:
                made[self.eval(key, scope)] = self.eval(value, scope)
        return made

    def _either(self, node: ast.BoolOp, scope: Scope) -> Any:
        stop = isinstance(node.op, ast.Or)
        value: Any = None
        for part in node.values:
            value = self.eval(part, scope)
            if bool(value) is stop:
                break
        return value

    def _compare(self, node: ast.Compare, scope: Scope) -> Any:
        left = self.eval(node.left, scope)
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self.eval(part, scope)
            if not _COMPARE[type(kind)](left, right):
                return False
            left = right
        return True

    def _each(self, generators: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
        first, *rest = generators
        for item in self.eval(first.iter, scope):
            inner = Scope(scope.module, scope, {})
            self.assign(first.target, item, inner)
            if all(self.eval(test, inner) for test in first.ifs):
                yield from self._each(rest, inner) if rest else (inner,)

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        function = self.eval(node.func, scope)
        args = list(self._items(node.args, scope))
        kwargs: dict[str, Any] = {}
        for word in node.keywords:
            kwargs.update({word.arg: self.eval(word.value, scope)} if word.arg else self.eval(word.value, scope))
        return self.called(function, args, kwargs)
