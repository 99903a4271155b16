"""Memory of this host, and what a control group leaves of it."""

from __future__ import annotations

from pathlib import Path

from launcher.doctor.finding import OK, WARNING, Finding

# The processes of an engine, and what is read of a checkpoint at a time; with less, the kernel ends them while loading.
LEAST_BYTES = 8 << 30
_GIB = 1 << 30
_GROUPS = Path("/sys/fs/cgroup")


def check() -> list[Finding]:
    """How much an engine started from here may use."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    total, available = (int(facts[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))
    limit, folder = _limit()
    what = f"{available / _GIB:.1f} of {total / _GIB:.1f} GiB are available"
    if limit is not None and limit < total:
        what += f"; a control group limits it to {limit / _GIB:.1f} GiB ({folder})"
        if limit < LEAST_BYTES:
            least = f"{LEAST_BYTES >> 30}G"
            fix = f"in a container: docker run --memory={least} or more; in a service: MemoryMax={least} or more"
            return [Finding(WARNING, "memory", what, fix)]
    if available < LEAST_BYTES:
        return [Finding(WARNING, "memory", what, "see what needs it: ps aux --sort=-rss | head")]
    return [Finding(OK, "memory", what)]


def _limit() -> tuple[int | None, Path | None]:
    """The least limit of this process's control group and those above it (cgroups(7)), and whose it is."""
    files: list[Path] = []
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (_GROUPS / "memory", "memory.limit_in_bytes") if controllers else (_GROUPS, "memory.max")
        group = root / path.lstrip("/")
        files += [each / name for each in (group, *group.parents) if each.is_relative_to(root)]
    limits = [(value, file.parent) for file in files if (value := _number(file)) is not None]
    return min(limits, default=(None, None))


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max"
