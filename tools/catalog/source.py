"""The source of a wheel: its modules as syntax trees, its metadata, and stand-ins for what lies outside it."""

from __future__ import annotations

import argparse
import ast
import collections
import collections.abc
import contextlib
import copy
import dataclasses
import email.parser
import enum
import functools
import inspect
import itertools
import json
import posixpath
import re
import ssl
import sys
import textwrap
import types
import typing
import zipfile
import zlib
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


class UnreadableError(Exception):
    """The engine declares something in a way that this tool does not know.

    ``where`` is its file:line where that is not the statement being evaluated.
    """

    def __init__(self, text: str, where: str = "") -> None:
        """Args: text: what is not understood; where: file:line."""
        super().__init__(text)
        self.where = where


class Outside:
    """A value that is not in the wheel (``torch.dtype``) or could not be read, and why.

    It may stand where nothing depends on it. Deciding by it, or iterating over it, is an error, so that it can never
    lead to fewer flags.
    """

    def __init__(self, text: str, fault: str = "") -> None:
        """Args: text: the source of the value; fault: why it could not be read, "" when it is merely elsewhere."""
        self._text = text
        self.fault = fault

    def __repr__(self) -> str:
        return self._text

    def __getattr__(self, name: str) -> Outside:
        if name.startswith("__"):
            raise AttributeError(name)
        return Outside(f"{self._text}.{name}", self.fault)

    def __call__(self, *_args: object, **_kwargs: object) -> Outside:
        """What is not known gives, called, what is not known."""
        return Outside(f"{self._text}(...)", self.fault)

    def __getitem__(self, _key: object) -> Outside:
        return Generic(f"{self._text}[...]", self.fault)

    def __or__(self, other: Any) -> Any:
        return typing.Union[self, other]  # noqa: UP007 - the operator being defined

    __ror__ = __or__

    def __deepcopy__(self, _memo: object) -> Outside:
        return self

    def _refuse(self) -> typing.NoReturn:
        raise UnreadableError(f"something depends on {self._text}, {self.fault or 'which is not in the wheel'}")

    def __bool__(self) -> bool:  # noqa: PLE0304 - it does not return
        self._refuse()

    def __iter__(self) -> typing.Iterator[Any]:
        self._refuse()

    def __contains__(self, _item: object) -> bool:
        self._refuse()


