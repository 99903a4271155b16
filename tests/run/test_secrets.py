"""API keys: their sources, their files, and what cannot be a key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import settings
from launcher.engines.command import Secret
from launcher.errors import ServeError
from launcher.run.secrets import cautions, may_be_key, new_key, resolve_key, sweep, write_private

KEY = "sk-from-the-file"


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.usefixtures("umask")
def test_an_empty_variable_is_no_key_and_no_wish_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_API_KEY", "")
    with pytest.raises(ServeError, match="there is no API key: the variable is empty"):
        resolve_key(Secret("env"))


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys" / "key"
    key = resolve_key(Secret("auto", path))
    assert key.startswith("sk-serve-")
    assert len(key) == len("sk-serve-") + 43  # 32 bytes
    assert may_be_key(key)
    assert resolve_key(Secret("auto", path)) == key
    assert [mode(each) for each in (path, *path.parents[:2])] == [0o600, 0o700, 0o700]
    assert names(path.parent) == ["key"]


def test_of_many_first_uses_one_wins(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from launcher.run.secrets import resolve_key, Secret; "
    program += "print(resolve_key(Secret('auto', Path(sys.argv[1]))))"
    argv = [sys.executable, "-c", program, str(tmp_path / "key")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    started = [subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) for _ in range(6)]
    keys = {process.communicate()[0] for process in started}
    assert len(keys) == 1
    assert keys == {(tmp_path / "key").read_bytes()}


def test_a_new_key_takes_the_place_of_another_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert new_key(path, replace=False) is False
    first = path.read_text()
    path.chmod(0o644)
    with pytest.raises(ServeError, match="there is a key already") as caught:
        new_key(path, replace=False)
    assert (path.read_text(), caught.value.code) == (first, 2)
    assert new_key(path, replace=True) is True
    assert path.read_text() != first
    assert mode(path) == 0o600
    assert names(tmp_path) == ["key"]


def test_a_key_in_the_place_of_a_link_leaves_what_the_link_names(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("not to be touched\n")
    (tmp_path / "key").symlink_to(tmp_path / "theirs")
    new_key(tmp_path / "key", replace=True)
    assert (tmp_path / "theirs").read_text() == "not to be touched\n"
    assert not (tmp_path / "key").is_symlink()


def test_a_key_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_API_KEY", "sk-from-the-variable")
    assert resolve_key(Secret("env")) == "sk-from-the-variable"
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert resolve_key(Secret("file", tmp_path / "key")) == KEY


@pytest.mark.parametrize(
    "text", [f"{KEY}\r\n", f"\ufeff{KEY}", f"\n\n {KEY}\t\r\n\r\n", "a" * 4096, "sk-A.b_c~d+e/f-9=="], ids=repr
)
def test_what_editors_leave_around_a_key_is_no_part_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_bytes(text.encode())
    assert resolve_key(Secret("file", tmp_path / "key")) == text.strip("\ufeff\r\n\t ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "holds no API key"),
        (b" \r\n", "holds no API key"),
        (b"short", "cannot be one"),
        (b"first-word second-word", "cannot be one"),
        (b"a-line-of-it\nanother-line", "cannot be one"),
        (b"quote'in-the-key", "cannot be one"),
        ("ünïcödé-key".encode(), "cannot be one"),
        (b"\x00" * 9, "cannot be one"),
        (b"key-in-utf-16".decode().encode("utf-16"), "is not text"),
        (b"\xff-not-unicode", "is not text"),
        (b"a" * 4097, "cannot be one"),
        (b"a" * (1 << 20), "cannot be one"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_what_cannot_be_a_key_is_refused_and_not_shown(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ServeError, match=what) as caught:
        resolve_key(Secret("file", tmp_path / "key"))
    assert caught.value.where == str(tmp_path / "key")
    assert "8 to 4096 of the characters" in caught.value.fix
    told = f"{caught.value.what}{caught.value.fix}"
    assert not [part for part in content.decode("utf-8", "replace").split() if part in told.split()]


def test_a_key_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVE_API_KEY", raising=False)
    for secret in (Secret("env"), Secret("file", tmp_path / "none"), Secret("file", tmp_path)):
        with pytest.raises(ServeError) as caught:
            resolve_key(secret)
        assert caught.value.code == 2


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/dev/null"])
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    with pytest.raises(ServeError, match="is a pipe or a device") as caught:
        resolve_key(Secret("file", path))
    assert "SERVE_API_KEY" in caught.value.fix


def test_a_private_file_replaces_or_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert mode(path) == 0o600
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ServeError, match="cannot be written: Is a directory"):
        write_private(folder, "text")
    assert names(tmp_path) == ["file", "folder"]


@pytest.mark.usefixtures("umask")
def test_every_folder_that_is_made_is_private_and_ours_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    others.chmod(0o755)
    home = others / "home"
    monkeypatch.setenv("SERVE_HOME", str(home))
    assert settings.private_folder(settings.key_file("one").parent) == home / "state" / "keys"
    assert [mode(each) for each in (home, home / "state", home / "state" / "keys")] == [0o700] * 3
    for each in (home, home / "state", home / "state" / "keys"):
        each.chmod(0o755)
    write_private(settings.secret_file("one"), "text")
    ours = [home / "state", home / "state" / "instances", home / "state" / "instances" / "one"]
    assert [mode(each) for each in ours] == [0o700] * 3
    assert mode(home / "state" / "keys") == 0o755  # until it is used
    resolve_key(Secret("auto", settings.key_file("one")))
    assert mode(home / "state" / "keys") == 0o700
    assert [mode(each) for each in (others, home)] == [0o755, 0o755]  # not of the state folder: left as they are


def test_a_file_that_others_can_read_is_told_of_and_still_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert cautions(Secret("auto", path)) == cautions(Secret("env")) == cautions(None) == []
    path.write_text(KEY)
    path.chmod(0o600)
    assert cautions(Secret("file", path)) == []
    path.chmod(0o444)
    (tmp_path / "link").symlink_to(path)
    assert cautions(Secret("file", path)) == [f"other users can read the API key: chmod 600 {path}"]
    assert cautions(Secret("file", tmp_path / "link")) == [
        f"other users can read the API key: chmod 600 {tmp_path / 'link'}"
    ]
    assert resolve_key(Secret("file", path)) == KEY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_key_or_a_folder_of_another_user_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    path = settings.key_file("one")
    resolve_key(Secret("auto", path))
    os.chown(path, 65534, 65534)
    os.chown(path.parent, 65534, 65534)
    path.parent.chmod(0o750)
    settings.private_folder(path.parent)
    assert cautions(Secret("auto", path)) == [
        f"{path} belongs to user 65534, who can read and change the API key",
        f"other users can enter the folder of the API key: chmod 700 {path.parent}",
    ]


def test_what_a_killed_run_left_of_its_key_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    file = settings.secret_file("one")
    write_private(file, KEY)
    (file.parent / ".engine.yaml.half-written").write_text(KEY)
    (file.parent / "engine.log").touch()
    sweep("one")
    assert names(file.parent) == ["engine.log"]
    sweep("one")
    sweep("never-started")
