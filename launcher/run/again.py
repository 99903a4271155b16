"""A launch written down so that it can be done again, by another process, in another shell, after an upgrade."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from launcher.config import keys
from launcher.config.request import Request
from launcher.config.values import FALSE, Flag
from launcher.engines.command import Command
from launcher.engines.confidential import is_secret_variable
from launcher.errors import FAILED, ServeError

# What of the environment decides how an engine runs. The rest is whoever's who asks for the restart.
_DECIDES: tuple[str, ...] = (
    "CUDA_",
    "NVIDIA_",
    "NCCL_",
    "VLLM_",
    "SGLANG_",
    "SGL_",
    "HF_",
    "TRANSFORMERS_",
    "MODELSCOPE_",
    "TORCH",
)
_DECIDES += ("PYTORCH", "TRITON_", "FLASHINFER_", "OMP_", "MKL_", "LD_", "PYTHON", "SERVE_", "XDG_", "PATH", "TMPDIR")
_NEVER = ("SERVE_API_KEY", "SERVE_HOME")


def written(request: Request, *, fix: bool) -> dict[str, Any]:
    """The request as JSON, with the folder and the variables that it was made in; no secret is among them.

    Raises:
        ServeError: the working folder is gone.
    """
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise ServeError("the working folder was removed", fix="go to another one (cd) and try again") from None
    return {
        "preset": request.preset,
        "configs": [str(path) for path in request.configs],
        "options": dict(request.options),
        "assignments": list(request.assignments),
        "words": list(request.words),
        "name": request.name,
        "fix": fix,
        "folder": str(folder),
        "variables": {name: text for name, text in request.variables.items() if _decides(name)},
    }


def enter(told: Mapping[str, Any], name: str) -> Request:
    """Makes this process what the launch was made in, folder and variables, and gives the request.

    Raises:
        ServeError: what was written down cannot be read, or the folder is gone.
    """
    try:
        variables = dict(told["variables"])
        request = Request(
            preset=told["preset"],
            configs=tuple(map(Path, told["configs"])),
            options=dict(told["options"]),
            assignments=tuple(told["assignments"]),
            words=tuple(told["words"]),
            name=name,
        )
        os.chdir(told["folder"])
    except (KeyError, TypeError, ValueError):
        raise ServeError(f"how {name} was launched is not written down", fix="serve launch starts it anew") from None
    except OSError as error:
        raise ServeError(f"cannot be entered: {error.strerror}", where=str(told["folder"]), code=FAILED) from None
    for variable in [each for each in os.environ if _decides(each)]:
        del os.environ[variable]
    os.environ.update(variables)
    return replace(request, variables=dict(os.environ))


def changed(request: Request, changes: Mapping[str, str], command: Command) -> Request:
    """The request with other values of keys, as options; the engine's own flags that said them are left out.

    Args:
        request: what the command was made of.
        changes: keys, each with the text of its value.
        command: what it made.
    """
    words = list(request.words)
    for argument in command.arguments:
        if argument.key in changes and argument.setting and argument.setting.origin.layer == "command line":
            words = _without(words, argument.setting.origin.place, command)
    options = {name: text for name, text in request.options.items() if name not in changes}
    return replace(request, words=tuple(words), options={**options, **changes})


def _without(words: list[str], flag: str, command: Command) -> list[str]:
    known = command.target.flags.find(flag)
    kept, given = list[str](), iter(words)
    for word in given:
        if word == flag and known and known.takes_value:
            next(given, None)
        elif word.partition("=")[0] != flag:
            kept.append(word)
    return kept


def command_line(request: Request, *, detached: bool) -> str:
    """The launch as one would type it."""
    words = ["serve", "launch", *request.words]
    if request.preset:
        words += ["--preset", request.preset]
    for path in request.configs:
        words += ["--config", str(path)]
    for assignment in request.assignments:
        name, _, _ = assignment.partition("=")
        secret = name.startswith("env.") and is_secret_variable(name.removeprefix("env."))
        words += ["--set", f"{name}=(hidden)" if secret else assignment]
    for name, text in request.options.items():
        key = keys.BY_NAME[name]
        if isinstance(key.type, Flag):
            words.append(f"--no-{key.option[2:]}" if text in FALSE else key.option)
        else:
            words += [key.option, text]
    if request.name:
        words += ["--name", request.name]
    if detached:
        words.append("--detach")
    return shlex.join(words)


def _decides(name: str) -> bool:
    return name.startswith(_DECIDES) and name not in _NEVER and not is_secret_variable(name)
