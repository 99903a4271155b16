"""Bytes as lines: nothing of them moves a cursor, sets a colour or fills the memory."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.run.output.lines import LINE_BYTES, Splitter, clean, latest, progress_bar


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
        ("\x1b[3\x1b[1m1mtwice", "1mtwice"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_shown(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(st.sampled_from("\x1b[]PX^_()0;mc\\ \x07\x08\x9ba\t\u202e\x00\x7f")))
def test_whatever_is_cleaned_holds_no_control_character(text: str) -> None:
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e]", clean(text))


@given(st.lists(st.binary(max_size=40), max_size=10), st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n\n"]))
def test_chunks_make_the_lines_that_the_whole_makes(chunks: list[bytes], end: bytes) -> None:
    whole, cut = Splitter(), Splitter()
    data = end.join(chunks)
    cuts = [data[start : start + 7] for start in range(0, len(data), 7)]
    lines = [*whole.feed(data), *whole.end()]
    assert [line for chunk in cuts for line in cut.feed(chunk)] + [*cut.end()] == lines
    assert "" not in lines


def test_a_carriage_return_ends_a_line() -> None:
    assert [*Splitter().feed(b"a\rb\r\nc\r\r\n\nd")] == ["a", "b", "c"]


def test_a_long_line_is_given_before_its_end_and_only_once() -> None:
    splitter = Splitter()
    assert [*splitter.feed(b"x" * LINE_BYTES)] == []
    assert [*splitter.feed(b"y")] == ["x" * LINE_BYTES + " ..."]
    for _ in range(10):
        assert [*splitter.feed(b"y" * 100_000)] == []
    assert [*splitter.feed(b"end\nnext\nla")] == ["next"]
    assert [*splitter.end()] == ["la"]


def test_after_a_gap_the_rest_of_a_line_is_left_out() -> None:
    splitter = Splitter()
    assert [*splitter.feed(b"one\ntw")] == ["one"]
    assert [*splitter.skip()] == ["tw"]
    assert [*splitter.feed(b"rest of another\nthree\n")] == ["three"]
    assert [*Splitter(within_line=True).feed(b"rest\nfour\n")] == ["four"]


def test_of_a_progress_bar_the_last_state_stays() -> None:
    bars = [f"Loading:  {percent}%|##  | {percent}/100" for percent in range(5)]
    others = [f"Capturing: {percent}%|##  |" for percent in range(3)]
    lines = ["one", *bars, "two", bars[1], *others, "99% done", "99% done"]
    assert [*latest(lines)] == ["one", bars[-1], "two", bars[1], others[-1], "99% done", "99% done"]


def test_what_a_watchdog_asks_is_left_out_unless_it_got_no_good_answer() -> None:
    asked = 'INFO:     127.0.0.1:52112 - "GET {} HTTP/1.1" {}'
    told = [asked.format("/metrics", "500 Internal Server Error"), asked.format("/v1/models", "200 OK")]
    polls = [asked.format("/metrics", "200 OK"), asked.format("/health", "200 OK")]
    assert [*latest([*polls, told[0], *polls, told[1]])] == told


@pytest.mark.parametrize("line", ["x" + "7" * 500 + "%|", "x" + " " * 500 + "5%|", "x" + ": " * 500 + "5%|"])
def test_a_line_longer_than_a_terminal_is_no_bar(line: str) -> None:
    assert progress_bar(line) is None
