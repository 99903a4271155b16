"""Files, variables and options become settings with origins, or errors with places."""

from pathlib import Path

import pytest

from launcher.config import sources
from launcher.config.layers import Layer, Origin, Setting
from launcher.errors import ServeError


def load(tmp_path: Path, text: str) -> Layer:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return sources.document(file, "file").settings


def values(layer: Layer) -> dict[str, object]:
    return {name: setting.value for name, setting in layer.items()}


def test_every_form_of_a_file(tmp_path: Path) -> None:
    text = """\
extends: balanced
description: a test
context_length: 32k
weights: [int4, fp8]
cuda_graphs: off
memory_fraction: 0.85
trust_remote_code: yes
dtype: half
speculative: {method: eagle3, draft_model: /d, steps: 3}
env: {HF_HOME: /data, EMPTY: null}
args:
  vllm: {--max-loras: 2, enable_lora: true, "--no-enable-log-requests": true, hf_overrides: {a: [1, 2]}}
  sglang: {--cuda-graph-bs: [1, 2]}
"""
    layer = load(tmp_path, text)
    assert values(layer) == {
        "context_length": 32768,
        "weights": ("int4", "fp8"),
        "cuda_graphs": "off",
        "memory_fraction": 0.85,
        "trust_remote_code": True,
        "dtype": "float16",
        "speculative.method": "eagle3",
        "speculative.draft_model": "/d",
        "speculative.steps": 3,
        "env.HF_HOME": "/data",
        "env.EMPTY": None,
        "args.vllm.--max-loras": "2",
        "args.vllm.--enable-lora": True,
        "args.vllm.--no-enable-log-requests": True,
        "args.vllm.--hf-overrides": '{"a": [1, 2]}',
        "args.sglang.--cuda-graph-bs": ("1", "2"),
    }
    assert layer["context_length"].origin == Origin("file", f"{tmp_path / 'c.yaml'}:3")
    assert layer["args.sglang.--cuda-graph-bs"].origin.place.endswith(":13")


@pytest.mark.parametrize(
    ("text", "line", "what", "fix"),
    [
        ("contxt_length: 5\n", 1, "'contxt_length' is not a key", "did you mean 'context_length'?"),
        ("dtype: auto\nport: eighty\n", 2, "port: 'eighty' is not a whole number", "port: The TCP port to bind."),
        ("port: 70000\n", 1, "port: '70000' is not between 1 and 65535", ""),
        ("port: [80]\n", 1, "port is a list", ""),
        ("memory_fraction: 1.5\n", 1, "memory_fraction: '1.5' is not above 0 and at most 1", ""),
        ("memory_fraction: nan\n", 1, "memory_fraction: 'nan'", ""),
        ("weights: [int4, int5]\n", 1, "weights holds 'int5'", ""),
        ("weights: []\n", 1, "weights is an empty list", ""),
        ("weights: [int4, int4]\n", 1, "names a value twice", ""),
        ("kv_cache: fp9\n", 1, "did you mean 'fp8'?", ""),
        ("speculative: {step: 3}\n", 1, "speculative: 'step' is not a key", "did you mean 'steps'?"),
        ("speculative: eagle3\n", 1, "speculative is not a mapping", ""),
        ("args: {vlm: {}}\n", 1, "'vlm' is not an engine", "did you mean 'vllm'?"),
        ("args: {vllm: {'--a b': 1}}\n", 1, "is not the name of a flag", ""),
        ("env: {'A B': 1}\n", 1, "is not the name of a variable", ""),
        ("env: {VLLM_API_KEY: sk-1}\n", 1, "would put the key into a file", "api_key"),
        ("args: {vllm: {--api-key=sk-1: true}}\n", 1, "'--api-key' is not the name of a flag", ""),
        ("api_key: sk-123\n", 1, "api_key: what is given is not auto, env, file", ""),
        ("model: ''\n", 1, "is empty", ""),
        ('model: "a\\nb"\n', 1, "control character", ""),
        ("- a\n", 1, "is not a mapping of keys", "serve keys"),
    ],
)
def test_every_refusal_of_a_file(tmp_path: Path, text: str, line: int, what: str, fix: str) -> None:
    with pytest.raises(ServeError) as caught:
        load(tmp_path, text)
    error = caught.value.every()[0]
    assert error.where == f"{tmp_path / 'c.yaml'}:{line}"
    assert what in error.what
    assert fix in error.fix


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ServeError) as caught:
        load(tmp_path, "prot: 1\nport: x\nspeculative: {step: 1}\n")
    assert [each.where.rsplit(":", 1)[1] for each in caught.value.every()] == ["1", "2", "3"]


