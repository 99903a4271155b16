"""What runs on this host and is in the way of a server: what killed runs left, and who has the ports."""

from __future__ import annotations

from launcher.config.keys import BY_NAME
from launcher.doctor.finding import ERROR, OK, WARNING, Finding
from launcher.errors import ServeError
from launcher.host import ports as host_ports
from launcher.run import instances
from launcher.run import orphans as run_orphans
from launcher.run.orphans import Orphan

_GIB = 1 << 30


def orphans() -> list[Finding]:
    """Processes of earlier runs that have no supervisor any more."""
    left: dict[str, list[Orphan]] = {}
    for orphan in run_orphans.find():
        left.setdefault(orphan.instance, []).append(orphan)
    return [_orphaned(name, each) for name, each in left.items()] or [
        Finding(OK, "orphans", "no process is left of an earlier run")
    ]


def _orphaned(name: str, left: list[Orphan]) -> Finding:
    memory = sum(each.gpu_bytes or 0 for each in left)
    holds = f", with {memory / _GIB:.1f} GiB of GPU memory" if memory else ""
    pids = " ".join(str(each.pid) for each in left)
    what = f"left of an earlier run of {name!r}{holds}: {pids} ({left[0].command})"
    fix = f"serve stop {name}, or: kill -KILL {pids}"
    return Finding(ERROR if memory else WARNING, "orphans", what, fix)


def ports() -> list[Finding]:
    """The port that a launch takes unless told otherwise, and those of instances that do not run, if they are taken."""
    known = [(each, each.record) for each in instances.every() if each.record and each.record.port]
    ours = {record.port: each.name for each, record in known if each.alive}
    default_host, default_port = (BY_NAME[name].default or "" for name in ("host", "port"))
    default = (default_host, int(default_port))
    asked: dict[tuple[str, int], list[str]] = {default: []}
    for each, record in known:
        if not each.alive:
            asked.setdefault((record.host, record.port), []).append(repr(each.name))
    whose = {each: f"the port of {', '.join(names)}" for each, names in asked.items()} | {default: "the default port"}
    found = [_port(*each, words, ours) for each, words in whose.items()]
    return [each for each in found if each is found[0] or each.level != OK]


def _port(host: str, port: int, whose: str, ours: dict[int, str]) -> Finding:
    subject = f"port {port}"
    if port in ours:
        return Finding(OK, subject, f"{whose}: the instance {ours[port]!r} serves there")
    try:
        holder = host_ports.holder(host, port)
    except ServeError as error:
        return Finding(WARNING, subject, f"{whose}: {error.what}", error.fix)
    if holder:
        fix = "choose another (serve launch --port N), or stop it"
        return Finding(WARNING, subject, f"{whose} is in use by {holder}", fix)
    return Finding(OK, subject, f"{whose} is free")
