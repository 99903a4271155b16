"""Real parsers of releases, each in a process of its own; where SGLang's come from; what may differ from our data."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher import settings
from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag
from launcher.engines.release import Release
from launcher.host import packages

HERE = Path(__file__).parent
LOCKS = HERE / "locks"  # the releases of SGLang that are always tested, and what the parsers of an engine need besides
SGLANG = tuple(sorted(lock.stem.partition("-")[2] for lock in LOCKS.glob("sglang-*.txt")))
# Rows: engine, releases (a range), what differs (see `differences`), and why. A row that is not needed is an error.
REASONS: list[dict[str, str]] = json.loads((HERE / "parser_differences.json").read_text())

WORDS = [
    "", "None", "none", "auto", "AUTO", "7", "-1", "+7", " 7 ", "1_000", "0x10", "0.5", "1e3", "nan", "inf",
    "32k", "32K", "32Ki", "1.5k", "1.5K", "1.5m", "2g", "2T", "k", "true", "True", "fp8", "half",
    "{}", "[]", '{"a": 1}', '{"a": 8k}', '{"a": "8k"}', "{a: 1}", "null", "a,b", "a=b", "Flashinfer-TRTLLM",
    "mixed Case-word", "=", "a=", '{"name": "a", "path": "b"}', '{"lora_name": "a", "lora_path": "b"}',
]  # fmt: skip


class GoneError(Exception):
    """The process of a parser has ended; what it wrote last."""


class Parser:
    """A release's parser in a process of its own: ``parser_server.py``, which says what can be asked."""

    def __init__(self, process: subprocess.Popen[str], log: Any) -> None:
        """Args: process: of the server; log: the file that holds its standard error."""
        self._process, self._log = process, log

    def ask(self, question: Any) -> Any:
        """The answer to one question.

        Raises:
            GoneError: the engine cannot be imported, or a question was too much for it.
        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it has died; its log says why
            line = ""
        else:
            line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise GoneError(self._log.read()[-4000:])
        return json.loads(line)


@contextmanager
def parser(python: str, engine: str, folders: tuple[Path, ...] = (), entry: str = "serve") -> Iterator[Parser]:
    """The parser of the release that an interpreter has, or finds in folders before its own packages."""
    path = os.pathsep.join(map(str, folders))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    words = [python, str(HERE / "parser_server.py"), engine, entry]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Parser(process, log)
        finally:
            process.kill()


def installed(name: str, python: str) -> Path:
    """The packages of a lock file, in a folder for an interpreter that has a CPU vLLM; made on first use, and kept.

    SGLang itself cannot be installed without CUDA's packages. Its parser needs few packages, and most are vLLM's, too.

    Args:
        name: of the lock file: ``sglang-0.5.23``, or ``sglang`` for what the parsers of all its releases need besides.
        python: the interpreter.

    Raises:
        ServeError: uv could not install them.
    """
    lock = LOCKS / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes() + python.encode()).hexdigest()[:12]
    home = settings.data_folder() / "parsers"
    folder = home / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    unfinished = home / f"{name}.part"
    for old in (unfinished, *home.glob(f"{name}-{'?' * len(digest)}")):
        shutil.rmtree(old, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    words = ["pip", "install", "--python", python, "--target", str(unfinished), "--no-deps", "--require-hashes"]
    words += ["--compile-bytecode", "--requirements", str(lock)]
    packages.run(words, home, f"installing {name}", print, packages.settings(os.environ))
    unfinished.rename(folder)
    return folder


def differences(known: Catalog, real: Catalog, takes: dict[str, list[str]]) -> dict[str, tuple[Any, Any]]:
    """Where our data and a real parser differ, under the name that a reason uses: ours, the parser's.

    Args:
        known: our data.
        real: what the parser was found to declare.
        takes: by spelling, the `WORDS` that the real parser takes.
    """
    ours, theirs = known.spellings.keys(), real.spellings.keys()
    rows: list[tuple[str, Any, Any]] = [("spellings", ours - theirs, theirs - ours)]
    for name in known.flags.keys() & real.flags.keys():
        flag = known.flags[name]
        rows += [(f"{field} of {name}", getattr(flag, field), each) for field, each in vars(real.flags[name]).items()]
        taken = {word for word in WORDS if _takes(flag, word)}
        really = set(takes.get(name, ()))
        rows.append((f"words refused by us alone for {name}", set(), really - taken))
        rows.append((f"words refused by the engine alone for {flag.type}", taken - really, set()))
    return {name: (ours, theirs) for name, ours, theirs in rows if ours != theirs}


def _takes(flag: Flag, word: str) -> bool:
    count = flag.nargs if isinstance(flag.nargs, int) else 1
    return not flag.refused and flag.takes_value and flag.refusal((word,) * count) is None


def reasons(release: Release) -> dict[str, str]:
    """The differences that are known of a release, and why."""
    rows = [row for row in REASONS if row["engine"] == release.engine and release.within(row["releases"])]
    return {row["what"]: row["why"] for row in rows}
