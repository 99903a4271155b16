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
    holds = f", which hold {memory / _GIB:.1f} GiB of GPU memory" if memory else ""
    pids = " ".join(str(each.pid) for each in left)
    what = f"an earlier run of {name!r} left {len(left)} processes{holds}: {pids} ({left[0].command})"
    fix = f"serve stop {name}, or: kill -KILL {pids}"
    return Finding(ERROR if memory else WARNING, "orphans", what, fix)


def ports() -> list[Finding]:
    """The port that a launch takes unless told otherwise, and those of instances that do not run now."""
    known = [each for each in instances.every() if each.record and each.record.port]
    ours = {each.record.port: each.name for each in known if each.alive and each.record}
    default_host, default = (BY_NAME[name].default or "" for name in ("host", "port"))
    asked = {(default_host, int(default)): "the default"}
    for each in known:
        if each.record and not each.alive:
            asked.setdefault((each.record.host, each.record.port), f"of the instance {each.name!r}")
    return [_port(host, port, whose, ours) for (host, port), whose in asked.items()]


def _port(host: str, port: int, whose: str, ours: dict[int, str]) -> Finding:
    subject = f"port {port}"
    if port in ours:
        return Finding(OK, subject, f"{whose}: the instance {ours[port]!r} serves there")
    try:
        holder = host_ports.holder(host, port)
    except ServeError as error:
        return Finding(WARNING, subject, f"{whose}: {error.what}", error.fix)
    if holder:
        return Finding(WARNING, subject, f"{whose}: in use by {holder}", "serve launch --port with another, or stop it")
    return Finding(OK, subject, f"{whose}: free")
