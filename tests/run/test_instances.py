"""Names, locks and records: who holds a name, which record is believed, and in which state an instance is."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import ServeError
from launcher.run import instances
from launcher.run.instances import address, claim, every, find, look, refuse_taken, running
from launcher.run.record import FAILED, SERVING, STARTING, STATES, STOPPED, STOPPING, Record, boot, now_s, read, started
from tests.run.conftest import until

URL = "http://127.0.0.1:8000"


def record(name: str = "one", state: str = SERVING, **more: Any) -> Record:
    return Record(name, "run", boot(), state, base_url=URL, started_s=now_s() - 90, **more)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    return tmp_path / "state" / "instances"


def test_a_record_outlives_its_claim_and_the_state_does_not(home: Path) -> None:
    assert find("one") is None
    with claim("one") as held:
        held.record(record())
        found = find("one")
        assert found == look("one")
        assert found is not None
        assert found.record == record_as_read(record())
        assert (found.state, found.supervisor) == (SERVING, os.getpid())
        assert 90 <= (found.seconds or 0) < 1000
        assert running() == [found]
        assert address() == address("one") == (URL, None)
        assert (home / "one").stat().st_mode & 0o777 == 0o700
        assert (home / "one" / "record.json").stat().st_mode & 0o777 == 0o600
    assert find("one") is None
    assert running() == []
    (left,) = every()
    assert (left.state, left.detail, left.seconds) == (FAILED, "its supervisor was killed", None)


def record_as_read(written: Record) -> Record:
    return dataclasses.replace(written, started_s=pytest.approx(written.started_s, abs=1))  # type: ignore[arg-type]


@pytest.mark.parametrize("written", STATES)
def test_the_state_comes_from_who_lives(written: str) -> None:
    with claim("one") as held:
        held.record(record(state=written))
        assert look("one").state == (written if written in {STARTING, SERVING, STOPPING} else STOPPING)
    assert look("one").state == (STOPPED if written == STOPPED else FAILED)


@pytest.mark.parametrize("ended", [STOPPED, FAILED])
def test_an_end_that_no_record_tells_of_stands_in_the_lock(ended: str) -> None:
    with claim("one") as held:
        held.record(record())
        held.sign(SERVING)
        assert look("one").state == SERVING
        held.sign(ended)
        assert look("one").state == STOPPING
    assert (look("one").state, look("one").detail[:12]) == (ended, "how it ended")
    with claim("one"):  # and is refused
        assert look("one").supervisor == os.getpid()
    assert (look("one").state, look("one").detail[:12]) == (ended, "how it ended")


def test_of_a_run_that_was_refused_nothing_stays(home: Path) -> None:
    with claim("one") as held:
        held.begin("run-1")
    assert not (home / "one").exists()
    with claim("one") as held:
        held.record(record())
    with claim("one"):
        pass
    assert (home / "one" / "record.json").exists()


def test_a_record_of_another_boot_is_told_as_that() -> None:
    with claim("one") as held:
        held.record(dataclasses.replace(record(), boot="another"))
    assert look("one").detail == "the host was restarted"


def test_a_name_is_held_once_and_free_again() -> None:
    with claim("one") as held:
        held.record(record())
        with pytest.raises(ServeError, match="an instance named 'one' is running") as caught, claim("one"):
            pass
        assert caught.value.code == 2
        assert caught.value.where == f"{URL}, process {os.getpid()}"
        with pytest.raises(ServeError, match="an instance named 'one' is running"):
            refuse_taken("one")
        with claim("two"):
            pass
    refuse_taken("one")
    with claim("one"):
        pass


def contend(barrier: object, name: str, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    try:
        with claim(name):
            results.put(True)  # type: ignore[attr-defined]
            barrier.wait()  # type: ignore[attr-defined]
    except ServeError:
        results.put(False)  # type: ignore[attr-defined]
        barrier.wait()  # type: ignore[attr-defined]


def test_of_many_that_start_at_one_moment_exactly_one_wins() -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(6), context.Queue()
    contenders = [context.Process(target=contend, args=(barrier, "one", results)) for _ in range(6)]
    for each in contenders:
        each.start()
    for each in contenders:
        each.join(60)
    assert sorted(results.get(timeout=60) for _ in contenders) == [False] * 5 + [True]


def watch(name: str, end: object) -> None:
    while not end.is_set():  # type: ignore[attr-defined]
        look(name)


def test_whoever_looks_does_not_stand_in_the_way() -> None:
    with claim("one"):
        pass
    context = multiprocessing.get_context("spawn")
    end = context.Event()
    watchers = [context.Process(target=watch, args=("one", end)) for _ in range(3)]
    for each in watchers:
        each.start()
    try:
        for _ in range(50):
            with claim("one"):
                pass
    finally:
        end.set()
        for each in watchers:
            each.join(60)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"name": 1}',
        '{"name": "one", "started_s": "now"}',
        '{"name": "one", "request": []}',
        '{"name": "one", "argv": "x"}',
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_a_damaged_record_is_no_record_and_never_an_error(home: Path, text: str) -> None:
    with claim("one"):
        (home / "one" / "record.json").write_text(text)
        found = look("one")
        assert (found.record, found.supervisor, found.state) == (None, os.getpid(), STARTING)
        assert found.detail == "its record is missing or damaged"
    assert look("one").state == FAILED


def test_a_record_without_an_end_or_a_writer_is_none(home: Path) -> None:
    with claim("one"):
        place = home / "one" / "record.json"
        place.symlink_to("/dev/zero")
        assert look("one").record is None
        place.unlink()
        os.mkfifo(place)
        assert look("one").record is None


def test_a_record_of_another_version_of_serve_is_read(home: Path) -> None:
    with claim("one"):
        told = {"name": "one", "state": SERVING, "base_url": URL, "a_field_of_tomorrow": {"x": 1}}
        (home / "one" / "record.json").write_text(json.dumps(told))
        found = look("one").record
        assert found is not None
        assert (found.state, found.base_url, found.preset) == (SERVING, URL, None)


def test_a_lock_whose_words_are_damaged_still_tells_that_somebody_lives(home: Path) -> None:
    with claim("one") as held:
        held.record(record())
        for words in ("", "x y z", f"{os.getpid()} 1 {boot()}", f"{os.getpid()} {started(os.getpid())} another"):
            (home / "one" / "lock").write_text(words)
            assert (look("one").alive, look("one").supervisor) == (True, 0)


def test_a_claim_mends_what_others_did_to_its_lock(home: Path) -> None:
    with claim("one") as held:
        held.record(record())
        (home / "one" / "lock").write_text("rubbish")
        assert not held.renew()
        assert look("one").supervisor == os.getpid()
        (home / "one" / "lock").unlink()
        assert not look("one").alive
        assert held.renew()
        assert (look("one").supervisor, look("one").state) == (os.getpid(), SERVING)
    assert not look("one").alive


def test_removal_takes_all_of_it_and_only_when_it_does_not_run(home: Path) -> None:
    with claim("one") as held:
        held.record(record())
        with pytest.raises(ServeError, match="'one' is running"):
            instances.remove("one")
    (home / "one" / "engine.log.1").touch()
    instances.remove("one")
    assert not (home / "one").exists()
    with pytest.raises(ServeError, match="there is no instance named 'one'"):
        instances.remove("one")


def test_a_claim_holds_the_folder_that_others_see(home: Path) -> None:
    with claim("one") as held:
        held.record(record())
    instances.remove("one")
    assert not (home / "one").exists()
    with claim("one"):
        assert find("one") is not None
        assert (home / "one" / "lock").exists()


def test_an_address_is_named_or_the_only_one() -> None:
    with pytest.raises(ServeError, match="no instance is running"):
        address()
    with claim("one") as one, claim("two") as two:
        one.record(record())
        two.record(record("two", key_source="file", key_path="/nowhere/key"))
        with pytest.raises(ServeError, match="several instances are running: one, two"):
            address()
        assert address("one") == (URL, None)
        with pytest.raises(ServeError, match="the file of the API key is missing"):
            address("two")
        with pytest.raises(ServeError, match="no instance named 'three' is running") as caught:
            address("three")
        assert caught.value.fix == "running: one, two"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "x" * 64, "-x", "a b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ServeError, match="is no name for an instance"), claim(name):
        pass


def test_a_process_that_is_gone_has_not_started() -> None:
    assert started(os.getpid()) == started(os.getpid())
    assert started(2**22 + 1) is None


def test_the_holder_of_a_lock_that_is_killed_gives_it_back(home: Path) -> None:
    child = os.fork()
    if not child:
        with claim("one") as held:
            held.record(record())
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert until(lambda: not look("one").alive, "the lock")
    assert read(home / "one" / "record.json") is not None
    assert look("one").detail == "its supervisor was killed"
