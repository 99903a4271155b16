"""Flags as they stand in the source, found without evaluating it: a check on the parser that was built."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from catalog.source import Module, UnreadableError
from launcher.engines.probe import Record


def _declared(tree: ast.Module) -> Iterator[tuple[int, set[str]]]:
    """Line and spellings of each ``X.add_argument("--flag", ...)``, and of each field ``flag: A[type, ...]``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            words = {word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)}
            yield node.lineno, {word for word in words if word.startswith("-")}
        elif isinstance(node, ast.ClassDef):
            for field in node.body:
                match field:
                    case ast.AnnAssign(
                        target=ast.Name(id=name), annotation=ast.Subscript(value=ast.Name(id="A"), slice=inner)
                    ):
                        yield field.lineno, _annotated(name, inner)


def _annotated(name: str, annotation: ast.expr) -> set[str]:
    """The spelling that SGLang gives a field: none with ``no_cli=True``, another with ``cli_name="--other"``.

    ``NS(...)`` says where the value is kept; a field with nothing else beside its type has no flag.
    """
    beside = annotation.elts[1:] if isinstance(annotation, ast.Tuple) else []
    beside = [part for part in beside if not (isinstance(part, ast.Call) and ast.unparse(part.func) == "NS")]
    words = [word for part in beside if isinstance(part, ast.Call) for word in part.keywords]
    said = {word.arg: word.value.value for word in words if isinstance(word.value, ast.Constant)}
    if said.get("no_cli") or not beside:
        return set()
    return {str(said.get("cli_name") or "--" + name.replace("_", "-"))}


def missed(modules: Iterable[Module], flags: dict[str, Record]) -> None:
    """Find a flag that a module declares in plain words and the parser lacks.

    The modules are those that the parser was built from. No release so far declares a flag of another program in one
    of them, so there is no exception.

    Raises:
        UnreadableError: there is one.
    """
    known = {"-h", "--help", *flags}
    for record in flags.values():
        known.update(record.get("aliases", ()), record.get("negations", ()))
    for module in modules:
        for line, spellings in _declared(module.tree):
            if spellings and not spellings & known:
                text = (
                    f"{', '.join(sorted(spellings))} is declared here, and the parser that was built has no such flag"
                )
                raise UnreadableError(text, f"{module.path}:{line}")
