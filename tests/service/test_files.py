"""What a deployment becomes on the disk of a host with services."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from launcher.config.request import Request
from launcher.errors import ServeError
from launcher.plan import resolved
from launcher.service import scope
from launcher.service.document import document
from launcher.service.dropin import dropin, loaded_key, word

HOST = scope.of(user=False)
REQUESTS = [
    Request(preset="balanced", options={"model": "demo"}),
    Request(preset="fp8_hopper", options={"engine": "sglang@0.5.23", "port": "9000", "host": "::1"}),
    Request(preset="ultra_low_memory", options={"weights": "fp8,int8", "cuda_graphs": "off", "context_length": "32k"}),
    Request(options={"model": "demo"}, assignments=("env.A_B=1 2", "env.EMPTY=", "args.vllm.seed=3")),
    Request(options={"engine": "vllm@0.33.0"}, words=("Qwen/Qwen3-8B", "--override-generation-config", '{"top_k": 1}')),
    Request(preset="eagle3", options={"engine": "vllm@0.33.0", "served_name": "off"}),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_read_again_it_is_the_same_command(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    command, deployment = resolved(Request(**{**vars(request_), "name": "one"}))
    file = tmp_path / "one.yaml"
    file.write_text(document(command, deployment, None, tmp_path / "one.env"))
    again, _ = resolved(Request(configs=(file,), name="one"))
    assert (again.argv, again.environment, again.base_url) == (command.argv, command.environment, command.base_url)
    assert (again.hang_timeout_s, again.restart) == (command.hang_timeout_s, command.restart)


def test_a_preset_that_changes_later_changes_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    preset = tmp_path / "mine.yaml"
    preset.write_text("extends: balanced\nmodel: demo\nmax_concurrency: 7\n")
    command, deployment = resolved(Request(preset=str(preset), name="one"))
    text = document(command, deployment, Path("/run/key"), tmp_path / "one.env")
    assert "max_concurrency: 7" in text
    assert "extends" not in text
    assert "api_key: file:/run/key" in text


def test_a_secret_of_the_environment_is_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    config = tmp_path / "mine.yaml"
    config.write_text("model: demo\nenv:\n  HF_TOKEN: hf_secret\n")
    command, deployment = resolved(Request(configs=(config,), name="one"))
    with pytest.raises(ServeError, match="HF_TOKEN is a secret") as refused:
        document(command, deployment, None, tmp_path / "one.env")
    assert "one.env" in refused.value.fix
    assert "hf_secret" not in str(refused.value)


def test_the_drop_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    options = {"model": "demo", "hang_timeout": "40"}
    command, _ = resolved(Request(options=options, name="one"))
    key = Path("/etc/serve/a b%c.key")
    text = dropin(command, HOST, key, 1)
    lines = text.splitlines()
    assert lines[2] == "ExecStart="
    assert lines[3].endswith(" -m launcher launch --config /etc/serve/one.yaml --name one")
    assert "WatchdogSec=40" in lines
    assert "LoadCredential=api_key:/etc/serve/a b%%c.key" in lines
    assert lines[-3:] == ["NUMAPolicy=preferred", "NUMAMask=1", "CPUAffinity=numa"]
    assert loaded_key(text) == key
    user = dropin(command, scope.of(user=True), None, None)
    assert "BindReadOnlyPaths" not in user
    assert "LoadCredential" not in user


@pytest.mark.parametrize("text", ["plain", "a b", "50%", '"', "'", "$HOME", "\\", "\t", "é", "a;b", "\x07", "--x=y"])
def test_a_word_is_one_word_for_systemd(text: str, tmp_path: Path) -> None:
    """What systemd itself makes of it is asked in tests/systemd; here, that its judge reads the unit."""
    unit = tmp_path / "one.service"
    unit.write_text(f"[Service]\nExecStart=/bin/echo {word(text)}\n")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_are_those_with_a_drop_in(tmp_path: Path) -> None:
    found = scope.Scope(user=True, configuration=tmp_path / "serve", units=tmp_path / "units")
    assert found.names() == []
    for name in ("b", "a"):
        found.dropin(name).parent.mkdir(parents=True)
        found.dropin(name).touch()
    (tmp_path / "units" / "serve@own.service.d").mkdir()  # of the user's own making
    assert found.names() == ["a", "b"]
