"""What vLLM alone says in its own way."""

from __future__ import annotations

import json

import pytest

from launcher.engines.target import Target
from launcher.engines.vllm import ENGINE
from launcher.errors import ServeError
from tests.engines.rendering import command, release, value_of

RELEASES = ("vllm@0.24.0", "vllm@0.32.0", "vllm@0.33.0")


@pytest.mark.parametrize("text", RELEASES)
def test_the_model_is_the_first_word_of_vllm_serve(text: str) -> None:
    argv = command(text).argv
    assert argv[:5] == ["python", "-m", "vllm.entrypoints.cli.main", "serve", "org/model"]


def test_a_cpu_build_of_another_name_is_started_by_its_module() -> None:
    argv = command("vllm@0.32.0", device="cpu").argv
    assert argv[:5] == ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", "org/model"]


def test_its_own_name_decides_not_the_device() -> None:
    target = Target(release("vllm@0.33.0"), "cpu", "python", "vllm")
    assert ENGINE.program(target)[-1] == "serve"


@pytest.mark.parametrize("text", RELEASES)
def test_keys_in_its_words(text: str) -> None:
    options = {"context_length": "8k", "memory_fraction": "0.9", "max_concurrency": "4", "prefill_tokens": "1k"}
    options |= {"cuda_graphs": "4", "tensor_parallel": "2", "kv_cache": "fp8", "dtype": "half", "log_level": "debug"}
    made = command(text, options=options)
    rest = made.argv[made.argv.index("8000") + 1 :]
    assert rest == [
        "--dtype", "float16", "--kv-cache-dtype", "fp8", "--max-model-len", "8192", "--gpu-memory-utilization", "0.9",
        "--max-num-seqs", "4", "--max-num-batched-tokens", "1024", "--max-cudagraph-capture-size", "4",
        "--tensor-parallel-size", "2", "--uvicorn-log-level", "debug",
    ]  # fmt: skip
    assert made.environment == {"VLLM_LOGGING_LEVEL": "DEBUG"}


def test_graphs_and_compilation_off() -> None:
    assert "--enforce-eager" in command("vllm@0.33.0", options={"cuda_graphs": "off"}).argv
    made = command("vllm@0.33.0", options={"torch_compile": "off"})
    assert json.loads(value_of(made, "--compilation-config") or "") == {"mode": 0}
    assert command("vllm@0.33.0", options={"cuda_graphs": "auto"}).argv == command("vllm@0.33.0").argv


def test_the_longest_context_that_fits_where_the_release_can_find_it() -> None:
    assert value_of(command("vllm@0.14.0", options={"context_length": "auto"}), "--max-model-len") == "auto"
    for text in ("vllm@0.11.0", "vllm@0.12.0", "vllm@0.13.0"):
        made = command(text, options={"context_length": "auto"})
        assert made.argv == command(text).argv
        (decision,) = made.decisions
        assert "does not start where the memory is too small" in decision.text


def test_graphs_and_compilation_in_the_words_of_the_oldest() -> None:
    made = command("vllm@0.11.0", options={"cuda_graphs": "16", "torch_compile": "off"})
    assert value_of(made, "--cuda-graph-sizes") == "16"
    assert json.loads(value_of(made, "--compilation-config") or "") == {"level": 0}
    made = command("vllm@0.11.1", options={"cuda_graphs": "16", "torch_compile": "off"})
    assert value_of(made, "--max-cudagraph-capture-size") == "16"
    assert json.loads(value_of(made, "--compilation-config") or "") == {"mode": 0}


def test_attention_by_variable_where_there_is_no_flag() -> None:
    made = command("vllm@0.12.0", options={"attention_backend": "flashinfer"})
    assert made.environment == {"VLLM_ATTENTION_BACKEND": "FLASHINFER"}
    assert [each.key for each in made.decisions] == ["attention_backend"]
    assert "--attention-backend" not in made.argv
    made = command("vllm@0.13.0", options={"attention_backend": "flashinfer"})
    assert (value_of(made, "--attention-backend"), made.environment) == ("flashinfer", {})


