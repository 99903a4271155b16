"""The one exception of this project: raised anywhere, caught and shown only in `cli`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# Exit codes. 1: something ran and failed, or may go another time. 2: asked for something impossible; nothing was
# started, nothing written.
FAILED = 1
USAGE = 2
INCURABLE = 78  # EX_CONFIG of sysexits.h: it failed, and another start would end the same way; systemd tries none
INTERRUPTED = 130  # by Ctrl-C, as a shell counts it


class ServeError(Exception):
    """What happened, where, and what to do about it.

    Args:
        what: one sentence: what is wrong, with the value that is.
        where: the place of it (``file:line``, a variable, an argument, a log's path), if there is one.
        fix: what the user can do now, if we know.
        code: the exit code, ``USAGE``, ``FAILED`` or ``INCURABLE``.
        problems: further errors of the same request; all are shown, the first gives the exit code.
    """

    def __init__(
        self, what: str, *, where: str = "", fix: str = "", code: int = USAGE, problems: tuple[ServeError, ...] = ()
    ) -> None:
        """See the class."""
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.code = code
        self.problems = problems

    def every(self) -> tuple[ServeError, ...]:
        """This error alone, or the errors that it gathers."""
        return self.problems or (self,)

    @classmethod
    def gather(cls, problems: list[ServeError]) -> ServeError:
        """One error to raise for several found in one pass."""
        if len(problems) == 1:
            return problems[0]
        return cls(f"{len(problems)} errors", problems=tuple(problems), code=problems[0].code)


def nearest(word: str, words: list[str] | tuple[str, ...]) -> str:
    """A ``did you mean`` sentence for a mistyped word, or the empty string."""
    import difflib  # noqa: PLC0415 - only needed on the way to an error

    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def of_file(error: OSError, own: tuple[Path, ...]) -> ServeError:
    """A folder or file that cannot be used, which stands in the error as its file name.

    Args:
        error: with a file name.
        own: the folders of this program, which SERVE_HOME may put elsewhere.
    """
    path = Path(os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename))
    ours = any(path.absolute().is_relative_to(each) for each in own)
    elsewhere = "let SERVE_HOME name another folder" if ours else "choose another folder"
    denied = isinstance(error, (PermissionError, NotADirectoryError))
    if denied and ours:
        fix = f"see that {_user()} may use it; SERVE_HOME says where serve's own folders are"
    elif isinstance(error, PermissionError):
        fix = f"{_user()} may not use it: {_owned(path.absolute())}"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = f"free some space there, or {elsewhere} on a disk that has some"
    else:
        why = {errno.EROFS: "nothing can be written there", errno.ENOTDIR: "one of the folders above it is a file"}
        fix = f"{why[error.errno]}: {elsewhere}" if error.errno in why else ""
    return ServeError(str(error.strerror), where=str(path), fix=fix, code=2 if denied else FAILED)


def _owned(path: Path) -> str:
    """Whose a file is; of one that is not there or cannot be looked at, whose the nearest folder above it."""
    for each in (path, *path.parents):
        try:
            return f"{each} belongs to {each.owner()}"
        except KeyError:  # a user without a name
            return f"{each} belongs to the user {each.stat().st_uid}"
        except OSError:
            continue
    return "it belongs to another user"


def _user() -> str:
    import getpass  # noqa: PLC0415 - seldom needed

    try:
        return f"the user {getpass.getuser()}"
    except (KeyError, OSError):  # one without a name
        return "this user"
