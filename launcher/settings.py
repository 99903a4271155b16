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


def own_folders() -> tuple[Path, Path]:
    """All that this program keeps lies below these."""
    return data_folder().absolute(), state_folder().absolute()


def key_file(name: str) -> Path:
    """Where the API key that is made for an instance lies."""
    return state_folder() / "keys" / name


def secret_file(name: str) -> Path:
    """Where an engine that takes its API key from a file of its own finds it, while an instance runs."""
    return state_folder() / "instances" / name / "engine.yaml"


def private_folder(path: Path) -> Path:
    """Makes a folder that its owner alone can enter, whatever the umask, and so every missing one above it.

    Of the state folder and what lies in it, folders that are there already and this user's are closed to others too.

    Returns:
        The folder.

    Raises:
        OSError: it cannot be made.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    home = state_folder()
    for folder in (path, *path.parents):
        if folder.is_relative_to(home) and open_to_others(folder) and folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
    return path


def open_to_others(path: Path) -> bool:
    """Whether another user than its owner may read, change or enter a file or folder; root always may."""
    return bool(path.stat().st_mode & 0o077)


def share_folder(name: str) -> Path:
    """``presets``, ``deploy`` or ``systemd``: beside the package in a checkout, inside it in an installed wheel."""
    package = Path(__file__).parent
    installed = package / "share" / name
    return installed if installed.is_dir() else package.parent / name
