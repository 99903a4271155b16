"""`serve check`: files validated against a release; nothing is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from launcher.cli import show
from launcher.config.resolve import Request
from launcher.errors import FAILED, ServeError


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Presets and configuration files.")],
    engine: Annotated[str | None, typer.Option("--engine", metavar="ENGINE[@VERSION]", help="The release.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Say whether each file renders to a command whose every flag the release has."""
    if engine and engine != "auto":
        from launcher.engines.release import parse  # noqa: PLC0415 - not needed for --help

        parse(engine, "--engine")  # no fault of the files
    results = [_check(path, engine) for path in files]
    if json:
        show.as_json(results)
    else:
        for each in results:
            print(f"{each['file']}: " + (f"ok for {each['engine']}" if each["ok"] else f"{len(each['errors'])} wrong"))
            for problem in each["errors"]:
                place = f"{problem['where']}: " if problem["where"] else ""
                print(f"  {place}{problem['what']}" + (f"\n    -> {problem['fix']}" if problem["fix"] else ""))
    if not all(each["ok"] for each in results):
        raise typer.Exit(FAILED)


def _check(path: Path, engine: str | None) -> dict[str, Any]:
    from launcher.plan import plan  # noqa: PLC0415 - not needed for --help

    # which engine is the host's to say; what its other SERVE_ variables say is not what the file says
    variables = {name: value for name, value in os.environ.items() if name.startswith("SERVE_ENGINE")}
    try:
        options = {"engine": engine} if engine else {}
        command = plan(Request(configs=(path,), variables=variables, options=options))
    except ServeError as error:
        errors = [{"where": each.where, "what": each.what, "fix": each.fix} for each in error.every()]
        return {"file": str(path), "ok": False, "engine": engine, "errors": errors}
    return {"file": str(path), "ok": True, "engine": str(command.target.release), "errors": [], "argv": command.argv}
