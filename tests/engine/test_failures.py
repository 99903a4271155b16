"""Failures of the real CPU vLLM, made on the spot; every other one that is known is made by tools/break_engine.py."""

from __future__ import annotations

from pathlib import Path

import break_engine
import pytest

from launcher.host.environments import Environment
from launcher.run.failures.diagnose import diagnose

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("servers")]

FAILURES = {failure.name: failure for failure in break_engine.FAILURES}


@pytest.mark.parametrize(
    ("name", "cause", "changes"),
    [
        ("bad-value", "bad-value", {}),
        ("truncated-weights", "damaged-weights", {}),
        ("no-kv-room", "no-kv-room", {"context_length"}),
        ("killed-core-serving", "process-died", {}),
    ],
)
def test_the_cause_of_a_real_failure_is_found(
    name: str, cause: str, changes: set[str], home: Path, vllm: Environment
) -> None:
    status, engine = break_engine.perform(FAILURES[name], vllm.python, home / "broken")
    lines = engine.log.read_text(errors="replace").splitlines()
    found = diagnose("vllm", vllm.release.version, status, lines, serving=engine.served)
    assert (found.cause, set(found.changes)) == (cause, set(changes)), lines[-20:]
    assert found.line
