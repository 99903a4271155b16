"""What `serve launch` does with a command, for a command that runs the fake engine.

supervisor.py '{"port": 8000, "name": "fake", "secret": {...}, ...}'
"""

# ruff: noqa: T201 - a program that prints
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from launcher.cli.progress import observer
from launcher.engines.command import Argument, Command, Secret
from launcher.engines.release import Release
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError
from launcher.run.relay import Relay
from launcher.run.supervise import Launch, launch

FAKE_ENGINE = Path(__file__).parent.parent / "fake_engine.py"


def command(options: dict[str, Any]) -> Command:
    secret = dict(options.get("secret") or {})
    secret_file = secret.pop("file", None)
    if "path" in secret:
        secret["path"] = Path(secret["path"])
    words = ["--port", str(options["port"]), "--model", "fake", "--max-model-len", "8192"]
    words += ["--config", secret_file] if secret_file else []
    release = Release(options.get("engine", "vllm"), "0.32.0")
    return Command(
        name=options.get("name", "fake"),
        target=Target(release, "cpu", sys.executable, release.engine),
        checkpoint=Checkpoint("models/fake", "fake", demo=True),
        program=(options.get("python", sys.executable), str(FAKE_ENGINE)),
        arguments=(Argument(tuple(words)),),
        environment=options.get("environment", {}),
        secret=Secret(**secret) if secret else None,
        secret_file=Path(secret_file) if secret_file else None,
        host="127.0.0.1",
        port=options["port"],
        served_name="fake",
        wait_timeout_s=options.get("wait_timeout_s", 60),
        stall_timeout_s=options.get("stall_timeout_s", 600),
        hang_timeout_s=options.get("hang_timeout_s", 120),
        restart=options.get("restart", "never"),
    )


def main() -> int:
    options = json.loads(sys.argv[1])
    try:
        relay = Relay(observer(json=options.get("json", False)))
        try:
            return launch(Launch(command(options)), relay)
        finally:
            relay.close(10)
    except ServeError as error:
        print(f"error: {error.what}\nwhere: {error.where}\nfix: {error.fix}", file=sys.stderr)
        return error.code


if __name__ == "__main__":
    sys.exit(main())
