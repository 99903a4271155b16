"""What two hubs have in common: they are asked for a repository, and for one file of it after the other."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from launcher.errors import FAILED, ServeError
from launcher.models.checkpoint import bad_token, no_hub
from launcher.models.repository import File, Repository

HUGGINGFACE, MODELSCOPE = "huggingface", "modelscope"
TITLES = {HUGGINGFACE: "Hugging Face", MODELSCOPE: "ModelScope"}

SOURCES = ("auto", HUGGINGFACE, MODELSCOPE)
LONGEST_S = 1e9  # whatever a hub asks: an integer may be larger than any float


class Passing(Exception):  # noqa: N818 - it is no error yet: another try may go well
    """A failure that another try may not meet: a broken connection, a busy hub, bytes that arrived altered.

    Args:
        what: as the end of a sentence.
        wait_s: how long the hub asks to be left in peace, if it does.
        altered: whether everything arrived, and is not what the hub lists.
    """

    def __init__(self, what: str, *, wait_s: float | None = None, altered: bool = False) -> None:
        """See the class."""
        super().__init__(what)
        self.what = what
        self.wait_s = None if wait_s is None else max(0.0, float(min(wait_s, LONGEST_S)))
        self.altered = altered


class Unreachable(ServeError):  # noqa: N818 - as it reads where it is caught
    """The hub did not answer: not that it refused."""


class Hub(Protocol):
    """One hub, through its own client.

    Each method but `partial_bytes` and `settle` raises `Passing` where another try may help, and a ServeError where
    none will.
    """

    address: str

    def look(self, name: str, revision: str | None) -> Repository:
        """All files of a repository, which exists and is open to this user."""

    def place(self, repository: Repository, to: Path | None) -> Path:
        """The folder where the files lie, in the end: in the cache of the hub's client, or `to`."""

    def fetch(self, repository: Repository, file: File, to: Path | None, *, anew: bool = False) -> None:
        """Bring one file to its place, going on where an earlier try ended; its size and hash are the hub's then.

        With `anew` what lies there is known to be wrong. It stays until all of the right one has come.
        """

    def partial_bytes(self, repository: Repository, file: File, to: Path | None) -> int:
        """How much an earlier try has left of a file that is not in its place."""

    def settle(self, repository: Repository, to: Path | None) -> None:
        """All files are there: what the client keeps beside them is written, what earlier tries left is cleared."""


@contextlib.contextmanager
def answered(address: str, token: str, known: type[Exception], *odd: type[Exception]) -> Iterator[None]:
    """Within, a client reads a hub's answers: where it stumbles over them, they were not a hub's.

    Args:
        address: of the hub.
        token: the variable that holds the user's.
        known: the client's own errors, which say more.
        odd: further errors that mean such an answer.

    Raises:
        ServeError: the client stumbled.
    """
    stumbled: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError, AttributeError, *odd)
    try:
        yield
    except known:
        raise
    except UnicodeEncodeError:
        raise bad_token(token) from None
    except ServeError as error:
        error.where = error.where or address  # a listing that no repository can have
        raise
    except stumbled:
        raise no_hub(address) from None


def withheld(file: File | None, name: str, status: int | None, address: str) -> ServeError:
    """The hub has a repository, and not what it lists of it."""
    what = f"{file.path} of model {name!r}" if file else f"model {name!r}"
    then = "does not hand it out" if file else "does not list its files"
    return ServeError(
        f"the hub tells of {what} and {then} (HTTP {status})",
        where=address,
        fix="try again later, or another mirror; if it stays so, tell the model's owner",
        code=FAILED,
    )


def check_source(source: str | None) -> None:
    """Refuses what --source cannot be.

    Raises:
        ServeError: it is no hub.
    """
    if source not in (None, *SOURCES):
        raise ServeError(f"{source!r} is no hub", where="--source", fix=", ".join(SOURCES))


def quieten() -> None:
    """Before the first client is imported, which reads these then: their bars and logs would lie between our lines.

    Not where this module is imported: an engine would inherit them.
    """
    os.environ.update(TQDM_DISABLE="1", HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_VERBOSITY="critical")


def named(hub: str) -> Hub:
    """The hub of that name.

    Raises:
        ServeError: its client is not installed.
    """
    quieten()
    if hub == HUGGINGFACE:
        from launcher.models.huggingface import HuggingFace  # noqa: PLC0415 - half a second, for transfers alone

        return HuggingFace()
    if importlib.util.find_spec("modelscope_hub") is None:
        # uv comes with serve: an environment that uv made for it has no pip
        install = [sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, "modelscope-hub"]
        raise ServeError(
            "ModelScope's client is not installed beside serve",
            where="--source modelscope",
            fix=shlex.join(install),
            code=FAILED,
        )
    from launcher.models.modelscope import ModelScope  # noqa: PLC0415 - an extra, and slow to import

    return ModelScope()
