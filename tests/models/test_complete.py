"""Folders of models with weights missing or cut short."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from launcher.models.complete import problems


def tensors(path: Path, size: int = 64, missing: int = 0) -> None:
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size - missing))


def index(folder: Path, *shards: str) -> None:
    text = json.dumps({"weight_map": {f"w{number}": shard for number, shard in enumerate(shards)}})
    (folder / "model.safetensors.index.json").write_text(text)


def said(folder: Path) -> list[str]:
    return [each.what for each in problems(folder, "mine")]


def test_a_whole_model_is_complete(tmp_path: Path) -> None:
    index(tmp_path, "a.safetensors", "b.safetensors")
    for name in "ab":
        tensors(tmp_path / f"{name}.safetensors")
    assert said(tmp_path) == []


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.gguf"])
def test_one_file_is_a_model(name: str, tmp_path: Path) -> None:
    tensors(tmp_path / name)
    assert said(tmp_path) == []


def test_missing_shards_are_named(tmp_path: Path) -> None:
    index(tmp_path, "a.safetensors", "b.safetensors", "c.safetensors", "b.safetensors")
    tensors(tmp_path / "a.safetensors")
    assert said(tmp_path) == ["model 'mine' is not complete: it lacks b.safetensors and 1 more, which its index lists"]


@pytest.mark.parametrize("end", ["safetensors", "bin"])
def test_shards_without_an_index_count_themselves(end: str, tmp_path: Path) -> None:
    shards = [tmp_path / f"model-{number:05}-of-00003.{end}" for number in (1, 2, 3)]
    for path in shards:
        tensors(path)
    assert said(tmp_path) == []
    shards[1].unlink()
    name = shards[1].name
    assert said(tmp_path) == [f"model 'mine' is not complete: it lacks {name}, which the names of its others count"]


@pytest.mark.parametrize("name", ["training_args.bin", "optimizer.bin", "optimizer.pt"])
def test_what_training_leaves_is_no_model(name: str, tmp_path: Path) -> None:
    tensors(tmp_path / name)
    assert said(tmp_path) == ["model 'mine' is not complete: it holds no weights"]


def test_a_file_that_is_cut_short_is_named_with_its_sizes(tmp_path: Path) -> None:
    tensors(tmp_path / "model.safetensors", size=5000, missing=1000)
    (problem,) = problems(tmp_path, "mine")
    assert "it is cut short: 4,0" in problem.what
    assert problem.where == str(tmp_path / "model.safetensors")


@pytest.mark.parametrize("data", [b"", b"\1", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"[]", b"<html>" * 9])
def test_a_file_that_is_none_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    assert said(tmp_path) == ["model 'mine' is not complete: it has a file of weights without a header"]


@pytest.mark.parametrize("offsets", [["0", "1"], [0, None], [0, 1.5], {}, 7, [0, [1]]])
def test_offsets_that_are_none_are_told(offsets: object, tmp_path: Path) -> None:
    header = json.dumps({"w": {"data_offsets": offsets}, "x": {"data_offsets": [0, 1]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert said(tmp_path) == ["model 'mine' is not complete: it has a file of weights without a header"]


@pytest.mark.parametrize("shards", [5, ["a"], None, {"b": 1}])
def test_an_index_with_other_things_than_names_is_told(shards: object, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shards, "b": "c"}}))
    assert "in a form that can be read" in said(tmp_path)[0]


def test_no_weights_and_a_damaged_index_are_told(tmp_path: Path) -> None:
    assert said(tmp_path) == ["model 'mine' is not complete: it holds no weights"]
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    assert "in a form that can be read" in said(tmp_path)[0]
