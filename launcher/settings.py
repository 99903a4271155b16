"""Where this program keeps things on a host, and where the files that it ships lie.

Every folder follows the XDG base directory specification; ``SERVE_HOME`` puts all of them under one folder.
"""

from __future__ import annotations

import os
from pathlib import Path


def _folder(variable: str, fallback: str, name: str) -> Path:
    if home := os.environ.get("SERVE_HOME"):
        return expanded(home).absolute() / name
    return Path(os.environ.get(variable) or Path.home() / fallback) / "serve"


def expanded(text: str | Path) -> Path:
    """A path with ``~`` as the shell has it; ``~nobody`` stays as it is, as there."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def data_folder() -> Path:
    """What is costly to make again: engine environments, the demo model."""
    return _folder("XDG_DATA_HOME", ".local/share", "data")


def state_folder() -> Path:
    """What instances leave: records, logs, generated keys."""
    return _folder("XDG_STATE_HOME", ".local/state", "state")


def share_folder(name: str) -> Path:
    """``presets``, ``deploy`` or ``systemd``: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent
    installed = package / "share" / name
    return installed if installed.is_dir() else package.parent / name
