"""Package installation by uv, with the indexes and wheel folders that the user set for uv or for pip."""

from __future__ import annotations

import collections
import configparser
import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from launcher.errors import FAILED, ServeError

Echo = Callable[[str], None]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_GRACE_S = 5.0  # for uv and the builds that it runs; what they leave unfinished is thrown away

# pip's setting -> uv's variables for the same, the first of which is set where the user set none of them, and uv's
# separator. pip separates by blanks. An index that pip knows is asked for every package; uv by itself takes a package
# from the first index that has it in any version.
PIP = {
    "index-url": (("UV_INDEX_URL", "UV_DEFAULT_INDEX"), " "),
    "extra-index-url": (("UV_EXTRA_INDEX_URL", "UV_INDEX"), " "),
    "find-links": (("UV_FIND_LINKS",), ","),
    "no-index": (("UV_NO_INDEX",), " "),
    "cert": (("SSL_CERT_FILE",), " "),
}
# Words of uv's for a resolution whose result is pinned by hash and names no index.
LOCK = (
    "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url",
    "--no-emit-find-links",
)  # fmt: skip
ADVICE = (  # what uv says -> what to do
    ("hash mismatch", "this file is not the one that was pinned: do not use it, and tell us"),
    ("no space left", "free some space there, or take a larger disk; TMPDIR says where scratch files go"),
    ("no interpreter found", "install that Python, or name another: --python VERSION"),
    (
        "python-build-standalone",
        "this host lacks that Python and it cannot be downloaded; name one it has: --python VERSION",
    ),
    ("error sending request", "check the network; UV_INDEX_URL or PIP_INDEX_URL name a mirror, UV_FIND_LINKS a folder"),
    ("no solution found", "the text above names what is missing; UV_FIND_LINKS may name a folder that has it"),
)


