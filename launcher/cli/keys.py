"""`serve keys`: the vocabulary."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli import show
from launcher.config import keys as vocabulary


def keys(
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of presets and files.")] = False,
) -> None:
    """List every key: its values, its default, its option and its variable."""
    if schema:
        from launcher.config.schema import schema as make  # noqa: PLC0415 - only for this option

        show.as_json(make())
        return
    if json:
        show.as_json(
            [
                {
                    "name": key.name,
                    "values": key.type.metavar,
                    "default": key.default,
                    "option": key.option,
                    "variable": key.variable,
                    "group": key.group,
                    "help": key.help,
                }
                for key in vocabulary.KEYS
            ]
        )
        return
    rows = [
        (key.name, key.type.metavar + (f" [{key.default}]" if key.default else ""), key.help) for key in vocabulary.KEYS
    ]
    rows += [(f"{name}.*", "TEXT", help_) for name, help_ in vocabulary.OPEN_MAPS.items()]
    show.table(("key", "values [default]", "meaning"), rows)
    others = ", ".join(
        f"{key.name} ({key.option})" for key in vocabulary.KEYS if key.option != vocabulary.option(key.name)
    )
    print(
        "\nEach is an option and a variable: --context-length, SERVE_CONTEXT_LENGTH. --set"
        f"\nKEY=VALUE sets any of them, null unsets it. By another name: {others}."
    )
