"""What is executed: the one value that a dry run prints, a launch performs and a unit is rendered from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.errors import ServeError

if TYPE_CHECKING:  # names and secrets are asked for by every command; catalogs and YAML are not
    from launcher.config.layers import Setting
    from launcher.engines.target import Checkpoint, Target

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # of an instance: it names folders and units


def checked_name(name: str, where: str = "") -> str:
    """An instance's name, which is part of a path.

    Raises:
        ServeError: it is none.
    """
    if not NAME.fullmatch(name):
        fix = "letters, digits, and . _ - within, at most 63"
        raise ServeError(f"{name!r} is no name for an instance", where=where, fix=fix)
    return name


@dataclass(frozen=True)
class Argument:
    """Words of argv that belong together, and why they are there.

    Attributes:
        words: exact words, such as ``("--max-model-len", "8192")``.
        key: the key that they express, or None for what the launcher itself adds.
        setting: the key's value with its origin, or None.
        note: what was decided on the way (a translation, a default of the launcher's).
    """

    words: tuple[str, ...]
    key: str | None = None
    setting: Setting | None = None
    note: str = ""


@dataclass(frozen=True)
class Secret:
    """Where the API key comes from and how the engine gets it: never in argv.

    Attributes:
        source: ``env`` (the variable ``SERVE_API_KEY``), ``file`` or ``auto`` (made on first use).
        path: the 0600 file that holds it, for ``file`` and ``auto``.
        variable: the engine's environment variable that receives it, or None.
        config_key: the key under which the engine's own ``--config`` YAML receives it, or None.
    """

    source: str
    path: Path | None = None
    variable: str | None = None
    config_key: str | None = None


@dataclass(frozen=True)
class Decision:
    """A choice that was made between what was asked and what is run: shown by ``serve explain``."""

    key: str
    text: str


@dataclass(frozen=True)
class Command:
    """A server's process, complete: argv, environment, secrets, and where to ask whether it lives.

    Attributes:
        name: the instance's name.
        target: the release, device and interpreter.
        checkpoint: the model.
        program: the first words of argv, up to the engine's own arguments.
        arguments: the engine's arguments.
        environment: variables set on top of the launcher's own environment.
        secret: the API key's way to the engine, or None.
        secret_file: where the engine's ``--config`` YAML with the secret is written at start (0600), or None.
        host: the address the server binds, port: the port.
        served_name: the model's name in the API.
        revision: the branch, tag or commit of the model's repository, or None.
        source: where a repository id is looked up, as the key says.
        preset: the preset's name, or None.
        restart: whether an engine that fails is started again: ``never`` or ``on-failure``.
        stall_timeout_s: seconds without any progress until a start is given up.
        hang_timeout_s: seconds without a token, while requests run, until the server counts as hung.
        wait_timeout_s: seconds until a start that is not ready is given up even if it goes on, or None.
        decisions: what was chosen, and why.
        draft: the model that drafts for it, or None; the demo model's own is made with it, and not told here.
    """

    name: str
    target: Target
    checkpoint: Checkpoint
    program: tuple[str, ...]
    arguments: tuple[Argument, ...]
    environment: dict[str, str]
    secret: Secret | None
    secret_file: Path | None
    host: str
    port: int
    served_name: str
    preset: str | None = None
    restart: str = "never"
    stall_timeout_s: float = 600.0
    hang_timeout_s: float = 120.0
    wait_timeout_s: float | None = None
    revision: str | None = None
    source: str = "auto"
    decisions: tuple[Decision, ...] = field(default=())
    draft: Checkpoint | None = None

    @property
    def argv(self) -> list[str]:
        """Every word of the process, in order."""
        return [*self.program, *(word for argument in self.arguments for word in argument.words)]

    @property
    def base_url(self) -> str:
        """Where a client on this host reaches the server; a bind to every address is reached by loopback."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{self.port}"