def test_null_unsets_a_key_and_a_group(tmp_path: Path) -> None:
    layer = load(tmp_path, "kv_cache: null\nnodes: null\n")
    assert layer.keys() == {"kv_cache", "nodes.count", "nodes.rank", "nodes.address"}
    assert set(values(layer).values()) == {None}


def test_the_environment() -> None:
    layer = sources.environment({"SERVE_PORT": "9000", "SERVE_SPECULATIVE_STEPS": "4", "SERVE_HOME": "/x", "PATH": "/"})
    assert layer == {
        "port": Setting(9000, Origin("environment", "SERVE_PORT")),
        "speculative.steps": Setting(4, Origin("environment", "SERVE_SPECULATIVE_STEPS")),
    }
    with pytest.raises(ServeError, match="SERVE_PROT is not a variable of serve") as caught:
        sources.environment({"SERVE_PROT": "1"})
    assert caught.value.fix == "did you mean 'SERVE_PORT'?"


def test_the_key_in_the_environment_is_never_a_value() -> None:
    layer = sources.environment({"SERVE_API_KEY": "sk-secret"})
    assert values(layer) == {"api_key": "env"}
    assert "sk-secret" not in repr(layer)
    assert values(sources.environment({"SERVE_API_KEY": ""})) == {"api_key": "env"}  # and is refused where it is read


def test_the_command_line() -> None:
    layer = sources.command_line(
        {"port": "9000"},
        ["port=1", "context_length=8k", "env.A=b=c", "args.vllm.--max-loras=2", "speculative.steps=2", "kv_cache=null"],
    )
    assert values(layer) == {
        "port": 9000,
        "context_length": 8192,
        "env.A": "b=c",
        "args.vllm.--max-loras": "2",
        "speculative.steps": 2,
        "kv_cache": None,
    }
    assert layer["port"].origin.place == "--port"
    assert layer["context_length"].origin.place == "--set context_length"


@pytest.mark.parametrize(
    "assignment", ["port", "prot=1", "args.vllm=1", "args=1", "env=1", "speculative=1", "=1", "args.x.--y=1"]
)
def test_assignments_that_are_none(assignment: str) -> None:
    with pytest.raises(ServeError) as caught:
        sources.command_line({}, [assignment])
    assert caught.value.every()[0].where.startswith("--set")


KEY = "sk-the-key-itself"


@pytest.mark.parametrize(
    "text",
    [
        f"api_key: {KEY}",
        f"api_key: [{KEY}]",
        f"api_key: {{a: {KEY}}}",
        f"api_key:{KEY}",
        f"port: x\napi_key: '{KEY}",
        f"env: {{SERVE_API_KEY: {KEY}}}",
        f"env: {{VLLM_API_KEY: {KEY}}}",
        f"env: [HF_TOKEN={KEY}]",
        f"args: {{vllm: {{--api-key={KEY}: true}}}}",
        f"args: {{vllm: [--api-key, {KEY}]}}",
    ],
)
def test_a_key_in_a_file_is_refused_and_never_told_back(tmp_path: Path, text: str) -> None:
    with pytest.raises(ServeError) as caught:
        load(tmp_path, text)
    assert KEY not in "".join(f"{each.what}{each.where}{each.fix}" for each in caught.value.every())


@pytest.mark.parametrize(
    "assignment",
    [f"api_key: {KEY}", f"api_key {KEY}", f"api-key={KEY}", f"env.VLLM_API_KEY={KEY}", f"env.SERVE_API_KEY={KEY}"],
)
def test_a_key_in_a_mistyped_assignment_is_never_told_back(assignment: str) -> None:
    with pytest.raises(ServeError) as caught:
        sources.command_line({"api_key": KEY}, [assignment])
    assert KEY not in "".join(f"{each.what}{each.where}{each.fix}" for each in caught.value.every())
