"""A log read back: what is shown of it, how little it takes, and what damage does."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from launcher.errors import ServeError
from launcher.run.output.logfile import follow, lines
from launcher.run.output.rotation import FILE_BYTES, FILES, RotatingFile, numbered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


def written(path: Path, *chunks: bytes) -> RotatingFile:
    """A run that has written the chunks."""
    log = RotatingFile(path, print)
    for chunk in chunks:
        log.write(chunk)
    return log


def rows(count: int, first: int = 0) -> bytes:
    return b"".join(b"%099d\n" % number for number in range(first, first + count))


def numbers(shown: list[str]) -> list[int]:
    return [int(line) for line in shown]


def dated(path: Path, number: int, rows: list[tuple[int, bytes]], *, begins: int = 0) -> None:
    """A file of a log, and the times beside it."""
    file = numbered(path, number)
    file.write_bytes(b"".join(data for _, data in rows))
    offset, times = 0, [f"{file.stat().st_ino} {begins}"]
    for written_s, data in rows:
        times.append(f"{written_s} {offset}")
        offset += len(data)
    file.with_name(file.name + ".times").write_text("\n".join(times) + "\n")


def test_the_last_run_is_shown_whole_over_its_files(path: Path) -> None:
    written(path, b"of the run before, killed within a line")
    written(path, *(rows(10_000, first) for first in range(0, 400_000, 10_000)))
    shown = [*lines(path)]
    assert len([file for file in path.parent.iterdir() if not file.name.endswith(".times")]) == 4
    assert numbers(shown) == list(range(400_000))


def test_when_the_beginning_of_a_run_is_rotated_away_the_rest_is_shown(path: Path) -> None:
    written(path, *(rows(10_000, first) for first in range(0, 900_000, 10_000)))
    shown = numbers([*lines(path)])
    assert shown == list(range(shown[0], 900_000))
    assert shown[0] > 0


def test_it_is_clean_and_short(path: Path) -> None:
    written(path, b"\x1b[31mred\x1b[0m \x07\n\n\xff\n" + b"x" * 100_000 + b"\rbar: 1%|\rbar: 2%|\rbar: 3%|\nthe end")
    assert [*lines(path)] == ["red", "\ufffd", "x" * 16384 + " ...", "bar: 3%|", "the end"]


@pytest.mark.parametrize("tail", [0, 1, 2, 700, 5000, 99_999, 100_000, 100_001, 10**9])
def test_the_last_lines_are_the_last_lines(path: Path, tail: int) -> None:
    written(path, b"of another run\n" * 1000)
    written(path, *(rows(10_000, first) for first in range(0, 100_000, 10_000)))
    assert numbers([*lines(path, tail=tail)]) == list(range(100_000))[max(0, 100_000 - tail) :]


def test_blank_lines_bars_and_a_line_without_an_end_count_as_they_are_shown(path: Path) -> None:
    bars = b"".join(b"\rbar: %d%%|" % percent for percent in range(100))
    written(path, b"one\n\n\n\x1b[0m\ntwo" + bars + b"\n\nthree")
    assert [*lines(path, tail=3)] == ["two", "bar: 99%|", "three"]
    assert [*lines(path, tail=9)] == ["one", "two", "bar: 99%|", "three"]


def test_the_end_of_a_huge_log_takes_little_memory_and_so_does_all_of_it(path: Path) -> None:
    written(path, *[b"x" * (1 << 20)] * 10, b"\n", *(rows(10_000) for _ in range(20)))
    tracemalloc.start()
    try:
        assert len([*lines(path, tail=10)]) == 10
        assert sum(1 for _ in lines(path)) == 200_001
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def test_since_a_time_shows_what_came_then_or_at_most_ten_seconds_before(path: Path) -> None:
    dated(path, 2, [(1000, b"a\n"), (1020, b"b\n")], begins=1)
    dated(path, 1, [(1100, b"c\n"), (1200, b"d\n")])
    dated(path, 0, [(1300, b"e\n"), (1400, b"f\n")], begins=1)
    assert [*lines(path)] == ["e", "f"]
    assert [*lines(path, since_s=0)] == list("abcdef")
    assert [*lines(path, since_s=1010)] == list("abcdef")
    assert [*lines(path, since_s=1011)] == list("bcdef")
    assert [*lines(path, since_s=1111)] == list("def")
    assert [*lines(path, since_s=1250)] == list("ef")
    assert [*lines(path, since_s=1405)] == ["f"]
    assert [*lines(path, since_s=1411)] == []
    assert [*lines(path, since_s=1e300)] == []
    assert [*lines(path, tail=1, since_s=1011)] == ["f"]
    assert [*lines(path, tail=9, since_s=1111)] == list("def")


@pytest.mark.parametrize(
    ("times", "since_s", "shown"),
    [
        ([5000, 5100, 1500, 1600], 1550, "d"),  # set back: what was written last counts
        ([5000, 5100, 1500, 1600], 1400, "abcd"),
        ([100, 200, 1500, 1600], 1400, "cd"),  # set right, forwards
        ([1000, 9000, 1500, 1600], 1450, "bcd"),  # wrong for a while
        ([1000, 9000, 1500, 1600], 1550, "d"),
    ],
)
def test_a_clock_that_jumps_costs_no_lines(path: Path, times: list[int], since_s: float, shown: str) -> None:
    dated(path, 0, list(zip(times, (b"a\n", b"b\n", b"c\n", b"d\n"), strict=True)), begins=1)
    assert [*lines(path, since_s=since_s)] == list(shown)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\0" * 5000,
        b"x" * 100_000,
        b"-1 -1\n",
        b"999999 1\n1000 0\n",
        b"%d 1\n1000\n\n1000 two\n1000 2 3\n",
        b"%d 1\n1000 99999999\n",
        b"%d 1\n" + b"9" * 5000 + b" 0\n",
    ],
    ids=range(8),
)
def test_damaged_times_show_more_and_break_nothing(path: Path, damage: bytes) -> None:
    dated(path, 0, [(1000, b"a\n")], begins=1)
    path.with_name("engine.log.times").write_bytes(damage.replace(b"%d", b"%d" % path.stat().st_ino))
    assert [*lines(path)] == ["a"]
    assert [*lines(path, since_s=900)] == ["a"]


def test_the_times_of_another_file_say_nothing(path: Path) -> None:
    dated(path, 0, [(1000, b"a\n")], begins=1)
    path.with_name("engine.log.times").write_bytes(b"%d 1\n1000 0\n" % (path.stat().st_ino + 1))
    numbered(path, 1).write_bytes(b"before\n")
    assert [*lines(path)] == [*lines(path, since_s=2000)] == ["before", "a"]


def test_without_times_all_files_are_shown(path: Path) -> None:
    for number in range(FILES):
        numbered(path, number).write_bytes(b"file %d\n" % number)
    assert [*lines(path)] == [*lines(path, since_s=1e12)] == ["file 3", "file 2", "file 1", "file 0"]


def test_no_log_is_no_lines(path: Path) -> None:
    assert [*lines(path)] == [*lines(path, tail=5, since_s=5)] == [*follow(path, lambda: True)] == []
    assert [*lines(path.parent / "nowhere" / "engine.log")] == []


def test_what_is_no_file_is_an_error_and_further_back_it_is_left_out(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"one\n")
    numbered(path, 1).mkdir()
    numbered(path, 2).symlink_to("/etc/passwd")
    os.mkfifo(numbered(path, 3))
    os.mkfifo(tmp_path / "engine.log.times")
    assert [*lines(path)] == [*lines(path, since_s=5)] == ["one"]
    others: list[Callable[[], object]] = [partial(path.symlink_to, "/etc/passwd"), partial(os.mkfifo, path), path.mkdir]
    for make in others:
        path.unlink()
        make()
        with pytest.raises(ServeError, match="cannot be read: ") as caught:
            [*lines(path)]
        assert (caught.value.where, caught.value.code) == (str(path), 1)


def test_a_gap_in_the_numbers_hides_nothing(path: Path) -> None:
    dated(path, 0, [(1000, b"c\n")])
    dated(path, 2, [(900, b"b\n")])
    dated(path, 3, [(800, b"a\n")], begins=1)
    assert [*lines(path)] == ["a", "b", "c"]


class Steps:
    """The life of a writer: each time somebody looks whether it has ended, it has taken one more step."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)

    def __call__(self) -> bool:
        if self.steps:
            self.steps.pop(0)()
            return False
        return True


