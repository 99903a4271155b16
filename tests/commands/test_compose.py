"""Compose files and manifests: every style of YAML, with the place of every word."""

import json
import shlex

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.commands.source import Source, Text
from launcher.commands.yamltext import parse
from tests.commands.finding import environment, found, only, texts, written

STYLES = [None, "'", '"', "|", ">"]
CHARACTERS = st.sampled_from(
    [*"ab-=_./:,{}[]\"'\\$%`!#&|;<>()*?~ \té@^\n", "  ", ": ", " #", "\n\n", "\u00a0", "\U0001f600"]
)
WORDS = st.lists(st.lists(CHARACTERS, max_size=8).map("".join), max_size=6)
PLENTY = settings(max_examples=150, deadline=None)


def compose(**service: object) -> str:
    return yaml.safe_dump({"services": {"a": {"image": "x", **service}}}, allow_unicode=True)


@given(
    st.lists(CHARACTERS, max_size=40).map("".join), st.sampled_from(STYLES), st.booleans(), st.sampled_from([20, 1000])
)
@PLENTY
def test_every_character_of_a_text_has_its_place(value: str, style: str | None, flow: bool, width: int) -> None:
    text = yaml.safe_dump({"a": [value]}, default_style=style, default_flow_style=flow, width=width, allow_unicode=True)
    tree = parse(Text.of(text))
    node = tree.roots[0].get("a")
    assert tree.troubles == []
    assert node is not None
    assert node.items is not None
    content = tree.content(node.items[0])
    assert content.chars == value
    places = list(zip(content.starts, content.ends, strict=True))
    assert places == sorted(places)
    for char, (start, end) in zip(content.chars, places, strict=True):
        if char not in " \t\n":
            assert char in text[start:end] or text[start] == "\\"


@given(WORDS, st.sampled_from(["'", '"', None]), st.booleans())
@PLENTY
def test_a_list_is_read_back(words: list[str], style: str | None, flow: bool) -> None:
    doubled = [word.replace("$", "$$") for word in words]
    service = {"services": {"a": {"image": "x", "command": ["vllm", "serve", *doubled]}}}
    text = yaml.safe_dump(service, default_style=style, default_flow_style=flow, allow_unicode=True)
    launch = only(text, "compose.yaml")
    assert [word.text for word in launch.words] == words
    for word, slice_ in zip(launch.words, written(launch, text), strict=True):
        assert yaml.safe_load(slice_ if flow or style else f"- {slice_}") in (
            word.text.replace("$", "$$"),
            [word.text.replace("$", "$$")],
        )


@given(WORDS, st.sampled_from(STYLES), st.sampled_from([20, 1000]))
@PLENTY
def test_a_text_is_split_into_words(words: list[str], style: str | None, width: int) -> None:
    command = shlex.join(["vllm", "serve", *words]).replace("$", "$$")
    service = {"services": {"a": {"image": "x", "command": command}}}
    text = yaml.safe_dump(service, default_style=style, width=width, allow_unicode=True)
    assert [word.text for word in only(text, "compose.yaml").words] == words


def test_a_line_in_json_is_yaml_too() -> None:
    text = json.dumps(
        {"kind": "Pod", "spec": {"containers": [{"image": "x", "command": ["vllm", "serve", "a\tb\u00e9\\"]}]}}
    )
    launch = only(text, "pod.json")
    assert texts(launch) == ["a\tb\u00e9\\"]
    assert written(launch, text) == ['"a\\tb\\u00e9\\\\"']


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--x $A ${A} ${A:-b c} ${A-d} ${A:?e} $$A", ["--x", "?...", "?...", "b", "c", "d", "?...", "$A"]),
        ("--x '${A:-b c}' \"$A d\" #e", ["--x", "b c", "? d"]),
        ("{a,b} *.x ~ `c` $$", ["{a,b}", "*.x", "~", "`c`", "$"]),
        ("a\\ b 'c\nd'\n e", ["a b", "c d", "e"]),
    ],
)
def test_compose_splits_and_fills_in_and_nothing_more(command: str, words: list[str]) -> None:
    text = f"services: {{a: {{image: x, command: {json.dumps('vllm serve ' + command)}}}}}\n".replace("\\n", " ")
    assert texts(found(text, "compose.yaml").launches[0]) == words


