"""The engine's output on its way to the file and the screen."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.run.log import Log, clean

KEY = "sk-serve-0123456789abcdefghijklmnopqrstuvwxyz"


def copied(path: Path, chunks: list[bytes], key: str | None = KEY) -> tuple[bytes, list[str], Log]:
    """What the file and the reader of lines get when the chunks arrive one by one."""
    lines: list[str] = []
    log = Log(path, key, lines.append)
    for chunk in chunks:
        log.feed(chunk)
    log.close()
    return path.read_bytes(), lines, log


def test_the_file_is_complete_and_private(tmp_path: Path) -> None:
    data, lines, _ = copied(tmp_path / "log", [b"one\ntwo", b"\n\nthr", b"ee"])
    assert data == b"one\ntwo\n\nthree"
    assert lines == ["one", "two", "three"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_the_run_before_is_kept(tmp_path: Path) -> None:
    copied(tmp_path / "log", [b"first\n"])
    data, _, _ = copied(tmp_path / "log", [b"second\n"])
    assert data == b"second\n"
    assert (tmp_path / "log.previous").read_bytes() == b"first\n"


def test_progress_bars_are_lines(tmp_path: Path) -> None:
    _, lines, _ = copied(tmp_path / "log", [b"\rLoading: 0%\rLoading: 50%", b"\rLoading: 100%\n"])
    assert lines == ["Loading: 0%", "Loading: 50%", "Loading: 100%"]


def test_the_tail_is_bounded(tmp_path: Path) -> None:
    _, lines, log = copied(tmp_path / "log", [b"".join(b"line %d\n" % number for number in range(1000))])
    assert len(lines) == 1000
    assert list(log.tail) == [f"line {number}" for number in range(950, 1000)]


def test_a_long_line_is_cut_for_the_screen_only(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    lines: list[str] = []
    log = Log(tmp_path / "log", KEY, lines.append)
    log.follow(os.fdopen(reader, "rb", buffering=0))
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(b"a" * 2_000_000 + KEY.encode() + b"b" * 2_000_000 + b"\nnext\n")
    log.finish(30)
    assert (tmp_path / "log").read_bytes() == b"a" * 2_000_000 + b"[api key]" + b"b" * 2_000_000 + b"\nnext\n"
    assert [line[:5] for line in lines] == ["aaaaa", "next"]
    assert len(lines[0]) < 20_000


def test_a_key_is_scrubbed_where_a_long_line_is_cut(tmp_path: Path) -> None:
    for split in range(len(KEY)):
        chunks = [b"a" * 20_000 + KEY[:split].encode(), KEY[split:].encode() + b"\n"]
        data, _, _ = copied(tmp_path / "log", chunks)
        assert data == b"a" * 20_000 + b"[api key]\n"


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_the_key_is_scrubbed_wherever_the_chunks_are_cut(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    around = st.binary(max_size=40).map(lambda value: value.replace(b"[", b"("))
    text = data.draw(around) + KEY.encode() + data.draw(around) + KEY.encode() + data.draw(around)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True) if start < end]
    written, lines, log = copied(tmp_path_factory.mktemp("log") / "log", chunks)
    assert written == text.replace(KEY.encode(), b"[api key]")
    assert KEY not in "\n".join([*lines, *log.tail])


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://a\x1b\\link", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1b(B\x1b=\x1bcplain", "plain"),
        ("broken \x1b[", "broken "),
        ("bell\x07 back\x08space \x9b31m", "bell backspace 31m"),
        ("tab\tstays, ünïcödé too █", "tab\tstays, ünïcödé too █"),
        ("\u202egpj.exe", "gpj.exe"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_shown(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_a_full_disk_does_not_stop_the_reading(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # Python ignores SIGXFSZ: a write fails, as on a full disk
    try:
        data, lines, _ = copied(tmp_path / "log", [b"x" * 79 + b"\n"] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(data) == 1000
    assert len([line for line in lines if line.startswith("xxx")]) == 100
    assert [line for line in lines if "cannot be written" in line] == [
        f"serve: {tmp_path / 'log'} cannot be written: File too large; the engine runs on"
    ]


def test_a_progress_bar_is_one_line_of_the_tail(tmp_path: Path) -> None:
    shown: list[str] = []
    log = Log(tmp_path / "engine.log", None, shown.append)
    log.feed(b"cause of it all\n")
    for percent in range(0, 101, 2):
        log.feed(f"\rCapturing CUDA graphs (FULL): {percent:3}%|###   | {percent}/100 [00:01<00:00, 31it/s]".encode())
    log.feed(b"\nCapturing CUDA graphs (PIECEWISE):  50%|###   | 1/2\n")
    log.close()
    assert [line.split("|")[0] for line in log.tail] == [
        "cause of it all",
        "Capturing CUDA graphs (FULL): 100%",
        "Capturing CUDA graphs (PIECEWISE):  50%",
    ]
    assert len(shown) == 53
