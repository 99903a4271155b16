"""`serve ps`, `status`, `stop`, `restart`, `rm`, `wait`: what this host serves, and what is done to it."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launcher.cli import show
from launcher.errors import FAILED, INTERRUPTED, ServeError

if TYPE_CHECKING:
    from launcher.engines.command import Command
    from launcher.run.instances import Instance
    from launcher.run.overview import Use
    from launcher.run.record import Record

Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The instance's name, as serve ps lists it.")]
_EVENTS = 12
_SPARE = ("preset", "engine", "model", "gpus")  # columns that a narrow terminal has no room for; serve status has them


def ps(json: Json = False) -> None:
    """List the instances of this host: what they serve, in which state they are, what they use."""
    from launcher.run import instances, overview  # noqa: PLC0415 - not needed for --help

    found = instances.every()
    uses = overview.uses(found)
    if json:
        show.as_json([_told(each, uses[each.name]) for each in found])
    elif found:
        heads = ("name", "state", "model", "engine", "preset", "address", "gpus", "up", "tokens/s", "requests")
        rows = [_row(each, uses[each.name]) for each in found]
        told = [place for place in range(len(heads)) if any(row[place] for row in rows)]  # narrow, where all are empty
        show.table([heads[place] for place in told], [[row[place] for place in told] for row in rows], _SPARE)
    else:
        print("no instances; serve launch MODEL --detach starts one")


def status(name: Name, json: Json = False) -> None:
    """Show one instance: its state, its processes, what the engine granted, and what was decided about it."""
    from launcher.run import events, instances, overview  # noqa: PLC0415 - not needed for --help
    from launcher.run.record import FAILED as FAILED_STATE  # noqa: PLC0415

    instance = instances.look(name)
    use, happened = overview.uses([instance])[name], events.read(instance.folder, _EVENTS)
    if json:
        show.as_json({**_told(instance, use), "events": happened})
        return
    record = instance.record
    lines = [("state", _state(instance)), *_facts(instance, use)]
    if record:
        lines += [("command", shlex.join(record.argv)), ("log", record.log)]
        if instance.state == FAILED_STATE:
            lines[1:1] = [("" if number else "reason", text) for number, text in enumerate(record.reason)]
            lines.append(
                ("what to do", record.fix or f"serve logs {name} says more; serve restart {name} starts it again")
            )
    for head, text in lines:
        first, *others = show.safe(text).splitlines() or [""]
        print("\n".join([f"{head:<12} {first}".rstrip(), *(f"{'':<12} {each.strip()}" for each in others)]))
    for event in happened:
        print(f"{event['time'][:19].replace('T', ' ')}  {show.line(str(event['text']).partition(chr(10))[0])}")


def stop(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The instance's name.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="Stop every instance that runs.")] = False,
    json: Json = False,
) -> None:
    """Stop an instance: its processes are gone, its port is free and its GPU memory is back when this returns."""
    from launcher.run import control, instances  # noqa: PLC0415 - not needed for --help

    if (name is None) == (not every):
        raise ServeError("nothing to stop is named" if name is None else "a name and --all", fix="NAME, or --all")
    chosen = instances.running() if every else [instances.look(str(name))]
    for each in chosen:
        if each.alive and not json:
            print(f"serve: stopping {each.name}", file=sys.stderr)
    try:
        done, problems = control.stop_all(chosen)
    except KeyboardInterrupt:
        raise ServeError("what was asked to stop goes on stopping", fix="see: serve ps", code=INTERRUPTED) from None
    if json:
        show.as_json([dataclasses.asdict(each) for each in done])
    else:
        print("\n".join("; ".join([f"{each.name} is stopped", *each.notes]) for each in done) or "nothing was stopped")
    if problems:
        raise ServeError.gather(problems)
    if not all(each.clean for each in done):
        raise typer.Exit(FAILED)


def restart(name: Name, json: Json = False) -> None:
    """Stop an instance and launch it again in the background, from the same request, planned anew."""
    from launcher.cli.launch import begin, refuse  # noqa: PLC0415 - not needed for --help
    from launcher.cli.progress import observer  # noqa: PLC0415
    from launcher.plan import plan  # noqa: PLC0415
    from launcher.run import again, control, instances  # noqa: PLC0415
    from launcher.run.secrets import resolve_key  # noqa: PLC0415

    instance = instances.look(name)
    record = instance.record
    if record is None:
        raise ServeError(f"how {name} was launched is not known: {instance.detail}", fix="serve launch starts it anew")
    request = again.enter(record.request, name)
    command = plan(request)  # what cannot be launched is not stopped
    refuse(command)
    if command.secret:
        resolve_key(command.secret)
    instances.refuse_unwritable(instance)
    screen = observer(json=json)
    if tuple(record.argv) != tuple(command.argv):
        gone = [word for word in record.argv if word not in command.argv]
        new = [word for word in command.argv if word not in record.argv]
        screen.note(
            f"the command is another one now: {shlex.join(gone) or 'nothing'} -> {shlex.join(new) or 'nothing'}"
        )
    if instance.alive:
        _refuse_other_port(command, record)
        try:
            for note in control.stop(instance).notes:
                screen.note(note)
        except KeyboardInterrupt:
            what, fix = f"{name} is being stopped and will not be started again", f"serve restart {name}"
            raise ServeError(what, fix=fix, code=INTERRUPTED) from None
    begin(request, command, screen, detached=True, fix=bool(record.request.get("fix")), reap=True)


def _refuse_other_port(command: Command, record: Record) -> None:
    """A port that the changed launch wants and cannot have is known before anything is stopped."""
    from launcher.host import ports  # noqa: PLC0415 - not needed for --help

    if command.port != record.port and (holder := ports.holder(command.host, command.port)):
        raise ports.in_use(command.host, command.port, holder)


def rm(name: Name, json: Json = False) -> None:
    """Forget an instance that does not run: its record, its events and its logs. Its API key stays."""
    from launcher import settings  # noqa: PLC0415 - not needed for --help
    from launcher.run import instances  # noqa: PLC0415

    instances.remove(name)
    key = settings.key_file(name)
    if json:
        show.as_json({"removed": name, "key": str(key) if key.exists() else None})
    else:
        print(f"removed {name}" + (f"; its API key stays: {key}" if key.exists() else ""))


def wait(
    name: Name,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", min=0, help="At most.")] = None,
    json: Json = False,
) -> None:
    """Wait until an instance serves; exit code 1 when it will not, or not in time."""
    from launcher.run import control, overview  # noqa: PLC0415 - not needed for --help
    from launcher.run.record import SERVING  # noqa: PLC0415

    instance = control.wait(name, timeout)
    if json:
        show.as_json(_told(instance, overview.uses([instance])[name]))
    else:
        print(f"{name}: {show.line(_state(instance))}")
        if instance.state != SERVING and instance.record:
            print("\n".join(map(show.line, instance.record.reason)))
    if instance.state != SERVING:
        raise typer.Exit(FAILED)


def _row(instance: Instance, use: Use) -> tuple[str, ...]:
    record = instance.record
    told = (record.served_name, record.release, record.preset or "", record.base_url) if record else ("",) * 4
    requests = "" if use.running is None else f"{use.running} + {use.waiting or 0}" if use.waiting else f"{use.running}"
    rate = "" if use.tokens_per_s is None else f"{use.tokens_per_s:,.0f}"
    return (instance.name, _short_state(instance), *told, _gpus(use), _span(instance.seconds), rate, requests)


def _short_state(instance: Instance) -> str:
    """With the phase where that says how far it is."""
    from launcher.run.record import STARTING  # noqa: PLC0415 - not needed for --help

    detail = instance.detail
    return f"{instance.state}: {detail}" if instance.state == STARTING and len(detail) < 40 else instance.state  # noqa: PLR2004


def _state(instance: Instance) -> str:
    return f"{instance.state}: {instance.detail}" if instance.detail else instance.state


def _facts(instance: Instance, use: Use) -> Iterable[tuple[str, str]]:
    record = instance.record
    if record:
        yield "model", f"{record.served_name} ({record.model})"
        yield "engine", record.release + (f", preset {record.preset}" if record.preset else "")
        yield "address", record.base_url
        if record.key_source:
            yield "API key", record.key_path or "the one in SERVE_API_KEY of who launched it"
    if instance.alive and record:
        yield (
            "processes",
            f"supervisor {instance.supervisor}, engine {record.engine_pid}; starts so far: {record.attempts}",
        )
        yield "up", _span(instance.seconds)
        granted = [f"{name} {value:,}" for name, value in record.facts.items()]
        if granted:
            yield "granted", ", ".join(granted)
    if gpus := _gpus(use):
        yield "GPUs", gpus
    if use.running is not None:
        rate = "" if use.tokens_per_s is None else f", {use.tokens_per_s:,.1f} tokens/s"
        yield "requests", f"{use.running} running, {use.waiting or 0} waiting{rate}"


def _gpus(use: Use) -> str:
    return ", ".join(f"{gpu}: {size / 2**30:.1f} GiB" if size else gpu for gpu, size in use.gpus.items())


def _span(seconds: float | None) -> str:
    """``42 s``, ``7 min``, ``3 h 20 min``, ``12 d 3 h``."""
    if seconds is None:
        return ""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if not minutes:
        return f"{int(seconds)} s"
    if not hours:
        return f"{minutes} min"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"


def _told(instance: Instance, use: Use) -> dict[str, Any]:
    """An instance for JSON."""
    record = dataclasses.asdict(instance.record) if instance.record else {}
    for name in ("name", "state", "detail", "request", "run", "boot", "since_s", "started_s"):
        record.pop(name, None)
    told: dict[str, Any] = {"name": instance.name, "state": instance.state, "detail": instance.detail}
    told |= {"supervisor_pid": instance.supervisor, "up_s": instance.seconds}
    return {**told, **record, **dataclasses.asdict(use)}
