"""What is found out about a host."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, ERROR = LEVELS = ("ok", "warning", "error")


@dataclass(frozen=True)
class Finding:
    """One thing about this host.

    Attributes:
        level: ``ok``; ``warning``: something works worse than it could, or not with everything; ``error``: a server
            cannot be started, or a secret is open to others.
        subject: what it is about, in a word or two.
        what: how it is, in a sentence.
        fix: what to do, commands to copy where there are some; empty if there is nothing to do.
    """

    level: str
    subject: str
    what: str
    fix: str = ""
