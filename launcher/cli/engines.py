"""`serve engines`: one environment a release."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show
from launcher.errors import FAILED, ServeError

if TYPE_CHECKING:
    from launcher.host.environments import Environment

app = typer.Typer(
    help="Install, choose, check, pack and remove engine releases.", no_args_is_help=True, rich_markup_mode=None
)
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Name = Annotated[str, typer.Argument(metavar="ENGINE[@VERSION]", help="vllm, sglang, or one with its version.")]
Device = Annotated[str, typer.Option("--device", metavar="auto|cuda|cpu", help="What it runs on.")]
Python = Annotated[str | None, typer.Option("--python", metavar="VERSION", help="The Python to use.")]


@app.command()
def install(
    engine: Annotated[
        str,
        typer.Argument(
            metavar="ENGINE[@VERSION]", help="vllm, sglang, or one with its version; vllm@latest is the newest."
        ),
    ],
    device: Device = "auto",
    python: Python = None,
    lock: Annotated[Path | None, typer.Option("--lock", metavar="FILE", help="Install just what it pins.")] = None,
    json: Json = False,
) -> None:
    """Make an environment for a release; one that is there already is left as it is.

    Where serve brings a lock of that release for this platform and Python, just its packages are installed.
    """
    from launcher.host import install as installer  # noqa: PLC0415 - not needed for --help
    from launcher.host import locks  # noqa: PLC0415

    name, version = _parse(engine)
    given = locks.read(lock) if lock else None
    environment = installer.install(name, version, device, python=python, lock=given, echo=_quiet if json else print)
    if json:
        show.as_json(_row(environment))
    else:
        print(f"{environment.release.title} is ready: {environment.python}")


@app.command()
def upgrade(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="vllm or sglang.")],
    device: Device = "auto",
    python: Python = None,
    json: Json = False,
) -> None:
    """Install the newest release of an engine; those that are there stay."""
    from launcher.engines.release import TITLES, parse  # noqa: PLC0415 - not needed for --help
    from launcher.errors import ServeError  # noqa: PLC0415
    from launcher.host import choice, environments  # noqa: PLC0415
    from launcher.host import install as installer  # noqa: PLC0415

    name, version = parse(engine, "ENGINE")
    if version:
        fix = f"serve engines upgrade {name}, or: serve engines install {engine}"
        raise ServeError("an upgrade is to the newest release, so it takes no version", where="ENGINE", fix=fix)
    environment = installer.install(name, installer.LATEST, device, python=python, echo=_quiet if json else print)
    if json:
        show.as_json(_row(environment))
        return
    print(f"{environment.release.title} is ready: {environment.python}")
    others = [each for each in environments.installed() if each.release.engine == name and each != environment]
    for each in others:
        print(f"kept: {each.release} ({each.device})")
    chosen = choice.of(name)
    if chosen and chosen != environment.release:
        print(f"{TITLES[name]} means {chosen} on this host; to change that: serve engines use {environment.release}")


@app.command()
def use(
    release: Annotated[str, typer.Argument(metavar="ENGINE@VERSION|auto", help="auto forgets every choice.")],
) -> None:
    """Say which release an engine's name means on this host from now on, and which engine auto means."""
    from launcher.engines.release import exactly  # noqa: PLC0415 - not needed for --help
    from launcher.errors import ServeError  # noqa: PLC0415
    from launcher.host import choice, environments  # noqa: PLC0415

    if release == "auto":
        choice.forget()
        print("nothing is chosen any more: the newest release counts, vLLM before SGLang")
        return
    chosen = exactly(release, "ENGINE@VERSION")
    if not any(each.release == chosen for each in environments.all_found()):
        raise ServeError(f"{chosen.title} is not installed", fix=f"serve engines install {chosen}")
    choice.choose(chosen)
    print(f"engine: {chosen.engine} and engine: auto mean {chosen} from now on")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the releases that this host has.

    Their flags are "probed" (the engine's own parser was asked when we installed it), "built in" (known to serve: also
    for every environment that we did not make) or "unknown". Under "meant by" stand the words for which a release was
    chosen with serve engines use.
    """
    from launcher.host import environments  # noqa: PLC0415 - not needed for --help

    rows = [_row(each) for each in environments.all_found()]
    if json:
        show.as_json(rows)
    elif rows:
        show.table(
            ("release", "device", "distribution", "python", "from", "flags", "meant by"),
            [(*map(str, list(row.values())[:-1]), ", ".join(row["meant_by"])) for row in rows],
        )
    else:
        print("no engine is installed; run: serve engines install vllm")
    if not json:
        for path in environments.unusable():
            print(f"{path} cannot be used: serve doctor says why", file=sys.stderr)


@app.command()
def verify(
    engine: Annotated[
        str | None, typer.Argument(metavar="[ENGINE[@VERSION]]", help="All that this host has, unless named.")
    ] = None,
    engine_python: Annotated[
        str | None, typer.Option("--engine-python", metavar="PATH", help="An environment of your own.")
    ] = None,
    json: Json = False,
) -> None:
    """Try environments: torch, the GPUs and their driver, the engine's kernels, the engine.

    Exit code 1 if one does not work. Each is tried in a process of its own, which takes as long as an engine's import.
    """
    from dataclasses import asdict  # noqa: PLC0415 - not needed for --help

    from launcher.doctor.finding import ERROR  # noqa: PLC0415
    from launcher.doctor.verify import verify as tried  # noqa: PLC0415

    found = []
    for environment in _named(engine, engine_python):
        for finding in tried(environment):
            found.append({"python": environment.python, "device": environment.device, **asdict(finding)})
            if not json:
                show.finding(finding)
    if json:
        show.as_json(found)
    if any(each["level"] == ERROR for each in found):
        raise typer.Exit(FAILED)


@app.command()
def lock(
    engine: Name,
    device: Device = "auto",
    python: Python = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Where to write it.")] = None,
    json: Json = False,
) -> None:
    """Pin all packages of a release by hash, for this platform, as an installation would resolve them now."""
    from dataclasses import asdict  # noqa: PLC0415 - not needed for --help

    from launcher.host import install as installer  # noqa: PLC0415
    from launcher.host import locks  # noqa: PLC0415

    name, version = _parse(engine)
    echo = _quiet if json else print
    build = installer.build_for(name, device)
    made = installer.lock(build, installer.release_of(build, version, echo).version, python, echo)
    path = locks.write(made, output or Path(made.scope.file_name))
    if json:
        show.as_json({"file": str(path), "packages": made.packages, **asdict(made.scope)})
        return
    print(f"{made.packages} packages: {path}")
    print(f"to install just these: serve engines install {name}@{made.scope.version} --lock {shlex.quote(str(path))}")


@app.command()
def bundle(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="The archive: a name that ends in .tar.gz or .tar.zst.")
    ],
    engine: Annotated[str, typer.Option("--engine", metavar="ENGINE[@VERSION]", help="What to pack.")] = "vllm",
    model: Annotated[Path | None, typer.Option("--model", metavar="DIR", help="A model's folder to pack too.")] = None,
    device: Device = "auto",
    python: Python = None,
    json: Json = False,
) -> None:
    """Pack a release, serve itself and a model into one archive for hosts of this platform without a network.

    There: tar -xf OUT, then serve-bundle/install.sh.
    """
    from launcher.bundle import pack  # noqa: PLC0415 - not needed for --help
    from launcher.host import install as installer  # noqa: PLC0415

    name, version = _parse(engine)
    build = installer.build_for(name, device)
    echo = _quiet if json else print
    release = installer.release_of(build, version, echo)
    size_bytes = pack.pack(build, release, python, model, output, echo)
    if json:
        show.as_json({"file": str(output), "size_bytes": size_bytes, "release": str(release), "device": build.device})
        return
    unpack = f"tar -xf {shlex.quote(output.name)} && serve-bundle/install.sh"
    print(f"{output}: {size_bytes / 1e9:.2f} GB; on the other host: {unpack}")


@app.command()
def remove(
    engine: Name, device: Annotated[str | None, typer.Option("--device", metavar="cuda|cpu")] = None, json: Json = False
) -> None:
    """Remove the environment of a release."""
    from launcher.engines.release import parse  # noqa: PLC0415 - not needed for --help
    from launcher.host import environments  # noqa: PLC0415
    from launcher.service.upgrade import using  # noqa: PLC0415

    name, version = parse(engine, "ENGINE")
    if services := using(name, version):
        fix = f"serve service upgrade {services[0]} --engine ..., or serve service uninstall {services[0]}"
        raise ServeError(f"services are made for it: {', '.join(services)}", where=engine, fix=fix)
    removed = [_row(each) for each in environments.remove(name, version, device)]
    if json:
        show.as_json(removed)
    else:
        for row in removed:
            print(f"removed {row['release']} ({row['device']})")


def _parse(text: str) -> tuple[str, str | None]:
    """As `release.parse`, with ``latest`` for a version; alone it is vLLM's, as ``auto`` prefers vLLM."""
    from launcher.config.keys import ENGINES  # noqa: PLC0415 - not needed for --help
    from launcher.engines.release import parse  # noqa: PLC0415
    from launcher.host.install import LATEST  # noqa: PLC0415

    if text == LATEST:
        return ENGINES[0], LATEST
    name, at, version = text.partition("@")
    return (parse(name, "ENGINE")[0], LATEST) if at and version == LATEST else parse(text, "ENGINE")


