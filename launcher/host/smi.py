"""nvidia-smi, asked in a process of its own.

It asks NVML, the driver's library. That a process of ours loaded the library itself would save some milliseconds; but a
call into a driver in trouble may never return and cannot be killed, and whoever supervises a server must not hang.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import IO, cast

TIMEOUT_S = (
    10.0  # a healthy driver answers in 0.02 s; one without persistence mode first wakes each GPU, a second or so
)
_END_S = 1.0
_UNKNOWN_FIELD = re.compile(r'Field "([^"]+)" is not a valid field to query')

_hung: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class Answer:
    """What nvidia-smi said.

    Attributes:
        rows: for each GPU or process the text of each field; a field that the driver does not know is absent.
        trouble: why there is no answer, as a sentence; empty where there is one. Of nothing to ask (there is no
            nvidia-smi on PATH) it says nothing either.
    """

    rows: tuple[dict[str, str], ...] = ()
    trouble: str = ""
    hangs: bool = field(default=False, repr=False)


def program() -> str | None:
    """The path of nvidia-smi, or None."""
    return shutil.which("nvidia-smi")


def ask(query: str, fields: tuple[str, ...], timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask for facts in a table.

    Args:
        query: ``gpu`` or ``compute-apps``: ``nvidia-smi --help-query-gpu`` lists the fields of the first.
        fields: what to ask; those that this driver does not know are left out of the answer.
        timeout_s: how long to wait for the answer.
    """
    path = program()
    if not path:
        return Answer()
    asked = list(fields)
    while asked:
        said = _run([path, f"--query-{query}={','.join(asked)}", "--format=csv,noheader,nounits"], timeout_s)
        if isinstance(said, Answer):
            return said
        status, text = said
        unknown = _UNKNOWN_FIELD.search(text)  # it names one of them, and exits with status 2 (580.159)
        if status and unknown and unknown[1] in asked:
            asked.remove(unknown[1])
            continue
        if status:
            return Answer(trouble=f"nvidia-smi fails (exit status {status}): {_first_line(text)}")
        lines = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
        return Answer(tuple(dict(zip(asked, line, strict=True)) for line in lines if len(line) == len(asked)))
    return Answer()


def number(text: str | None) -> float | None:
    """Of a field that may read ``[N/A]``, or be absent."""
    try:
        return float(text or "")
    except ValueError:
        return None


def mebibytes(text: str | None) -> int | None:
    """The bytes of a field in MiB."""
    value = number(text)
    return None if value is None else int(value) << 20


def _run(argv: list[str], timeout_s: float) -> tuple[int, str] | Answer:
    """Its exit status and what it printed.

    A process within the driver may outlive SIGKILL. It is left to itself then, and no further one is started beside it:
    subprocess.run would wait for it without end.
    """
    _hung[:] = [each for each in _hung if each.poll() is None]
    if _hung:
        return _hangs(timeout_s)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return Answer(trouble=f"nvidia-smi cannot be run: {error.strerror}")
    try:
        text, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        try:
            process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            cast("IO[str]", process.stdout).close()
            _hung.append(process)
        return _hangs(timeout_s)
    return process.returncode, text


def _hangs(timeout_s: float) -> Answer:
    return Answer(trouble=f"nvidia-smi does not answer within {timeout_s:.0f} s: the driver hangs", hangs=True)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "it says nothing")
