"""API keys: their sources, their files, and what cannot be a key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.engines.command import Secret
from launcher.errors import ServeError
from launcher.run.secrets import resolve_key, write_private


def test_a_key_is_made_once(tmp_path: Path) -> None:
    secret = Secret("auto", tmp_path / "keys" / "key")
    key = resolve_key(secret)
    assert key.startswith("sk-serve-")
    assert len(key) == len("sk-serve-") + 43  # 32 bytes
    assert resolve_key(secret) == key
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "keys").iterdir()] == ["key"]


def test_of_many_first_uses_one_wins(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from launcher.run.secrets import resolve_key, Secret; "
    program += "print(resolve_key(Secret('auto', Path(sys.argv[1]))))"
    argv = [sys.executable, "-c", program, str(tmp_path / "key")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) for _ in range(6)]
    keys = {process.communicate()[0] for process in started}
    assert len(keys) == 1
    assert keys == {(tmp_path / "key").read_bytes()}


def test_a_key_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_API_KEY", "sk-from-the-variable")
    assert resolve_key(Secret("env")) == "sk-from-the-variable"
    (tmp_path / "key").write_text("sk-from-the-file\n")
    assert resolve_key(Secret("file", tmp_path / "key")) == "sk-from-the-file"


def test_a_key_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVE_API_KEY", raising=False)
    for secret in (Secret("env"), Secret("file", tmp_path / "none"), Secret("file", tmp_path)):
        with pytest.raises(ServeError) as caught:
            resolve_key(secret)
        assert caught.value.code == 2


@pytest.mark.parametrize(
    "key", ["short", "two words of it", "line\nbreak-in-it", "quote'in-the-key", "ünïcödé-key", "\x00" * 9]
)
def test_what_cannot_be_a_key_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key, encoding="utf-8")
    with pytest.raises(ServeError) as caught:
        resolve_key(Secret("file", tmp_path / "key"))
    assert key not in f"{caught.value.what}{caught.value.where.removeprefix(str(tmp_path))}{caught.value.fix}"


def test_a_private_file_replaces_or_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ServeError, match="cannot be written: Is a directory"):
        write_private(folder, "text")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
