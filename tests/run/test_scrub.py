"""The key in a stream, wherever the stream is cut and whatever the key is made of."""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from launcher.run.output.scrub import Scrubber

KEY = "sk-serve-0123456789"
# Keys of few different characters contain their own beginnings, and texts of them nearly contain the keys.
KEYS = st.one_of(st.just(KEY), st.text("ab", min_size=1, max_size=9), st.text("[api key]", min_size=1, max_size=9))


@st.composite
def streams(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A key, and a text cut into chunks that holds it, its beginnings, its ends and other bytes."""
    key = draw(KEYS)
    part = st.one_of(
        st.just(key),
        st.integers(0, len(key)).map(lambda cut: key[:cut]),
        st.integers(0, len(key)).map(lambda cut: key[cut:]),
        st.text("ab[] \n\0", max_size=4),
    )
    text = "".join(draw(st.lists(part, max_size=12))).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return key, [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(streams())
def test_chunks_are_scrubbed_as_the_whole_is(stream: tuple[str, list[bytes]]) -> None:
    key, chunks = stream
    scrubber = Scrubber({key: "[api key]"})
    passed = b"".join([scrubber.feed(chunk) for chunk in chunks])
    rest = scrubber.end()
    whole = b"".join(chunks).replace(key.encode(), b"[api key]")
    if rest == b"[api key]":  # most of a key, at the very end
        begun = whole.removeprefix(passed)
        assert len(begun) >= 8
        assert key.encode().startswith(begun)
    else:
        assert passed + rest == whole
        assert len(rest) < 8
    assert scrubber.end() == b""


@given(streams())
def test_only_what_may_become_the_key_is_held_back(stream: tuple[str, list[bytes]]) -> None:
    key, chunks = stream
    scrubber, passed = Scrubber({key: "[api key]"}), b""
    for number, chunk in enumerate(chunks, 1):
        passed += scrubber.feed(chunk)
        whole = b"".join(chunks[:number]).replace(key.encode(), b"[api key]")
        held = whole.removeprefix(passed)
        assert passed + held == whole
        assert held == b"" or (key.encode().startswith(held) and held != key.encode())


@given(st.integers(0, len(KEY)), st.integers(0, len(KEY)))
def test_a_key_cut_twice_never_passes(first: int, second: int) -> None:
    assume(first <= second)
    scrubber = Scrubber({KEY: "[api key]"})
    chunks = [f"a {KEY[:first]}", KEY[first:second], f"{KEY[second:]} z"]
    assert b"".join(scrubber.feed(chunk.encode()) for chunk in chunks) == b"a [api key] z"


def test_without_a_secret_everything_passes_at_once() -> None:
    assert Scrubber({}).feed(KEY.encode()) == KEY.encode()
    assert Scrubber({"": "[nothing]"}).feed(KEY.encode()) == KEY.encode()


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, unique=True), st.lists(st.text("abc", max_size=3)))
def test_of_several_secrets_the_first_and_longest_counts_wherever_they_are_cut(
    secrets: list[str], chunks: list[str]
) -> None:
    longest_first = sorted(secrets, key=len, reverse=True)
    whole = re.sub("|".join(longest_first), lambda match: f"<{match[0]}>", "".join(chunks))
    scrubber = Scrubber({secret: f"<{secret}>" for secret in secrets})
    passed = b"".join([scrubber.feed(chunk.encode()) for chunk in chunks])
    assert passed + scrubber.end() == whole.encode()
