"""Where files go: whether there is room, and whether others may read what is nobody's business."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from launcher import settings
from launcher.doctor.finding import ERROR, OK, WARNING, Finding
from launcher.host import builds, environments, smi
from launcher.models import checkpoint
from launcher.run import instances

_GB = 10**9
_WRITE, _ENTER = 0o022, 0o011  # what the group and others may do in a folder
_LOGS_GB = 0.2  # what the log and the records of an instance may grow to, and some air
# Two bytes a parameter of what is served when no model is named (launcher/plan.py): Qwen3-14B and Qwen3-0.6B.
_MODEL_GB = {"cuda": 30.0, "cpu": 2.0}


def disk() -> list[Finding]:
    """The free space where environments, logs and models are put."""
    device = "cuda" if smi.program() else "cpu"
    known = builds.load()
    room_gb = (
        0.0
        if environments.installed()
        else next(known[name][device].room_gb for name in known if device in known[name])
    )
    return [
        _room("data", settings.data_folder(), room_gb, "an engine's environment", "SERVE_HOME or XDG_DATA_HOME"),
        _room("state", settings.state_folder(), _LOGS_GB, "logs and records", "SERVE_HOME or XDG_STATE_HOME"),
        _room("models", checkpoint.cache().absolute(), _MODEL_GB[device], "the default model", "HF_HOME"),
    ]


def _room(subject: str, folder: Path, needed_gb: float, what_for: str, variable: str) -> Finding:
    place = next(each for each in (folder, *folder.parents) if _seen(each))
    found = os.statvfs(place)
    free_gb = found.f_bavail * found.f_frsize / _GB
    elsewhere = f"; or put it on another disk with {variable}"
    if found.f_flag & os.ST_RDONLY:
        return Finding(ERROR, subject, f"{folder} is on a disk that cannot be written", f"mount it writable{elsewhere}")
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(
            ERROR,
            subject,
            f"this user may not write to {place}",
            f"sudo install -d -o $USER {shlex.quote(str(folder))}{elsewhere}",
        )
    if found.f_files and not found.f_favail:
        return Finding(ERROR, subject, f"{folder}: its disk has room for no further file", f"delete some{elsewhere}")
    what = f"{folder}: {free_gb:.1f} GB are free"
    if free_gb >= needed_gb:
        return Finding(OK, subject, what)
    level = ERROR if free_gb < _LOGS_GB else WARNING
    return Finding(
        level,
        subject,
        f"{what}; {what_for} takes {needed_gb:g} GB",
        f"see what fills it: du -xhd1 {shlex.quote(str(place))}{elsewhere}",
    )


def modes() -> list[Finding]:
    """Keys, records and logs that others than this user may read, engines that they may change."""
    home = settings.state_folder()
    keys = {*home.glob("keys/*"), *home.glob("instances/*/engine.yaml")}
    keys |= {Path(each.record.key_path) for each in instances.every() if each.record and each.record.key_path}
    rest = [home, *home.glob("*"), *home.glob("instances/*"), *home.glob("instances/*/*")]
    found = []
    if names := _open(keys):
        what = f"others may read or change API keys: {names}"
        found.append(Finding(ERROR, "API keys", what, f"chmod go-rwx {names}"))
    if names := _open({path for path in rest if path not in keys}):
        what = f"others may read or change what instances leave: {names}"
        found.append(Finding(WARNING, "state", what, f"chmod -R go-rwx {shlex.quote(str(home))}"))
    if names := _changeable():
        what = f"others may change the engines, which are given the API keys: {names}"
        found.append(Finding(WARNING, "data", what, f"chmod -R go-w {names}"))
    return found or [Finding(OK, "files", "nobody else may read keys, records and logs or change engines")]


def _changeable() -> str:
    """The data folder, or what of an engine lies in it, where more users than its owner may write."""
    data = settings.data_folder()
    parts = ("engines", "engines/[!.]*", "engines/*/bin", "engines/*/lib/python*/site-packages")
    closed = _seen(data) and not data.stat().st_mode & _ENTER
    inside = () if closed else (path for part in parts for path in data.glob(part))
    found = {path for path in (data, *inside) if _seen(path) and path.stat().st_mode & _WRITE}
    return shlex.join(str(path) for path in sorted(found) if found.isdisjoint(path.parents))


def _open(paths: set[Path]) -> str:
    return shlex.join(str(path) for path in sorted(paths) if _seen(path) and settings.open_to_others(path))


def _seen(path: Path) -> bool:
    """Whether it is there, as far as this user may know."""
    try:
        path.stat()
    except OSError:
        return False
    return True
