"""The users of this host."""

from __future__ import annotations

import pwd


def name(uid: int) -> str:
    """A user's name, or its number where it has none; as ``sudo -u`` takes both."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
