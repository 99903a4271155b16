"""What SGLang alone says in its own way, and where its releases differ."""

from __future__ import annotations

import json

import pytest

from launcher.engines import catalog
from launcher.errors import ServeError
from tests.engines.rendering import RELEASES as EVERY
from tests.engines.rendering import command, release, value_of

RELEASES = ("sglang@0.5.15.post1", "sglang@0.5.17", "sglang@0.5.23")


@pytest.mark.parametrize("text", RELEASES)
def test_keys_in_its_words(text: str) -> None:
    options = {"context_length": "8k", "memory_fraction": "0.8", "max_concurrency": "4", "prefill_tokens": "1k"}
    options |= {"cuda_graphs": "4", "tensor_parallel": "2", "dtype": "half", "log_level": "debug", "metrics": "true"}
    made = command(text, options=options)
    assert made.argv[:5] == ["python", "-m", "sglang.launch_server", "--model-path", "org/model"]
    rest = made.argv[made.argv.index("8000") + 1 :]
    assert rest == [
        "--dtype", "float16", "--context-length", "8192", "--mem-fraction-static", "0.8",
        "--max-running-requests", "4", "--chunked-prefill-size", "1024", "--cuda-graph-max-bs-decode", "4",
        "--tensor-parallel-size", "2", "--enable-metrics", "--log-level", "debug",
    ]  # fmt: skip
    assert made.environment == {}


@pytest.mark.parametrize("text", RELEASES)
@pytest.mark.parametrize(
    ("asked", "told"), [("fp8", "fp8_e4m3"), ("fp8_e5m2", "fp8_e5m2"), ("fp8_e4m3", "fp8_e4m3"), ("auto", "auto")]
)
def test_it_has_no_bare_fp8(text: str, asked: str, told: str) -> None:
    made = command(text, options={"kv_cache": asked})
    assert value_of(made, "--kv-cache-dtype") == told
    assert any("no bare fp8" in each.note for each in made.arguments) == (asked == "fp8")


def test_an_automatic_context_is_left_to_it_and_said() -> None:
    made = command("sglang@0.5.23", options={"context_length": "auto"})
    assert made.argv == command("sglang@0.5.23").argv
    assert [each.key for each in made.decisions] == ["context_length"]


@pytest.mark.parametrize("text", RELEASES)
def test_graphs_off_in_the_words_of_the_release(text: str) -> None:
    argv = command(text, options={"cuda_graphs": "off"}).argv
    new = "--cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled"
    assert " ".join(argv).endswith(new if "--cuda-graph-backend-decode" in argv else "--disable-cuda-graph")
    assert "--cuda-graph-backend-decode" in argv


def test_graphs_before_decode_and_prefill_had_their_own() -> None:
    assert value_of(command("sglang@0.5.13.post1", options={"cuda_graphs": "4"}), "--cuda-graph-max-bs") == "4"
    assert command("sglang@0.5.13.post1", options={"cuda_graphs": "off"}).argv[-1] == "--disable-cuda-graph"
    assert value_of(command("sglang@0.5.14", options={"cuda_graphs": "4"}), "--cuda-graph-max-bs-decode") == "4"


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"scheduling": "longest_prefix"}, "--schedule-policy lpm"),
        ({"scheduling": "priority"}, "--schedule-policy priority --enable-priority-scheduling"),
        ({"scheduling": "fcfs"}, "--schedule-policy fcfs"),
        ({"prefix_cache": "false"}, "--disable-radix-cache"),
        ({"torch_compile": "on"}, "--enable-torch-compile"),
        ({"nodes.count": "2", "nodes.rank": "0", "nodes.address": "h:5000"}, "--node-rank 0 --dist-init-addr h:5000"),
    ],
)
def test_other_keys(options: dict[str, str], end: str) -> None:
    argv = command("sglang@0.5.23", options=options).argv
    assert " ".join(argv).endswith(end)


def test_what_it_does_anyway_is_said() -> None:
    options = {"prefix_cache": "true", "torch_compile": "off", "metrics": "false", "trust_remote_code": "false"}
    made = command("sglang@0.5.23", options=options)
    assert made.argv == [word for word in command("sglang@0.5.23").argv if word != "--enable-metrics"]
    assert {each.key for each in made.decisions} == set(options)


@pytest.mark.parametrize("text", RELEASES)
def test_its_metrics_are_on_unless_that_is_asked_otherwise(text: str) -> None:
    assert command(text).argv.count("--enable-metrics") == 1
    assert "--enable-metrics" not in command(text, options={"metrics": "false"}).argv
    assert command(text, assignments=("args.sglang.--enable-metrics=true",)).argv.count("--enable-metrics") == 1


def test_a_draft_is_flags() -> None:
    options = {"speculative.method": "eagle3", "speculative.draft_model": "o/d", "speculative.steps": "3"}
    made = command("sglang@0.5.23", options={**options, "speculative.topk": "6", "speculative.draft_tokens": "16"})
    assert " ".join(made.argv).endswith(
        "--speculative-algorithm EAGLE3 --speculative-draft-model-path o/d --speculative-num-steps 3 "
        "--speculative-eagle-topk 6 --speculative-num-draft-tokens 16"
    )


def test_limits_of_images_and_videos_are_one_json() -> None:
    made = command("sglang@0.5.23", options={"multimodal.images": "2", "multimodal.videos": "1"})
    assert json.loads(value_of(made, "--limit-mm-data-per-request") or "") == {"image": 2, "video": 1}


def test_there_is_none_for_a_cpu() -> None:
    with pytest.raises(ServeError, match="SGLang is not published for CPU hosts") as caught:
        command("sglang@0.5.23", device="cpu")
    assert caught.value.fix == "use --engine vllm"


@pytest.mark.parametrize(("source", "value"), [("modelscope", "True"), ("huggingface", "False")])
def test_the_hub_that_is_asked(source: str, value: str) -> None:
    assert command("sglang@0.5.23", options={"source": source}).environment == {"SGLANG_USE_MODELSCOPE": value}


@pytest.mark.parametrize("text", [text for text in EVERY if text.startswith("sglang")])
def test_the_key_goes_by_a_file_that_argv_only_names(text: str) -> None:
    made = command(text, options={"api_key": "auto"}, name="n")
    assert catalog.load(release(text)).find("--config")
    assert made.secret is not None
    assert (made.secret.variable, made.secret.config_key) == (None, "api-key")
    assert made.secret_file is not None
    assert made.secret_file.parts[-2:] == ("n", "engine.yaml")
    assert value_of(made, "--config") == str(made.secret_file)
    assert "--api-key" not in made.argv
