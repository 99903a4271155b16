"""The options that launch, explain and their like share: every key of the vocabulary, derived from its declaration."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from launcher.config import keys
from launcher.config.request import Request
from launcher.config.values import Flag

# The command line passes what it does not know on to us: MODEL and the engine's own flags.
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": True}
WORDS = "[MODEL] [ENGINE FLAGS]"


class Grouped(TyperCommand):
    """Lists options under the headings of the vocabulary; more than forty in one row would hide each other."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature of the base class
        """Called by the help formatter."""
        return [WORDS, "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Called by the help formatter."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                groups.setdefault("Arguments", []).append((WORDS, getattr(parameter, "help", "")))
            elif record := parameter.get_help_record(ctx):
                group = getattr(parameter, "rich_help_panel", None) or "Options"
                groups.setdefault(group[0].upper() + group[1:], []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


def _own_parameters() -> list[inspect.Parameter]:
    words = typer.Argument(
        metavar=WORDS,
        help="MODEL is demo, a local folder or a repository id. Any flag of the engine's release may stand beside it.",
        show_default=False,
    )
    preset = typer.Option("--preset", metavar="NAME", help="A preset's name or file; see: serve presets.")
    config = typer.Option("--config", metavar="FILE", help="A YAML file of keys; repeat it, later ones win.")
    assignments = typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key, also env.NAME and args.ENGINE.FLAG; repeatable."
    )
    name = typer.Option("--name", metavar="NAME", help="The instance's name; the model's unless given.")
    return [
        _parameter("words", Annotated[list[str] | None, words]),
        _parameter("preset", Annotated[str | None, preset]),
        _parameter("config", Annotated[list[Path] | None, config]),
        _parameter("assignments", Annotated[list[str] | None, assignments]),
        _parameter("name", Annotated[str | None, name]),
    ]


def _key_parameters() -> list[inspect.Parameter]:
    parameters = []
    for key in keys.KEYS:
        boolean = isinstance(key.type, Flag)
        spelling = f"{key.option}/--no-{key.option[2:]}" if boolean else key.option
        default = f" [{key.default}]" if key.default and not boolean else ""
        option = typer.Option(
            spelling, metavar=None if boolean else key.type.metavar, help=key.help + default, rich_help_panel=key.group
        )
        kind: Any = bool if boolean else str
        parameters.append(_parameter("key_" + key.name.replace(".", "__"), Annotated[kind | None, option]))
    return parameters


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def takes_deployment(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command ``function(request, ...)`` every option that makes a `Request`, beside its own options."""
    own = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in inspect.signature(function, eval_str=True).parameters.items()
        if name != "request"
    ]

    def command(**values: Any) -> None:
        options = {}
        for key in keys.KEYS:
            value = values.pop("key_" + key.name.replace(".", "__"))
            if value is not None:
                options[key.name] = str(value).lower() if isinstance(value, bool) else value
        request = Request(
            preset=values.pop("preset"),
            configs=tuple(values.pop("config") or ()),
            variables=dict(os.environ),
            options=options,
            assignments=tuple(values.pop("assignments") or ()),
            words=tuple(values.pop("words") or ()),
            name=values.pop("name"),
        )
        function(request, **values)

    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    parameters = [*_own_parameters(), *own, *_key_parameters()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
