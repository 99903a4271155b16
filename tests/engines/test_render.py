"""A deployment for a release: every key is expressed, decided upon aloud, or refused."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest

from launcher.config import keys
from launcher.engines.command import Command
from launcher.engines.release import TITLES
from launcher.engines.render import instance_name
from launcher.engines.target import Checkpoint
from launcher.errors import ServeError
from tests.engines.rendering import RELEASES, attempt, command, release, value_of

# For each key that an engine is told of: values that ask for something, and what they cannot be asked for without.
DRAFT = {"speculative.method": "eagle3", "speculative.draft_model": "org/draft"}
NODES = {"nodes.count": "2", "nodes.rank": "1", "nodes.address": "10.0.0.1:5000"}
VALUES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "model": (("org/other",), {}),
    "revision": (("v1",), {}),
    "source": (("huggingface", "modelscope", "local"), {}),
    "served_name": (("name",), {}),
    "trust_remote_code": (("true", "false"), {}),
    "chat_template": (("chatml",), {}),
    "dtype": (("auto", "bfloat16", "float16", "half", "float32"), {}),
    "host": (("127.0.0.2", "localhost", "::1"), {"allow_unauthenticated": "true"}),
    "port": (("9000",), {}),
    "api_key": (("auto", "file:/k"), {}),
    "weights": (("none", "fp8", "int8,fp8", "int4,fp8"), {}),
    "kv_cache": (("auto", "fp8", "fp8_e4m3", "fp8_e5m2"), {}),
    "context_length": (("auto", "4096", "32k"), {}),
    "memory_fraction": (("0.5", "1"), {}),
    "max_concurrency": (("1", "64"), {}),
    "prefill_tokens": (("1024", "8k"), {}),
    "scheduling": (("fcfs", "priority", "longest_prefix"), {}),
    "prefix_cache": (("true", "false"), {}),
    "cuda_graphs": (("off", "1", "16"), {}),
    "torch_compile": (("on", "off"), {}),
    "attention_backend": (("FLASH_ATTN", "flashinfer"), {}),
    "tensor_parallel": (("2",), {}),
    "pipeline_parallel": (("2",), {}),
    "data_parallel": (("2",), {}),
    "nodes.count": (("3",), NODES),
    "nodes.rank": (("0",), NODES),
    "nodes.address": (("10.0.0.2:5001",), NODES),
    "speculative.method": (("eagle3",), {"speculative.draft_model": "org/draft"}),
    "speculative.draft_model": (("org/other-draft",), DRAFT),
    "speculative.steps": (("3",), DRAFT),
    "speculative.topk": (("4",), DRAFT),
    "speculative.draft_tokens": (("9",), DRAFT),
    "reasoning_parser": (("qwen3",), {}),
    "tool_call_parser": (("hermes", "qwen25"), {}),
    "multimodal.images": (("2", "0"), {}),
    "multimodal.videos": (("1",), {}),
    "metrics": (("false",), {}),
    "log_level": (("debug", "info", "warning", "error"), {}),
    "wait_timeout": (("60",), {}),
    "restart": (("on-failure",), {}),
    "stall_timeout": (("60",), {}),
    "hang_timeout": (("60",), {}),
}
# These choose the release (tests/test_plan.py), or only say that something is meant (tests/config/test_resolve.py).
ELSEWHERE = {"engine", "engine_version", "engine_python", "allow_unauthenticated"}


def facts(made: Command) -> dict[str, object]:
    """Everything about a command that can tell one from another."""
    told = {field.name: getattr(made, field.name) for field in dataclasses.fields(made) if field.name != "arguments"}
    return {**told, "argv": made.argv}


def test_no_key_is_forgotten_here() -> None:
    assert VALUES.keys() | ELSEWHERE == keys.BY_NAME.keys()


@pytest.mark.parametrize(
    ("key", "value", "beside"), [(key, value, beside) for key, (texts, beside) in VALUES.items() for value in texts]
)
def test_no_value_of_any_key_is_dropped_in_silence(key: str, value: str, beside: dict[str, str]) -> None:
    """On any release: it changes the command, or is refused with the reason and what to do."""
    for text in RELEASES:
        made, errors = attempt(partial(command, text, options={**beside, key: value}))
        if made is None:
            told = " ".join(f"{each.what} {each.where}" for each in errors)
            assert key in told or keys.BY_NAME[key].option in told, text
            assert TITLES[release(text).engine] in told, text
            assert all(each.fix or "is none of" in each.what for each in errors), text
            continue
        assert facts(made) != facts(command(text, options=_without(key, beside))), text
        own = [argument.setting for argument in made.arguments if argument.key == key]
        assert all(setting and setting.origin.place == keys.BY_NAME[key].option for setting in own), text


def _without(key: str, beside: dict[str, str]) -> dict[str, str]:
    """The same without the key; a draft model is nothing without its method."""
    return {} if key == "speculative.method" else beside


def test_null_leaves_a_key_out() -> None:
    file = {"kv_cache": "fp8", "context_length": "8k"}
    assert command("vllm@0.33.0", options={**file, "kv_cache": "null"}).argv == command(
        "vllm@0.33.0", options={"context_length": "8k"}
    ).argv  # fmt: skip


@pytest.mark.parametrize("key", list(keys.defaults()))
def test_null_brings_back_what_the_launcher_itself_says(key: str) -> None:
    assert command("vllm@0.33.0", assignments=(f"{key}=null",)).argv == command("vllm@0.33.0").argv


def config(folder: Path, text: str, name: str = "c.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_args_of_a_higher_layer_win_over_a_key_and_say_so(tmp_path: Path) -> None:
    file = config(tmp_path, "max_concurrency: 4\n")
    made = command("vllm@0.33.0", configs=(file,), assignments=("args.vllm.--max-num-seqs=8",))
    assert value_of(made, "--max-num-seqs") == "8"
    (argument,) = [each for each in made.arguments if each.words[0] == "--max-num-seqs"]
    assert argument.setting is not None
    assert [(each.value, each.origin.place) for each in argument.setting.history()] == [(4, f"{file}:1")]
    assert "--max-num-seqs 4 gives way" in [each.text for each in made.decisions][-1]


def test_args_of_a_lower_layer_give_way_to_a_key_and_say_so(tmp_path: Path) -> None:
    file = config(tmp_path, "args: {vllm: {--max-num-seqs: 8}}\n")
    made = command("vllm@0.33.0", configs=(file,), options={"max_concurrency": "4"})
    assert value_of(made, "--max-num-seqs") == "4"
    assert f"--max-num-seqs of {file}:1 is overridden by --max-concurrency" in [each.text for each in made.decisions]


def test_args_of_later_files_win(tmp_path: Path) -> None:
    files = (
        config(tmp_path, "args: {vllm: {--max-loras: 1, seed: 5}}\n", "a.yaml"),
        config(tmp_path, "args: {vllm: {max_loras: 2}}\n", "b.yaml"),
    )
    made = command("vllm@0.33.0", configs=files)
    assert (value_of(made, "--max-loras"), value_of(made, "--seed")) == ("2", "5")


def test_a_flag_of_one_letter_more_for_the_same_thing_wins_once(tmp_path: Path) -> None:
    file = config(tmp_path, "tensor_parallel: 2\nargs: {vllm: {-tp: 4}}\n")
    made = command("vllm@0.33.0", configs=(file,))
    assert "--tensor-parallel-size" not in made.argv
    assert value_of(made, "-tp") == "4"


def test_args_in_every_form(tmp_path: Path) -> None:
    text = """\
