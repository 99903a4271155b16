"""Secrets that stand on the command line: moved to the environment, and the program started again without them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from launcher.errors import FAILED, ServeError, nearest

_VARIABLE = "SERVE_API_KEY"
_WORDS = ("auto", "env", "file", "none")
_OPTION = re.compile(r"--api[-_]key")  # ours; with an underscore also vLLM's
_KEY = re.compile(
    r"(?:--set=)?(?:--api[-_]key|api_key|args\.\w+\.-*api[-_]key|env\.(?:SERVE|VLLM)_API_KEY)=(.*)", re.DOTALL
)
_ENV = re.compile(r"((?:--set=)?env\.(\w+)=)(.+)", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """Secrets of a command line.

    Attributes:
        words: the command line without them: ``--api-key env`` for a key, ``env.HF_TOKEN=null`` for a variable.
        variables: what the environment is to hold.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]

    @property
    def warning(self) -> ServeError:
        """What was done, and what to do instead."""
        names = " and ".join(self.variables)
        auto = ""
        if _VARIABLE in self.variables:
            auto = " in this shell, where curl, serve smoke and serve restart look; or --api-key auto makes a key"
        return ServeError(
            f"what belongs into {names} stood on the command line, for every user of this host to read: it was moved "
            "there, and serve was started again without it",
            fix=f"export {names}{auto}; the shell's history still has what was typed, and so has a program that runs "
            "serve (sudo, uv run)",
        )


def find(words: Sequence[str]) -> Found | None:
    """The secrets that stand on a command line themselves, or None.

    A key may be given by our option, by ``--set``, or as the engine's own flag. What is a word of the option, resembles
    one, names a file or cannot be a key is no key: it is refused where the option is read, and never told back.

    Raises:
        ServeError: the key is given twice.
    """
    rest, keys, variables = list[str](), list[str](), dict[str, str]()
    for word in words:
        assigned, before = _KEY.fullmatch(word), rest[-1] if rest else ""
        text = assigned[1] if assigned else word if _OPTION.fullmatch(before) else ""
        if _is_key(text):
            keys.append(text)
            if not assigned or before == "--set":
                rest.pop()
        elif (env := _ENV.fullmatch(word)) and not assigned and _is_secret(env[2], env[3]):
            variables[env[2]] = env[3]
            rest.append(f"{env[1]}null")
        else:
            rest.append(word)
    if keys and (len(keys) > 1 or any(_OPTION.fullmatch(word) or _KEY.fullmatch(word) for word in rest)):
        raise ServeError("api_key is given twice", where="--api-key", fix="keep one of the two")
    if keys:
        place = 2 if rest[:1] == ["service"] else 1  # behind the command, and before a `--`
        rest[place:place] = ["--api-key", "env"]
        variables[_VARIABLE] = keys[0]
    return Found(tuple(rest), variables) if variables else None


def start_again(found: Found) -> NoReturn:
    """Executes this program anew in this process, the secrets in its environment, which only its user can read.

    Raises:
        ServeError: it cannot be executed.
    """
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]  # the script, or -m and the module
    try:
        os.execve(sys.executable, [sys.executable, *program, *found.words], {**os.environ, **found.variables})  # noqa: S606 - on purpose
    except OSError as error:
        what = f"serve cannot be started again without it: {error.strerror}"
        raise ServeError(what, where=sys.executable, fix=found.warning.fix, code=FAILED) from None


def _is_key(text: str) -> bool:
    if not text or text.startswith("-"):
        return False
    from launcher.run.secrets import may_be_key  # noqa: PLC0415 - seldom needed

    return may_be_key(text) and not nearest(text, _WORDS) and not os.path.lexists(text)


def _is_secret(variable: str, value: str) -> bool:
    from launcher.engines.confidential import is_secret_variable  # noqa: PLC0415 - seldom needed

    return value != "null" and is_secret_variable(variable)
