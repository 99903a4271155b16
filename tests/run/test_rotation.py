"""The log on disk: bounded, private, whole lines, and nothing that stops a server."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from launcher.errors import ServeError
from launcher.run.output import logfile
from launcher.run.output.logtimes import EVERY_S, MOST
from launcher.run.output.rotation import FILE_BYTES, FILES, RotatingFile, numbered
from tests.run.conftest import until

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


def stored(path: Path) -> list[bytes]:
    """The files, oldest first."""
    files = [numbered(path, number) for number in reversed(range(FILES))]
    return [file.read_bytes() for file in files if file.exists()]


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(b"%099d\n" % number for number in range(first, first + count))


def test_the_total_is_bounded_and_what_is_kept_is_the_end_in_whole_lines(path: Path) -> None:
    said: list[str] = []
    log, data = RotatingFile(path, said.append), lines(1_000_000)
    for start in range(0, len(data), 123_457):
        log.write(data[start : start + 123_457])
    log.close()
    files = stored(path)
    assert len(files) == FILES
    assert b"".join(files) == data[-sum(map(len, files)) :]
    assert all(FILE_BYTES - 100 < len(file) <= FILE_BYTES for file in files[:-1])
    assert all(file.endswith(b"\n") for file in files)
    names = sorted(each.name for each in path.parent.iterdir())
    logs = ["engine.log", *(f"engine.log.{number}" for number in range(1, FILES))]
    assert names == sorted([*logs, *(f"{name}.times" for name in logs)])
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert (log.written_bytes, log.lost_bytes, said) == (len(data), 0, [])


def test_a_line_longer_than_a_file_is_cut_between_files(path: Path) -> None:
    log = RotatingFile(path, print)
    data = b"before\n" + b"x" * (FILE_BYTES + 5 * MIB) + b"\nafter\n"
    for start in range(0, len(data), MIB):
        log.write(data[start : start + MIB])
    assert b"".join(stored(path)) == data
    assert max(map(len, stored(path))) <= FILE_BYTES


def test_each_run_begins_a_file_and_the_runs_before_keep_theirs(path: Path) -> None:
    for number in range(6):
        log = RotatingFile(path, print)
        log.write(b"run %d\n" % number)
        log.close()
        log.write(b"too late\n")
    assert stored(path) == [b"run 2\n", b"run 3\n", b"run 4\n", b"run 5\n"]


def test_a_link_in_the_place_of_the_log_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    for name in ("engine.log", "engine.log.new", "engine.log.times", "engine.log.1"):
        (tmp_path / name).symlink_to(target)
    RotatingFile(path, print).write(b"one\n")
    assert target.read_text() == "untouched"
    assert path.read_bytes() == b"one\n"
    assert not path.is_symlink()
    assert not (tmp_path / "engine.log.times").is_symlink()


def test_a_log_that_cannot_be_begun_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServeError, match="cannot be written: Not a directory") as caught:
        RotatingFile(tmp_path / "file" / "engine.log", print)
    assert (caught.value.where, caught.value.code) == (str(tmp_path / "file" / "engine.log"), 1)


def test_a_file_that_is_removed_is_made_again(path: Path) -> None:
    RotatingFile(path, print).write(b"of an earlier run\n")
    log = RotatingFile(path, print)
    log.write(b"one\n")
    path.unlink()
    log.write(b"two\n")
    assert stored(path)[-1] == b"two\n"
    assert [*logfile.lines(path)] == ["two"]  # and not the earlier run's, as if it were this one
    log.close()


def test_what_keeps_a_log_from_rotating_stops_nothing_and_keeps_the_bound(path: Path) -> None:
    said: list[str] = []
    log = RotatingFile(path, said.append)
    obstacle = path.with_name("engine.log.new")
    obstacle.mkdir()
    written = 0
    for _ in range(20):
        log.write(lines(10_000))
        written += 1_000_000
    assert sum(map(len, stored(path))) <= FILE_BYTES
    assert log.lost_bytes > 2_000_000
    assert [text for text in said if "cannot be written" in text] == [
        f"{path} cannot be written: Is a directory; the engine runs on"
    ]
    obstacle.rmdir()
    before = log.lost_bytes

    def writes_again() -> bool:
        nonlocal written
        log.write(lines(1))
        written += 100
        return log.lost_bytes == 0

    until(writes_again, "writing")
    assert before == int(said[-1].split("; ")[1].split()[0].replace(",", "")) - (written - 20_000_000 - 100)
    kept = b"".join(stored(path)).split(b"serve: ")
    assert kept[1].endswith(b" bytes of output are missing here: Is a directory\n" + lines(1))
    assert len(stored(path)) == 2


def test_a_folder_that_is_gone_stops_nothing(path: Path) -> None:
    log = RotatingFile(path, lambda _: None)
    for each in path.parent.iterdir():
        each.unlink()
    path.parent.rmdir()
    for _ in range(20):
        log.write(lines(10_000))
    assert log.lost_bytes > 0
    log.close()


def test_a_mark_begins_a_line_of_its_own(path: Path) -> None:
    log = RotatingFile(path, print)
    log.mark(b"one\n")
    log.write(b"a line without an end")
    log.mark(b"two\n")
    assert path.read_bytes() == b"one\na line without an end\ntwo\n"


def test_what_is_written_after_the_close_goes_nowhere(path: Path) -> None:
    log = RotatingFile(path, print)
    log.close()
    log.close()
    with path.with_name("other").open("w") as other:  # it gets the number that the log had
        log.write(b"one\n")
        log.mark(b"two\n")
        assert other.tell() == 0
    assert path.with_name("other").read_bytes() == path.read_bytes() == b""
    assert log.lost_bytes == 8


def test_the_times_say_when_the_bytes_were_written_every_ten_seconds_and_when_the_clock_is_set(path: Path) -> None:
    moments = iter([1000.9, 1005, 1010.8, 1011, 1100, 500, 505, 9000])
    log = RotatingFile(path, print, lambda: next(moments))
    for number in range(8):
        log.write(b"line %d\n" % number)
    beside = path.with_name("engine.log.times").read_text().splitlines()
    assert beside == [f"{path.stat().st_ino} 1", "1000 0", "1011 21", "1100 28", "500 35", "9000 49"]


def test_a_trickle_of_output_goes_on_in_another_file_before_its_times_grow_large(path: Path) -> None:
    moments = count(0, EVERY_S)
    log = RotatingFile(path, print, lambda: next(moments))
    for number in range(MOST + 5):
        log.write(b"%d\n" % number)
    assert path.read_bytes() == b"".join(b"%d\n" % number for number in range(MOST, MOST + 5))
    assert path.with_name("engine.log.1.times").stat().st_size < 1.5e6
