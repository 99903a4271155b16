"""API keys: where they come from, and how an engine gets one without argv, a log or a record ever holding it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launcher.engines.command import Command, Secret
from launcher.errors import FAILED, ServeError

VARIABLE = "SERVE_API_KEY"
# What a Bearer token may hold (RFC 6750, section 2.1). repr, JSON and YAML escape none of it, so a key that an engine
# prints is found in its log as it is. Eight characters, so that scrubbing it leaves other words alone.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LEAST_CHARACTERS = 8


def resolve_key(secret: Secret) -> str:
    """The key itself; ``auto`` makes one on first use.

    Raises:
        ServeError: the variable or file is missing, or what it holds cannot be a key. The key is never in the message.
    """
    if secret.source == "env":
        key = os.environ.get(VARIABLE, "")
        if not key:
            raise ServeError("there is no API key", where=VARIABLE, fix=f"export {VARIABLE}, or set api_key to auto")
        return _checked(key, VARIABLE)
    if secret.path is None:
        raise ValueError(f"a key from {secret.source} needs a path")
    if secret.source == "auto" and not secret.path.exists():
        _make(secret.path)
    return _read(secret.path)


@contextlib.contextmanager
def handed_over(command: Command, key: str | None) -> Iterator[dict[str, str]]:
    """The environment of the engine's process; a secret file exists within the context and not after it."""
    environment = {**os.environ, **command.environment}
    environment.pop(VARIABLE, None)  # ours; an engine that prints its environment would show it
    secret, file = command.secret, command.secret_file
    if key and secret and secret.variable:
        environment[secret.variable] = key
    if not (key and secret and secret.config_key and file):
        yield environment
        return
    write_private(file, f"{secret.config_key}: {json.dumps(key)}\n")
    try:
        yield environment
    finally:
        file.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a whole file of mode 0600, or leave what was there; the folder is made with mode 0700 if it is missing.

    Raises:
        ServeError: it cannot be written.
    """
    with writing(path), _temporary(path, text) as temporary:
        temporary.replace(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns a failure to write the path into an error for people."""
    try:
        yield
    except OSError as error:
        raise ServeError(f"cannot be written: {error.strerror}", where=str(path), code=FAILED) from None


def _make(path: Path) -> None:
    text = f"sk-serve-{secrets.token_urlsafe(32)}\n"
    with writing(path), _temporary(path, text) as temporary, contextlib.suppress(FileExistsError):
        os.link(temporary, path)  # of two first uses at one moment, the first wins


@contextlib.contextmanager
def _temporary(path: Path, text: str) -> Iterator[Path]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return _checked(path.read_text(encoding="utf-8").strip(), str(path))
    except FileNotFoundError:
        raise ServeError("the file of the API key is missing", where=str(path), fix="set api_key to auto") from None
    except UnicodeDecodeError:
        raise ServeError("the API key's file is not text", where=str(path)) from None
    except OSError as error:
        raise ServeError(f"the API key cannot be read: {error.strerror}", where=str(path)) from None


def _checked(key: str, where: str) -> str:
    if len(key) < _LEAST_CHARACTERS or not _TOKEN.fullmatch(key):
        raise ServeError(
            "what is given as API key cannot be one",
            where=where,
            fix=f"at least {_LEAST_CHARACTERS} of the characters A-Z a-z 0-9 . _ ~ + / - (RFC 6750)",
        )
    return key
