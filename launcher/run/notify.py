"""What a service manager is told of a run (sd_notify(3)); nothing unless systemd started us with ``Type=notify``.

Our own code and no package: it is one datagram, and what there is on the registries is unkept or needs a compiler.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
_LATE_S = 30.0  # what systemd waits beyond what we wait: a decision of ours, which says why, comes first


class Notifier:
    """Takes the variables of the manager's out of the environment, so that no engine speaks in our name.

    Attributes:
        watchdog_s: seconds within which the manager wants to hear that all is well; None if it does not.
    """

    def __init__(self, variables: MutableMapping[str, str] | None = None) -> None:
        """With the variables of this process unless others are given."""
        variables = os.environ if variables is None else variables
        address, microseconds, pid = (variables.pop(name, "") for name in _VARIABLES)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        for_us = self._address and pid in {"", str(os.getpid())} and microseconds.isdigit()
        self.watchdog_s = int(microseconds) / 1e6 if for_us and int(microseconds) else None
        self._status = ""
        self._serves = False

    def status(self, text: str) -> None:
        """A line for ``systemctl status``."""
        if text != self._status:
            self._status = text
            self._say(STATUS=text)

    def ready(self, text: str) -> None:
        """It answers; said of the first engine of a run only, for a service is started once."""
        self._status = text
        self._say(STATUS=text, **({} if self._serves else {"READY": "1"}))
        self._serves = True

    def progresses(self, patience_s: float) -> None:
        """A start goes on, and is given so many seconds more; of a service that was ready once, all is well."""
        self._say(EXTEND_TIMEOUT_USEC=f"{(patience_s + _LATE_S) * 1e6:.0f}")
        self.well()

    def well(self) -> None:
        """Tokens can flow, or we are about to see to it: the manager's watchdog begins to count anew."""
        if self.watchdog_s:
            self._say(WATCHDOG="1")

    def stopping(self, text: str) -> None:
        """It ends, for good."""
        self._status = text
        self._say(STATUS=text, STOPPING="1")

    def period_s(self, otherwise_s: float) -> float:
        """Seconds between two words, so that the manager hears of us in time."""
        return min(otherwise_s, self.watchdog_s / 3) if self.watchdog_s else otherwise_s

    def _say(self, **words: str) -> None:
        if not self._address:
            return
        text = "\n".join(f"{name}={value.splitlines()[0] if value else ''}" for name, value in words.items())
        # a manager that does not take it must not stop a server
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            link.sendto(text.encode(errors="replace"), self._address)
