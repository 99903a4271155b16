"""Writes the flag catalogs of engine releases, read from the releases' wheels.

    python tools/build_catalog.py [--data FOLDER] WHEEL...

adds the release of each wheel (vLLM or SGLang; as downloaded, not installed) to ``FOLDER/ENGINE.flags.json``
(launcher/engines/data), or replaces it there. Nothing of the wheel is imported and neither torch nor a GPU is needed:
``catalog.interpret`` evaluates the source that builds the parser, and the flags are read from the parser that comes
out. Whatever cannot be read stops the program with file:line, and no file is changed.

The data: ``releases`` gives each release's pins; ``flags`` gives, one line a flag, its changes in order of release,
``[release, changed fields]``, where null for a field removes it and null for all fields removes the flag. A release
that changes nothing adds no line, so a diff shows what an engine changed. Fields of a flag, each left out when empty:
``aliases``, ``negations``, ``type`` (left out: str), ``optional`` (the type takes ``None``), ``nargs`` as argparse has
it, ``choices``, ``advisory`` (argparse does not enforce the choices), ``default``, ``deprecated``, ``successor``.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import re
import sys
from pathlib import Path
from typing import Any

from catalog.interpret import FAULTS, Interpreter, Origin, source_of
from catalog.source import Outside, UnreadableError, Wheel
from packaging.version import Version

Record = dict[str, Any]

# Where the server's parser is made, newest first.
_VLLM = tuple(f"vllm.entrypoints.{place}.cli_args" for place in ("common", "launchers", "openai"))
_SGLANG = "sglang.srt.server_args"

# What argparse's ``type=`` may be in engine code: a function's name, or its source when it has none -> our word.
_TYPES = {
    "str": "str",
    "int": "int",
    "float": "float",
    "loads": "json",
    "parse_dataclass": "json_config",
    "parse_cuda_graph_config_arg": "json_config",
    "json_list_type": "json",
    "union_dict_and_str": "json_or_str",
    "nullable_str": "str",
    "parse_reasoning_parser": "str",
    "parse_cuda_graph_backend_arg": "str",
    "human_readable_int": "human_int",
    "human_readable_int_or_auto": "human_int_or_auto",
    "lambda s: s.lower().replace('-', '_')": "snake",
    "lambda s: [int(device_id) if device_id.isdigit() else device_id for device_id in "
    "(part.strip() for part in s.split(','))]": "str",
}
# Choices that an engine checks after its parser did: flag -> where they stand.
_ADVISORY = {"--quantization": ("vllm.model_executor.layers.quantization", "QuantizationMethods")}


def parser_of(interpreter: Interpreter) -> argparse.ArgumentParser:
    """The engine's own server parser, made by evaluating the engine's source."""
    wheel = interpreter.wheel
    if wheel.engine == "sglang":
        parser, declare = argparse.ArgumentParser(), interpreter.value(_SGLANG, "ServerArgs").add_cli_args
    else:
        module = next((name for name in _VLLM if wheel.module(name)), None)
        if module is None:
            raise UnreadableError(f"none of {', '.join(_VLLM)} is in the wheel")
        parser = interpreter.value(module, "FlexibleArgumentParser")()
        declare = interpreter.value(module, "make_arg_parser")
    interpreter.called(declare, [parser], {})
    return parser


def _type(function: Any, where: str) -> Record:
    """The fields ``type`` and ``optional`` for what argparse calls ``type=``."""
    if function is None:
        return {}
    name = getattr(function, "__name__", repr(function))
    origin: Origin | None = getattr(function, "origin", None)
    if name in {"_optional_type", "_parse_type"} and origin:  # vLLM wraps: the type was given to the enclosing function
        inner = _type(origin.scope.values["return_type"], where)
        return {**inner, "optional": True} if name == "_optional_type" else inner
    key = source_of(origin.node) if name == "<lambda>" and origin else name
    if key not in _TYPES:
        text = f"type={key} is not known: add it to _TYPES, with what it accepts"
        raise UnreadableError(text, origin.where if origin else where)
    found = "si_int" if key == "human_readable_int" and origin and origin.where.startswith("sglang") else _TYPES[key]
    kind = {} if found == "str" else {"type": found}
    return {**kind, "optional": True} if key == "nullable_str" else kind


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


def _choices(action: argparse.Action) -> Record:
    """Choices, enforced ones from ``choices=``, advisory ones from what the engine shows in their place."""
    if action.choices is not None:
        listed = [choice for choice in action.choices if choice not in (None, "None")]
        if isinstance(action.choices, (set, frozenset)):
            listed = sorted(listed)
        return {"choices": [_text(choice) for choice in listed]}
    if isinstance(action.metavar, list):
        return {"choices": [_text(choice) for choice in action.metavar], "advisory": True}
    shown = re.match(r"\{([\w,.-]+)\}", str(action.metavar or ""))
    return {"choices": shown[1].split(","), "advisory": True} if shown else {}


def _retired(action: argparse.Action, parser: argparse.ArgumentParser) -> Record:
    """Whether the flag is deprecated, and for what."""
    text = action.help or ""
    said = re.match(r"\W*(note: )?\W*(--\S+ is )?deprecated", text, re.IGNORECASE)
    declared = getattr(action, "deprecated", False) or action in getattr(parser, "_deprecated", ())
    if not (said or declared or type(action).__name__.startswith("Deprecated")):
        return {}
    named = re.search(r"[Uu]se (--[\w.-]*\w(?:=[\w{},]+)?)", text)
    successor = getattr(action, "new_flag", None) or (named[1] if named else None)
    return {"deprecated": True, "successor": successor} if successor else {"deprecated": True}


def _negates(action: argparse.Action, spelling: str, parser: argparse.ArgumentParser) -> bool:
    namespace = argparse.Namespace()
    action(parser, namespace, None, spelling)
    return getattr(namespace, action.dest) is False


def record_of(action: argparse.Action, parser: argparse.ArgumentParser) -> tuple[str, Record]:
    """A flag's name (the first long spelling) and what the parser does with it.

    Raises:
        UnreadableError: a part of the flag is not known.
    """
    where = getattr(action, "where", "")
    known = parser._option_string_actions  # noqa: SLF001 - also holds spellings that the help hides
    spellings = [spelling for spelling, owner in known.items() if owner is action]
    for part in (action.type, action.choices, action.nargs, action.default, action.metavar):
        if isinstance(part, Outside):
            raise UnreadableError(f"{spellings[0]} depends on {part!r}, {part.fault or 'not in the wheel'}", where)
    if not (action.nargs is None or isinstance(action.nargs, int) or action.nargs in {"?", "*", "+"}):
        raise UnreadableError(f"{spellings[0]} has nargs={action.nargs!r}", where)
    boolean = isinstance(action, argparse.BooleanOptionalAction)
    negations = [spelling for spelling in spellings if boolean and _negates(action, spelling, parser)]
    positive = [spelling for spelling in spellings if spelling not in negations]
    name = next((spelling for spelling in positive if spelling.startswith("--")), positive[0])
    nargs = action.nargs
    choices = _choices(action)
    accepted = _type(action.type, where) if nargs != 0 else {"type": "bool"}
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


def flags_of(wheel: Wheel) -> dict[str, Record]:
    """Every flag of the wheel's server, less ``--help``.

    Raises:
        UnreadableError: something is not understood; names file:line.
    """
    interpreter = Interpreter(wheel)
    try:
        parser = parser_of(interpreter)
        options = [action for action in parser._actions if action.option_strings]  # noqa: SLF001 - the only way to ask
        flags = dict(record_of(action, parser) for action in options if action.dest != "help")
        for name, (module, variable) in _ADVISORY.items():
            if wheel.module(module):
                methods = interpreter.value(module, variable).__args__
                flags[name] = {**flags[name], "choices": list(methods), "advisory": True}
    except FAULTS as error:
        where = getattr(error, "where", "") or interpreter.where
        raise UnreadableError(": ".join(filter(None, (wheel.path, where, str(error))))) from error
    return flags


def expand(data: dict[str, Any]) -> dict[str, dict[str, Record]]:
    """The data file's contents as flags by release."""
    releases = list(data["releases"])
    flags: dict[str, dict[str, Record]] = {release: {} for release in releases}
    for name, changes in data["flags"].items():
        steps = dict(changes)
        record: Record | None = None
        for release in releases:
            if release in steps:
                record = None if steps[release] is None else {**(record or {}), **steps[release]}
            if record is not None:
                flags[release][name] = {field: value for field, value in record.items() if value is not None}
    return flags


