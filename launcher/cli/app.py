"""The program `serve`: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import launcher
from launcher.cli import check, engines, explain, keys, launch, presets, smoke
from launcher.cli.options import PASS_ON, Grouped, takes_deployment
from launcher.errors import ServeError

app = typer.Typer(
    name="serve",
    help="From a short YAML preset to a running, supervised, OpenAI-compatible vLLM or SGLang server.",
    epilog="Start here: serve engines install vllm; serve launch demo --preset balanced",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: importing rich takes longer than everything else that --help does
    pretty_exceptions_enable=False,
)
app.command(cls=Grouped, context_settings=PASS_ON)(takes_deployment(launch.launch))
app.command(cls=Grouped, context_settings=PASS_ON)(takes_deployment(explain.explain))
app.command()(check.check)
app.command()(smoke.smoke)
app.command()(keys.keys)
app.add_typer(presets.app, name="presets")
app.add_typer(engines.app, name="engines")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"serve {launcher.__version__}")
        raise typer.Exit


def main() -> None:
    """The console script. Exits with the command's code; an error is told on standard error, never as a traceback."""
    try:
        app()
    except ServeError as error:
        for each in error.every():
            print(message(each), file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)


def message(error: ServeError) -> str:
    """An error in one to two lines: where, what; then what to do."""
    place = f"{error.where}: " if error.where else ""
    fix = f"\n  -> {error.fix}" if error.fix else ""
    return f"serve: {place}{error.what}{fix}"
