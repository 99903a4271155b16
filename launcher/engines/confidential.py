"""What is confidential in a launch: flags that are given a secret, and variables by their names.

One place for all who print a command, judge one, or pass its words on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_IN_A_FILE = "write it into a YAML file for --config that its owner alone can read"
_OPEN = "argv is open to every user of the host"


@dataclass(frozen=True)
class Instead:
    """What to do instead of giving a flag its secret.

    Attributes:
        theirs: in a command that somebody else wrote.
        ours: on a command line or in a file of this program's.
    """

    theirs: str
    ours: str


# The flags of every known release that are given a secret.
SECRETS = {
    "--api-key": Instead(
        "set VLLM_API_KEY in place of it", f"{_OPEN}: export SERVE_API_KEY, or --api-key auto makes a key"
    ),
    "--hf-token": Instead("set HF_TOKEN in place of it", f"{_OPEN}: export HF_TOKEN"),
    # sglang/srt/utils/auth.py 0.5.23: without an admin key, administrative paths take the API key
    "--admin-api-key": Instead(_IN_A_FILE, f"{_OPEN}: SGLang's administrative paths take the key of --api-key as well"),
    "--ssl-keyfile-password": Instead(
        _IN_A_FILE, "serve asks the server by plain HTTP at host and port: put a proxy in front of it"
    ),
    "--watermark-config": Instead(_IN_A_FILE, f"{_OPEN}: SGLang takes the path of a file too, vLLM has no other way"),
}
_FLAG = re.compile(
    r"--(?:[\w-]*[-_])?(?:api[-_]?k|admin[-_]a|hf[-_]?tok|token(?![\w-])|pass|secret|watermark[-_]c)[\w-]*",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"(?:^|_)(?:(?:API)?KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)?|CREDENTIALS?)(?:_|$)", re.IGNORECASE
)
# Both within a command's text: a flag with all words up to the next flag, a variable that is set in front of a program.
_VALUES = re.compile(rf"({_FLAG.pattern})(?:=\S+|(?:\s+[^\s-]\S*)+)", re.IGNORECASE)
_SET = re.compile(r"\b(\w+)=\S+")


def holds_secret(flag: str, values: Sequence[str], path: Sequence[str] = ()) -> bool:
    """Whether a flag with its values tells a secret.

    Args:
        flag: its name in the catalog.
        values: what it is given.
        path: of the part of a JSON value that it sets.
    """
    if flag == "--watermark-config":  # the JSON that holds its key; in SGLang also the path of a file with it
        return bool(path) or any(value.lstrip().startswith("{") for value in values)
    return flag in SECRETS


def may_be_secret_flag(word: str) -> bool:
    """Whether a word resembles a flag that is given a secret, mistyped or of a release that nobody knows."""
    return _FLAG.match(word.partition("=")[0]) is not None


def is_secret_variable(name: str) -> bool:
    """Whether a variable is named as one that holds a secret: ``HF_TOKEN``, ``AWS_SECRET_ACCESS_KEY``."""
    return _VARIABLE.search(name) is not None


def command_line(argv: Sequence[str]) -> str:
    """The command of any process as text, to name it by: without what may be a secret, one of a shell's text too."""
    text = _VALUES.sub(r"\1 (hidden)", " ".join(argv))
    return _SET.sub(lambda match: f"{match[1]}=(hidden)" if is_secret_variable(match[1]) else match[0], text)