class Generic(Outside):
    """``SomeType[int]`` of a type that is not in the wheel: it may be anything, so comparing it decides nothing."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        """Whether it is the very same."""
        return self is other or self._refuse()


class SkipValidation:
    """Stands in for ``pydantic.SkipValidation``, which at run time is ``Annotated`` and leaves the type as it is."""

    def __class_getitem__(cls, kind: Any) -> Any:
        """The type within."""
        return kind


class FieldInfo:
    """Stands in for ``pydantic.fields.FieldInfo``: a default or a factory; constraints do not reach the parser."""

    def __init__(self, default: Any = ..., *, default_factory: Any = None, init: Any = None, **_limits: object) -> None:
        """Args: as ``pydantic.Field``."""
        self.default, self.default_factory, self.init = default, default_factory, init


class Struct:
    """Stands in for ``msgspec.Struct``: every subclass is a dataclass."""

    def __init_subclass__(cls, *, kw_only: bool = False, **_options: object) -> None:
        """Make the subclass a dataclass."""
        dataclasses.dataclass(kw_only=kw_only)(cls)


def _dataclass(cls: Any = None, *, kw_only: bool = False, **_options: Any) -> Any:
    """Stands in for every dataclass decorator: fields and defaults only, no validation when one is built."""
    if cls is None:
        return functools.partial(_dataclass, kw_only=kw_only)
    if "__dataclass_fields__" in vars(cls):  # vLLM's older @config stands on top of a @dataclass
        return cls
    if "__post_init__" in vars(cls):
        del cls.__post_init__
    return dataclasses.dataclass(kw_only=kw_only)(cls)


def _defstruct(name: str, members: list[Any], *, namespace: dict[str, Any], **_options: Any) -> type:
    return dataclasses.make_dataclass(name, members, namespace=namespace, kw_only=True)


def _module(name: str, **members: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(**(members | {"__name__": name}))


def _getsource(cls: Any) -> str:
    """Stands in for ``inspect.getsource``, for the classes that an interpreter made."""
    try:
        return ast.unparse(vars(cls)["__node__"])
    except KeyError as error:
        raise TypeError(f"{cls} is not in the wheel") from error


_dataclasses = _module("dataclasses", **{**vars(dataclasses), "dataclass": _dataclass})
_structs = _module("msgspec.structs", fields=dataclasses.fields)

# Modules that engine code may really use, and stand-ins: no environment, no arguments, no imported modules, so that
# the catalog does not depend on the machine that builds it.
STANDARD: dict[str, Any] = {
    module.__name__: module
    for module in (
        argparse,
        ast,
        collections,
        collections.abc,
        contextlib,
        copy,
        enum,
        functools,
        itertools,
        json,
        re,
        ssl,
        textwrap,
        types,
        typing,
    )
} | {
    "dataclasses": _dataclasses,
    "inspect": _module("inspect", getsource=_getsource, cleandoc=inspect.cleandoc),
    "msgspec": _module(
        "msgspec",
        Struct=Struct,
        field=dataclasses.field,
        NODEFAULT=dataclasses.MISSING,
        defstruct=_defstruct,
        structs=_structs,
    ),
    "msgspec.structs": _structs,
    "os": _module(
        "os", environ={}, getenv=lambda _name, default=None: default, path=_module("os.path", join=posixpath.join)
    ),
    "pydantic": _module("pydantic", Field=FieldInfo, SkipValidation=SkipValidation),
    "pydantic.dataclasses": _dataclasses,
    "pydantic.fields": _module("pydantic.fields", FieldInfo=FieldInfo),
    "regex": re,
    "sys": _module("sys", argv=["", "--help"], modules={}, version_info=sys.version_info, platform="linux"),
    "typing_extensions": typing,
}

# Names inside the wheels that reach for devices, plugins or validation. A released wheel is for CUDA.
REPLACED: dict[tuple[str, str], Any] = {
    ("vllm.config.utils", "config"): _dataclass,
    ("vllm.plugins", "load_general_plugins"): lambda: None,
    ("vllm.platforms", "current_platform"): _module(
        "current_platform", device_type="cuda", pre_register_and_update=lambda _parser=None: None
    ),
}

# Packages that fill a registry of choices when they are imported.
REGISTRIES = ("vllm.reasoning", "vllm.tool_parsers", "vllm.entrypoints.openai.tool_parsers")


def _names(node: ast.AST) -> list[str]:
    """The module-level names that a statement binds or changes."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    if isinstance(node, ast.Expr):  # CHOICES.append("x")
        call = node.value
        changed = call.func.value if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) else None
        return [changed.id] if isinstance(changed, ast.Name) else []
    if isinstance(node, (ast.If, ast.For, ast.With, ast.While)):
        return [name for child in [*node.body, *getattr(node, "orelse", [])] for name in _names(child)]
    return []


