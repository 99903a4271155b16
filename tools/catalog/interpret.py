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
import contextlib
import dataclasses
import types
import typing
from typing import Any

from catalog.expressions import BINARY, YIELDED, Expressions, Scope
from catalog.functions import Origin, is_generator, signature
from catalog.source import REPLACED, STANDARD, Module, Outside, UnreadableError, Wheel

# What evaluating code may raise when it is not understood; a program error of ours looks the same, with file:line.
FAULTS = (
    UnreadableError, ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError,
    ValueError, argparse.ArgumentError,
)  # fmt: skip

_BUILTINS = {
    name: getattr(builtins, name)
    for name in """
        all any bool bytes callable classmethod dict enumerate filter float frozenset getattr hasattr int isinstance
        issubclass iter len list map max min next object property range repr reversed round set setattr sorted
        staticmethod str sum tuple type vars zip abs Ellipsis NotImplemented
        AssertionError AttributeError BaseException Exception ImportError KeyError NotImplementedError OSError
        RuntimeError StopIteration TypeError ValueError
    """.split()  # noqa: SIM905 - a list of 50 strings is no easier to read
} | {"print": lambda *_args, **_kwargs: None}
# What may be handed to code that declares flags; the classes have no public names.
_PARSERS = (argparse._ActionsContainer, argparse._SubParsersAction)  # noqa: SLF001


@dataclasses.dataclass(frozen=True)
class Returned:
    """What a ``return`` gave."""

    value: Any


_BREAK, _CONTINUE = object(), object()


