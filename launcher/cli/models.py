"""`serve models`: models of hubs on this host: fetched, listed, checked, removed."""

from __future__ import annotations

import json as json_text
import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show
from launcher.errors import FAILED, ServeError

if TYPE_CHECKING:
    from launcher.models.store import Stored

app = typer.Typer(help="Fetch, list, check and remove models.", no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Reference = Annotated[str, typer.Argument(metavar="MODEL", help="A repository id, or the folder of --to.")]
Revision = Annotated[str | None, typer.Option("--revision", metavar="REVISION", help="A branch, tag or commit.")]
Source = Annotated[str | None, typer.Option("--source", metavar="HUB", help="huggingface or modelscope.")]


@app.command()
def pull(
    model: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="A repository id.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            metavar="HUB",
            help="huggingface (unless given), modelscope, or auto: the second where the first does not give it.",
        ),
    ] = None,
    revision: Revision = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", metavar="PATTERN", help="These files instead of what engines need; repeatable."),
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="FOLDER", help="Into this folder, not the cache.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="NAME", help="The preset's model, and its draft model.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch a model into the cache in which engines look.

    What is there stays; a part of a file is gone on with. Each file is compared with the hub's size and hash.
    """
    from launcher.cli import transfer  # noqa: PLC0415 - not needed for --help
    from launcher.models import pull as pulling  # noqa: PLC0415
    from launcher.models.hub import MODELSCOPE  # noqa: PLC0415
    from launcher.models.wanted import wanted  # noqa: PLC0415

    models = wanted(model, preset, revision=revision, source=source, include=tuple(include or ()), to=to)
    rows = []
    lacking = []
    for pulled in pulling.pull(models, transfer.observer(json=json)):
        name = pulled.repository.name
        if pulled.lacks:
            what = f"model {name!r} is not complete on its hub: it {pulled.lacks}"
            lacking.append(
                ServeError(what, where=str(pulled.place), fix="tell its owner, or take another", code=FAILED)
            )
        rows.append(
            {
                "model": name,
                "hub": pulled.repository.hub,
                "commit": pulled.repository.commit,
                "folder": str(pulled.place),
                "files": len(pulled.repository.files),
                "size_bytes": pulled.repository.size_bytes,
                "fetched_bytes": pulled.fetched_bytes,
            }
        )
        if not json:
            fetched = (
                pulling.gigabytes(pulled.fetched_bytes) + " fetched" if pulled.fetched_bytes else "nothing to fetch"
            )
            state = " is all that the hub has" if pulled.lacks else " is complete"
            if pulled.repository.part:
                state = f": the {len(pulled.repository.files)} files asked for are there"
            print(f"{show.line(name)}{state}, {fetched}: {show.line(str(pulled.place))}")
            if pulled.repository.hub == MODELSCOPE and not (pulled.lacks or pulled.repository.part):
                # by its name an engine would find it with the package modelscope alone, which few have
                print(f"  to serve it: serve launch {show.line(shlex.quote(str(pulled.place)))}")
    if json:
        show.as_json(rows)
    if lacking:
        raise ServeError.gather(lacking)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models of this host: what was pulled, and what engines fetched into the caches."""
    from launcher.models import store  # noqa: PLC0415 - not needed for --help
    from launcher.models.pull import gigabytes  # noqa: PLC0415

    rows = [_row(each) for each in store.every()]
    if json:
        show.as_json(rows)
    elif rows:
        show.table(
            ("model", "hub", "commit", "size", "state", "folder"),
            [
                (row["model"], row["hub"], row["commit"][:12], gigabytes(row["size_bytes"]), _state(row), row["folder"])
                for row in rows
            ],
            spare=("folder", "commit"),
        )
    else:
        print("there is no model on this host; run: serve models pull Qwen/Qwen3-0.6B")


@app.command()
def where(model: Reference, revision: Revision = None, source: Source = None, json: Json = False) -> None:
    """Print the folder that holds a model, if all that was pulled of it is there; with --include that was a part."""
    stored = _one(model, revision, source)
    if missing := stored.missing:
        raise _incomplete(stored, missing)
    if json:
        show.as_json(_row(stored))
    else:
        print(show.line(str(stored.place)))


