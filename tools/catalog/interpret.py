"""Evaluates the part of a wheel's Python that builds its argument parser.

The engines compute their flags: from annotations of dataclasses, from choice lists in other files, in loops. Patterns
over the syntax tree would have to be mended for each new habit; this evaluates the expressions and statements of the
tree itself, name by name and only as far as the parser needs them. No engine code is compiled or imported: a construct
or a name that is not listed here stops the program with file:line.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import functools
import inspect
import operator
import types
from collections.abc import Callable, Iterator
from typing import Any

from catalog.source import REPLACED, STANDARD, Module, Outside, UnreadableError, Wheel

# What evaluating code may raise when it is not understood; a program error of ours looks the same, with file:line.
FAULTS = (
    UnreadableError, ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError,
    ValueError, argparse.ArgumentError,
)  # fmt: skip

_BUILTINS = {
    name: getattr(builtins, name)
    for name in (
        "all any bool callable classmethod dict enumerate filter float frozenset getattr hasattr int isinstance issubclass "
        "iter len list map max min next object property range repr reversed set setattr sorted staticmethod str sum tuple "
        "type vars zip bytes abs round NotImplemented Ellipsis AssertionError AttributeError Exception ImportError KeyError "
        "NotImplementedError RuntimeError StopIteration TypeError ValueError OSError BaseException"
    ).split()
} | {"print": lambda *_args, **_kwargs: None}

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
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
_PARSERS = (argparse._ActionsContainer,)  # noqa: SLF001 - parsers and their groups have no public common class


class Scope:
    """Names of a function call, a class body or a module (the last: no parent)."""

    def __init__(self, module: Module, parent: Scope | None = None, values: dict[str, Any] | None = None) -> None:
        """Args: module: where the code stands; parent: the enclosing scope; values: the names so far."""
        self.module, self.parent = module, parent
        self.values: Any = module.values if parent is None and values is None else values if values is not None else {}


class Returned:
    """What a ``return`` gave."""

    def __init__(self, value: Any) -> None:
        """Args: value: the value."""
        self.value = value


_BREAK, _CONTINUE = object(), object()


class Interpreter:
    """Evaluates names of one wheel. ``where`` is the file:line of the statement being evaluated."""

    def __init__(self, wheel: Wheel) -> None:
        """Args: wheel: whose modules are read."""
        self.wheel = wheel
        self.where = ""

    # Names

    def value(self, module: str, name: str) -> Any:
        """The value that ``name`` has in a module of the wheel.

        Raises:
            UnreadableError: there is no such module or name.
        """
        found = self.wheel.module(module)
        if found is None:
            raise UnreadableError(f"{self.where}: the wheel has no module {module}")
        try:
            return self._global(found, name)
        except NameError as error:
            raise UnreadableError(f"{found.path}: has no {name}") from error

    def _global(self, module: Module, name: str) -> Any:
        if (module.name, name) in REPLACED:
            return REPLACED[module.name, name]
        if name in module.bindings:
            if module.read.get(name, 0) < len(module.bindings[name]):
                self._bind(module, name)
            return module.values[name]
        if name in module.values:  # bound inside an expression
            return module.values[name]
        if name == "__name__":
            return module.name
        for star in module.stars:
            source = self.wheel.module(self._absolute(star, module))
            if source and (name in source.bindings or source.stars):
                try:
                    return self._global(source, name)
                except NameError:
                    continue
        if self.wheel.module(f"{module.name}.{name}"):
            return self.wheel.module(f"{module.name}.{name}")
        if name in _BUILTINS:
            return _BUILTINS[name]
        raise NameError(f"{name} in {module.path}")

    def _bind(self, module: Module, name: str) -> None:
        """Run the statements that make a module-level name; a fault is kept in the name, for whoever uses it.

        While a statement of the module runs, names have the value that they had above it.
        """
        nodes = module.bindings[name]
        done = module.read.get(name, 0)
        above = [node for node in nodes[done:] if not module.running or node.lineno < module.running[-1]]
        if not done:
            module.values[name] = Outside(name, "which is defined by itself")
            above = above or nodes
        here = self.where
        for node in above:
            module.read[name] = module.read.get(name, 0) + 1
            module.running.append(node.lineno)
            try:
                self._statement(node, Scope(module), only=name)
            except FAULTS as error:
                module.values[name] = Outside(name, f"which could not be read: {self.where}: {error}")
                module.read[name] = len(nodes)
                break
            finally:
                module.running.pop()
        self.where = here

    def _lookup(self, name: str, scope: Scope) -> Any:
        at: Scope | None = scope
        while at is not None and (at.parent is not None or at.values is not at.module.values):
            if name in at.values:
                return at.values[name]
            at = at.parent
        return self._global(scope.module, name)

    def _absolute(self, node: ast.ImportFrom, module: Module) -> str:
        base = module.package.split(".")
        base = base[: len(base) - node.level + 1] if node.level else []
        return ".".join([*base, *([node.module] if node.module else [])])

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope, only: str | None) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            if only and name != only:
                continue
            if isinstance(node, ast.Import):
                dotted = alias.name if alias.asname else name
                scope.values[name] = STANDARD.get(dotted) or self.wheel.module(dotted) or Outside(dotted)
                continue
            source = self._absolute(node, scope.module)
            if source in STANDARD:
                missing = Outside(f"{source}.{alias.name}")
                scope.values[name] = getattr(STANDARD[source], alias.name, missing)
            elif self.wheel.module(source):
                scope.values[name] = self.value(source, alias.name)
            else:
                scope.values[name] = Outside(f"{source}.{alias.name}")

    # Functions and classes

    def _function(self, node: ast.FunctionDef | ast.Lambda, scope: Scope, owner: list[type] | None = None) -> Any:
        """A Python function that evaluates the node's body; ``__node__`` and ``__scope__`` say where it comes from."""
        spec, kind = node.args, inspect.Parameter
        given = [*spec.posonlyargs, *spec.args]
        defaults = [kind.empty] * (len(given) - len(spec.defaults)) + [self._eval(d, scope) for d in spec.defaults]
        parameters = [
            kind(arg.arg, kind.POSITIONAL_OR_KEYWORD, default=default)
            for arg, default in zip(given, defaults, strict=True)
        ]
        if spec.vararg:
            parameters.append(kind(spec.vararg.arg, kind.VAR_POSITIONAL))
        for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            fallback = kind.empty if default is None else self._eval(default, scope)
            parameters.append(kind(arg.arg, kind.KEYWORD_ONLY, default=fallback))
        if spec.kwarg:
            parameters.append(kind(spec.kwarg.arg, kind.VAR_KEYWORD))
        signature = inspect.Signature(parameters)

        def call(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            values = dict(bound.arguments)
            if owner is not None:
                values["super"] = lambda *given: super(*(given or (owner[0], args[0])))
            inner = Scope(scope.module, scope, values)
            here = self.where
            if isinstance(node, ast.Lambda):
                result = self._eval(node.body, inner)
            else:
                signal = self._block(node.body, inner)
                result = signal.value if isinstance(signal, Returned) else None
            self.where = here
            return result

        call.__name__ = getattr(node, "name", "<lambda>")
        call.__doc__ = ast.get_docstring(node, clean=False) if isinstance(node, ast.FunctionDef) else None
        vars(call).update(__node__=node, __scope__=scope)
        return call

    def _class(self, node: ast.ClassDef, scope: Scope) -> Any:
        bases = [self._eval(base, scope) for base in node.bases]
        for base in bases:
            if isinstance(base, Outside) and base.fault:
                raise UnreadableError(f"the base of {node.name}, {base!r}, {base.fault}")
        known = tuple(base for base in bases if not isinstance(base, Outside))
        options = {word.arg: self._eval(word.value, scope) for word in node.keywords if word.arg}
        options = {name: value for name, value in options.items() if not isinstance(value, Outside)}
        owner: list[type] = []

        def body(namespace: Any) -> None:
            namespace["__module__"] = scope.module.name
            namespace["__qualname__"] = node.name
            annotations: dict[str, Any] = {}
            inner = Scope(scope.module, scope, namespace)
            for statement in node.body:
                self._member(statement, inner, annotations, owner)
            namespace["__annotations__"] = annotations

        made = types.new_class(node.name, known, options, body)
        owner.append(made)
        for decorator in reversed(node.decorator_list):
            wrap = self._eval(decorator, scope)
            made = made if isinstance(wrap, Outside) else wrap(made)
        return made

    def _member(self, node: ast.stmt, scope: Scope, annotations: dict[str, Any], owner: list[type]) -> None:
        """A statement of a class body. A method or a constant that cannot be read is kept as such; a field may not."""
        self.where = f"{scope.module.path}:{node.lineno}"
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotations[node.target.id] = self._annotation(node.annotation, scope)
            if node.value:
                scope.values[node.target.id] = self._eval(node.value, scope)
        elif isinstance(node, ast.If):
            for child in node.body if self._eval(node.test, scope) else node.orelse:
                self._member(child, scope, annotations, owner)
        elif isinstance(node, ast.FunctionDef):
            scope.values[node.name] = self._decorated(node, scope, owner)
        elif isinstance(node, ast.Assign):
            try:
                self._statement(node, scope)
            except FAULTS as error:
                fault = f"which could not be read: {self.where}: {error}"
                for name in ast.walk(ast.Tuple(node.targets)):
                    if isinstance(name, ast.Name):
                        scope.values[name.id] = Outside(name.id, fault)
        else:
            self._statement(node, scope)

    def _annotation(self, node: ast.expr, scope: Scope) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        value = self._eval(node, scope)
        if isinstance(value, Outside) and value.fault:
            raise UnreadableError(f"the annotation {value!r}, {value.fault}")
        return value

    def _decorated(self, node: ast.FunctionDef, scope: Scope, owner: list[type] | None = None) -> Any:
        # A method does not see the names of its class's body.
        outer = scope.parent if owner is not None and scope.parent is not None else scope
        if any(isinstance(child, (ast.Yield, ast.YieldFrom)) for child in ast.walk(node)):
            return Outside(node.name)
        try:
            made = self._function(node, outer, owner)
            for decorator in reversed(node.decorator_list):
                made = self._eval(decorator, scope)(made)
        except FAULTS as error:
            return Outside(node.name, f"which could not be read: {self.where}: {error}")
        return made

    # Statements

    def _block(self, body: list[ast.stmt], scope: Scope) -> Any:
        for node in body:
            signal = self._statement(node, scope)
            if signal is not None:
                return signal
        return None

    def _statement(self, node: ast.stmt, scope: Scope, only: str | None = None) -> Any:
        self.where = f"{scope.module.path}:{node.lineno}"
        match node:
            case ast.Expr():
                self._eval(node.value, scope)
            case ast.Assign():
                value = self._eval(node.value, scope)
                for target in node.targets:
                    self._assign(target, value, scope)
            case ast.AnnAssign():
                if node.value:
                    self._assign(node.target, self._eval(node.value, scope), scope)
            case ast.AugAssign():
                load = ast.parse(ast.unparse(node.target), mode="eval").body
                self._assign(node.target, _BINARY[type(node.op)](self._eval(load, scope), self._eval(node.value, scope)), scope)
            case ast.Return():
                return Returned(self._eval(node.value, scope) if node.value else None)
            case ast.If():
                return self._block(node.body if self._eval(node.test, scope) else node.orelse, scope)
            case ast.For():
                return self._loop(node, scope)
            case ast.With():  # contexts silence logs and such
                return self._block(node.body, scope)
            case ast.Try():
                return self._try(node, scope)
            case ast.FunctionDef():
                scope.values[node.name] = self._decorated(node, scope)
            case ast.ClassDef():
                scope.values[node.name] = self._class(node, scope)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope, only)
            case ast.Delete():
                for target in node.targets:
                    if not isinstance(target, ast.Subscript):
                        raise UnreadableError(f"{ast.unparse(node)!r} is not understood")
                    del self._eval(target.value, scope)[self._eval(target.slice, scope)]
            case ast.Assert():
                if not self._eval(node.test, scope):
                    raise AssertionError(ast.unparse(node.test))
            case ast.Raise():
                raise self._eval(node.exc, scope) if node.exc else UnreadableError("a bare raise")
            case ast.Pass():
                pass
            case ast.Break():
                return _BREAK
            case ast.Continue():
                return _CONTINUE
            case _:
                raise UnreadableError(f"{type(node).__name__} statements are not understood")
        return None

    def _loop(self, node: ast.For, scope: Scope) -> Any:
        for item in self._eval(node.iter, scope):
            self._assign(node.target, item, scope)
            signal = self._block(node.body, scope)
            if signal is _BREAK:
                return None
            if isinstance(signal, Returned):
                return signal
        return self._block(node.orelse, scope)

    def _try(self, node: ast.Try, scope: Scope) -> Any:
        try:
            signal = self._block(node.body, scope)
        except FAULTS as error:
            for handler in node.handlers:
                kinds = self._eval(handler.type, scope) if handler.type else ()
                if not isinstance(error, UnreadableError) and isinstance(error, kinds):
                    return self._block(handler.body, scope)
            raise
        return signal or self._block([*node.orelse, *node.finalbody], scope)

    def _assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        match target:
            case ast.Name():
                scope.values[target.id] = value
            case ast.Tuple() | ast.List():
                for part, item in zip(target.elts, value, strict=True):
                    self._assign(part, item, scope)
            case ast.Subscript():
                self._eval(target.value, scope)[self._eval(target.slice, scope)] = value
            case ast.Attribute():
                setattr(self._eval(target.value, scope), target.attr, value)
            case _:
                raise UnreadableError(f"cannot assign to {ast.unparse(target)!r}")

    # Expressions

    def _eval(self, node: ast.expr, scope: Scope) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case a kind of expression
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._lookup(node.id, scope)
            case ast.Attribute():
                return self._attribute(self._eval(node.value, scope), node.attr)
            case ast.Subscript():
                return self._eval(node.value, scope)[self._eval(node.slice, scope)]
            case ast.Slice():
                return slice(*(part and self._eval(part, scope) for part in (node.lower, node.upper, node.step)))
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
                return _BINARY[type(node.op)](self._eval(node.left, scope), self._eval(node.right, scope))
            case ast.UnaryOp():
                return _UNARY[type(node.op)](self._eval(node.operand, scope))
            case ast.BoolOp():
                return self._either(node, scope)
            case ast.Compare():
                return self._compare(node, scope)
            case ast.IfExp():
                return self._eval(node.body if self._eval(node.test, scope) else node.orelse, scope)
            case ast.JoinedStr():
                return "".join(str(self._eval(part, scope)) for part in node.values)
            case ast.FormattedValue():
                value = self._eval(node.value, scope)
                return repr(value) if node.conversion == ord("r") else value
            case ast.Lambda():
                return self._function(node, scope)
            case ast.ListComp():
                return [self._eval(node.elt, inner) for inner in self._each(node.generators, scope)]
            case ast.SetComp():
                return {self._eval(node.elt, inner) for inner in self._each(node.generators, scope)}
            case ast.GeneratorExp():
                return (self._eval(node.elt, inner) for inner in self._each(node.generators, scope))
            case ast.DictComp():
                return {
                    self._eval(node.key, inner): self._eval(node.value, inner)
                    for inner in self._each(node.generators, scope)
                }
            case ast.NamedExpr():
                value = self._eval(node.value, scope)
                self._assign(node.target, value, scope)
                return value
        raise UnreadableError(f"{self.where}: {ast.unparse(node)!r} is not understood")

    def _attribute(self, value: Any, name: str) -> Any:
        return self.value(value.name, name) if isinstance(value, Module) else getattr(value, name)

    def _items(self, nodes: list[ast.expr], scope: Scope) -> Iterator[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self._eval(node.value, scope)
            else:
                yield self._eval(node, scope)

    def _dict(self, node: ast.Dict, scope: Scope) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                made.update(self._eval(value, scope))
            else:
                made[self._eval(key, scope)] = self._eval(value, scope)
        return made

    def _either(self, node: ast.BoolOp, scope: Scope) -> Any:
        stop = isinstance(node.op, ast.Or)
        value: Any = None
        for part in node.values:
            value = self._eval(part, scope)
            if bool(value) is stop:
                break
        return value

    def _compare(self, node: ast.Compare, scope: Scope) -> Any:
        left = self._eval(node.left, scope)
        for kind, part in zip(node.ops, node.comparators, strict=True):
            right = self._eval(part, scope)
            if not _COMPARE[type(kind)](left, right):
                return False
            left = right
        return True

    def _each(self, generators: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
        first, *rest = generators
        for item in self._eval(first.iter, scope):
            inner = Scope(scope.module, scope, {})
            self._assign(first.target, item, inner)
            if all(self._eval(test, inner) for test in first.ifs):
                yield from self._each(rest, inner) if rest else (inner,)

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        function = self._eval(node.func, scope)
        args = list(self._items(node.args, scope))
        kwargs: dict[str, Any] = {}
        for word in node.keywords:
            kwargs.update({word.arg: self._eval(word.value, scope)} if word.arg else self._eval(word.value, scope))
        if isinstance(function, Outside) and any(isinstance(value, _PARSERS) for value in (*args, *kwargs.values())):
            raise UnreadableError(f"{self.where}: {ast.unparse(node.func)} may declare flags, but cannot be read")
        result = function(*args, **kwargs)
        if isinstance(result, argparse.Action):
            vars(result)["where"] = self.where
        return result


@functools.cache
def source_of(node: ast.AST) -> str:
    """The source of a node on one line, to compare small functions by."""
    return " ".join(ast.unparse(node).split())