class Interpreter(Expressions):
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
            raise UnreadableError(f"the wheel has no module {module}")
        try:
            return self._global(found, name)
        except NameError as error:
            raise UnreadableError(str(error)) from error

    def imported(self, name: str) -> None:
        """Run all that importing a module runs, for what it leaves in other modules.

        Raises:
            UnreadableError: a part of it is not understood.
        """
        module = self.wheel.module(name)
        if module is None:
            return
        for bound in module.bindings:
            value = self.value(name, bound)
            if isinstance(value, Outside) and value.fault:
                raise UnreadableError(f"{bound}, {value.fault}")
        for node in module.statements:
            if node not in module.ran:
                module.ran.add(node)
                self._statement(node, Scope(module))

    def _global(self, module: Module, name: str) -> Any:
        if (module.name, name) in REPLACED:
            return REPLACED[module.name, name]
        if name in module.bindings:
            if module.read.get(name, 0) < len(module.bindings[name]):
                self._bind(module, name)
            return module.values[name]
        if name in module.values:  # bound inside an expression
            return module.values[name]
        for star in module.stars:
            source = self.wheel.module(module.absolute(star))
            if source and (name in source.bindings or source.stars):
                with contextlib.suppress(NameError):
                    return self._global(source, name)
        inside = {"__name__": module.name, **_BUILTINS}.get(name) or self.wheel.module(f"{module.name}.{name}")
        if inside is None:
            raise NameError(f"{module.path} has no name {name}")
        return inside

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
            module.ran.add(node)
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

    def lookup(self, name: str, scope: Scope) -> Any:
        """The value of a name in a scope.

        Raises:
            NameError: there is none.
        """
        while scope.parent is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        return self._global(scope.module, name)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope, only: str | None) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            if only and name != only:
                continue
            if isinstance(node, ast.Import):
                dotted = alias.name if alias.asname else name
                scope.values[name] = STANDARD.get(dotted) or self.wheel.module(dotted) or Outside(dotted)
                continue
            source = scope.module.absolute(node)
            if source in STANDARD:
                missing = Outside(f"{source}.{alias.name}")
                scope.values[name] = getattr(STANDARD[source], alias.name, missing)
            elif self.wheel.module(source):
                scope.values[name] = self.value(source, alias.name)
            else:
                scope.values[name] = Outside(f"{source}.{alias.name}")

    # Functions and classes

    def called(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The result of a call; an action of the parser keeps where it was declared.

        Raises:
            UnreadableError: a parser is handed to code that cannot be read and may declare flags.
        """
        if isinstance(function, Outside) and any(isinstance(value, _PARSERS) for value in (*args, *kwargs.values())):
            raise UnreadableError(f"{function!r} may declare flags, {function.fault or 'but is not in the wheel'}")
        result = function(*args, **kwargs)
        if isinstance(result, argparse.Action):
            vars(result)["where"] = self.where
        return result

    def function(self, node: ast.FunctionDef | ast.Lambda, scope: Scope, owner: list[type] | None = None) -> Any:
        """A Python function that evaluates the node's body; its ``origin`` says where it comes from."""
        given = signature(node.args, lambda default: self.eval(default, scope))
        generator = is_generator(node)

        def call(*args: Any, **kwargs: Any) -> Any:
            bound = given.bind(*args, **kwargs)
            bound.apply_defaults()
            values = dict(bound.arguments)
            if owner is not None:
                values["super"] = lambda *given: super(*(given or (owner[0], args[0])))
            inner = Scope(scope.module, scope, values | ({YIELDED: []} if generator else {}))
            here = self.where
            if isinstance(node, ast.Lambda):
                result = self.eval(node.body, inner)
            else:
                signal = self._block(node.body, inner)
                result = signal.value if isinstance(signal, Returned) else None
            self.where = here
            return iter(inner.values[YIELDED]) if generator else result

        call.__name__ = getattr(node, "name", "<lambda>")
        call.__doc__ = ast.get_docstring(node, clean=False) if isinstance(node, ast.FunctionDef) else None
        vars(call)["origin"] = Origin(node, scope)
        return call

    def _class(self, node: ast.ClassDef, scope: Scope) -> Any:
        bases = [self.eval(base, scope) for base in node.bases]
        for base in bases:
            if isinstance(base, Outside) and base.fault:
                raise UnreadableError(f"the base of {node.name}, {base!r}, {base.fault}")
        known = tuple(base for base in bases if not isinstance(base, Outside))
        options = {word.arg: self.eval(word.value, scope) for word in node.keywords if word.arg}
        options = {name: value for name, value in options.items() if not isinstance(value, Outside)}
        owner: list[type] = []

        def body(namespace: Any) -> None:
            namespace["__module__"] = scope.module.name
            namespace["__qualname__"] = node.name
            namespace["__node__"] = node
            annotations: dict[str, Any] = {}
            inner = Scope(scope.module, scope, namespace)
            for statement in node.body:
                self._member(statement, inner, annotations, owner)
            namespace["__annotations__"] = annotations

        made = types.new_class(node.name, known, options, body)
        owner.append(made)
        for decorator in reversed(node.decorator_list):
            wrap = self.eval(decorator, scope)
            made = made if isinstance(wrap, Outside) else wrap(made)
        return made

    def _member(self, node: ast.stmt, scope: Scope, annotations: dict[str, Any], owner: list[type]) -> None:
        """A statement of a class body. A method or a constant that cannot be read is kept as such; a field may not."""
        self.where = f"{scope.module.path}:{node.lineno}"
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = annotations[node.target.id] = self._annotation(node.annotation, scope)
            if node.value and typing.ClassVar in (kind, typing.get_origin(kind)):
                self._constant([node.target], node.value, scope)
            elif node.value:
                scope.values[node.target.id] = self.eval(node.value, scope)
        elif isinstance(node, ast.If):
            for child in node.body if self.eval(node.test, scope) else node.orelse:
                self._member(child, scope, annotations, owner)
        elif isinstance(node, ast.FunctionDef):
            scope.values[node.name] = self._decorated(node, scope, owner)
        elif isinstance(node, ast.Assign):
            self._constant(node.targets, node.value, scope)
        else:
            self._statement(node, scope)

    def _constant(self, targets: list[ast.expr], source: ast.expr, scope: Scope) -> None:
        """An assignment in a class body that makes no field; a fault is kept in the name, for whoever uses it."""
        try:
            value = self.eval(source, scope)
            for target in targets:
                self.assign(target, value, scope)
        except FAULTS as error:
            fault = f"which could not be read: {self.where}: {error}"
            for name in ast.walk(ast.Tuple(targets)):
                if isinstance(name, ast.Name):
                    scope.values[name.id] = Outside(name.id, fault)

    def _annotation(self, node: ast.expr, scope: Scope) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        value = self.eval(node, scope)
        if isinstance(value, Outside) and value.fault:
            raise UnreadableError(f"the annotation {value!r}, {value.fault}")
        return value

    def _decorated(self, node: ast.FunctionDef, scope: Scope, owner: list[type] | None = None) -> Any:
        # A method does not see the names of its class's body.
        outer = scope.parent if owner is not None and scope.parent is not None else scope
        try:
            made = self.function(node, outer, owner)
            for decorator in reversed(node.decorator_list):
                made = self.eval(decorator, scope)(made)
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

    def _statement(self, node: ast.stmt, scope: Scope, only: str | None = None) -> Any:  # noqa: C901, PLR0911, PLR0912
        self.where = f"{scope.module.path}:{node.lineno}"
        match node:
            case ast.Expr():
                self.eval(node.value, scope)
            case ast.Assign():
                value = self.eval(node.value, scope)
                for target in node.targets:
                    self.assign(target, value, scope)
            case ast.AnnAssign():
                if node.value:
                    self.assign(node.target, self.eval(node.value, scope), scope)
            case ast.AugAssign():
                load = ast.parse(ast.unparse(node.target), mode="eval").body
                self.assign(
                    node.target, BINARY[type(node.op)](self.eval(load, scope), self.eval(node.value, scope)), scope
                )
            case ast.Return():
                return Returned(self.eval(node.value, scope) if node.value else None)
            case ast.If():
                return self._block(node.body if self.eval(node.test, scope) else node.orelse, scope)
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
                    del self.eval(target.value, scope)[self.eval(target.slice, scope)]
            case ast.Assert():
                if not self.eval(node.test, scope):
                    raise AssertionError(ast.unparse(node.test))
            case ast.Raise():
                raise self.eval(node.exc, scope) if node.exc else UnreadableError("a bare raise")
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
        for item in self.eval(node.iter, scope):
            self.assign(node.target, item, scope)
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
                kinds = self.eval(handler.type, scope) if handler.type else Exception
                if not isinstance(error, UnreadableError) and isinstance(error, kinds):
                    return self._block(handler.body, scope)
            raise
        return signal or self._block([*node.orelse, *node.finalbody], scope)