def test_a_backslash_at_the_end_of_a_line_joins_nothing_in_compose() -> None:
    """It goes into the next word: a fault that people make, for no shell reads it."""
    text = "services:\n  a:\n    image: x\n    command: |\n      vllm serve m \\\n        --port 1\n"
    assert texts(only(text, "compose.yaml")) == ["m", "\n", "--port", "1"]
    folded = text.replace("|", ">").replace("        --", "      --")
    assert texts(only(folded, "compose.yaml")) == ["m", " --port", "1"]


@pytest.mark.parametrize(
    "entry", ["vllm serve", "[vllm, serve]", '["vllm","serve"]', "\n      - vllm\n      - 'serve'"]
)
@pytest.mark.parametrize(
    "command",
    ["m --x 'a b'", "[m, --x, 'a b']", "\n      - m\n      - --x\n      - a b", '>\n      m --x\n      "a b"'],
)
def test_entry_point_and_command_are_one(entry: str, command: str) -> None:
    text = f"services:\n  a:\n    image: x\n    entrypoint: {entry}\n    command: {command}\n"
    assert texts(only(text, "compose.yaml")) == ["m", "--x", "a b"]


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        ({"image": "vllm/vllm-openai:v0.11.0", "command": ["m"]}, ["m"]),
        ({"image": "vllm/vllm-openai:v0.11.0", "command": "--model m"}, ["--model", "m"]),
        ({"image": "vllm/vllm-openai:v0.11.0"}, []),
        ({"image": "vllm/vllm-openai", "entrypoint": "", "command": "vllm serve m"}, ["m"]),
        ({"image": "vllm/vllm-openai", "entrypoint": ["bash", "-c"], "command": ["vllm serve m"]}, ["m"]),
        ({"image": "${IMAGE:-vllm/vllm-openai}", "command": "m"}, ["m"]),
        ({"build": ".", "command": "python -m sglang.launch_server --x"}, ["--x"]),
    ],
)
def test_the_image_decides_what_a_command_is_given_to(service: dict[str, object], expected: list[str]) -> None:
    assert texts(only(yaml.safe_dump({"services": {"a": service}}), "compose.yaml")) == expected


@pytest.mark.parametrize(
    "variables",
    ["{A: b c, N: 1, E: }", "[A=b c, 'N=1', E]", "\n      A: b c\n      N: '1'", "\n      - A=b c\n      - N=1"],
)
def test_environment_as_a_mapping_or_a_list(variables: str) -> None:
    text = f"services:\n  a:\n    image: x\n    command: vllm serve m\n    environment: {variables}\n"
    assert environment(only(text, "compose.yaml")) == {"A": "b c", "N": "1"}


def test_what_several_services_share_is_found_once() -> None:
    text = """
x: &x
  image: x
  command: [vllm, serve, &m m]
services:
  a: {<<: *x}
  b: *x
  c: {command: [vllm, serve, *m, -x]}
"""
    held = found(text, "compose.yaml")
    assert [texts(launch) for launch in held.launches] == [["m"], ["m", "-x"]]
    assert held.troubles == ()


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ("services:\n  a:\n    command: [vllm, serve, m]\n\tb: c\n", 4, 1, "is not YAML"),
        ("services:\n  a: {image: x, image: y}\n", 2, 17, "'image' stands twice"),
        ("services:\n  a: *b\n", 2, 6, "the alias *b names nothing"),
        ("services:\n  a: 'open\n", 3, 1, "is not YAML"),
        ("services: {{ .Values.x }}\n  a\n", 2, 3, "is not YAML"),
        ("services:\n  a:\n    command: vllm serve 'm\n", 3, 25, "the quote ' is not closed"),
    ],
)
def test_what_is_wrong_has_its_place(text: str, line: int, column: int, what: str) -> None:
    held = found(text, "compose.yaml")
    assert what in held.troubles[0].what
    assert Source("", text).place(held.troubles[0].start) == (line, column)


def test_what_stands_before_and_after_what_is_wrong_is_read() -> None:
    document = "kind: Pod\nspec:\n  containers:\n  - {image: x, command: [vllm, serve, %s]}\n"
    text = f"{document % 'a'}\n---\nkind: [\n---\n{document % 'b'}  - {{\n"
    held = found(text, "pods.yaml")
    assert [texts(launch) for launch in held.launches] == [["a"], ["b"]]
    assert len(held.troubles) == 2