def _named(engine: str | None, python: str | None) -> list[Environment]:
    """The environments to be tried."""
    from launcher.engines.release import parse  # noqa: PLC0415 - not needed for --help
    from launcher.errors import ServeError  # noqa: PLC0415
    from launcher.host import environments  # noqa: PLC0415

    if python:
        return [environments.at(python)]
    name, version = parse(engine, "ENGINE") if engine else (None, None)
    found = [
        each
        for each in environments.all_found()
        if name in (None, each.release.engine) and version in (None, each.release.version)
    ]
    if not found:
        what = f"{engine} is not installed" if engine else "no engine is installed"
        raise ServeError(what, fix=f"serve engines install {engine or 'vllm'}")
    return found


def _row(environment: Environment) -> dict[str, Any]:
    from launcher.engines import catalog  # noqa: PLC0415 - not needed for --help
    from launcher.host import choice  # noqa: PLC0415

    built_in = environment.release in catalog.known(environment.release.engine)
    return {
        "release": str(environment.release),
        "device": environment.device,
        "distribution": environment.distribution,
        "python": str(environment.python),
        "from": environment.source,
        "flags": "probed" if environment.probe else "built in" if built_in else "unknown",
        "meant_by": choice.meanings(environment.release),
    }


def _quiet(_line: str) -> None:
    """Progress has no place in JSON."""
