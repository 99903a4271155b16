"""The fake nvidia-smi, put where a test wants it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "fake_nvidia_smi.py"


def install(folder: Path) -> Callable[..., None]:
    """Make ``folder/nvidia-smi``; what is returned says what it tells from then on (fake_nvidia_smi.py names it)."""
    state, program = folder / "gpus.json", folder / "nvidia-smi"
    words = shlex.join(["/usr/bin/env", f"FAKE_NVIDIA_SMI={state}", sys.executable, "-S", str(PROGRAM)])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)

    def tell(**told: Any) -> None:
        unfinished = folder / "gpus.json.part"
        unfinished.write_text(json.dumps({"gpus": [{}], **told}))
        unfinished.replace(state)

    tell()
    return tell
