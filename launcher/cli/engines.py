"""`serve engines`: one environment a release."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from launcher.cli import show

app = typer.Typer(help="Install, list and remove engine releases.", no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Name = Annotated[str, typer.Argument(metavar="ENGINE[@VERSION]", help="vllm, sglang, or one with its version.")]


@app.command()
def install(
    engine: Name,
    device: Annotated[str, typer.Option("--device", metavar="auto|cuda|cpu", help="What it runs on.")] = "auto",
    python: Annotated[str | None, typer.Option("--python", metavar="VERSION", help="The Python to use.")] = None,
    json: Json = False,
) -> None:
    """Make an environment for a release; one that is there already is left as it is."""
    from launcher.engines.release import parse  # noqa: PLC0415 - not needed for --help
    from launcher.host import install as installer  # noqa: PLC0415

    name, version = parse(engine, "ENGINE")
    environment = installer.install(name, version, device, python=python, echo=_quiet if json else print)
    if json:
        show.as_json(_row(environment))
    else:
        print(f"{environment.release.title} is ready: {environment.python}")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the releases that this host has.

    Their flags are "probed" (the engine's own parser was asked when we installed it), "built in" (known to serve: also
    for every environment that we did not make) or "unknown".
    """
    from launcher.host import environments  # noqa: PLC0415 - not needed for --help

    rows = [_row(each) for each in environments.all_found()]
    if json:
        show.as_json(rows)
    elif rows:
        show.table(
            ("release", "device", "distribution", "python", "from", "flags"),
            [tuple(map(str, row.values())) for row in rows],
        )
    else:
        print("no engine is installed; run: serve engines install vllm")


@app.command()
def remove(
    engine: Name, device: Annotated[str | None, typer.Option("--device", metavar="cuda|cpu")] = None, json: Json = False
) -> None:
    """Remove the environment of a release."""
    from launcher.engines.release import parse  # noqa: PLC0415 - not needed for --help
    from launcher.host import environments  # noqa: PLC0415

    removed = [_row(each) for each in environments.remove(*parse(engine, "ENGINE"), device)]
    if json:
        show.as_json(removed)
    else:
        for row in removed:
            print(f"removed {row['release']} ({row['device']})")


def _row(environment: Any) -> dict[str, str]:
    from launcher.engines import catalog  # noqa: PLC0415 - not needed for --help

    built_in = environment.release in catalog.known(environment.release.engine)
    return {
        "release": str(environment.release),
        "device": environment.device,
        "distribution": environment.distribution,
        "python": str(environment.python),
        "from": environment.source,
        "flags": "probed" if environment.probe else "built in" if built_in else "unknown",
    }


def _quiet(_line: str) -> None:
    """Progress has no place in JSON."""
