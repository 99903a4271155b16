"""Files that are read, and files that are written back."""

import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.commands import edits
from launcher.commands.source import LIMIT_BYTES, Source, Word, read
from launcher.errors import ServeError
from tests.commands.finding import found, only


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("\ufeffa\r\n\u00fc\tb\n".encode())
    source = read(tmp_path / "x")
    assert source.text == "\ufeffa\r\n\u00fc\tb\n"
    assert [source.place(offset) for offset in (1, 2, 4, 5, 6, 8)] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1)]


@pytest.mark.parametrize(
    ("data", "where", "what"),
    [
        (b"a\nb\xff", ":2", "is not UTF-8 text (byte 3)"),
        (b"a\n\nb\0c\xff", ":3", "is not UTF-8 text (byte 4)"),
        ("a".encode("utf-16"), ":1", "is not UTF-8 text"),
        (b"a" * (LIMIT_BYTES + 1), "", "is larger than 1024 KiB"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, where: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ServeError) as caught:
        read(tmp_path / "x")
    assert what in caught.value.what
    assert caught.value.where == f"{tmp_path / 'x'}{where}"
    assert caught.value.fix


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    refused = {
        "none": "No such file",
        "": "a folder",
        "pipe": "not a plain file",
        "large": "is larger",
        "a\0": "null byte",
    }
    for name, what in refused.items():
        with pytest.raises(ServeError, match=what):
            read(tmp_path / name)
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(ServeError, match="not a plain file"):
            read(Path(device))


def test_edits_are_made_in_any_order_and_once() -> None:
    source = Source("x", "one two three")
    assert edits.apply(source, [(8, 13, "3"), (0, 3, "1"), (0, 3, "1"), (3, 3, " +")]) == "1 + two 3"
    assert edits.apply(source, []) == source.text
    with pytest.raises(ServeError, match="two changes meet") as caught:
        edits.apply(source, [(0, 5, "a"), (4, 7, "b")])
    assert caught.value.where == "x:1:5"


def test_a_difference_is_shown() -> None:
    source = Source("run.sh", "a\nb\nc")
    assert edits.diff(source, source.text) == ""
    shown = edits.diff(source, "a\nb\nd\n")
    assert shown.splitlines()[:2] == ["--- run.sh", "+++ run.sh"]
    assert "-c\n\\ No newline at end of file\n+d\n" in shown


def test_a_file_is_replaced_with_its_mode_through_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "run.sh", tmp_path / "link"
    file.write_bytes(b"a\r\n")
    file.chmod(0o750)
    link.symlink_to(file)
    edits.write(read(link), "b\r\n\u00fc")
    assert link.is_symlink()
    assert file.read_bytes() == "b\r\n\u00fc".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o750
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "run.sh"]


def test_a_file_that_has_changed_is_left(tmp_path: Path) -> None:
    file = tmp_path / "run.sh"
    file.write_text("a")
    source = read(file)
    file.write_text("b")
    with pytest.raises(ServeError, match="has changed"):
        edits.write(source, "c")
    assert file.read_text() == "b"
    file.unlink()
    with pytest.raises(ServeError, match="No such file"):
        edits.write(source, "c")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.sh"
    file.write_text("a")
    source = read(file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(ServeError, match="cannot be written"):
            edits.write(source, "b" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run.sh", "a")]


# Every kind of place that a word is written in; `old` is replaced there by another word.
COMMAND = "vllm serve m --x old --y"
SERVICE = "services:\n  a:\n    command:"
PLACES = {
    "shell": ("run.sh", f"{COMMAND}\n"),
    "shell, quoted": ("run.sh", "vllm serve m --x 'o'\"l\"d --y\n"),
    "string in double quotes": ("run.sh", f'bash -c "{COMMAND}"\n'),
    "string in single quotes": ("run.sh", f"bash -c '{COMMAND}'\n"),
    "string in a string": ("run.sh", f"bash -c \"bash -c '{COMMAND}'\"\n"),
    "array": ("run.sh", 'A=(m --x old --y)\nvllm serve "${A[@]}"\n'),
    "text that is split": ("run.sh", "A='m --x old --y'\nvllm serve $A\n"),
    "verbatim here-document": ("run.sh", f"bash <<'E'\n{COMMAND}\nE\n"),
    "here-document": ("run.sh", f"bash <<E\n{COMMAND}\nE\n"),
    "unit in a here-document": ("run.sh", f"cat <<E\n[Service]\nExecStart={COMMAND}\nE\n"),
    "unit": ("x.service", f"[Service]\nExecStart={COMMAND}\n"),
    "shell in a unit": ("x.service", f"[Service]\nExecStart=sh -c '{COMMAND}'\n"),
    "list": ("c.yaml", f"{SERVICE} [vllm, serve, m, --x, old, --y]\n"),
    "list of lines": ("c.yaml", f"{SERVICE}\n    - vllm\n    - serve\n    - m\n    - --x\n    - old\n    - --y\n"),
    "text": ("c.yaml", f"{SERVICE} {COMMAND}\n"),
    "text in braces": ("c.yaml", f"services: {{a: {{image: x, command: {COMMAND}}}}}\n"),
    "text in single quotes": ("c.yaml", f"{SERVICE} '{COMMAND}'\n"),
    "text in double quotes": ("c.yaml", f'{SERVICE} "{COMMAND}"\n'),
    "folded text": ("c.yaml", f"{SERVICE} >\n      vllm serve m\n      --x old\n      --y\n"),
    "shell in a list": ("c.yaml", f'{SERVICE} [sh, -c, "{COMMAND}"]\n'),
    "shell in a text": ("c.yaml", f"{SERVICE} sh -c '{COMMAND}'\n"),
    "manifest": ("p.yaml", "kind: Pod\na: {image: x, command: [vllm, serve, m, --x, old, --y]}\n"),
    "shell in a manifest": (
        "p.yaml",
        f"kind: Pod\na:\n  image: x\n  command: [sh, -c]\n  args:\n  - |\n    {COMMAND}\n",
    ),
}
NEW = st.text(st.sampled_from("ab-=/.:,{}[]\"'\\$%`!#&|;<>()*?~ é@^\n\t"), min_size=1, max_size=8)


def _quoted(old: Word, word: str) -> str | None:
    try:
        return old.quote(word)
    except ServeError:
        return None


@pytest.mark.parametrize("place", PLACES)
@given(word=NEW)
@settings(max_examples=60, deadline=None)
def test_a_word_is_replaced_where_it_stands(place: str, word: str) -> None:
    path, text = PLACES[place]
    launch = only(text, path)
    old = launch.words[2]
    assert old.text == "old"
    written = _quoted(old, word)
    if written is None:  # some characters cannot stand there; those that mean nothing anywhere always can
        assert not word.isalnum() or not word.isascii()
        return
    after = edits.apply(Source(path, text), [(old.start, old.end, written)])
    held = found(after, path)
    assert held.troubles == ()
    assert [each.text for each in held.launches[0].words] == ["m", "--x", word, "--y"]


@pytest.mark.parametrize("place", PLACES)
def test_a_json_value_can_be_written_everywhere_but_in_bare_texts(place: str) -> None:
    path, text = PLACES[place]
    old = only(text, path).words[2]
    word = '{"a": "b c", "d": [1]}'
    if place in {"text that is split", "text", "text in braces", "shell in a text"}:
        with pytest.raises(ServeError):
            old.quote(word)
        return
    after = edits.apply(Source(path, text), [(old.start, old.end, old.quote(word))])
    assert only(after, path).words[2].text == word


def test_a_part_of_what_is_written_is_not_replaced_alone() -> None:
    text = 'E="--x old"\nbash -c "vllm serve m $E --y"\n'
    launch = only(text)
    assert [word.text for word in launch.words] == ["m", "--x", "old", "--y"]
    with pytest.raises(ServeError):
        launch.words[2].quote("new")
    assert launch.words[3].quote("new") == "new"
