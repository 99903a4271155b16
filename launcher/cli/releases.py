"""`serve releases`: the releases whose flags are known, what each needs, and what one of them changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show

if TYPE_CHECKING:
    from launcher.engines.catalog import Catalog
    from launcher.engines.flags import Flag
    from launcher.engines.release import Release

HEADS = ("version", "released", "python", "torch", "cuda", "flags", "notes")
CHANGES = ("gone", "deprecated", "changed", "new")  # what breaks a command first
SHOWN = 6  # words of a list that are named
Row = dict[str, Any]


def releases(
    engine: Annotated[
        str | None,
        typer.Argument(metavar="ENGINE[@VERSION]", help="One engine; with a version, what that release changed."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """List engine releases, or what one of them changed."""
    from launcher.engines import catalog  # noqa: PLC0415 - not needed for --help
    from launcher.engines.release import TITLES, Release, parse  # noqa: PLC0415

    name, version = parse(engine, "ENGINE") if engine else (None, None)
    here = _installed()
    if name and version:
        row = _row(Release(name, version), here)
        show.as_json(row) if json else _print_one(row)
        return
    engines = [each for each in TITLES if name in (None, each)]
    rows = {each: [_row(release, here) for release in reversed(catalog.known(each))] for each in engines}
    if json:
        show.as_json([row for each in rows.values() for row in each])
        return
    for each in engines:
        print(f"{TITLES[each]}, newest first")
        show.table(HEADS, [_cells(row) for row in rows[each]])
        print()
    print("flags: how many; how many are new (+) and gone (-) since the release before.")
    print("What they are: serve releases ENGINE@VERSION; to install one: serve engines install ENGINE@VERSION")


def _installed() -> dict[str, list[str]]:
    """The devices for which this host has each release."""
    from launcher.host import environments  # noqa: PLC0415 - not needed for --help

    found: dict[str, list[str]] = {}
    for each in environments.all_found():
        found.setdefault(str(each.release), []).append(each.device)
    return found


def _row(release: Release, here: dict[str, list[str]]) -> Row:
    """All that is told of a release."""
    from launcher.engines import catalog  # noqa: PLC0415 - not needed for --help
    from launcher.host import builds  # noqa: PLC0415

    flags, facts, known = catalog.load(release), catalog.facts(release), catalog.known(release.engine)
    before = known[known.index(release) - 1] if release != known[0] else None
    devices = builds.load()[release.engine].values()
    return {
        "release": str(release),
        "distribution": facts.distribution,
        "released": facts.released,
        "python": facts.python,
        "torch": facts.torch,
        "cuda": facts.cuda,
        "x86": facts.x86,
        "yanked": facts.yanked,
        "default_for": [each.device for each in devices if each.default == release.version],
        "installed_for": here.get(str(release), []),
        "flags": sum(not flag.refused for flag in flags.flags.values()),
        "before": before.version if before else None,
        **(_changes(catalog.load(before), flags) if before else {each: {} for each in CHANGES}),
    }


def _changes(before: Catalog, now: Catalog) -> dict[str, dict[str, str]]:
    """What became of the flags from one release to the next: the flags, each with what is to be said of it."""
    pairs = [(then, _usable(now.find(name))) for name, then in before.flags.items() if not then.refused]
    both = [(then, flag) for then, flag in pairs if flag]
    retired = [flag for then, flag in both if flag.deprecated and not then.deprecated]
    return {
        "gone": {then.name: _instead(then, now) for then, flag in pairs if not flag},
        "deprecated": {flag.name: flag.deprecated or "" for flag in retired},
        "changed": {
            flag.name: text
            for then, flag in both
            if (text := "; ".join(_differences(then, flag, then.takes, flag.takes)))
        },
        "new": {name: "" for name, flag in now.flags.items() if not (flag.refused or _usable(before.find(name)))},
    }


def _usable(flag: Flag | None) -> Flag | None:
    """The flag, unless the parser has it only to refuse it."""
    return None if flag is None or flag.refused else flag


def _instead(gone: Flag, now: Catalog) -> str:
    """What a release says of a flag that it no longer takes, or what the release before named in its place."""
    kept, successor = now.find(gone.name), gone.successor or ""
    if kept:
        return kept.refused
    return f"use {successor}" if _usable(now.find(successor.split("=")[0].split(" ")[0])) else ""


def _differences(then: Flag, now: Flag, took: str, takes: str) -> Iterator[str]:
    """What a user of a flag has to know: what it is no longer called, takes otherwise, or does by itself."""
    if lost := [word for word in then.spellings if word not in now.spellings]:
        yield f"no longer {_few(lost)}"
    if took != takes:
        yield f"takes {takes}, took {took}"
    if then.choices and now.choices:
        if lost := [word for word in then.choices if word not in now.choices]:
            yield f"no longer takes {_few(lost)}"
        if more := [word for word in now.choices if word not in then.choices]:
            yield f"also takes {_few(more)}"
    if then.default != now.default:
        yield f"default {now.default or 'not set'}, was {then.default or 'not set'}"


def _few(words: list[str]) -> str:
    more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
    return ", ".join(words[:SHOWN]) + more


def _cells(row: Row) -> tuple[str, ...]:
    """A row of the table; narrow enough for a terminal of 80 columns."""
    version, python, torch = row["release"].partition("@")[2], _pythons(row["python"]), row["torch"].removeprefix("==")
    flags = f"{row['flags']}" + (f" +{len(row['new'])} -{len(row['gone'])}" if row["before"] else "")
    return version, row["released"], python, torch, row["cuda"], flags, "; ".join(_notes(row))


def _pythons(given: str) -> str:
    """``<3.15,>=3.11`` as ``3.11-3.14``."""
    match = re.fullmatch(r"(?:<3\.(\d+),)?>=(3\.\d+)", given)
    if not match:
        return given
    return f"{match[2]}-3.{int(match[1]) - 1}" if match[1] else f"{match[2]}+"


def _notes(row: Row) -> Iterator[str]:
    if row["yanked"]:
        yield f"withdrawn: {row['yanked']}"
    if not row["x86"]:
        yield "no x86-64 wheel"
    if row["installed_for"]:
        yield f"installed ({', '.join(row['installed_for'])})"
    if row["default_for"]:
        yield f"default ({', '.join(row['default_for'])})"


def _print_one(row: Row) -> None:
    facts = {"released": row["released"], "Python": row["python"], "torch": row["torch"], "CUDA": row["cuda"]}
    known = [f"{name} {value}" for name, value in facts.items() if value]
    print("; ".join([row["release"], *known, *_notes(row)]))
    if not row["before"]:
        print(f"{row['flags']} flags; no older release is known")
        return
    counts = ", ".join(f"{len(row[change])} {change}" for change in CHANGES)
    print(f"{row['flags']} flags; since {row['before']}: {counts}")
    rows = [(change, flag, text) for change in CHANGES for flag, text in sorted(row[change].items())]
    if rows:
        show.table(("change", "flag", "what"), rows)
