"""`serve explain`: why each argument is what it is."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from launcher.cli import show
from launcher.config.request import Request
from launcher.config.values import show as text


def explain(
    request: Request, json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False
) -> None:
    """Show each argument of a launch, the key it came from, where its value was set and what it overrode."""
    from launcher.plan import plan  # noqa: PLC0415 - not needed for --help

    command = plan(request)
    if json:
        show.as_json(show.command(command))
        return
    print(f"{show.release(command)}, model {show.model(command)}, instance {command.name}")
    print(shlex.join(command.program))
    rows = []
    for each in command.arguments:
        if each.setting is None:
            rows.append((shlex.join(each.words), each.key or "", "derived", ""))
            continue
        key = each.key or ""
        value = "" if key.startswith("args.") else f": {text(each.setting.value)}"  # its words have it already
        rows.append((shlex.join(each.words), key + value, show.place(each.setting.origin), show.past(each.setting)))
    rows += [(f"{name}={value}", "variable", "", "") for name, value in show.environment(command).items()]
    show.table(("argument", "key", "origin", "overrode"), rows)
    if secret := show.secret(command):
        print(f"- api_key: {secret}")
    for each in command.arguments:
        if each.note:
            print(f"- {each.words[0]}: {each.note}")
    for line in show.decisions(command):
        print(f"- {line}")
