"""Whose services: the host's, which root manages, or one user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from launcher import settings
from launcher.errors import ServeError

ACCOUNT = "serve"  # who runs the host's services
HOME = Path("/var/lib/serve")  # SERVE_HOME of the host's services: engines of root's, state of the account's
UNIT = "serve@.service"


@dataclass(frozen=True)
class Scope:
    """Where the services of the host or of a user lie.

    Attributes:
        user: whether they are one user's.
        configuration: the folder of deployments and keys.
        units: the folder of units that systemd reads.
    """

    user: bool
    configuration: Path
    units: Path

    @property
    def flags(self) -> list[str]:
        """For systemctl and journalctl."""
        return ["--user"] if self.user else []

    @property
    def option(self) -> str:
        """For our own command line, with a blank before it."""
        return " --user" if self.user else ""

    @property
    def shipped(self) -> list[Path]:
        """The units of all instances, as they ship."""
        folder = settings.share_folder("systemd")
        return [folder / "user" / UNIT] if self.user else [folder / UNIT, folder / "serve-nvidia.service"]

    def deployment(self, name: str) -> Path:
        """What an instance serves."""
        return self.configuration / f"{name}.yaml"

    def key(self, name: str) -> Path:
        """The API key that is made for an instance."""
        return self.configuration / f"{name}.key"

    def environment(self, name: str) -> Path:
        """Variables that are secrets, which the user writes: tokens of hubs."""
        return self.configuration / f"{name}.env"

    def dropin(self, name: str) -> Path:
        """What systemd does for an instance alone."""
        return self.units / f"{unit(name)}.d" / "deployment.conf"

    def names(self) -> list[str]:
        """The instances that are installed."""
        folders = self.units.glob("serve@?*.service.d")
        found = {each.name.removeprefix("serve@").removesuffix(".service.d") for each in folders}
        return sorted(name for name in found if self.dropin(name).is_file())


def unit(name: str) -> str:
    """The unit of an instance."""
    return f"serve@{name}.service"


def of(*, user: bool) -> Scope:
    """The services of the host or, with `user`, of who asks."""
    if not user:
        return Scope(user=False, configuration=Path("/etc/serve"), units=Path("/etc/systemd/system"))
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config").absolute()
    return Scope(user=True, configuration=home / "serve", units=home / "systemd" / "user")


def refuse_others(scope: Scope) -> None:
    """The host's services are root's to change.

    Raises:
        ServeError: this process may not.
    """
    if not scope.user and os.geteuid():
        raise ServeError("the services of this host are root's", fix="run it with sudo, or add --user for your own")
