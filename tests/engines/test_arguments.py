"""Command lines as the engines' parsers read them; each case was seen on a real parser (tests/engine compares more)."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.engines import arguments, catalog
from launcher.engines.arguments import LIMIT, Reading
from launcher.engines.flexible import UNKNOWN
from launcher.engines.release import Release
from tests.engines.command_lines import command_lines


def reading(text: str, line: str | list[str], entry: Any = "serve") -> Reading:
    engine, _, version = text.partition("@")
    words = shlex.split(line) if isinstance(line, str) else line
    return arguments.read(words, catalog.load(Release(engine, version)), entry)


def used(read: Reading) -> list[tuple[Any, ...]]:
    return [(use.spelling, *use.values) if not use.path else (use.spelling, use.path, *use.values) for use in read.uses]


@pytest.mark.parametrize(
    ("text", "line", "uses"),
    [
        ("vllm@0.33.0", "m/m -tp 2 --port=80", [("-tp", "2"), ("--port", "80")]),
        ("vllm@0.33.0", "m/m --max_model_len 32k", [("--max-model-len", "32k")]),
        ("vllm@0.33.0", "m/m -O3", [("--optimization-level", "3")]),
        ("vllm@0.33.0", "m/m -O 3", [("--optimization-level", "3")]),
        ("vllm@0.33.0", "m/m -O=3", [("--optimization-level", "3")]),
        ("vllm@0.11.2", "m/m -O3", [("-O", ("mode",), "3")]),
        ("vllm@0.11.0", "m/m -O3", [("-O", ("level",), "3")]),
        ("vllm@0.11.2", "m/m -O.mode=3", [("-O", ("mode",), "3")]),
        ("vllm@0.12.0", "m/m -O.mode=3", [("-cc", ("mode",), "3")]),
        ("vllm@0.33.0", "m/m -q4", [("-q", "4")]),
        ("vllm@0.33.0", "m/m --limit-mm-per-prompt.image 2", [("--limit-mm-per-prompt", ("image",), "2")]),
        ("vllm@0.33.0", "m/m --limit_mm_per_prompt.image=2", [("--limit-mm-per-prompt", ("image",), "2")]),
        ("vllm@0.33.0", "m/m --api-key a b --port 1", [("--api-key", "a", "b"), ("--port", "1")]),
        ("vllm@0.33.0", "m/m --seed -1", [("--seed", "-1")]),
        ("vllm@0.33.0", "m/m --tokenizer=-x", [("--tokenizer", "-x")]),
        ("sglang@0.5.23", "m/m --tp-size 2", [("--tp-size", "2")]),
        ("sglang@0.5.23", "--model-path m --model-type llm", [("--model-path", "m")]),
    ],
)
def test_which_word_is_a_flag_and_whose_value(text: str, line: str, uses: list[tuple[Any, ...]]) -> None:
    read = reading(text, line)
    assert used(read) == uses
    assert not read.refused


@pytest.mark.parametrize(
    ("text", "line", "entry", "model"),
    [
        ("vllm@0.33.0", "m/m --port 80", "serve", 0),
        ("vllm@0.33.0", "--port 80 m/m", "serve", 2),
        ("vllm@0.33.0", "--enforce-eager m/m --port 80", "serve", 1),
        ("vllm@0.33.0", "--port 80 --model m/m", "serve", 3),
        ("vllm@0.33.0", "--port 80 --model=m/m", "serve", 2),
        ("vllm@0.33.0", "--port 80 --model m/m", "module", None),
        ("sglang@0.5.23", "m/m --port 80", "serve", 0),
    ],
)
def test_the_word_that_names_the_model(text: str, line: str, entry: str, model: int | None) -> None:
    read = reading(text, line, entry)
    assert read.model == model
    assert not read.refused


@pytest.mark.parametrize(
    ("text", "line", "entry", "why"),
    [
        ("vllm@0.11.0", "--model m/m", "serve", "not by --model"),
        ("vllm@0.33.0", "--model", "serve", "needs a value"),
        ("vllm@0.33.0", "--port 80 --served-model-name a m/m", "serve", "first word is the model"),
        ("vllm@0.33.0", "m/m --compilation-config.mode", "serve", "needs a value"),
        ("sglang@0.5.23", "--port 80", "module", "--model-path is required"),
        ("sglang@0.5.3", "--model-path m", "serve", "no sglang serve before 0.5.5"),
        ("sglang@0.5.23", "m --model-type x", "serve", "auto, llm or diffusion"),
    ],
)
def test_what_is_refused_as_a_whole(text: str, line: str, entry: str, why: str) -> None:
    read = reading(text, line, entry)
    assert read.refused
    assert any(why in complaint for _, complaint in read.complaints)


@pytest.mark.parametrize(
    ("text", "line", "stray", "places"),
    [
        ("vllm@0.33.0", "m/m --swap-space 4 --port 1", "--swap-space", (2,)),
        ("vllm@0.33.0", "--swap-space 4 m/m", "--swap-space", (1,)),
        ("vllm@0.33.0", "m/m --tp-size 4", "--tp-size", (2,)),
        ("vllm@0.33.0", "m/m other", "other", ()),
        ("sglang@0.5.23", "m --trust_remote_code --port 1", "--trust_remote_code", ()),
        ("sglang@0.5.9", "m --port 1", "m", ()),
    ],
)
def test_what_the_release_does_not_know(text: str, line: str, stray: str, places: tuple[int, ...]) -> None:
    found = [each for each in reading(text, line).strays if each.written == stray]
    assert [each.places for each in found] == [places]


def test_abbreviations_are_completed_as_argparse_does() -> None:
    use = reading("sglang@0.5.23", "m --enable-flashinfer").uses[0]
    assert (use.written, use.spelling, use.completed) == (
        "--enable-flashinfer",
        "--enable-flashinfer-allreduce-fusion",
        True,
    )
    (stray,) = reading("sglang@0.5.23", "m --cuda-graph-max-bs 8").strays
    assert stray.candidates == ("--cuda-graph-max-bs-decode", "--cuda-graph-max-bs-prefill")
    assert [use.completed for use in reading("vllm@0.33.0", "m/m --tensor_parallel_size 2").uses] == [False]


def test_values_that_the_parser_refuses() -> None:
    read = reading("vllm@0.33.0", "m/m --port x --enforce-eager=1 --max-model-len 8x --limit-mm-per-prompt {")
    assert all(use.problem for use in read.uses)
    assert len(read.uses) == 4


def test_parts_of_a_json_value_are_checked_together() -> None:
    read = reading("vllm@0.33.0", "m/m --compilation-config.mode 3 --compilation-config.cache_dir x --seed.a 1")
    assert [(use.path, use.problem is None) for use in read.uses] == [
        (("mode",), True),
        (("cache_dir",), True),
        (("a",), False),
    ]


def test_what_is_known_only_when_it_runs_is_not_judged() -> None:
    read = reading("vllm@0.33.0", [UNKNOWN, "--port", UNKNOWN, f"--max-model-len={UNKNOWN}", UNKNOWN, f"--x{UNKNOWN}"])
    assert (read.refused, read.model, read.opaque) == (False, 0, (4, 5))


def test_more_words_than_any_server_takes() -> None:
    read = reading("vllm@0.33.0", ["m/m", *["--seed"] * LIMIT])
    assert read.refused
    assert not read.uses


@pytest.mark.parametrize("text", ["vllm@0.11.0", "vllm@0.33.0", "sglang@0.5.3", "sglang@0.5.23"])
def test_every_word_has_a_place(text: str) -> None:
    engine, _, version = text.partition("@")
    known = catalog.load(Release(engine, version))

    @settings(deadline=None, max_examples=300)
    @given(command_lines(known), st.sampled_from(["serve", "module"]))
    def check(words: list[str], entry: Any) -> None:
        read = arguments.read(words, known, entry)
        places = [use.place for use in read.uses] + [place for use in read.uses for place in use.places]
        places += [each for stray in read.strays for each in (stray.place, *stray.places)]
        assert all(0 <= place < len(words) for place in places)

    check()