class Module:
    """A file of the wheel: the ``statements`` that an import runs, and which of them bind which name.

    Nothing is evaluated here; ``ran`` are the statements that an interpreter has run.
    """

    def __init__(self, name: str, path: str, text: str) -> None:
        """Args: name: dotted; path: the member of the wheel; text: its source."""
        self.name, self.path = name, path
        self.package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        self.bindings: dict[str, list[ast.stmt]] = {}
        self.stars: list[ast.ImportFrom] = []
        self.statements: list[ast.stmt] = []
        self.ran: set[ast.stmt] = set()
        self.values: dict[str, Any] = {}
        self.read: dict[str, int] = {}
        self.running: list[int] = []
        try:
            self.tree = ast.parse(text, path)
        except SyntaxError as error:
            text = f"{error.msg} (this Python may be too old for the release)"
            raise UnreadableError(text, f"{path}:{error.lineno}") from error
        self._collect(self.tree.body, self.bindings)

    def _collect(self, body: list[ast.stmt], bindings: dict[str, list[ast.stmt]]) -> None:
        """At run time TYPE_CHECKING is false; its names serve only where the run-time ones are made by code."""
        unseen: dict[str, list[ast.stmt]] = {}
        for node in body:
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                self._collect(node.body, unseen)
                self._collect(node.orelse, bindings)
            elif isinstance(node, ast.Try):  # what an import needs is there
                self._collect([*node.body, *node.orelse], bindings)
                for handler in node.handlers:
                    self._collect(handler.body, unseen)
            elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                self.stars.append(node)
            else:
                if bindings is self.bindings:
                    self.statements.append(node)
                for name in _names(node):
                    bindings.setdefault(name, []).append(node)
        for name, nodes in unseen.items():
            bindings.setdefault(name, nodes)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The dotted name of the module that an import is from."""
        base = self.package.split(".")
        base = base[: len(base) - node.level + 1] if node.level else []
        return ".".join([*base, *([node.module] if node.module else [])])


class Wheel:
    """A wheel file, read in place.

    Args:
        path: the ``.whl``.

    Attributes:
        engine: ``vllm`` or ``sglang``.
        version: of the release, without a local part such as ``+cu129``.

    Raises:
        UnreadableError: not a wheel of vLLM or SGLang, or not a whole one.
    """

    def __init__(self, path: Path | str) -> None:
        """See the class."""
        self.path = str(path)
        self._modules: dict[str, Module | None] = {}
        try:
            self._zip = zipfile.ZipFile(path)
            self._members = set(self._zip.namelist())
            found = [name for name in self._members if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            text = self._zip.read(found[0]).decode() if len(found) == 1 else ""
        except (OSError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise UnreadableError(f"{path}: {error}") from error
        self._metadata = email.parser.Parser().parsestr(text)
        name = canonicalize_name(self._metadata["Name"] or "")
        if name not in ("vllm", "sglang") or f"{name}/__init__.py" not in self._members:
            raise UnreadableError(f"{path}: not a wheel of vLLM or SGLang" + (f", but of {name}" if name else ""))
        self.engine: str = name
        try:
            self.version = Version(self._metadata["Version"] or "").public
            SpecifierSet(self._metadata["Requires-Python"] or "")
            self._requires = [Requirement(line) for line in self._metadata.get_all("Requires-Dist", [])]
        except (InvalidRequirement, InvalidSpecifier, InvalidVersion) as error:
            raise UnreadableError(f"{path}: {found[0]}: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def pins(self) -> dict[str, str]:
        """``distribution``, ``python`` and ``torch`` (version ranges; torch is absent where it is not required)."""
        pins = {"distribution": self._metadata["Name"], "python": self._metadata["Requires-Python"] or ""}
        torch = (each for each in self._requires if each.name == "torch" and "extra" not in str(each.marker))
        first = next(torch, None)
        return pins | ({"torch": str(first.specifier)} if first else {})

    def module(self, name: str) -> Module | None:
        """A module by its dotted name, or None if the wheel has none (a package without a file counts as empty)."""
        if name not in self._modules:
            base = name.replace(".", "/")
            path = next((path for path in (f"{base}.py", f"{base}/__init__.py") if path in self._members), None)
            if path:
                self._modules[name] = Module(name, path, self._text(path))
            elif any(member.startswith(f"{base}/") for member in self._members):
                self._modules[name] = Module(name, f"{base}/__init__.py", "")
            else:
                self._modules[name] = None
        return self._modules[name]

    def read(self) -> list[Module]:
        """The modules of which a name has been read."""
        return [module for module in self._modules.values() if module and module.read]

    def _text(self, path: str) -> str:
        try:
            return self._zip.read(path).decode()
        except (UnicodeDecodeError, zipfile.BadZipFile, zlib.error) as error:
            raise UnreadableError(f"{error}", path) from error