@app.command()
def verify(
    model: Reference,
    revision: Revision = None,
    source: Source = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch the files that are wrong again.")] = False,
    json: Json = False,
) -> None:
    """Read every file of a model and compare it with the hub's size and hash.

    Exits with 1 if a file is wrong or missing and stays so.
    """
    from launcher.cli import transfer  # noqa: PLC0415 - not needed for --help
    from launcher.models import store  # noqa: PLC0415
    from launcher.models import verify as verifying  # noqa: PLC0415

    watch = transfer.observer(json=json)
    reports, wrong = [], 0
    for stored in store.find(model, revision, source):
        with store.alone(stored.place, stored.to, _wait):
            checked = verifying.check(stored, watch)
            faults = [f"{file.path} {fault}" for file, fault in checked.faults]
            if faults and repair:
                verifying.repair(checked, watch)
        wrong += 0 if repair else len(faults)
        reports.append(_row(stored) | {"faults": faults, "repaired": bool(faults and repair)})
        if not json:
            for fault in faults:
                print(show.line(fault))
            state = "all files are right" if not faults else "fetched again" if repair else f"{len(faults)} wrong"
            print(f"{show.line(store.title(stored))}: {len(checked.repository.files)} files, {state}")
    if json:
        show.as_json(reports)
    if wrong:
        fix = f"serve models verify {shlex.quote(model)} --repair"
        raise ServeError("some files are not what the hub lists", fix=fix, code=FAILED)


@app.command()
def rm(model: Reference, revision: Revision = None, source: Source = None, json: Json = False) -> None:
    """Remove a model from this host."""
    from launcher.models import store  # noqa: PLC0415 - not needed for --help
    from launcher.models.pull import gigabytes  # noqa: PLC0415

    found = store.find(model, revision, source)
    if len(found) > 1:
        copies = "; ".join(f"{store.title(each)} in {each.place}" for each in found)
        raise ServeError(
            f"{model!r} means {len(found)} copies: {copies}",
            fix="name one by --revision, by --source, or by its folder",
        )
    (stored,) = found
    _refuse_served(stored)
    with store.alone(stored.place, stored.to, _wait):
        row = _row(stored)
        store.remove(stored)
    if json:
        show.as_json([row])
    else:
        print(f"removed {show.line(store.title(stored))}, {gigabytes(row['size_bytes'])}")


def _refuse_served(stored: Stored) -> None:
    """An engine that is started again would find its model gone: the one that it serves, a draft model, a tokenizer."""
    from launcher.run import instances  # noqa: PLC0415 - not needed for --help

    for each in instances.running():
        if each.record and any(_names(word, stored) for word in (each.record.model, *each.record.argv)):
            raise ServeError(f"instance {each.name!r} serves {stored.name}", fix=f"serve stop {each.name}", code=FAILED)


def _names(word: str, stored: Stored) -> bool:
    """Whether a word of an engine's command line holds a model: it alone, after ``=``, in JSON, or a file below it."""
    folders = {str(stored.place), str(stored.place.resolve())}
    named = folders if stored.to else {stored.name, *folders}  # by a repository's name an engine looks into its cache
    texts = {text for name in named for text in (name, json_text.dumps(name)[1:-1])}
    return any(re.search(rf"(?<![\w./-]){re.escape(text)}(?![\w.-])", word) for text in texts)


def _wait() -> None:
    raise ServeError("another serve has this model in work", fix="wait for it, or end it", code=FAILED)


def _one(model: str, revision: str | None, source: str | None) -> Stored:
    """The model of that name; of several, see `store.rank`."""
    from launcher.models import store  # noqa: PLC0415 - not needed for --help

    return min(store.find(model, revision, source), key=store.rank)


def _incomplete(stored: Stored, missing: tuple[str, ...]) -> ServeError:
    from launcher.models.hub import MODELSCOPE  # noqa: PLC0415 - not needed for --help

    fix = f"serve models pull {stored.name}" + (" --source modelscope" if stored.hub == MODELSCOPE else "")
    fix += f" --to {shlex.quote(str(stored.to))}" if stored.to else ""
    if stored.part:  # a pull would bring the whole
        fix = f"serve models verify {shlex.quote(str(stored.place))} --repair"
    return ServeError(
        f"model {stored.name!r} is not complete: {len(missing)} files are missing, such as {missing[0]}",
        where=str(stored.place),
        fix=fix,
        code=FAILED,
    )


def _row(stored: Stored) -> dict[str, Any]:
    return {
        "model": stored.name,
        "hub": stored.hub,
        "commit": stored.commit,
        "folder": str(stored.place),
        "size_bytes": stored.size_bytes,
        "missing": list(stored.missing),
        "part": stored.part,
        "pulled": stored.repository is not None,
    }


def _state(row: dict[str, Any]) -> str:
    if row["missing"]:
        return f"{len(row['missing'])} missing"
    return "part" if row["part"] else "complete"
