"""presets/schema.json, by which editors check files: it takes what the loader takes, but for known differences.

An editor reads YAML with YAML's own types (`off` is false, 8000 a number), the loader reads texts, so they can differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from launcher import settings
from launcher.config import keys
from launcher.config.sources import document
from launcher.errors import ServeError

FOLDER = settings.share_folder("presets")
FILES = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("examples/*.yaml")])
SCHEMA: dict[str, Any] = json.loads((FOLDER / "schema.json").read_text())

BOTH_TAKE = (
    "description: A line.\nextends: balanced",
    "model: Qwen/Qwen3-8B",
    "engine: vllm@0.24.0",
    "port: 8000",
    "port:",
    "trust_remote_code: true",
    "prefix_cache: off",
    "api_key: file:/etc/key",
    "dtype: half",
    "weights: int4",
    "weights: [int4, fp8]",
    "context_length: auto",
    "context_length: 32k",
    "context_length: 32_768",
    "memory_fraction: 0.85",
    "memory_fraction: 1",
    "cuda_graphs: off",
    "cuda_graphs: 64",
    "torch_compile: on",
    "speculative: {method: eagle3, draft_model: a/b, steps: 3}",
    "speculative: null",
    "nodes: {count: 2, rank: 0, address: 'node:5000'}",
    "env: {HF_HUB_OFFLINE: 1, OMP_NUM_THREADS: '4', EMPTY: null}",
    "args: {vllm: {--swap-space: 4, enable_log_requests: true}, sglang: {--lora-paths: [a, b], --json: {a: 1}}}",
)
BOTH_REFUSE = (
    "- model",
    "modle: demo",
    "speculative: {stepps: 3}",
    "args: {tgi: {--port: 1}}",
    "port: eighty",
    "port: 0",
    "port: 70000",
    "port: true",
    "port: [8000]",
    "model: {name: demo}",
    "model: ''",
    "engine: llama.cpp",
    "engine_version: latest",
    "host: a b",
    "api_key: sk-a-key-itself",
    "trust_remote_code: maybe",
    "weights: int3",
    "weights: []",
    "weights: [int4, int4]",
    "weights: [int4, [fp8]]",
    "context_length: many",
    "context_length: 0",
    "context_length: -1",
    "context_length: 1.5",
    "memory_fraction: 0",
    "memory_fraction: 1.5",
    "cuda_graphs: 0",
    "cuda_graphs: on",
    "speculative: eagle3",
    "nodes: {rank: -1}",
    "env: [A]",
    "env: {A: [1]}",
    "args: {vllm: [--port]}",
    "description: [a, b]",
)
# A document, whether the loader takes it (the schema does the opposite), and why that is as it should be.
KNOWN_DIFFERENCES = (
    ("", True, "an editor sees null in an empty file"),
    ("port: '8000'", True, "the loader reads texts, quoted or not; the schema asks for the plain form"),
    ("trust_remote_code: 1", True, "the same words are taken as in a variable"),
    ("weights: int4,fp8", True, "the same form is taken as on the command line"),
    ("served_name: 8", True, "a name may be a number; YAML reads it as one"),
    ("extends: 8", True, "as above"),
    ("env:", True, "nothing stands below it yet"),
    ("args: {vllm: }", True, "as above"),
    ("torch_compile: yes", False, "YAML reads on and yes as the same"),
    ("wait_timeout: 8:30", False, "YAML 1.1 reads it as 510"),
    ("port: 8000.0", False, "JSON has one kind of number"),
    ("context_length: 0k", False, "the bounds of a number with a suffix are beyond a pattern"),
    ("model: --port", False, "no pattern forbids it: the reason would be told worse than by the loader"),
    ("env: {A-B: x}", False, "names of variables and flags are checked by the loader alone"),
    ("env: {VLLM_API_KEY: x}", False, "so are the variables that would put a key into a file"),
    ("args: {vllm: {'a b': 1}}", False, "so are flags"),
    ("port: 1\nport: 2", False, "YAML lets the last of two equal names win"),
    ("model: &a demo", False, "anchors are gone when the schema looks"),
)


def schema_takes(text: str) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(text))


def loader_takes(text: str, folder: Path) -> bool:
    path = folder / "file.yaml"
    path.write_text(text)
    try:
        document(path, "file")
    except ServeError:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_takes_every_preset(path: Path) -> None:
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("text", BOTH_TAKE)
def test_both_take(text: str, tmp_path: Path) -> None:
    assert (schema_takes(text), loader_takes(text, tmp_path)) == (True, True)


@pytest.mark.parametrize("text", BOTH_REFUSE)
def test_both_refuse(text: str, tmp_path: Path) -> None:
    assert (schema_takes(text), loader_takes(text, tmp_path)) == (False, False)


@pytest.mark.parametrize(("text", "taken"), [(text, taken) for text, taken, _ in KNOWN_DIFFERENCES])
def test_a_known_difference(text: str, taken: bool, tmp_path: Path) -> None:
    assert (schema_takes(text), loader_takes(text, tmp_path)) == (not taken, taken)


@pytest.mark.parametrize("key", keys.KEYS, ids=lambda key: key.name)
def test_every_key(key: keys.Key, tmp_path: Path) -> None:
    """Each may be unset, takes its default, and refuses a mapping in both."""
    group, _, member = key.name.rpartition(".")
    for value, right in (("null", True), (key.default or "null", True), ("{unknown: 1}", False)):
        text = f"{group}: {{{member}: {value}}}" if group else f"{member}: {value}"
        assert (schema_takes(text), loader_takes(text, tmp_path)) == (right, right), text