def test_following_goes_from_file_to_file_and_ends_with_the_writer(path: Path) -> None:
    log = written(path, rows(10))
    log_of_next_run: list[RotatingFile] = []
    steps = Steps(
        lambda: None,
        *(lambda first=first: log.write(rows(100_000, first)) for first in range(10, 500_010, 100_000)),
        lambda: log.write(b"%099d" % 500_010),  # a line in two pieces
        lambda: log.write(b"\n" + rows(1, 500_011)[:-1]),  # and one without an end
        lambda: log_of_next_run.append(written(path, rows(5, 500_012))),
        lambda: log_of_next_run[0].write(rows(1, 500_017)[:-1]),
    )
    assert numbers([*follow(path, steps)]) == list(range(500_018))
    assert numbered(path, 2).stat().st_size > FILE_BYTES - 100


def test_following_begins_where_it_is_told_to(path: Path) -> None:
    log = written(path, rows(1000))
    more = [lambda: log.write(rows(1, 1000)), lambda: log.write(rows(1, 1001))]
    assert numbers([*follow(path, Steps(*more), tail=2)]) == [998 + 1, 1000, 1001]
    assert numbers([*follow(path, Steps(lambda: None, lambda: log.write(rows(1, 1002))), tail=0)]) == [1002]
    assert numbers([*follow(path, Steps(lambda: None), since_s=0)]) == list(range(1003))
    assert [*follow(path, Steps(lambda: None), since_s=1e12)] == []


def test_following_waits_for_a_log_that_is_not_there_yet(path: Path) -> None:
    steps = Steps(lambda: None, lambda: None, lambda: written(path, b"one\n"), lambda: None)
    assert [*follow(path, steps)] == ["one"]


def test_following_a_flood_says_where_lines_are_missing(path: Path) -> None:
    log = written(path, rows(10))
    flood = [rows(100_000, first) for first in range(10, 1_000_010, 100_000)]
    shown = [*follow(path, Steps(lambda: None, lambda: log.write(b"".join(flood))))]
    place = shown.index("serve: more was written than the log keeps; lines are missing here")
    assert numbers(shown[:place]) == list(range(10))
    rest = numbers(shown[place + 1 :])
    assert rest == list(range(rest[0], 1_000_010))


def test_following_a_file_that_somebody_emptied_begins_anew(path: Path) -> None:
    log = written(path, b"one\ntwo\n")

    def empty() -> None:
        os.truncate(path, 0)
        log.write(b"three\n")

    assert [*follow(path, Steps(lambda: None, empty))] == ["one", "two", "three"]
