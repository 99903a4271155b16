"""Engines of `fake_engine.py`, packed as serve finds real ones: a package, or an environment as it installs them.

python tests/fake_environment.py FOLDER VERSION      a vLLM's environment (needs no package but Python)
"""

from __future__ import annotations

import json
import sys
import venv
from pathlib import Path

_PROGRAM = Path(__file__).parent / "fake_engine.py"
# The engine's own program; imported, as `verify` does, it is as quiet as a real one.
_MAIN = """
import runpy, sys
from pathlib import Path
if __name__ == "__main__":
    engine = Path(sys.modules[__package__.partition(".")[0]].__file__).parent
    sys.argv += ["--model", sys.argv[sys.argv.index("--served-model-name") + 1]]
    sys.argv[0] = str(engine / "fake_engine.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def files(module: str = "vllm/entrypoints/cli/main.py") -> dict[str, str]:
    """The files of an engine's package, by path: `module` is the program that serve runs of that release."""
    path = Path(module)
    packages = {str(each / "__init__.py"): "" for each in path.parents if each.name}
    return {**packages, module: _MAIN, f"{path.parts[0]}/fake_engine.py": _PROGRAM.read_text(encoding="utf-8")}


def package(site: Path, version: str, module: str = "vllm/entrypoints/cli/main.py") -> Path:
    """Puts an engine of that version among the packages of `site`; the folder of its package."""
    for name, text in files(module).items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    engine = Path(module).parts[0]
    (site / f"{engine}-{version}.dist-info").mkdir()
    return site / engine


def environment(folder: Path, version: str) -> Path:
    """Makes a vLLM's environment for CUDA; the folder of its package."""
    venv.create(folder, symlinks=True, with_pip=False)
    mark = {"engine": "vllm", "version": version, "device": "cuda", "distribution": "vllm", "origin": "a test"}
    (folder / "serve-environment.json").write_text(json.dumps(mark), encoding="utf-8")
    return package(next(folder.glob("lib/python*/site-packages")), version)


if __name__ == "__main__":
    environment(Path(sys.argv[1]), sys.argv[2])
