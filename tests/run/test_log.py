"""The engine's output on its way to the file, to who shows it, and to who diagnoses."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from launcher.run.output.log import Log
from launcher.run.output.rotation import FILE_BYTES
from tests.run.conftest import PATIENCE_S, TESTS, until

KEY = "sk-serve-0123456789abcdefghijklmnopqrstuvwxyz"


class Copied:
    """A log with what it has handed on, and the pipe of an engine that writes into it."""

    def __init__(self, path: Path, key: str | None = KEY, on_line: Callable[[str], object] | None = None) -> None:
        self.path = path
        self.lines: list[str] = []
        self.log = Log(path, {key: "[api key]"} if key else {}, on_line or self.lines.append)

    @contextlib.contextmanager
    def engine(self) -> Iterator[Callable[[bytes], None]]:
        """Writes into the log; after the context all of it has been read."""
        reader, writer = os.pipe()
        self.log.follow(os.fdopen(reader, "rb", buffering=0))
        with os.fdopen(writer, "wb", buffering=0) as pipe:
            yield lambda data: _write(pipe.fileno(), data)
        self.log.finish(PATIENCE_S)

    def after(self, *chunks: bytes) -> Copied:
        with self.engine() as write:
            for chunk in chunks:
                write(chunk)
        return self

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _ends(path: Path, data: bytes) -> bool:
    return path.read_bytes().endswith(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


@contextlib.contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """What is written beyond fails as on a full disk: Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_file_is_complete_and_private(path: Path) -> None:
    copied = Copied(path).after(b"one\ntwo", b"\n\nthr", b"ee")
    assert copied.data == b"one\ntwo\n\nthree"
    assert copied.lines == ["one", "two", "three"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_run_before_is_kept(path: Path) -> None:
    Copied(path).after(b"first\n").log.close()
    assert Copied(path).after(b"second\n").data == b"second\n"
    assert path.with_name("engine.log.1").read_bytes() == b"first\n"


def test_progress_bars_are_lines(path: Path) -> None:
    copied = Copied(path).after(b"\rLoading: 0%\rLoading: 50%", b"\rLoading: 100%\n")
    assert copied.lines == ["Loading: 0%", "Loading: 50%", "Loading: 100%"]


def test_the_tail_is_bounded(path: Path) -> None:
    copied = Copied(path).after(b"".join(b"line %d\n" % number for number in range(1000)))
    assert len(copied.lines) == 1000
    assert list(copied.log.tail) == [f"line {number}" for number in range(950, 1000)]


def test_a_progress_bar_is_one_line_of_the_tail(path: Path) -> None:
    bars = [
        f"\rCapturing CUDA graphs (FULL): {percent:3}%|###   | {percent}/100 [00:01<00:00, 31it/s]".encode()
        for percent in range(0, 101, 2)
    ]
    copied = Copied(path).after(b"cause of it all\n", *bars, b"\nCapturing CUDA graphs (PIECEWISE):  50%|###   | 1/2\n")
    assert [line.split("|")[0] for line in copied.log.tail] == [
        "cause of it all",
        "Capturing CUDA graphs (FULL): 100%",
        "Capturing CUDA graphs (PIECEWISE):  50%",
    ]
    assert len(copied.lines) == 53


def test_what_a_process_says_after_it_failed_is_shown_and_kept_out_of_the_tail(path: Path) -> None:
    leaks = [b" - leaked instance %d\n" % number for number in range(65)]
    copied = Copied(path).after(b"the cause\n", b"nanobind: leaked 65 instances!\n", *leaks)
    assert list(copied.log.tail) == ["the cause"]
    assert len(copied.lines) == 67


def test_a_long_line_is_cut_for_the_screen_only(path: Path) -> None:
    copied = Copied(path).after(b"a" * 2_000_000 + KEY.encode() + b"b" * 2_000_000 + b"\nnext\n")
    assert copied.data == b"a" * 2_000_000 + b"[api key]" + b"b" * 2_000_000 + b"\nnext\n"
    assert [line[:5] for line in copied.lines] == ["aaaaa", "next"]
    assert 16_000 < len(copied.lines[0]) < 17_000
    assert copied.lines[0].endswith("a ...")


def test_the_end_of_one_line_that_never_ends_is_the_tail(path: Path) -> None:
    copied = Copied(path).after(b"x" * 1_000_000)
    assert len(copied.log.tail) == 1
    assert copied.log.tail[0].startswith("xxx")


def test_a_line_without_an_end_is_in_the_file_at_once_and_a_cut_key_is_not(path: Path) -> None:
    copied = Copied(path)
    with copied.engine() as write:
        for cut in range(1, len(KEY)):
            before = b"key %d: " % cut
            write(before + KEY[:cut].encode())
            until(partial(_ends, path, before), "the beginning of a line")
            write(KEY[cut:].encode() + b"\n")
    assert copied.data == b"".join(b"key %d: [api key]\n" % cut for cut in range(1, len(KEY)))
    assert copied.lines == [f"key {cut}: [api key]" for cut in range(1, len(KEY))]


def test_most_of_a_key_at_the_very_end_is_scrubbed_and_a_few_letters_are_not(path: Path) -> None:
    copied = Copied(path).after(KEY.encode(), b"\nend: " + KEY[:9].encode())
    assert copied.data == b"[api key]\nend: [api key]"
    again = Copied(path).after(KEY.encode(), b"\nend: " + KEY[:7].encode())
    assert again.data.endswith(b"[api key]\nend: sk-serv")


def test_whatever_bytes_come_the_file_has_them_and_nobody_is_hurt(path: Path) -> None:
    raw = bytes(range(256)) * 40 + b"\xff\xfe\x00" * 1000 + "\u202eé€".encode()[:-1] + b"\n"
    copied = Copied(path).after(raw)
    assert copied.data == raw
    assert all(line.replace("\t", "").isprintable() for line in copied.lines)


def test_one_who_takes_no_lines_delays_nobody_and_loses_only_the_middle(path: Path) -> None:
    lines: list[str] = []
    stuck = threading.Event()

    def take(text: str) -> None:
        stuck.wait(PATIENCE_S)
        lines.append(text)

    copied = Copied(path, on_line=take)
    with copied.engine() as write:
        data = b"".join(b"%06d," % number * 14 + b"\n" for number in range(300_000))
        for begin in range(0, len(data), 100_000):  # 30 MB, more than pipe and queue take, cut within lines
            write(data[begin : begin + 100_000])
        assert lines == []
        stuck.set()
    missed = [line for line in lines if line.startswith("serve: ")]
    others = [line for line in lines if line not in missed]
    shown = [int(line[:6]) for line in others if len(line) == 98]
    count = sum(int(line.split()[1].replace(",", "")) for line in missed)
    assert missed
    assert missed[0].endswith(f" came too fast to be shown; see {path}")
    assert count > 200_000
    assert abs(len(shown) + count - 300_000) <= len(missed)  # a line that was cut is counted or shown
    assert shown == sorted(shown)
    assert all(line[:6].isdigit() and (line[:7] * 14).startswith(line) for line in others)  # none is made of two
    assert (shown[0], shown[-1]) == (0, 299_999)
    assert [int(line[:6]) for line in copied.log.tail] == list(range(299_950, 300_000))


def test_a_line_of_megabytes_pushes_no_other_out(path: Path) -> None:
    stuck = threading.Event()
    lines: list[str] = []

    def take(text: str) -> None:
        stuck.wait(PATIENCE_S)
        lines.append(text)

    copied = Copied(path, on_line=take)
    with copied.engine() as write:
        write(b"before\n")
        write(b"x" * 20_000_000)
        write(b"x\nafter\n" + b"y" * 20_000_000)
        stuck.set()
    with copied.engine() as write:
        write(b"of another process")
    assert [line[:5] for line in lines] == ["befor", "xxxxx", "after", "yyyyy", "of an"]


def test_the_tail_is_true_while_nobody_takes_lines(path: Path) -> None:
    stuck = threading.Event()
    copied = Copied(path, on_line=lambda _: stuck.wait(PATIENCE_S))
    reader, writer = os.pipe()
    copied.log.follow(os.fdopen(reader, "rb", buffering=0))
    os.write(writer, b"first\nlast\n")
    os.close(writer)
    copied.log.finish(0.5)
    assert list(copied.log.tail) == ["first", "last"]
    stuck.set()


def test_memory_is_bounded_whatever_comes() -> None:
    program = """
import os, resource, sys, tempfile, threading
from pathlib import Path
from launcher.run.output.log import Log

def most_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

secrets, slow = {"sk-serve-0123456789": "[api key]"}, lambda text: threading.Event().wait(0.01)
log = Log(Path(tempfile.mkdtemp()) / "engine.log", secrets, slow)
def write(chunk, times):
    reader, writer = os.pipe()
    log.follow(os.fdopen(reader, "rb", buffering=0))
    for _ in range(times):
        view = memoryview(chunk)
        while view:
            view = view[os.write(writer, view):]
    os.close(writer)
    log.finish(0)
chunks = [b"x" * 65536, b"\\0" * 65536, b"\\n" * 65536, b"\\xff\\n" * 32768, b"\\x1b[" * 32768]
for chunk in chunks:
    write(chunk, 200)
before = most_mb()
for chunk in chunks:
    write(chunk, 1000)
print(most_mb() - before, len(log.tail))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 3,
        check=True,
    )
    grown_mb, tail = done.stdout.split()
    assert float(grown_mb) < 15
    assert int(tail) <= 50


def test_a_full_disk_stops_nothing_and_is_told_of_in_the_file_when_it_is_over(path: Path) -> None:
    copied = Copied(path)
    line = b"x" * 79 + b"\n"
    with copied.engine() as write:
        with largest_file(1000):
            for _ in range(100):
                write(line)
            until(lambda: len(copied.lines) == 101, "all lines")
            assert len(copied.data) == 1000
            assert [len(text) for text in copied.log.evidence()] == [79] * 12 + [40, 39] + [79] * 87  # half a line each
        written = 100
        while b"missing" not in copied.data:  # tried once a second
            time.sleep(0.05)
            write(line)
            written += 1
    told = [text for text in copied.lines if text.startswith("serve: ")]
    assert told[0] == f"serve: {path} cannot be written: File too large; the engine runs on"
    assert told[1].startswith(f"serve: {path} is written again; ")
    assert len(told) == 2
    before, _, rest = copied.data[1000:].partition(b"serve: ")
    lost = int(rest.split()[0].replace(b",", b""))
    after = rest.partition(b"\n")[2]
    assert before == b"\n"
    assert b" bytes of output are missing here: File too large\n" in rest
    assert 1000 + lost + len(after) == written * 80
    assert copied.log.evidence()[-1] == "x" * 79
    assert list(copied.log.tail) == ["x" * 79] * 50


def test_what_was_lost_is_told_at_the_close_if_not_before(path: Path) -> None:
    copied = Copied(path)
    with largest_file(10):
        copied.after(b"0123456789abcdef\n")
    assert copied.log.evidence() == ["0123456789", "abcdef"]
    copied.log.close()
    assert copied.data == b"0123456789\nserve: 7 bytes of output are missing here: File too large\n"


FULL = """
import os, subprocess, sys
from pathlib import Path
from tests.run.test_log import Copied, until

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
ballast = folder / "ballast"
ballast.write_bytes(bytes(900_000))
copied = Copied(folder / "engine.log")
with copied.engine() as write:
    for number in range(30_000):
        write(b"line %d\\n" % number)
    until(lambda: "line 29999" in copied.lines, "all lines")
    ballast.unlink()
    while b"missing" not in copied.data:
        write(b"again\\n")
        until(lambda: copied.log.tail[-1] == "again", "a line")
copied.log.close()
again = Copied(folder / "engine.log").after(b"another run\\n")
print([line for line in copied.lines if line.startswith("serve: ")])
print([line for line in copied.path.with_name("engine.log.1").read_text().splitlines() if line.startswith("serve: ")])
print(len([line for line in copied.lines if line.startswith("line ")]), again.data)
"""


def test_a_disk_that_is_full_and_has_room_again(tmp_path: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mounts in a namespace of one's own here")
    done = subprocess.run(
        [*alone, sys.executable, "-c", FULL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told, written, rest = done.stdout.splitlines()
    assert f"{tmp_path}/engine.log cannot be written: No space left on device; the engine runs on" in told
    assert "is written again; " in told
    assert "bytes of output are missing here: No space left on device" in written
    assert rest == "30000 b'another run\\n'"


def test_the_evidence_is_that_of_the_last_attempt_alone(path: Path) -> None:
    copied = Copied(path)
    copied.log.mark("serve: vLLM 0.33.0, start 1")
    copied.after(b"RuntimeError: the first\nwithout an end")
    assert copied.log.evidence() == ["RuntimeError: the first", "without an end"]
    copied.log.mark(f"serve: start 2 with {KEY}")
    assert copied.log.evidence() == []
    assert list(copied.log.tail) == []
    copied.after(b"RuntimeError: the second\n")
    assert copied.log.evidence() == list(copied.log.tail) == ["RuntimeError: the second"]
    assert copied.data.splitlines() == [
        b"serve: vLLM 0.33.0, start 1",
        b"RuntimeError: the first",
        b"without an end",
        b"serve: start 2 with [api key]",
        b"RuntimeError: the second",
    ]
    assert copied.lines == ["RuntimeError: the first", "without an end", "RuntimeError: the second"]


def test_the_evidence_of_a_long_attempt_is_its_beginning_and_its_end_over_rotated_files(path: Path) -> None:
    copied = Copied(path, on_line=lambda _: None)
    copied.after(b"of the attempt before\n" * 1000)
    copied.log.mark("serve: start 2")
    with copied.engine() as write:
        for begin in range(0, 250_000, 1000):  # 25 MB
            write(b"".join(b"line %093d\n" % number for number in range(begin, begin + 1000)))
    assert path.with_name("engine.log.1").exists()
    evidence = copied.log.evidence()
    cut = next(index for index, line in enumerate(evidence) if line.startswith("serve: "))
    first, last = evidence[: cut - 1], evidence[cut + 1 :]  # the line before is cut
    assert [int(line.split()[1]) for line in first] == list(range(len(first)))
    assert [int(line.split()[1]) for line in last] == list(range(250_000 - len(last), 250_000))
    assert 2 << 20 <= (len(first) + 1) * 99 < (2 << 20) + 100
    assert 6 << 20 >= len(last) * 99 > (6 << 20) - 200
    assert " bytes of the log are left out here" in evidence[cut]


def test_the_beginning_of_an_attempt_may_be_rotated_away(path: Path) -> None:
    copied = Copied(path, on_line=lambda _: None)
    copied.log.mark("serve: start 1")
    with copied.engine() as write:
        for _ in range(100):
            write(b"".join(b"%099d\n" % number for number in range(10_000)))
    evidence = copied.log.evidence()
    assert evidence[-1] == f"{9999:099d}"
    assert len(evidence) * 100 < 9 << 20


def test_a_log_whose_files_are_gone_has_its_evidence_in_memory(path: Path) -> None:
    copied = Copied(path).after(b"the cause\n")
    path.unlink()
    assert copied.log.evidence() == ["the cause"]
    with copied.engine() as write:
        for _ in range(2 * FILE_BYTES // 1_000_000):  # rotates into a folder that lacks the file
            write(b"x" * 999_999 + b"\n")
    assert path.exists()
