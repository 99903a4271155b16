"""The flags of a wheel: its parser, evaluated, and asked by the same code that asks a real one."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Collection
from typing import Any

from catalog.effects import Effects
from catalog.functions import Origin, source_of
from catalog.interpret import FAULTS, Interpreter
from catalog.literals import missed
from catalog.source import REGISTRIES, Outside, UnreadableError, Wheel
from launcher.engines import probe


class _Evaluated(probe.Source):
    """A parser made by evaluating a wheel; whatever is not understood stops the program."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__()
        self.value = interpreter.value  # type: ignore[method-assign]
        self._interpreter = interpreter
        self._where = ""

    def call(self, function: Any, argument: Any) -> Any:
        return self._interpreter.called(function, [argument], {})

    def look(self, action: argparse.Action) -> None:
        super().look(action)
        self._where = getattr(action, "where", "")
        for part in (action.type, action.choices, action.nargs, action.default, action.metavar):
            if isinstance(part, Outside):
                text = f"{self._flag} depends on {part!r}, {part.fault or 'not in the wheel'}"
                raise UnreadableError(text, self._where)

    def puzzle(self, text: str, function: Any = None) -> None:
        origin = _origin(function)
        raise UnreadableError(f"{self._flag}: {text}", origin.where if origin else self._where)

    def name(self, function: Any) -> str:
        origin = _origin(function)
        if origin and isinstance(origin.node, ast.Lambda):
            return source_of(origin.node)
        return super().name(function)

    def package(self, function: Any) -> str:
        origin = _origin(function)
        return origin.where.partition("/")[0] if origin else super().package(function)

    def names(self, function: Any) -> Collection[str]:
        origin = _origin(function)
        return {node.id for node in ast.walk(origin.node) if isinstance(node, ast.Name)} if origin else ()

    def wrapped(self, function: Any) -> Any:
        return function.origin.scope.values["return_type"]


def _origin(function: Any) -> Origin | None:
    return getattr(function, "origin", None)


def flags_of(wheel: Wheel) -> dict[str, probe.Record]:
    """Every flag of the wheel's server, less ``--help``.

    Raises:
        UnreadableError: something is not understood; names file:line.
    """
    interpreter = Interpreter(wheel)
    try:
        for package in REGISTRIES:
            interpreter.imported(package)
        flags = probe.flags_of(wheel.engine, _Evaluated(interpreter))
        modules = wheel.read()
        missed(modules, flags)
        Effects(wheel, modules).check()
    except FAULTS as error:
        where = getattr(error, "where", "") or interpreter.where
        raise UnreadableError(": ".join(filter(None, (wheel.path, where, str(error))))) from error
    return flags
