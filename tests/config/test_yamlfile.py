"""YAML is data only, and every refusal names its line."""

import time
from pathlib import Path

import pytest

from launcher.config.yamlfile import SIZE_LIMIT_BYTES, Node, parse, plain, read
from launcher.errors import ServeError


def test_texts_keep_their_lines_and_are_not_interpreted() -> None:
    root = parse("a: off\nb:\n  c: 0x10\nd: [1, 'x']\n", "f.yaml")
    assert isinstance(root.value, dict)
    assert root.value["a"] == Node("off", 1)
    assert root.value["b"].value == {"c": Node("0x10", 3)}
    assert root.value["d"].value == [Node("1", 4), Node("x", 4, quoted=True)]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n", "~\n"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert parse(text, "f.yaml").value == {}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3", "'a' stands twice (first in line 1)"),
        ("a: &x 1\n", "f.yaml:1", "anchors and aliases"),
        ("a: 1\nb: *x\n", "f.yaml:2", "anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", "f.yaml:1", "tag"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2", "second document"),
        ("a: [1\nb: 2\n", "f.yaml:2", "is not YAML"),
        ("a: 'open\n", "f.yaml:2", "is not YAML"),
        ("? [a, b]\n: 1\n", "f.yaml:1", "where a name should"),
        ("a: \x01\n", "f.yaml", "is not YAML"),
        ("[" * 40, "f.yaml:1", "nested more than"),
    ],
)
def test_what_is_more_than_data_is_refused_with_its_line(text: str, where: str, what: str) -> None:
    with pytest.raises(ServeError) as caught:
        parse(text, "f.yaml")
    assert caught.value.where == where
    assert what in caught.value.what


def _bomb(size: int) -> str:
    """Ten levels of ten aliases each, then filler, as large as asked."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 11)]
    text = "\n".join(lines) + "\n"
    return text + "".join(f"k{index}: *a10\n" for index in range((size - len(text)) // 12))


@pytest.mark.parametrize("size", [1000, SIZE_LIMIT_BYTES - 1, 1024 * 1024])
def test_an_alias_bomb_is_refused_at_once(tmp_path: Path, size: int) -> None:
    file = tmp_path / "bomb.yaml"
    file.write_text(_bomb(size))
    begin = time.monotonic()
    with pytest.raises(ServeError):
        read(file)
    assert time.monotonic() - begin < 1  # the issue's own bar; it takes some milliseconds


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    for name, what in (("none.yaml", "No such file"), ("", "Is a directory"), ("latin.yaml", "not UTF-8")):
        with pytest.raises(ServeError, match=what):
            read(tmp_path / name)


def test_plain_reads_words_as_json_does() -> None:
    root = parse("a: {b: true, c: 3, d: 0.5, e: off, f: '7', g: null, h: [1, x]}", "f.yaml")
    expected = {"b": True, "c": 3, "d": 0.5, "e": "off", "f": "7", "g": None, "h": [1, "x"]}
    assert plain(root) == {"a": expected}
