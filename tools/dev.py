"""All set-up on a fresh machine with Python (3.10 or newer) and git, with the standard library alone.

python3 tools/dev.py demo    installs serve and an engine, serves the demo model, shows a completion, stops
python3 tools/dev.py test    everything that has to pass: lint, types, imports, tests, a real engine
python3 tools/dev.py check   the same without the engine: for while you work
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
BIN = FOLDER / "bin"
PORT = 8017


def main() -> int:
    """Runs the named task; returns its exit code."""
    tasks = {"demo": demo, "test": test, "check": check}
    if len(sys.argv) != 2 or sys.argv[1] not in tasks:  # noqa: PLR2004 - the program and one word
        print(__doc__)
        return 2
    if sys.version_info < (3, 10):  # noqa: UP036 - whoever is here may have an older one
        print("serve needs Python 3.10 or newer; this is", sys.version)
        return 2
    os.chdir(ROOT)
    return tasks[sys.argv[1]]()


def set_up(requirements: str) -> None:
    """Makes .venv hold the pinned requirements and this checkout; does nothing when it does already."""
    lock = ROOT / "requirements" / requirements
    stamp = FOLDER / f"{requirements}.installed"
    wanted = lock.read_text() + (ROOT / "pyproject.toml").read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    say(f"setting up .venv from requirements/{requirements}")
    if not (BIN / "python").exists():
        try:
            venv.create(FOLDER, with_pip=True)
        except subprocess.CalledProcessError:
            sys.exit("this Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv")
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
    subprocess.run([*pip, "--no-deps", "-e", "."], check=True)
    stamp.write_text(wanted)


def say(text: str) -> None:
    """One line about what happens now."""
    print(f"== {text}", flush=True)


def run(*words: str, **variables: str) -> int:
    """One command of the virtual environment; its exit code."""
    say(" ".join(words))
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(words, env={**os.environ, "PATH": path, **variables}, check=False).returncode


def install_engine() -> int:
    """The default vLLM release for this host: a CPU build where there is no GPU."""
    return run("serve", "engines", "install", "vllm")


def demo() -> int:
    """The main job, from nothing to a completion and a clean stop."""
    begin = time.monotonic()
    set_up("run.txt")
    if code := install_engine():
        return code
    words = ["serve", "launch", "demo", "--preset", "balanced", "--engine", "vllm", "--port", str(PORT)]
    say(" ".join(words))
    server = subprocess.Popen([str(BIN / words[0]), *words[1:]], stdout=subprocess.PIPE, text=True)
    for line in server.stdout or ():
        print(line, end="", flush=True)
        if line.lstrip().startswith("curl"):
            break
    else:
        return server.wait() or 1
    run("serve", "smoke", f"http://127.0.0.1:{PORT}")
    body = json.dumps({"model": "demo", "prompt": "Hello", "max_tokens": 16}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/completions", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own address
        completion = json.load(answer)["choices"][0]["text"]
    say(f"a completion (random weights, so nonsense): {completion!r}")
    say("Ctrl-C")
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=120)
    print(rest, end="")
    stopped = server.returncode == 130  # noqa: PLR2004 - as a shell counts Ctrl-C
    say(f"the completion was {completion!r}; {time.monotonic() - begin:.0f} s in all")
    say("stopped by Ctrl-C, as it should be" if stopped else f"ended with exit code {server.returncode}, not 130")
    return 0 if stopped else 1


SCRIPTS = sorted(str(each.relative_to(ROOT)) for each in (ROOT / "deploy").glob("*.sh"))
SCRIPTS += ["tools/lock", "tests/engine/lock", ".ci/run", "launcher/bundle/data/install.sh"]
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
    ("shellcheck", "--external-sources", *SCRIPTS),
)
# Several at once, for most of them wait for processes. Of real engines one serves at a time, beside the parsers' tests.
WORKERS = str(min(os.cpu_count() or 1, 8) + 1)
WITHOUT_ENGINES = ("pytest", "--quiet", "-m", "not engine", "--numprocesses", WORKERS, "--dist", "worksteal")
WITH_ENGINES = ("pytest", "--quiet", "-m", "engine", "--numprocesses", "2", "--dist", "loadgroup")


def check() -> int:
    """Everything that needs no engine; every part runs, even after one has failed."""
    set_up("dev.txt")
    codes = [run(*words) for words in CHECKS]
    return max([*codes, run(*WITHOUT_ENGINES)])


def test() -> int:
    """All of it."""
    set_up("dev.txt")
    codes = [run(*words) for words in CHECKS]
    codes.append(run(*WITHOUT_ENGINES))
    codes.append(install_engine())
    return max([*codes, run(*WITH_ENGINES)])


if __name__ == "__main__":
    sys.exit(main())
