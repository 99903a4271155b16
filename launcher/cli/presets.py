"""`serve presets`: what ships, and what each says."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from launcher.cli import show
from launcher.config import presets
from launcher.config.layers import Setting, merge
from launcher.config.values import show as text

app = typer.Typer(help="List the presets, show what one says.", no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]


def _merged(name: str) -> tuple[str, dict[str, Setting]]:
    documents = presets.chain(presets.find(name, "PRESET"))
    merged = merge(presets.layers(documents))
    return documents[-1].description, {key: each for key, each in merged.items() if each.value is not None}


@app.command("list")
def list_(json: Json = False) -> None:
    """List the presets that ship with serve."""
    rows = [(name, *_merged(name)) for name in presets.names()]
    if json:
        show.as_json([{"name": name, "description": description} for name, description, _ in rows])
        return
    show.table(
        ("preset", "weights", "description"),
        [(name, _text(keys.get("weights")), description) for name, description, keys in rows],
    )


@app.command("show")
def show_(name: Annotated[str, typer.Argument(metavar="PRESET")], json: Json = False) -> None:
    """Show the keys of a preset, with everything that it extends."""
    description, settings = _merged(name)
    if json:
        value: dict[str, Any] = {key: show.setting(each) for key, each in settings.items()}
        show.as_json({"name": name, "description": description, "keys": value})
        return
    print(f"{name}: {description}")
    rows = [(key, text(each.value), show.place(each.origin), show.past(each)) for key, each in settings.items()]
    show.table(("key", "value", "origin", "overrode"), rows)


def _text(setting: Setting | None) -> str:
    return text(setting.value) if setting else ""