def uv() -> str:
    """The path of uv, which is one of our dependencies.

    Raises:
        ServeError: it is not there.
    """
    try:
        return str(importlib.import_module("uv").find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv"):
            return found
    raise ServeError("uv is not installed", fix=f"{sys.executable} -m pip install uv")


def argv(words: list[str], environment: Mapping[str, str]) -> list[str]:
    """A command of uv's. UV_NO_INDEX is our word for a setting of pip's, for which uv 0.13 has no variable."""
    offline = words[0] == "pip" and environment.get("UV_NO_INDEX", "").lower() not in ("", "0", "false", "no", "off")
    return [uv(), *words, *(["--no-index"] if offline else [])]


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for uv in which pip's settings count too: its variables, then its configuration files."""
    translated = dict(environment)
    files = _pip_files(environment)
    for name, (variables, separator) in PIP.items():
        value = environment.get("PIP_" + name.replace("-", "_").upper()) or files.get(name)
        if value and not any(environment.get(variable) for variable in variables):
            translated[variables[0]] = separator.join(value.split()) if name != "cert" else value
            if name == "extra-index-url":
                translated.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return translated


def for_pip() -> dict[str, str]:
    """An environment for pip in which it finds packages where uv does: the settings of both."""
    ours = settings(os.environ)
    translated = {name: value for name, value in ours.items() if not name.startswith("PIP_")}
    translated["PIP_CONFIG_FILE"] = os.devnull
    for name, (variables, separator) in PIP.items():
        values = [ours[each] for each in variables if ours.get(each)]
        if name == "cert":
            value = "".join(values)
        else:  # uv may give an index a name
            words = [word for value in values for word in value.split(separator)]
            value = " ".join(re.sub(r"^[\w-]+=(?=\w+:)", "", word) for word in words)
        if value:
            translated["PIP_" + name.replace("-", "_").upper()] = value
    return translated


def _pip_files(environment: Mapping[str, str]) -> dict[str, str]:
    """What pip's configuration files say, in its order: the host's, the user's (old place and new), PIP_CONFIG_FILE."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return {}
    config = Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
    paths = [Path("/etc/pip.conf"), Path("~/.pip/pip.conf").expanduser(), config / "pip" / "pip.conf"]
    values: dict[str, str] = {}
    for path in [*paths, *([Path(named)] if named else [])]:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip's to complain about
        for section in ("global", "install"):
            if parser.has_section(section):
                values |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    return values


def on_host_first(pythons: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The same versions of Python, those that this host has before those that uv would download."""
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    absent = {
        version
        for version in pythons
        if subprocess.run(
            [uv(), "python", "find", version], cwd=folder, env=environment, capture_output=True, check=False
        ).returncode
    }
    return tuple(sorted(pythons, key=absent.__contains__))


def available(requirement: str, python: str, folder: Path) -> bool:
    """Whether the user's settings lead to a package that fits a version of Python; downloads nothing but lists.

    Args:
        requirement: such as ``torch==2.13.0+cpu``.
        python: a version, such as ``3.12``.
        folder: where uv runs: it reads the configuration of a project that it finds there.
    """
    return _compiled(requirement, python, folder) is not None


def newest(name: str, python: str, folder: Path) -> str | None:
    """The newest release of a package that the user's settings lead to, without a local part; None if none.

    Args:
        name: of the package.
        python: a version of Python that it has to fit, such as ``3.12``.
        folder: where uv runs.
    """
    found = _compiled(name, python, folder)
    match = re.search(rf"^{re.escape(name)}==([^\s+]+)", found or "", re.MULTILINE)
    return match[1] if match else None


def _compiled(requirement: str, python: str, folder: Path) -> str | None:
    """What uv makes of a requirement without its dependencies, or None where it finds nothing."""
    environment = settings(os.environ)
    words = ["pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate", "--python-version", python, "-"]
    answer = subprocess.run(
        argv(words, environment),
        input=requirement,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout if answer.returncode == 0 else None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within the context SIGINT, SIGTERM and SIGHUP raise SystemExit, 128 + signal: what is half made is cleared away.

    Only the first one: what clears up is left in peace. Only for the main thread. A SIGHUP that is already ignored
    (``nohup``) stays so.
    """
    previous = {number: signal.getsignal(number) for number in STOPS}
    if previous[signal.SIGHUP] == signal.SIG_IGN:
        del previous[signal.SIGHUP]

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in previous:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    try:
        for number in previous:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run(
    words: list[str],
    folder: Path,
    what: str,
    echo: Echo,
    environment: Mapping[str, str],
    *,
    program: str | None = None,
) -> None:
    """Runs uv, or another program, in a process group of its own, and echoes its lines.

    Nothing of it runs on when this returns or raises.

    Args:
        words: its arguments.
        folder: where it runs.
        what: what it is for, as the start of a sentence.
        echo: takes each line worth showing.
        environment: from `settings`.
        program: the other program.

    Raises:
        ServeError: it failed: its last lines, and what to do.
    """
    last: collections.deque[str] = collections.deque(maxlen=12)
    with subprocess.Popen(
        [program, *words] if program else argv(words, environment),
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        close_fds=False,  # the lock of `environments.only_one` goes along: whoever kills us leaves uv behind
    ) as process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    last.append(line.rstrip())
                    if not line.startswith((" + ", " Downloaded", "Using ")):  # enough lines remain
                        echo("  " + line.rstrip())
        except BaseException:  # a signal too: uv must not go on alone
            _end(process)
            raise
    if process.returncode != 0:
        text = "\n".join(last)
        fix = next((advice for symptom, advice in ADVICE if symptom in text.lower()), "the text above says why")
        raise ServeError(
            f"{what} failed ({Path(program or 'uv').name} exited {process.returncode}):\n{text}",
            where=str(folder),
            fix=fix,
            code=FAILED,
        )


def _end(process: subprocess.Popen[str]) -> None:
    """TERM, a bounded wait, KILL, each to the whole group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
