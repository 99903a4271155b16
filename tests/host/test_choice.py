"""Which release an engine's name means: chosen, kept, taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import choice

OLD, NEW, OTHER = Release("vllm", "0.24.0"), Release("vllm", "0.33.0"), Release("sglang", "0.5.23")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    return tmp_path / "data" / "engines" / "in-use"


def test_nothing_is_chosen_at_first(file: Path) -> None:
    assert (choice.of(), choice.of("vllm"), choice.meanings(NEW)) == (None, None, [])
    choice.forget()
    assert not file.exists()


def test_the_latest_choice_is_what_auto_means(file: Path) -> None:
    choice.choose(OLD)
    choice.choose(OTHER)
    assert (choice.of(), choice.of("vllm"), choice.of("sglang")) == (OTHER, OLD, OTHER)
    choice.choose(NEW)
    assert (choice.of(), choice.of("vllm"), choice.of("sglang")) == (NEW, NEW, OTHER)
    assert [choice.meanings(each) for each in (NEW, OTHER, OLD)] == [["vllm", "auto"], ["sglang"], []]
    assert file.read_text() == "vllm@0.33.0\nsglang@0.5.23\n"
    assert [each.name for each in file.parent.iterdir()] == ["in-use"]


def test_one_choice_is_taken_back_and_then_all(file: Path) -> None:
    for each in (OLD, OTHER):
        choice.choose(each)
    choice.forget(OTHER)
    assert choice.of() == OLD
    choice.forget(NEW)  # which is not chosen
    assert choice.of() == OLD
    choice.forget()
    assert (choice.of(), file.exists()) == (None, False)


@pytest.mark.parametrize("content", [b"vllm\n", b"vllm@x.y\n", b"\xff\xfe", b"\n"])
def test_a_damaged_file_is_told_and_can_be_forgotten(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(ServeError) as caught:
        choice.of("vllm")
    assert caught.value.where.startswith(str(file))
    assert "serve engines use auto" in caught.value.fix
    choice.forget()
    assert choice.of() is None
