"""A run while serve itself is replaced: everything that a supervisor needs is in its memory."""

from __future__ import annotations

import json
import os
import shutil
import signal

from tests.run.conftest import TESTS, Host, until


def test_a_run_goes_on_when_the_program_is_gone(host: Host) -> None:
    program = host.folder / "installed"
    shutil.copytree(TESTS.parent / "launcher", program / "launcher", ignore=shutil.ignore_patterns("__pycache__"))
    server = host.launch({"PYTHONPATH": str(program)}, restart="on-failure").ready()
    shutil.rmtree(program)

    def serves() -> int:
        record = json.loads(host.record().read_text())
        return int(record["engine_pid"]) if record["state"] == "serving" else 0

    first = until(serves, "its record")
    os.kill(first, signal.SIGKILL)
    until(lambda: serves() not in {0, first}, "a second engine")
    os.kill(serves(), signal.SIGTERM)  # another failure, of another kind
    until(lambda: server.err.count("started again in ") == 2, "another restart")
    server.signal(signal.SIGTERM)
    assert server.ends() == 143
