"""The probe, run as an environment's Python runs it, on importable packages of the wheels' own sources."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from launcher.engines import probe
from tests.tools.test_build_catalog import flags
from tests.tools.wheels import ANNOTATED, VLLM, plain, wheel

NOISE = "import os; print('noise'); os.write(1, b'more noise')\n"


def run(folder: Path, sources: dict[str, str]) -> dict[str, Any]:
    """What the probe prints about an engine of those sources."""
    engine = next(iter(sources)).partition("/")[0]
    with zipfile.ZipFile(wheel(folder, "1.0+cpu", sources)) as archive:
        archive.extractall(folder / "packages")
    (folder / "packages" / "torch.py").write_text("class dtype: pass\n")
    (folder / "packages" / f"{engine}-1.0+cpu.dist-info" / "RECORD").write_text(f"{engine}/__init__.py,,\n")
    done = subprocess.run(
        [sys.executable, probe.__file__, engine],
        env={"PYTHONPATH": str(folder / "packages")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("sources", [ANNOTATED, VLLM], ids=["sglang", "vllm"])
def test_an_imported_engine_says_what_its_wheel_says(tmp_path: Path, sources: dict[str, str]) -> None:
    said = run(tmp_path, sources)
    assert said["unknown"] == []
    assert said["flags"] == flags(tmp_path, sources)
    assert (said["release"], said["distribution"]) == ("1.0", next(iter(sources)).partition("/")[0])


def test_what_an_engine_prints_is_not_in_the_way(tmp_path: Path) -> None:
    noisy = {name: NOISE + text for name, text in plain("parser.add_argument('--x', type=int)").items()}
    assert run(tmp_path, noisy)["flags"] == {"--x": {"type": "int"}}


def test_what_is_not_understood_is_recorded_as_text_and_told(tmp_path: Path) -> None:
    lines = (
        "import argparse",
        "class Shout(argparse.Action):",
        "    def __call__(self, parser, namespace, values, option_string=None): values.upper()",
        "def roman(word): return 4",
        "parser.add_argument('--year', type=roman, default='IV')",
        "parser.add_argument('--loud', action=Shout)",
        "parser.add_argument('--rest', nargs='...')",
        "parser.add_argument('--any', choices=[])",
        "parser.add_argument('--snake', type=lambda s: s.lower().replace('-', '_'))",
        "parser.add_argument('--odd', type=lambda word: word + '!')",
    )
    said = run(tmp_path, plain(*lines))
    assert said["flags"] == {
        "--year": {"default": "IV"},
        "--loud": {},
        "--rest": {"nargs": "*"},
        "--any": {},
        "--snake": {"type": "snake"},
        "--odd": {},
    }
    assert {text.partition(": ")[0] for text in said["unknown"]} == {"--year", "--loud", "--rest", "--any", "--odd"}
