"""`serve engines` on tiny wheels, by the program itself: installed, upgraded, chosen, locked, removed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Program, Result
from tests.host import wheels

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
MODULE = Path("vllm/entrypoints/openai/api_server.py")
OLD, NEW = "9.8.7", "9.10.0"


class Shop:
    """The program with a folder of wheels, from which alone it installs."""

    def __init__(self, serve: Program) -> None:
        self.serve, self.shelf = serve, serve.folder / "shelf"
        self.variables = {name: "" for name in os.environ if name.startswith(("UV_", "PIP_"))}
        self.variables |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.shelf)}
        self.variables |= {"UV_PYTHON_DOWNLOADS": "never", "XDG_CONFIG_HOME": str(serve.folder / "none")}
        self.variables["PATH"] = f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"

    def brings(self, version: str) -> None:
        files = {str(each / "__init__.py"): "" for each in list(MODULE.parents)[:-1]} | {str(MODULE): ""}
        wheels.write(self.shelf, "vllm", version, files)

    def __call__(self, *words: str) -> Result:
        return self.serve("engines", *words, environment=self.variables)

    def releases(self) -> dict[str, list[str]]:
        rows = json.loads(self("list", "--json").out)
        return {row["release"]: row["meant_by"] for row in rows}


@pytest.fixture
def shop(serve: Program) -> Shop:
    made = Shop(serve)
    made.brings(OLD)
    return made


def test_an_upgrade_keeps_what_is_there(shop: Shop) -> None:
    words = ("--device", "cuda", "--python", PYTHON)
    first = shop("install", "vllm@latest", *words)
    assert first.code == 0, first.err
    assert f"vLLM {OLD} is ready" in first.out
    assert shop("use", f"vllm@{OLD}").code == 0
    shop.brings(NEW)
    upgraded = shop("upgrade", "vllm", *words)
    assert upgraded.code == 0, upgraded.err
    said = upgraded.out.splitlines()
    assert f"kept: vllm@{OLD} (cuda)" in said
    assert said[-1] == f"vLLM means vllm@{OLD} on this host; to change that: serve engines use vllm@{NEW}"
    assert shop.releases() == {f"vllm@{NEW}": [], f"vllm@{OLD}": ["vllm", "auto"]}
    assert f"vLLM {NEW} for cuda is installed already" in shop("upgrade", "vllm", *words).out
    assert shop("remove", f"vllm@{OLD}").code == 0
    assert shop("use", f"vllm@{OLD}").code == 2
    assert shop.releases() == {f"vllm@{NEW}": []}
    shop.brings(OLD)
    assert shop("install", f"vllm@{OLD}", *words).code == 0
    assert shop.releases() == {f"vllm@{NEW}": [], f"vllm@{OLD}": []}  # a choice goes with what was chosen


def test_a_lock_is_written_whole_and_installed(shop: Shop) -> None:
    words = ("--device", "cuda", "--python", PYTHON)
    made = shop("lock", "latest", *words, "--output", "mine.lock")
    assert (made.code, made.err) == (0, "")
    assert made.out.splitlines()[-1].endswith(f"serve engines install vllm@{OLD} --lock mine.lock")
    shop.brings(NEW)
    installed = shop("install", "vllm", "--lock", "mine.lock")
    assert installed.code == 0, installed.err
    assert "each package checked by hash: 1 in all" in installed.out
    assert shop.releases() == {f"vllm@{OLD}": []}
    refused = shop("install", f"vllm@{NEW}", "--lock", "mine.lock")
    assert refused.code == 2
    assert f"the lock is of vllm=={OLD}" in refused.err
    assert shop("lock", "vllm", *words, "--output", "no/folder/x.lock").code == 1  # vLLM 0.33.0 is not on the shelf
    shut = shop("lock", f"vllm@{OLD}", *words, "--output", "no/folder/x.lock")
    assert (shut.code, shut.err.splitlines()[0]) == (
        2,
        "serve: no/folder/x.lock: cannot be written: No such file or directory",
    )


def test_an_environment_whose_python_is_gone_is_told_and_made_again(shop: Shop) -> None:
    words = ("--device", "cuda", "--python", PYTHON)
    assert shop("install", f"vllm@{OLD}", *words).code == 0
    python = Path(json.loads(shop("list", "--json").out)[0]["python"])
    python.unlink()
    python.symlink_to("/nowhere/python")
    listed = shop("list")
    assert (listed.code, listed.err) == (0, f"{python.parent.parent} cannot be used: serve doctor says why\n")
    assert shop("install", f"vllm@{OLD}", *words).code == 0
    assert shop("list").err == ""