def compact(flags: dict[str, dict[str, Record]]) -> dict[str, list[Any]]:
    """Flags by release (ascending) as changes by flag: the inverse of ``expand``."""
    changes: dict[str, list[Any]] = {}
    for name in sorted({name for known in flags.values() for name in known}):
        before: Record | None = None
        for release, known in flags.items():
            now = known.get(name)
            if now != before:
                step = None if now is None else {k: v for k, v in now.items() if (before or {}).get(k) != v}
                if step is not None and before:
                    step |= {field: None for field in before if field not in (now or {})}
                changes.setdefault(name, []).append([release, step])
            before = now
    return changes


def _lines(table: dict[str, Any]) -> str:
    return ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())


def merge(folder: Path, wheels: list[Wheel]) -> None:
    """Add the wheels' releases to the data files of their engines; all are read before any file is written."""
    for engine in sorted({wheel.engine for wheel in wheels}):
        path = folder / f"{engine}.flags.json"
        data = json.loads(path.read_text()) if path.exists() else {"releases": {}, "flags": {}}
        pins, flags = data["releases"], expand(data)
        for wheel in wheels:
            if wheel.engine == engine:
                version = wheel.metadata["Version"]
                pins[version], flags[version] = wheel.pins(), flags_of(wheel)
                print(f"{engine} {version}: {len(flags[version])} flags")
        order = sorted(flags, key=Version)
        releases = _lines({version: pins[version] for version in order})
        lines = _lines(compact({version: flags[version] for version in order}))
        new = path.with_suffix(".new")
        new.write_text(f'{{"releases": {{\n{releases}\n}},\n"flags": {{\n{lines}\n}}}}\n')
        new.replace(path)


def main() -> int:
    """Read the arguments and merge; an unreadable wheel ends it with status 1."""
    data = Path(__file__).parent.parent / "launcher" / "engines" / "data"
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=data, metavar="FOLDER", help="where the data files are")
    options.add_argument("wheels", nargs="+", metavar="WHEEL", help="a .whl file of vLLM or SGLang")
    given = options.parse_args()
    try:
        merge(given.data, [Wheel(path) for path in given.wheels])
    except UnreadableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
