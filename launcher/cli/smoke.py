"""`serve smoke`: does a running server really serve?"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from launcher.cli import show
from launcher.errors import FAILED


def smoke(
    server: Annotated[
        str | None, typer.Argument(metavar="URL|NAME", help="An address or an instance.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The model; the first served unless given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Ask a server for everything a client would: health, models, completion, chat, streaming, and a wrong key.

    The key of an instance is known; for a URL it is taken from SERVE_API_KEY.
    """
    from launcher.run import instances  # noqa: PLC0415 - not needed for --help
    from launcher.run.health import smoke as run  # noqa: PLC0415

    if server and server.startswith(("http://", "https://")):
        url, key = server.rstrip("/"), os.environ.get("SERVE_API_KEY")
    else:
        url, key = instances.address(server)
    checks = run.smoke(url, model, key)
    if json:
        show.as_json(
            [
                {"check": each.name, "ok": each.ok, "detail": each.detail, "seconds": round(each.seconds, 3)}
                for each in checks
            ]
        )
    else:
        show.table(
            ("check", "result", "seconds", "detail"),
            [(each.name, "ok" if each.ok else "FAILED", f"{each.seconds:.2f}", each.detail) for each in checks],
        )
    if not all(each.ok for each in checks):
        raise typer.Exit(FAILED)
