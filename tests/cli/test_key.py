"""`serve key`: the files that hold API keys."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Program


def test_a_new_key_is_the_one_that_a_launch_uses(serve: Program) -> None:
    made = serve("key", "new", "mine")
    path = serve.home / "state" / "keys" / "mine"
    assert (made.code, made.err) == (0, "")
    assert made.out.splitlines() == [
        f"made: {path}",
        "serve launch MODEL --name mine --api-key auto",
        f'export OPENAI_API_KEY="$(cat {path})"',
    ]
    assert path.read_text().startswith("sk-serve-")
    assert made.files == ("state", "state/keys", "state/keys/mine")
    dry = serve("launch", "demo", "--name", "mine", "--api-key", "auto", "--engine", "vllm@0.33.0", "--dry-run")
    assert f"# api_key: {path} " in dry.err


def test_a_key_that_is_there_is_replaced_only_by_force(serve: Program) -> None:
    serve("key", "new", "mine")
    path = serve.home / "state" / "keys" / "mine"
    first = path.read_text()
    again = serve("key", "new", "mine")
    assert (again.code, again.out, path.read_text()) == (2, "", first)
    assert again.err == f"serve: {path}: there is a key already\n  -> --force makes a new one in its place\n"
    forced = serve("key", "new", "mine", "--force")
    assert forced.code == 0
    assert forced.out.startswith(f"replaced: {path}\n")
    assert "keeps the key that it has until it is restarted" in forced.out
    assert path.read_text() != first


def test_a_key_in_a_file_of_ones_own_is_the_one_that_a_launch_takes(serve: Program) -> None:
    made = serve("key", "new", "--path", "new folder/key", "--json")
    path = serve.folder / "new folder" / "key"
    assert json.loads(made.out) == {"path": str(path), "api_key": f"file:{path}", "replaced": False}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert made.files == ()
    option = json.loads(made.out)["api_key"]
    dry = serve("launch", "demo", "--api-key", option, "--engine", "sglang@0.5.23", "--dry-run", "--json")
    assert json.loads(dry.out)["api_key"].startswith(f"{path} as api-key in ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "serve: a key is for an instance or a file\n  -> give NAME, or --path FILE\n"),
        (("mine", "--path", "x"), "serve: a key is for an instance or a file\n  -> give NAME, or --path FILE\n"),
        (("../mine",), "serve: NAME: '../mine' is no name for an instance\n  -> letters, digits, and . _ - within"),
        (("--path", "."), "is there already, and is no file\n"),
        (("--path", "/proc/key"), "serve: /proc/key: cannot be written: "),
    ],
)
def test_what_cannot_be_made_is_told_in_one_message(serve: Program, words: tuple[str, ...], message: str) -> None:
    told = serve("key", "new", *words)
    assert told.code in {1, 2}
    assert (told.out, told.files) == ("", ())
    assert message in told.err
    assert list(serve.folder.iterdir()) == []


def test_no_key_is_ever_printed(serve: Program) -> None:
    told = [serve("key", "new", "mine", *more) for more in ((), ("--force",), ("--force", "--json"))]
    told.append(serve("key", "new", "--path", "key"))
    assert "sk-serve-" not in "".join(each.out + each.err for each in told)
