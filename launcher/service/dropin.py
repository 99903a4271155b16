"""What systemd is told of one instance beside the unit of all: program, key, watchdog, folders, processors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import launcher
from launcher.engines.command import Command
from launcher.service.scope import UNIT, Scope, unit

CREDENTIAL = "api_key"
_LOADED = re.compile(rf"^LoadCredential={CREDENTIAL}:(.*)$", re.MULTILINE)
# Of these the unit shows an empty one to the service.
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - looked at
_LEAST_WATCHDOG_S = 30


def dropin(command: Command, scope: Scope, key: Path | None, node: int | None) -> str:
    """The text of the drop-in.

    Args:
        command: what is served.
        scope: whose service it is.
        key: the file of the API key, which systemd reads as root and hands over; None if it does not.
        node: the one NUMA node that its GPUs are at, or None.
    """
    words = [*program(), "launch", "--config", str(scope.deployment(command.name)), "--name", command.name]
    start = " ".join(map(word, words))
    lines = [
        f"# What serve@{command.name}.service needs beside {UNIT}. Written by serve service install.",
        "[Service]",
        "ExecStart=",
        f"ExecStart={start}",
        f"WatchdogSec={max(_LEAST_WATCHDOG_S, round(command.hang_timeout_s))}",
    ]
    if key:
        lines.append(f"LoadCredential={CREDENTIAL}:{str(key).replace('%', '%%')}")  # systemd unquotes nothing here
    if not scope.user:
        lines += [f"BindReadOnlyPaths={_quoted(str(each))}" for each in read_folders(command) if is_hidden(each)]
    if node is not None:
        lines += ["NUMAPolicy=preferred", f"NUMAMask={node}", "CPUAffinity=numa"]
    return "\n".join(lines) + "\n"


def handed_over(name: str) -> Path:
    """Where a service finds the API key that systemd read for it (systemd.exec(5), ``CREDENTIALS_DIRECTORY``)."""
    return Path("/run/credentials") / unit(name) / CREDENTIAL


def loaded_key(text: str) -> Path | None:
    """The file of the API key that a drop-in names."""
    found = _LOADED.search(text)
    return Path(found[1].replace("%%", "%")) if found else None


def program() -> list[str]:
    """The words that start this very program, whatever PATH or working folder a service has."""
    return [sys.executable, "-m", "launcher"]


def read_folders(command: Command) -> list[Path]:
    """What a service reads that lies outside of its own folders: this program, the engine, the model."""
    found = [*_python(Path(sys.executable)), Path(launcher.__file__).parent.parent]
    found += _python(Path(command.target.python))
    found += [Path(text) for text in (command.checkpoint.path, *_values(command)) if text.startswith("/")]
    kept: list[Path] = []
    for each in sorted({each if each.is_dir() else each.parent for each in found if each.exists()}):
        if not any(each.is_relative_to(other) for other in kept):
            kept.append(each)
    return kept


def word(text: str) -> str:
    """A word of a command line in a unit (systemd.service(5), "COMMAND LINES")."""
    return _quoted(text.replace("$", "$$"))


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("%", "%%")
    if re.fullmatch(r"[\w@%+=,./$\\-]+", text, re.ASCII):  # a colon would part the two paths of a mount
        return text
    escaped = "".join(each if each.isprintable() else _bytes(each) for each in text)
    return '"' + escaped.replace('"', '\\"') + '"'


def _bytes(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))


def _python(python: Path) -> Iterable[Path]:
    """The folders of an interpreter: its environment, and every one on the way to what that was made of."""
    yield python.resolve().parent.parent
    while python.is_symlink():
        yield python.parent.parent
        python = python.parent / python.readlink()
    yield python.parent.parent


def _values(command: Command) -> Iterable[str]:
    for argument in command.arguments:
        for each in argument.words:
            yield each
            yield from re.findall(r'"(/[^"]+)"', each)  # of JSON


def is_hidden(each: Path) -> bool:
    """Whether the unit shows an empty folder in its place, but for what the drop-in mounts there."""
    return any(each.is_relative_to(top) for top in _HIDDEN)