args:
  vllm:
    enable_lora: true
    --no-enable-log-requests: true
    --enforce-eager: false
    --no-enable-prefix-caching: false
    lora_modules: [a=b, c=d]
    hf_overrides: {a: [1, 2.5, true, null, x, "7", nan, 1e999]}
    --limit-mm-per-prompt.image: 2
    -O3: true
    --tokenizer: -odd
  sglang: {--not-a-flag-of-vllm: 1}
"""
    argv = command("vllm@0.33.0", configs=(config(tmp_path, text),)).argv
    rest = argv[argv.index("8000") + 1 :]
    overrides = rest.pop(rest.index("--hf-overrides") + 1)
    assert json.loads(overrides) == {"a": [1, 2.5, True, None, "x", "7", "nan", "1e999"]}
    assert rest == [
        "--enable-lora", "--no-enable-log-requests", "--no-enforce-eager", "--enable-prefix-caching",
        "--lora-modules", "a=b", "c=d", "--hf-overrides", "--limit-mm-per-prompt.image", "2", "-O3", "--tokenizer=-odd",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "args", "what", "fix"),
    [
        ("sglang@0.5.23", "sglang: {--torchao-config: int4wo-128}", "no flag --torchao-config", "write --weights int4"),
        ("vllm@0.33.0", "vllm: {tp_size: 4}", "has no flag --tp-size", "write --tensor-parallel 4"),
        ("vllm@0.33.0", "vllm: {--seed: x}", "'x' is not an integer", ""),
        ("vllm@0.33.0", "vllm: {--enable-lora: [1, 2]}", "takes no value", ""),
        ("vllm@0.33.0", "vllm: {--seed: true}", "takes one value; 0 given", ""),
        ("vllm@0.33.0", "vllm: {--api-key: sk-mine}", "is not passed on", "SERVE_API_KEY"),
        ("sglang@0.5.23", "sglang: {api_key: sk-mine}", "is not passed on", "SERVE_API_KEY"),
        ("sglang@0.5.23", "sglang: {--config: f.yaml}", "is not passed on", "--config FILE"),
        ("vllm@0.33.0", "vllm: {--port: 9}", "is not passed on", "key port"),
        ("vllm@0.33.0", "vllm: {--served_model_name: m}", "is not passed on", "key served_name"),
    ],
)
def test_args_that_are_refused(tmp_path: Path, text: str, args: str, what: str, fix: str) -> None:
    file = config(tmp_path, f"# a comment\nargs:\n  {args}\n")
    with pytest.raises(ServeError) as caught:
        command(text, configs=(file,))
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == f"{file}:3"
    assert "sk-mine" not in f"{caught.value.what}{caught.value.fix}"


def test_args_for_the_other_engine_are_refused_when_they_were_asked_for_by_hand() -> None:
    with pytest.raises(ServeError, match=r"args.sglang.--tp-size is for another engine than vLLM 0.33.0") as caught:
        command("vllm@0.33.0", assignments=("args.sglang.--tp-size=1",))
    assert "--engine sglang" in caught.value.fix


def test_an_exact_method_wins_over_intents_of_a_lower_layer() -> None:
    made = command("sglang@0.5.17", "--quantization", "awq", preset="balanced")
    assert value_of(made, "--quantization") == "awq"
    assert made.environment == {}
    (decision,) = [each.text for each in made.decisions if each.key == "weights"]
    assert decision.startswith("int4, fp8 of ")


def test_intents_of_a_higher_layer_win_over_an_exact_method(tmp_path: Path) -> None:
    file = config(tmp_path, "args: {sglang: {--quantization: awq}}\n")
    made = command("sglang@0.5.17", configs=(file,), options={"weights": "fp8"})
    assert value_of(made, "--quantization") == "fp8"


def test_torchao_is_an_exact_method_too(tmp_path: Path) -> None:
    file = config(tmp_path, "args: {sglang: {--torchao-config: int4wo-64}}\n")
    made = command("sglang@0.5.9", configs=(file,), preset="balanced")
    assert value_of(made, "--torchao-config") == "int4wo-64"
    assert "--quantization" not in made.argv


@pytest.mark.parametrize(
    ("text", "key", "since"),
    [("vllm@0.11.0", "nodes.count", "vLLM 0.11.1"), ("sglang@0.5.6.post2", "multimodal.images", "SGLang 0.5.7")],
)
def test_a_key_that_came_later_is_refused_with_the_release_that_has_it(text: str, key: str, since: str) -> None:
    given = NODES if key.startswith("nodes") else {}
    with pytest.raises(ServeError) as caught:
        command(text, options={**given, key: "2"})
    (error,) = [each for each in caught.value.every() if each.what.startswith(f"{key} ")]
    assert error.what == f"{key} 2: {release(text).title} has no flag for it"
    assert error.fix == f"leave {key} unset, or take {since} or later"


def test_all_problems_of_a_deployment_are_told_at_once() -> None:
    with pytest.raises(ServeError) as caught:
        command(
            "vllm@0.33.0",
            options={"scheduling": "longest_prefix", "metrics": "false"},
            assignments=("args.vllm.nope=1",),
        )
    assert [each.where for each in caught.value.every()] == [
        "--scheduling", "--metrics", "--set args.vllm.nope",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../x", "", "-x", "a/b", "a b", ".x", "x" * 64, "a\n"])
def test_a_name_that_is_no_name(name: str) -> None:
    with pytest.raises(ServeError, match="is no name for an instance"):
        command("vllm@0.33.0", name=name) if name else command("vllm@0.33.0", name=" ")


@pytest.mark.parametrize(
    ("served", "name"),
    [
        ("Qwen/Qwen3-14B", "qwen3-14b"),
        ("demo", "demo"),
        ("/models/My Model/", "my-model"),
        ("..", "model"),
        ("é" * 9, "model"),
    ],
)
def test_an_instance_is_named_after_its_model(served: str, name: str) -> None:
    assert instance_name(served) == name


def test_a_served_name_is_the_models_own_unless_given() -> None:
    here = Checkpoint("/models/x", "x")
    assert value_of(command("vllm@0.33.0", checkpoint=here), "--served-model-name") == "x"
    assert command("vllm@0.33.0", checkpoint=here, options={"served_name": "y"}).served_name == "y"


def test_env_of_the_user_wins_over_what_a_device_needs() -> None:
    made = command("vllm@0.32.0", device="cpu", assignments=("env.VLLM_CPU_KVCACHE_SPACE=7", "env.A=b c"))
    assert made.environment == {"VLLM_CPU_KVCACHE_SPACE": "7", "A": "b c"}


@pytest.mark.parametrize("value", ["-x", "--port"])
def test_no_value_of_a_key_can_pass_for_a_flag(value: str) -> None:
    for key in ("model", "served_name", "chat_template", "revision"):
        with pytest.raises(ServeError, match="begins with a hyphen"):
            command("vllm@0.33.0", assignments=(f"{key}={value}",))


def test_what_is_deprecated_is_said() -> None:
    made = command("sglang@0.5.23", "--disable-cuda-graph", "--enable-flashinfer-allreduce-fusion")
    assert "--enable-flashinfer-allreduce-fusion is deprecated in SGLang 0.5.23" in [e.text for e in made.decisions]
