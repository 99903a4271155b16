"""`serve key`: the files that hold API keys. A key itself is never printed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from launcher.cli import show
from launcher.errors import ServeError

app = typer.Typer(help="Make API keys.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keep `new` a word of its own while it is the only one."""


@app.command()
def new(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The instance that --api-key auto is for.", show_default=False),
    ] = None,
    path: Annotated[
        Path | None, typer.Option("--path", metavar="FILE", help="A file in place of an instance's.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a key that is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Make a key in a file that its owner alone can read. The key is not printed: cat prints the file."""
    from launcher import settings  # noqa: PLC0415 - not needed for --help
    from launcher.engines.command import checked_name  # noqa: PLC0415
    from launcher.run.secrets import new_key  # noqa: PLC0415

    if (name is None) == (path is None):
        raise ServeError("a key is for an instance or a file", fix="give NAME, or --path FILE")
    file = settings.expanded(path).absolute() if path else settings.key_file(checked_name(name or "", "NAME"))
    option = f"file:{file}" if path else "auto"
    replaced = new_key(file, replace=force)
    if json:
        show.as_json({"path": str(file), "api_key": option, "replaced": replaced})
        return
    named = f" --name {name}" if name else ""
    print(f"{'replaced' if replaced else 'made'}: {file}")
    print(f"serve launch MODEL{named} --api-key {shlex.quote(option)}")
    print(f'export OPENAI_API_KEY="$(cat {shlex.quote(str(file))})"')
    if replaced:
        print("an instance that runs keeps the key that it has until it is restarted")