def test_several_hosts() -> None:
    made = command(
        "vllm@0.33.0", options={"nodes.count": "2", "nodes.rank": "1", "nodes.address": "10.0.0.1:5000"}
    ).argv
    assert " ".join(made).endswith("--nnodes 2 --node-rank 1 --master-addr 10.0.0.1 --master-port 5000")


def test_a_draft_is_one_json() -> None:
    options = {"speculative.method": "eagle3", "speculative.draft_model": "o/d", "speculative.steps": "3"}
    made = command("vllm@0.33.0", options={**options, "speculative.draft_tokens": "4", "speculative.topk": "1"})
    assert json.loads(value_of(made, "--speculative-config") or "") == {
        "method": "eagle3",
        "model": "o/d",
        "num_speculative_tokens": 3,
    }


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"speculative.topk": "6"}, "vLLM drafts a chain", "--engine sglang"),
        ({"speculative.draft_tokens": "16", "speculative.steps": "3"}, "follows from speculative.steps", "sglang"),
        ({"scheduling": "longest_prefix"}, "vLLM has no such order", "fcfs or priority"),
        ({"metrics": "false"}, "vLLM always serves /metrics", "unset"),
    ],
)
def test_what_it_cannot_say_is_refused(options: dict[str, str], what: str, fix: str) -> None:
    draft = {"speculative.method": "eagle3", "speculative.draft_model": "o/d"}
    with pytest.raises(ServeError) as caught:
        command("vllm@0.33.0", options={**options, **(draft if "speculative" in str(options) else {})})
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_draft_on_a_cpu_is_refused_with_what_was_seen() -> None:
    with pytest.raises(ServeError, match="wrong tokens"):
        command("vllm@0.32.0", device="cpu", options={"speculative.method": "eagle3", "speculative.draft_model": "o/d"})


def test_limits_of_images_and_videos_are_one_json() -> None:
    made = command("vllm@0.33.0", options={"multimodal.images": "2", "multimodal.videos": "0"})
    assert json.loads(value_of(made, "--limit-mm-per-prompt") or "") == {"image": 2, "video": 0}
    made = command("vllm@0.33.0", "--limit-mm-per-prompt.image", "3", options={"multimodal.images": "2"})
    assert "--limit-mm-per-prompt" not in made.argv
    assert value_of(made, "--limit-mm-per-prompt.image") == "3"


def test_a_tool_call_parser_is_switched_on() -> None:
    argv = command("vllm@0.33.0", options={"tool_call_parser": "hermes"}).argv
    assert argv[-3:] == ["--tool-call-parser", "hermes", "--enable-auto-tool-choice"]


@pytest.mark.parametrize(("source", "value"), [("modelscope", "True"), ("huggingface", "False")])
def test_the_hub_that_is_asked(source: str, value: str) -> None:
    made = command("vllm@0.33.0", options={"source": source})
    assert made.environment == {"VLLM_USE_MODELSCOPE": value}
    assert made.source == source


def test_on_a_cpu_the_cache_is_bounded_unless_that_is_said() -> None:
    made = command("vllm@0.32.0", device="cpu")
    assert made.environment == {"VLLM_CPU_KVCACHE_SPACE": "2"}
    assert "2 GiB" in made.decisions[-1].text
    assert command("vllm@0.32.0", device="cpu", options={"memory_fraction": "0.5"}).environment == {}
    assert command("vllm@0.33.0").environment == {}


def test_the_key_goes_by_variable() -> None:
    made = command("vllm@0.33.0", options={"api_key": "auto", "host": "0.0.0.0"}, name="n")
    assert made.secret is not None
    assert (made.secret.variable, made.secret_file) == ("VLLM_API_KEY", None)
    assert made.secret.path is not None
    assert made.secret.path.name == "n"
    assert "--api-key" not in made.argv
    assert "--config" not in made.argv
    assert made.base_url == "http://127.0.0.1:8000"
