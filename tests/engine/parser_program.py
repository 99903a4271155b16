"""Run by an interpreter that has a real vLLM: asks its serve parser what it has and what it takes; prints JSON.

Standard input: a JSON list of words to try as values. Standard output's last line: ``releases`` by distribution, and
``flags``: for each action its spellings, negations, nargs, choices, default as text and, of the words, those it takes.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import importlib
import importlib.metadata
import importlib.util
import json
import sys
from typing import Any

PLACES = [f"vllm.entrypoints.{place}.cli_args" for place in ("common", "launchers", "openai")]


def negates(parser: argparse.ArgumentParser, action: argparse.Action, spelling: str) -> bool:
    namespace = argparse.Namespace()
    action(parser, namespace, None, spelling)
    return getattr(namespace, action.dest) is False


def takes(parser: Any, action: argparse.Action, word: str) -> bool:
    try:
        value = parser._get_value(action, word)
        parser._check_value(action, value)
    except argparse.ArgumentError:
        return False
    return True


def text(value: Any) -> str | None:
    if value is None or value is argparse.SUPPRESS:
        return None
    if isinstance(value, enum.Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    if isinstance(value, set):
        return json.dumps(sorted(value))
    return json.dumps(value) if isinstance(value, (list, dict, tuple)) else str(value)


def find(name: str) -> Any:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None


def main() -> None:
    words = json.load(sys.stdin)
    module = importlib.import_module(next(name for name in PLACES if find(name)))
    parser = module.make_arg_parser(module.FlexibleArgumentParser())
    flags = []
    for action in parser._actions:
        spellings = [spelling for spelling, owner in parser._option_string_actions.items() if owner is action]
        if not spellings or action.dest == "help":
            continue
        boolean = isinstance(action, argparse.BooleanOptionalAction)
        flags.append(
            {
                "spellings": spellings,
                "negations": [spelling for spelling in spellings if boolean and negates(parser, action, spelling)],
                "nargs": action.nargs,
                "choices": [str(choice) for choice in action.choices or ()],
                "default": text(action.default),
                "takes": [] if action.nargs == 0 else [word for word in words if takes(parser, action, word)],
            }
        )
    found = importlib.metadata.packages_distributions()["vllm"]
    sys.stdout.write(
        json.dumps({"releases": {name: importlib.metadata.version(name) for name in found}, "flags": flags}) + "\n"
    )


main()
