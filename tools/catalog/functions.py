"""Functions of engine source: their signatures, and how the ones that were made from them are recognised."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from catalog.expressions import Scope


@dataclasses.dataclass(frozen=True)
class Origin:
    """The source of a function, and the scope that it was made in."""

    node: ast.FunctionDef | ast.Lambda
    scope: Scope

    @property
    def where(self) -> str:
        """file:line."""
        return f"{self.scope.module.path}:{self.node.lineno}"


def signature(spec: ast.arguments, value: Callable[[ast.expr], Any]) -> inspect.Signature:
    """The signature of a function; ``value`` evaluates its defaults."""
    kind = inspect.Parameter
    given = [*spec.posonlyargs, *spec.args]
    defaults = [kind.empty] * (len(given) - len(spec.defaults)) + [value(default) for default in spec.defaults]
    parameters = [
        kind(arg.arg, kind.POSITIONAL_OR_KEYWORD, default=default) for arg, default in zip(given, defaults, strict=True)
    ]
    if spec.vararg:
        parameters.append(kind(spec.vararg.arg, kind.VAR_POSITIONAL))
    for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        fallback = kind.empty if default is None else value(default)
        parameters.append(kind(arg.arg, kind.KEYWORD_ONLY, default=fallback))
    if spec.kwarg:
        parameters.append(kind(spec.kwarg.arg, kind.VAR_KEYWORD))
    return inspect.Signature(parameters)


def is_generator(node: ast.AST) -> bool:
    """Whether a function has a ``yield`` of its own."""
    inside = (child for child in ast.iter_child_nodes(node) if not isinstance(child, (ast.FunctionDef, ast.Lambda)))
    return any(isinstance(child, (ast.Yield, ast.YieldFrom)) or is_generator(child) for child in inside)


@functools.cache
def source_of(node: ast.AST) -> str:
    """The source of a node on one line, to compare small functions by."""
    return " ".join(ast.unparse(node).split())
