"""Units are read as systemd reads them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.commands import unit
from launcher.commands.source import Text
from tests.commands.finding import environment, found, only, texts, written


def service(*lines: str) -> str:
    return "\n".join(["[Unit]", "ExecStart=vllm serve no", "[Service]", *lines, ""])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("vllm serve m 'a b' \"c d\" e'f g'h ''", ["m", "a b", "c d", "ef gh", ""]),
        (r"vllm serve a\x41\102\u00e9\s\t\\ \' \" \z \x4 a\ b", ["aAB\u00e9 \t\\", "'", '"', r"\z", r"\x4", r"a\ b"]),
        ("vllm serve %i %% %h/x 100%", ["?", "%", "?/x", "100?"]),
        ("vllm serve $$X $A ${A} x${A} x$A ${B} $B", ["$X", "a", "b", "a b", "xa b", "x$A", "?", "?..."]),
        ("vllm serve $C '$A' ${C} \\x24{C} $$A", ["c", "a", "b", "c", "c", "$A"]),
        ("-@/usr/bin/vllm argv0 serve m", ["m"]),
        ("!!:vllm serve $A ${A} $$", ["$A", "${A}", "$$"]),
        ("+/bin/bash -lc 'exec vllm serve \"m n\" --x \"${A}\" $$D'", ["m n", "--x", "a b", "?..."]),
        ("/usr/bin/env X=1 vllm serve m", ["m"]),
        ("/usr/bin/docker run --rm -e X=%i vllm/vllm-openai m --seed 1", ["m", "--seed", "1"]),
        ("vllm serve {} [1] * ? ~ # a;b ; /bin/echo x", ["{}", "[1]", "*", "?", "~", "#", "a;b"]),
    ],
)  # fmt: skip
def test_words_of_a_unit(line: str, words: list[str]) -> None:
    text = service("Environment=\"A=a b\" C=c 'D=%h'", "Environment=E", f"ExecStart={line}")
    assert texts(only(text, "x.service")) == words


def test_lines_continue_and_comments_may_stand_between() -> None:
    text = service(
        "ExecStart=vllm serve m \\", "# why", "  ; and that", "  --x 'a\\", "b' \\\\", "ExecStart=vllm serve n", "\\"
    )
    held = found(text, "x.service")
    assert [texts(launch) for launch in held.launches] == [["m", "--x", "a b", "\\"], ["n"]]
    assert written(held.launches[0], text) == ["m", "--x", "'a\\\nb'", "\\\\"]


def test_variables_that_are_split_have_the_places_of_their_value() -> None:
    text = service('Environment="F=--x 1  --y"', "ExecStart=vllm serve $F")
    launch = only(text, "x.service")
    assert written(launch, text) == ["--x", "1", "--y"]
    assert environment(launch) == {"F": "--x 1  --y"}


def test_every_command_of_a_unit_is_found() -> None:
    lines = [
        "ExecStart=",
        "ExecStart=vllm serve a",
        "ExecStartPre=-/bin/sh -c 'vllm serve b'",
        "ExecStart=x ; vllm serve c ; y",
    ]
    held = found(service(*lines, "ExecStop=vllm serve no"), "x.conf")
    assert [texts(launch) for launch in held.launches] == [["a"], ["b"], ["c"]]


def test_a_quote_that_is_not_closed_has_a_place() -> None:
    text = service("ExecStart=vllm serve m --x 'open", "ExecStart=vllm serve n")
    held = found(text, "x.service")
    assert [text[trouble.start] for trouble in held.troubles] == ["'"]
    assert [texts(launch) for launch in held.launches] == [["m", "--x", "open"], ["n"]]


WORDS = st.lists(st.text(st.sampled_from("ab-=/.:,{}[]\"'\\$%`!#&|;<>()*?~ \té@^\n"), max_size=8), max_size=6)


@given(WORDS)
@settings(max_examples=200, deadline=None)
def test_what_is_written_for_a_unit_is_read_back(words: list[str]) -> None:
    line = " ".join(unit.quoted(str, "$$", word) for word in words)
    text = service(f"ExecStart=vllm serve {line}")
    launch = only(text, "x.service")
    assert [word.text for word in launch.words] == words
    assert [word.quote(word.text) for word in launch.words] == written(launch, text)


def test_systemd_reads_the_same_words(tmp_path: Path) -> None:
    """It tells of every program that does not exist, as it has read its name."""
    if not shutil.which("systemd-analyze"):
        # as in tests/deploy: CI has it, a developer's machine may not
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this host has no systemd")
    lines = [
        r"/no\x41\102/\u00e9", "\"/no/a b\"c'd  e'", "/no/%%/x", r"/no/a\sb", '/no/a"b"\'c\'', "'/no/{a: 1}'",
        "/no/[x]",
        "+/no/z", "@/no/y argv0", "/no/d\\\n  x", "/no/b\\\n# comment\n c", "/no/#x;y", "/no/~*?<>|&!^()=,:.-_",
    ]  # fmt: skip
    units = {tmp_path / f"u{number}.service": f"[Service]\nExecStart={line}\n" for number, line in enumerate(lines)}
    for path, text in units.items():
        path.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    theirs = dict(re.findall(r"(u\d+)\.service: Command (.*) is not executable", checked.stderr))
    ours = {path.stem: unit.read(Text.of(text)).calls[0].words[0].text for path, text in units.items()}
    assert ours == theirs
