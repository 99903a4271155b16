"""Whatever a file holds, reading it ends soon, in bounded memory, with a result or a clear reason."""

import resource
import shlex
import time
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.commands.launches import Found
from launcher.commands.source import LIMIT_BYTES
from tests.commands.finding import found, texts, written

SIZE = LIMIT_BYTES // 8
SOON_S = 20  # far from the second that it takes, near enough to see what grows with the square
MEMORY_KIB = 300 * 1024
ANCHORS = "".join(f"a{at}: &a{at} {{<<: [{','.join([f'*a{at - 1}'] * 9)}]}}\n" for at in range(1, 1000))

SHELL = {
    "words": "vllm serve " + "a " * SIZE,
    "flags": "vllm serve m" + " --port 1" * SIZE,
    "line": "vllm serve " + "a" * SIZE,
    "parts": 'vllm serve "a"b' + '"a"b' * SIZE,
    "expansions": 'vllm serve "' + "$a" * SIZE,
    "braces": "vllm serve " + "{" * SIZE + ",}",
    "pipes": "a | " * SIZE,
    "lists": "a && " * SIZE,
    "blanks": "\\\n" * SIZE,
    "substitutions": "$(" * SIZE,
    "closed substitutions": "echo " + "$(" * 10_000 + ")" * 10_000,
    "strings": '"$(' * SIZE,
    "defaults": "${a:-" * SIZE,
    "backticks": "`a$(" * SIZE,
    "subshells": "(" * SIZE,
    "closed subshells": "(" * (SIZE // 2 - 9) + ")" * (SIZE // 2 - 9),
    "arithmetic": "((" * (SIZE // 4) + ") " * (SIZE // 4),
    "conditions": "if " * SIZE,
    "cases": "case x in " * SIZE,
    "functions": "f() { X=1; vllm serve $X;" * SIZE,
    "documents": "cat <<A\nvllm\nA\n" * SIZE,
    "open documents": "cat " + "<<A " * SIZE,
    "documents of other names": "".join(f"cat <<A{at}\n" for at in range(80_000)),
    "open string": 'vllm serve "' + 'echo "x" $y\n' * SIZE,
    "doubled variables": "A=xy\n" + 'A="$A$A"\n' * 100_000,
    "chained variables": "A0=x\n" + "".join(f'A{at + 1}="$A{at} $A{at}"\n' for at in range(40_000)),
    "long array": "A=(" + "--x 1 " * 10_000 + ")\n" + 'vllm serve "${A[@]}"\n' * 30_000,
    "grown array": "A=()\n" + "A+=(--x 1)\n" * SIZE,
    "exports": "".join(f"export A{at}=1\nvllm serve x\n" for at in range(SIZE // 25)),
    "strings of commands": 'bash -c "vllm serve x"\n' * SIZE,
    "strings in strings": reduce(lambda inner, _: "bash -c " + shlex.quote(inner), range(9), "vllm serve x"),
    "container options": "docker run" + " -e A=b" * 40_000 + " vllm/vllm-openai x",
    "containers in containers": "docker run x " * SIZE + "vllm serve x",
    "containers in little": "docker run x " * 6000 + "vllm serve x",
    "runners": "sudo " * SIZE,
    "modules": "sudo" + " -m sglang.launch_server" * SIZE,
    "signs": "\"'`$({[;|&<>" * SIZE,
}
OTHERS = {
    "unit": ("x.service", "[Service]\nExecStart=vllm serve" + " --x 1" * SIZE),
    "unit, lines": ("x.service", "[Service]\nExecStart=vllm serve" + " \\\n --x" * SIZE),
    "unit, variables": (
        "x.service",
        "[Service]\n" + "".join(f"Environment=A{at}=b\nExecStart=vllm serve $A{at}\n" for at in range(SIZE // 50)),
    ),
    "unit, quotes": ("x.service", "[Service]\n" + 'ExecStart="vllm serve\n' * SIZE),
    "lists": ("x.yaml", "services: " + "[" * SIZE),
    "mappings": ("x.json", '{"services": ' + '{"a": ' * SIZE),
    "items": ("x.yaml", "services:\n  a:\n    command:\n" + "    - --x\n" * SIZE),
    "text": ("x.yaml", "services:\n  a:\n    command: >\n" + "      --x 1 2 3 4 5\n" * SIZE),
    "escapes": ("x.yaml", 'services: {a: {command: "' + "\\u0061\\\n " * 90_000 + '"}}'),
    "broken documents": ("x.yaml", "services: [\n---\n" * SIZE),
    "containers": ("x.yaml", "kind: x\na:\n" + "- {image: a, command: [vllm, serve, x]}\n" * SIZE),
    "shared commands": (
        "x.yaml",
        f"kind: x\nc: &c [vllm, serve{', x' * 5000}]\na:\n" + "- {image: a, args: *c}\n" * SIZE,
    ),
    "scripts": ("x.yaml", "kind: x\ndata:\n  a: |\n" + "    vllm serve x 'z'\n" * SIZE),
    "anchors": ("x.yaml", f"a0: &a0 {{x: y}}\n{ANCHORS}services: {{s: {{<<: *a999, command: vllm serve x}}}}\n"),
}
INPUTS = {name: ("run.sh", text) for name, text in SHELL.items()} | {
    f"{name} (other)": each for name, each in OTHERS.items()
}


@pytest.mark.parametrize("name", INPUTS)
def test_reading_ends_soon_in_little_memory(name: str) -> None:
    path, text = INPUTS[name]
    most_before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    held = found(text[:SIZE], path)
    assert time.monotonic() - begin < SOON_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most_before_kib < MEMORY_KIB
    assert len(held.troubles) <= 50
    assert all(trouble.what and 0 <= trouble.start <= trouble.end <= LIMIT_BYTES for trouble in held.troubles)


def test_too_many_words_are_told() -> None:
    held = found("vllm serve before\nvllm serve" + " --port 1" * 100_000 + "\n")
    assert [texts(launch) for launch in held.launches] == [["before"]]
    assert "more than 100000 words" in held.troubles[0].what


def test_a_thousand_commands_are_found_in_no_time() -> None:
    line = 'CUDA_VISIBLE_DEVICES=0 nohup vllm serve "$MODEL" --port 8000 --x=\'{"a": 1}\' > log 2>&1 &\n'
    begin = time.monotonic()
    assert len(found(line * 1000).launches) == 1000
    assert time.monotonic() - begin < 5  # a tenth of a second, alone on the machine


SIGNS = r"""
vllm serve|python3 -m sglang.launch_server|docker run|vllm/vllm-openai:v0.11.0|-e A=b|bash -c|env A=b|--x|'|"|\|$X|${|
${X:-|$(|)|`|(|{|}|[[|]]|((|))|;|;;|&|&&|<|>|#|if |then |fi|for x in|do |done|case x in|esac|function f|f()|A=|A=(|A+=(|
[Service]|ExecStart=|Environment=|%i|services:|  a:|    command: |    image: |- |: |, |[|]|&a |*a|<<: |kind: Pod|---|?|
!|!!str |*|~|0|é
""".replace("\n", "").split("|")
TOKENS = st.sampled_from(
    [*SIGNS, "|", "\n", "\n", "\\\n", "<<E\n", "E\n", "\t", "\r\n", "\ufeff", "\u2028", "\ue000", "\x01"]
)
PATHS = st.sampled_from(["run.sh", "x", "x.service", "x.yaml", "x.json"])


def _sound(held: Found, text: str) -> None:
    for launch in held.launches:
        for word in (*launch.program, *launch.words, *(word for _, word in launch.environment)):
            assert 0 <= word.start <= word.end <= len(text)
    assert all(trouble.what and 0 <= trouble.start <= trouble.end <= len(text) for trouble in held.troubles)


@given(st.lists(TOKENS, max_size=30).map("".join), PATHS)
@settings(max_examples=700, deadline=None)
def test_no_mixture_of_signs_is_too_much(text: str, path: str) -> None:
    _sound(found(text, path), text)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200), PATHS)
@settings(max_examples=300, deadline=None)
def test_no_text_is_too_much(text: str, path: str) -> None:
    _sound(found(text, path), text)


@given(st.lists(TOKENS, max_size=12).map("".join))
@settings(max_examples=300, deadline=None)
def test_what_is_written_for_a_known_word_is_read_as_that_word(rest: str) -> None:
    text = f"vllm serve {rest}"
    for launch in found(text).launches:
        for word, slice_ in zip(launch.words, written(launch, text), strict=True):
            again = found(f"vllm serve {slice_} \n").launches
            if word.known and not slice_.endswith("\\") and "$" not in text and again and again[0].words:
                assert again[0].words[0].text == word.text
