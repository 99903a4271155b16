"""API keys: where they come from, and how an engine gets one without argv, a log or a record ever holding it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from launcher import settings
from launcher.engines.command import Command, Secret
from launcher.engines.confidential import is_secret_variable
from launcher.errors import FAILED, ServeError

VARIABLE = "SERVE_API_KEY"
# What a Bearer token may hold (RFC 6750, section 2.1). repr, JSON and YAML escape none of it, so a key that an engine
# prints is found in its log as it is. Eight characters, so that scrubbing it leaves other words alone; 4096, so that
# it fits into a header of every server between a client and the engine (nginx takes 8 kB of one).
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LEAST_CHARACTERS, _MOST_CHARACTERS = 8, 4096
_FILE_BYTES = 2 * _MOST_CHARACTERS  # a key, a byte order mark, and blank space around it
_FORM = f"{_LEAST_CHARACTERS} to {_MOST_CHARACTERS} of the characters A-Z a-z 0-9 . _ ~ + / - (RFC 6750)"


def resolve_key(secret: Secret) -> str:
    """The key itself; ``auto`` makes one on first use.

    Raises:
        ServeError: the variable or file is missing, or what it holds cannot be a key. The key is never in the message.
    """
    if secret.source == "env":
        key = os.environ.get(VARIABLE, "")
        if not key:
            what = f"there is no API key: the variable is {'empty' if VARIABLE in os.environ else 'not set'}"
            fix = f"export {VARIABLE}; or launch with --api-key auto, or none for a server without a key"
            raise ServeError(what, where=VARIABLE, fix=fix)
        return _checked(key, VARIABLE)
    if secret.path is None:
        raise ValueError(f"a key from {secret.source} needs a path")
    if secret.source == "auto" and not secret.path.exists():
        _make(secret.path)
    return _read(secret.path)


def may_be_key(text: str) -> bool:
    """Whether a text can be an API key."""
    return _LEAST_CHARACTERS <= len(text) <= _MOST_CHARACTERS and _TOKEN.fullmatch(text) is not None


def new_key(path: Path, *, replace: bool) -> bool:
    """Make a key in a file of mode 0600; on the disk when this returns, whole or not at all.

    Returns:
        Whether it took the place of one that was there.

    Raises:
        ServeError: there is a file and it is not to be replaced, or it cannot be written.
    """
    before = path.exists()
    if _make(path, replace=replace):
        return before
    what = "there is a key already" if path.is_file() else "is there already, and is no file"
    raise ServeError(what, where=str(path), fix="--force makes a new one in its place" if path.is_file() else "")


def cautions(secret: Secret | None) -> list[str]:
    """What is unsafe about the place of a key, a sentence each; nothing is changed.

    Not refused, because it may be meant: containers mount secrets with mode 0444.
    """
    if secret is None or secret.path is None or not secret.path.exists():
        return []
    path, found = secret.path, []
    owner = path.stat().st_uid
    if settings.open_to_others(path):
        found.append(f"other users can read the API key: chmod 600 {path}")
    if owner not in {0, os.geteuid()}:
        found.append(f"{path} belongs to user {owner}, who can read and change the API key")
    home = settings.state_folder()
    folders = [each for each in path.parents if each.is_relative_to(home) and settings.open_to_others(each)]
    found += [f"other users can enter the folder of the API key: chmod 700 {each}" for each in folders]
    return found


@contextlib.contextmanager
def handed_over(command: Command, key: str | None) -> Iterator[dict[str, str]]:
    """The environment of the engine's process; a secret file exists within the context, or until it is `taken_back`."""
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
        taken_back(command)


def taken_back(command: Command) -> None:
    """Remove the secret file: an engine that serves has read it, and a supervisor that is killed then leaves none."""
    if command.secret_file:
        with contextlib.suppress(OSError):  # the next run sweeps
            command.secret_file.unlink(missing_ok=True)


def to_scrub(command: Command, key: str | None) -> dict[str, str]:
    """What an engine may print and nobody is to read, each with what stands in its place.

    That is the API key, and what variables of its environment hold that are named as secrets (``HF_TOKEN``). The path
    of a file is none, nor is a word so short that others would be taken for it.
    """
    given = {**os.environ, **command.environment}
    found = {text: f"[{name}]" for name, text in given.items() if is_secret_variable(name) and not text.startswith("/")}
    long = {text: name for text, name in found.items() if len(text) >= _LEAST_CHARACTERS}
    return long | ({key: "[api key]"} if key else {})


def sweep(name: str) -> None:
    """Remove what a killed run of an instance left of its key; for whoever holds the instance's name.

    Raises:
        ServeError: a file cannot be removed.
    """
    file = settings.secret_file(name)
    with writing(file):
        for leftover in (file, *file.parent.glob(f".{file.name}.*")):
            leftover.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a whole file of mode 0600, or leave what was there; missing folders are made with mode 0700.

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


def _make(path: Path, *, replace: bool = False) -> bool:
    """Whether the key was made; of two that make one at one moment, the first does, unless both replace."""
    with writing(path), _temporary(path, f"sk-serve-{secrets.token_urlsafe(32)}\n") as temporary:
        _settle(temporary)
        try:
            if replace:
                temporary.replace(path)
            else:
                os.link(temporary, path)
        except FileExistsError:
            return False
        _settle(path.parent)
    return True


def _settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _temporary(path: Path, text: str) -> Iterator[Path]:
    settings.private_folder(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)  # as mkstemp, but for the umask
            file.write(text)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        # a pipe would wait for its writer, and give the key to one reader of the several that ask for it
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ServeError("is a pipe or a device, not a file", where=str(path), fix=f"or export {VARIABLE}")
            data = file.read(_FILE_BYTES + 1)
        return _checked(data.decode("utf-8-sig").strip(), str(path))
    except FileNotFoundError:
        fix = f"set api_key to auto, or make one: serve key new --path {path}"
        raise ServeError("the file of the API key is missing", where=str(path), fix=fix) from None
    except UnicodeDecodeError:
        raise ServeError("the API key's file is not text", where=str(path), fix=f"a key is {_FORM}") from None
    except OSError as error:
        raise ServeError(f"the API key cannot be read: {error.strerror}", where=str(path)) from None


def _checked(key: str, where: str) -> str:
    if not may_be_key(key):
        what = "what is given as API key cannot be one" if key else "holds no API key"
        raise ServeError(what, where=where, fix=f"a key stands alone: {_FORM}")
    return key
