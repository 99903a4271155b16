"""`serve presets`: what ships, what each says, and the commands that one becomes on every release."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import ndiff
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show
from launcher.config.layers import Origin, Setting, merge
from launcher.config.values import show as text
from launcher.errors import ServeError

if TYPE_CHECKING:
    from launcher.config.resolve import Deployment
    from launcher.engines.command import Command
    from launcher.engines.release import Release

app = typer.Typer(help="List the presets, show what one says.", no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
# The host that --releases assumes, so that it says the same on every host: enough for any preset, with fp8 in hardware.
GPUS, CAPABILITY = 8, 9.0


def _merged(name: str) -> tuple[str, dict[str, Setting]]:
    from launcher.config import presets  # noqa: PLC0415 - YAML, not needed for --help

    documents = presets.chain(presets.find(name, "PRESET"))
    merged = merge(presets.layers(documents))
    return documents[-1].description, {key: each for key, each in merged.items() if each.value is not None}


@app.command("list")
def list_(json: Json = False) -> None:
    """List the presets that ship with serve."""
    from launcher.config import presets  # noqa: PLC0415 - YAML, not needed for --help

    rows = [(name, *_merged(name)) for name in presets.names()]
    if json:
        show.as_json([{"name": name, "description": description} for name, description, _ in rows])
        return
    show.table(
        ("preset", "weights", "description"),
        [(name, _text(keys.get("weights")), description) for name, description, keys in rows],
    )


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(metavar="PRESET")],
    releases: Annotated[bool, typer.Option("--releases", help="Show the command on each engine release.")] = False,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="ENGINE[@VERSION]", help="With --releases: on these alone.")
    ] = None,
    json: Json = False,
) -> None:
    """Show the keys of a preset, with everything that it extends, or the commands that it becomes."""
    description, settings = _merged(name)
    if engine and not releases:
        raise ServeError("a preset's keys are the same for every engine", where="--engine", fix="add --releases")
    if releases:
        _print_releases(name, description, engine, json=json)
        return
    if json:
        value: dict[str, Any] = {key: show.setting(each) for key, each in settings.items()}
        show.as_json({"name": name, "description": description, "keys": value})
        return
    print(f"{name}: {description}")
    rows = [(key, text(each.value), show.place(each.origin), show.past(each)) for key, each in settings.items()]
    show.table(("key", "value", "origin", "overrode"), rows)


def _text(setting: Setting | None) -> str:
    return text(setting.value) if setting else ""


@dataclass(frozen=True)
class _Rendered:
    """What a preset becomes on one release: a command, a line an argument, or the errors that refuse it."""

    release: Release
    command: Command | None
    errors: tuple[ServeError, ...]

    @property
    def lines(self) -> list[str]:
        """Variables, program and arguments, quoted."""
        if not self.command:
            return []
        variables = [f"{name}={shlex.quote(value)}" for name, value in show.environment(self.command).items()]
        arguments = [shlex.join(each.words) for each in self.command.arguments]
        return [*variables, shlex.join(self.command.program), *arguments]

    @property
    def refusal(self) -> list[str]:
        """The errors as text that does not name the release, so that it is the same for its neighbours."""
        return [
            line.replace(self.release.title, self.release.title.partition(" ")[0])
            for each in self.errors
            for line in (f"{_place(each)}{each.what}", *([f"  -> {each.fix}"] if each.fix else []))
        ]


def _place(error: ServeError) -> str:
    return f"{show.place(Origin('', error.where))}: " if error.where else ""


def _print_releases(name: str, description: str, asked: str | None, *, json: bool) -> None:
    """Prints what a preset becomes: consecutive releases with the same command, or the same refusal, together."""
    every = groupby(_rendered(name, asked), lambda each: (each.release.engine, each.lines, each.refusal))
    blocks = [list(block) for _, block in every]
    if json:
        assumed = {"gpus": GPUS, "capability": CAPABILITY}
        show.as_json({"name": name, "description": description, "host": assumed, "blocks": list(map(_record, blocks))})
        return
    print(f"{name}: {description}")
    print(f"On a host with {GPUS} GPUs of compute capability {CAPABILITY} and no more than the engine's own packages:")
    before: _Rendered | None = None
    for block in blocks:
        first, last = block[0], block[-1]
        until = f" to {last.release.version}" if last is not first else ""
        print(f"\n{first.release.title}{until}" + (": refused" if first.errors else ""))
        if first.errors:
            told = first.refusal
        elif before is None or before.release.engine != first.release.engine:
            told = [" \\\n    ".join(first.lines)]
        else:
            told = [line for line in ndiff(before.lines, first.lines) if line[0] in "+-"]
            told = told or [f"the same as {before.release.version}"]
        print(show.safe("\n".join(f"  {line}" for line in told)))
        before = last if last.command else before


def _record(block: list[_Rendered]) -> dict[str, Any]:
    first = block[0]
    return {
        "engine": first.release.engine,
        "releases": [each.release.version for each in block],
        "argv": first.command.argv if first.command else None,
        "environment": show.environment(first.command) if first.command else None,
        "errors": [{"where": each.where, "what": each.what, "fix": each.fix} for each in first.errors],
    }


def _rendered(name: str, asked: str | None) -> Iterator[_Rendered]:
    """A preset on each release, oldest first."""
    from launcher.config.request import Request  # noqa: PLC0415 - not needed for --help
    from launcher.config.resolve import layers, resolve  # noqa: PLC0415 - not needed for --help
    from launcher.engines import catalog  # noqa: PLC0415
    from launcher.engines.render import render  # noqa: PLC0415
    from launcher.engines.target import Checkpoint, Target  # noqa: PLC0415
    from launcher.plan import DEFAULT_MODELS  # noqa: PLC0415

    stack = layers(Request(preset=name))
    stack.insert(1, {"model": Setting(DEFAULT_MODELS["cuda"], Origin("launcher", "default"))})
    deployment = resolve(stack, name)
    model = deployment.get("model")
    for release in _chosen(asked, deployment):
        distribution = catalog.facts(release).distribution
        target = Target(release, "cuda", "python", distribution, CAPABILITY, GPUS, installed=False)
        try:
            yield _Rendered(release, render(deployment, target, Checkpoint(model, model)), ())
        except ServeError as error:
            yield _Rendered(release, None, error.every())


def _chosen(asked: str | None, deployment: Deployment) -> list[Release]:
    """The releases that were asked for; else those that the preset is for."""
    from launcher.engines import catalog  # noqa: PLC0415 - not needed for --help
    from launcher.engines.release import TITLES, Release, parse  # noqa: PLC0415

    named = deployment.settings["engine"]
    engine, version = (None, None) if named.value == "auto" else parse(named.value, named.origin.place)
    version = version or deployment.get("engine_version")
    if asked:
        engine, version = parse(asked, "--engine")
    known = [release for each in TITLES if engine in (None, each) for release in catalog.known(each)]
    chosen = [release for release in known if version in (None, release.version)]
    if version and not chosen:
        catalog.load(Release(engine or known[0].engine, version))  # says which releases are known
    return chosen
