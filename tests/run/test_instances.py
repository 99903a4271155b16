"""Names and records: who holds a name, and which record is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from launcher.errors import ServeError
from launcher.run import instances
from launcher.run.instances import Instance, address, claim, find, refuse_taken, running, started


def instance(name: str = "one", start: int | None = None, **more: str) -> Instance:
    own = started(os.getpid())
    assert own is not None
    return Instance(
        name, os.getpid(), start or own, 1, "http://127.0.0.1:8000", "m", "models/m", "vllm@0.33.0", "log", **more
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    return tmp_path / "state" / "instances"


def test_a_record_lasts_as_long_as_its_claim(home: Path) -> None:
    assert find("one") is None
    with claim("one") as held:
        assert find("one") is None
        held.record(instance())
        assert find("one") == instance()
        assert running() == [instance()]
        assert address() == address("one") == ("http://127.0.0.1:8000", None)
        assert (home / "one").stat().st_mode & 0o777 == 0o700
        assert (home / "one" / "record.json").stat().st_mode & 0o777 == 0o600
    assert find("one") is None
    assert running() == []


def test_a_name_is_held_once_and_free_again() -> None:
    with claim("one") as held:
        held.record(instance())
        with pytest.raises(ServeError, match="an instance named 'one' is running") as caught, claim("one"):
            pass
        assert caught.value.code == 2
        assert caught.value.where == f"http://127.0.0.1:8000, process {os.getpid()}"
        assert find("one") is not None
        with pytest.raises(ServeError, match="an instance named 'one' is running"):
            refuse_taken("one")
        with claim("two"):
            pass
    refuse_taken("one")
    with claim("one"):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"name": "one"}',
        json.dumps({"name": "one", "supervisor_pid": "x", "surprise": 1}),
        json.dumps({**vars(instance()), "supervisor_start": 1}),  # the pid is another process's by now
        json.dumps({**vars(instance()), "supervisor_pid": 2**22 + 1}),
    ],
)
def test_a_damaged_or_stale_record_is_not_believed(home: Path, text: str) -> None:
    (home / "one").mkdir(parents=True)
    (home / "one" / "record.json").write_text(text)
    assert find("one") is None
    assert running() == []
    with claim("one"):
        assert not (home / "one" / "record.json").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 64, "a b", "a\n"])
def test_a_name_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(ServeError, match="is no name for an instance"), claim(name):
        pass
    with pytest.raises(ServeError, match="is no name for an instance"):
        refuse_taken(name)


def test_an_address_needs_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServeError, match="no instance is running"):
        address()
    with claim("one") as one, claim("two") as two:
        one.record(instance())
        two.record(instance("two", key_source="env"))
        with pytest.raises(ServeError, match="several instances are running: one, two"):
            address()
        with pytest.raises(ServeError, match="no instance named 'three' is running") as caught:
            address("three")
        assert caught.value.fix == "running: one, two"
        monkeypatch.setenv("SERVE_API_KEY", "sk-known-to-the-test")
        assert address("two") == ("http://127.0.0.1:8000", "sk-known-to-the-test")


def test_the_key_file_of_a_record_is_not_made_anew(tmp_path: Path) -> None:
    with claim("one") as held:
        held.record(instance(key_source="auto", key_path=str(tmp_path / "gone")))
        with pytest.raises(ServeError, match="the file of the API key is missing"):
            address("one")
    assert not (tmp_path / "gone").exists()


def test_a_process_that_is_gone_has_no_start() -> None:
    assert instances.started(2**22 + 1) is None
