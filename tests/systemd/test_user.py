"""Services of one user, on a systemd of that user's own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.systemd.conftest import HOME, Host, free_port

RUNTIME, OWN = "/run/user/0", "/var/lib/user"
Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def user(host: Host) -> Program:
    """Runs commands as a user with a manager of their own, whose home is empty but for an engine."""
    variables = {"XDG_RUNTIME_DIR": RUNTIME, "HOME": OWN, "SERVE_HOME": f"{OWN}/serve"}
    host.run("mkdir", "--parents", "--mode=700", RUNTIME, f"{OWN}/serve/data")
    host.run("cp", "--recursive", "--no-dereference", f"{HOME}/data/engines", f"{OWN}/serve/data/engines")
    given = [f"--setenv={name}={text}" for name, text in variables.items()]
    host.run("systemd-run", "--unit=manager", "--property=Delegate=yes", *given, "/lib/systemd/systemd", "--user")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return host.run(*words, **variables)

    for _ in range(100):
        if run("systemctl", "--user", "is-system-running").stdout.strip() in {"running", "degraded"}:
            return run
        time.sleep(0.1)
    raise AssertionError(host.run("journalctl", "--unit=manager").stdout)


def test_a_user_has_services_without_root(user: Program) -> None:
    port = str(free_port())
    program = (sys.executable, "-m", "launcher", "service")
    words = ("demo", "--engine", "vllm@0.32.0", "--port", port, "--api-key", "auto")
    done = user(*program, "install", "one", "--user", *words)
    assert done.returncode == 0, done.stderr
    assert f"one serves demo at http://127.0.0.1:{port}; the API key: {OWN}/.config/serve/one.key" in done.stdout
    assert user("stat", "--format=%a", f"{OWN}/.config/serve/one.key").stdout == "600\n"
    assert user("systemctl", "--user", "is-active", "serve@one").stdout == "active\n"
    assert "one" in user(*program, "list", "--user").stdout
    again = user(*program, "install", "one", "--user", *words)
    assert again.stdout.startswith("nothing to change\n")
    assert user(*program, "restart", "one", "--user").returncode == 0
    assert "sudo loginctl enable-linger" in done.stdout
    gone = user(*program, "uninstall", "one", "--user")
    assert gone.returncode == 0, gone.stderr
    assert user("find", f"{OWN}/.config", "-name", "*serve*").stdout == ""
