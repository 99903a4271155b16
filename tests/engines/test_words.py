"""MODEL and the engine's own flags on a command line: what sets a key, what passes through, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.config import keys
from launcher.engines import catalog, words
from launcher.engines.flags import Flag
from launcher.engines.meanings import BY_NAME
from launcher.engines.render import RESERVED
from launcher.errors import ServeError
from tests.engines.rendering import RELEASES, attempt, command, read, release, value_of


def values(text: str, *given: str) -> dict[str, Any]:
    return {name: setting.value for name, setting in read(text, *given).items()}


def refused(text: str, *given: str) -> tuple[ServeError, ...]:
    with pytest.raises(ServeError) as caught:
        read(text, *given)
    return caught.value.every()


@pytest.mark.parametrize(
    ("text", "line", "key", "value"),
    [
        ("sglang@0.5.17", "--tp-size 4", "tensor_parallel", 4),
        ("sglang@0.5.17", "--tensor-parallel-size 4", "tensor_parallel", 4),
        ("sglang@0.5.17", "--mem-fraction-static 0.8", "memory_fraction", 0.8),
        ("sglang@0.5.17", "--torchao-config int4wo-128", "weights", ("int4",)),
        ("sglang@0.5.17", "--torchao-config=int8wo", "weights", ("int8",)),
        ("sglang@0.5.23", "--quantization fp8", "weights", ("fp8",)),
        ("sglang@0.5.23", "--model-path org/other", "model", "org/other"),
        ("sglang@0.5.23", "--disable-radix-cache", "prefix_cache", False),
        ("sglang@0.5.23", "--disable-cuda-graph", "cuda_graphs", "off"),
        ("sglang@0.5.17", "--cuda-graph-max-bs 8", "cuda_graphs", 8),
        ("sglang@0.5.23", "--cuda-graph-max-bs-decode 8", "cuda_graphs", 8),
        ("sglang@0.5.23", "--max-running-requests=64", "max_concurrency", 64),
        ("sglang@0.5.23", "--kv-cache-dtype fp8_e5m2", "kv_cache", "fp8_e5m2"),
        ("sglang@0.5.23", "--speculative-algorithm EAGLE3", "speculative.method", "eagle3"),
        ("sglang@0.5.23", "--enable-metrics", "metrics", True),
        ("vllm@0.33.0", "--quantization fp8", "weights", ("fp8",)),
        ("vllm@0.33.0", "-q fp8", "weights", ("fp8",)),
        ("vllm@0.33.0", "-tp 2", "tensor_parallel", 2),
        ("vllm@0.33.0", "--tensor_parallel_size=2", "tensor_parallel", 2),
        ("vllm@0.33.0", "--enforce-eager", "cuda_graphs", "off"),
        ("vllm@0.33.0", "--enable-prefix-caching", "prefix_cache", True),
        ("vllm@0.33.0", "--no-enable-prefix-caching", "prefix_cache", False),
        ("vllm@0.33.0", "--no_enable_prefix_caching", "prefix_cache", False),
        ("vllm@0.33.0", "--max-num-seqs 64", "max_concurrency", 64),
        ("vllm@0.33.0", "--max-model-len 32k", "context_length", 32_000),
        ("vllm@0.33.0", "--max-model-len 32K", "context_length", 32_768),
        ("vllm@0.33.0", "--max-model-len 1.5k", "context_length", 1_500),
        ("vllm@0.33.0", "--max-model-len auto", "context_length", "auto"),
        ("vllm@0.33.0", "--gpu-memory-utilization .5", "memory_fraction", 0.5),
        ("vllm@0.33.0", "--served-model-name m", "served_name", "m"),
    ],
)
def test_a_flag_that_means_a_key_sets_it(text: str, line: str, key: str, value: Any) -> None:
    assert values(text, *line.split()) == {key: value}


def test_the_same_number_in_the_engines_words_and_in_ours() -> None:
    assert value_of(command("vllm@0.33.0", "--max-model-len", "32k"), "--max-model-len") == "32000"
    assert value_of(command("vllm@0.33.0", options={"context_length": "32k"}), "--max-model-len") == "32768"


@pytest.mark.parametrize(
    ("text", "given", "argv"),
    [
        ("vllm@0.33.0", ["-O3"], ["--optimization-level", "3"]),
        ("vllm@0.33.0", ["-O", "3"], ["--optimization-level", "3"]),
        ("vllm@0.33.0", ["-O=3"], ["--optimization-level", "3"]),
        ("vllm@0.33.0", ["--seed", "-1"], ["--seed", "-1"]),
        ("vllm@0.33.0", ["--seed=1", "--seed", "1"], ["--seed", "1"]),
        ("vllm@0.33.0", ["--tokenizer="], ["--tokenizer", ""]),
        ("vllm@0.33.0", ["--tokenizer=-x"], ["--tokenizer=-x"]),
        ("vllm@0.33.0", ["--tokenizer=a=b"], ["--tokenizer", "a=b"]),
        ("vllm@0.33.0", ["--lora-modules", "a=b", "c=d"], ["--lora-modules", "a=b", "c=d"]),
        ("vllm@0.33.0", ["--hf-overrides", '{"a": [1, "x y"]}'], ["--hf-overrides", '{"a": [1, "x y"]}']),
        ("vllm@0.33.0", ["--compilation-config.mode", "3"], ["--compilation-config.mode", "3"]),
        ("vllm@0.33.0", ["--no-enforce-eager"], ["--no-enforce-eager"]),
        ("vllm@0.33.0", ["--enable_lora"], ["--enable-lora"]),
        ("vllm@0.33.0", ["--max-num-seqs", "5000"], ["--max-num-seqs", "5000"]),
        (
            "vllm@0.33.0",
            ["--limit-mm-per-prompt.image", "2", "--limit-mm-per-prompt.video=1"],
            ["--limit-mm-per-prompt.image", "2", "--limit-mm-per-prompt.video", "1"],
        ),
        ("sglang@0.5.17", ["--cuda-graph-bs", "1", "2", "4"], ["--cuda-graph-bs", "1", "2", "4"]),
        ("sglang@0.5.23", ["--chunked-prefill-size", "-1"], ["--chunked-prefill-size", "-1"]),
        ("sglang@0.5.23", ["--quantization", "awq"], ["--quantization", "awq"]),
    ],
)
def test_any_other_flag_passes_through(text: str, given: list[str], argv: list[str]) -> None:
    made = command(text, *given).argv
    assert any(made[start : start + len(argv)] == argv for start in range(len(made))), made


@pytest.mark.parametrize(
    "line", ["m/m --seed 1 --enable-lora", "--seed 1 m/m --enable-lora", "--seed 1 --enable-lora m/m"]
)
def test_model_stands_anywhere_among_flags(line: str) -> None:
    assert values("vllm@0.33.0", *line.split()) == {
        "model": "m/m",
        "args.vllm.--seed": "1",
        "args.vllm.--enable-lora": True,
    }


@pytest.mark.parametrize(
    ("text", "line", "what", "fix"),
    [
        (
            "vllm@0.33.0",
            "--tp-size 4",
            "vLLM 0.33.0 has no flag --tp-size",
            "flag of SGLang; write --tensor-parallel 4",
        ),
        ("vllm@0.33.0", "--model-path a/b", "has no flag --model-path", "write --model a/b"),
        ("vllm@0.33.0", "--mem-fraction-static 0.8", "has no flag", "write --memory-fraction 0.8"),
        ("vllm@0.33.0", "--disable-radix-cache", "has no flag", "write --prefix-cache false"),
        ("vllm@0.33.0", "--torchao-config int4wo-128", "has no flag", "write --weights int4"),
        ("sglang@0.5.23", "--torchao-config int4wo-128", "has no flag", "had it until 0.5.17; write --weights int4"),
        ("sglang@0.5.23", "--torchao-config int8wo", "has no flag", "write --weights int8"),
        ("sglang@0.5.23", "--cuda-graph-max-bs 8", "has no flag", "had it until 0.5.19; write --cuda-graphs 8"),
        ("sglang@0.5.23", "--max-model-len 32k", "has no flag", "it is a flag of vLLM; write --context-length 32000"),
        ("sglang@0.5.23", "--enforce-eager", "has no flag", "it is a flag of vLLM; write --cuda-graphs off"),
        ("sglang@0.5.23", "--no-enable-prefix-caching", "has no flag", "write --prefix-cache false"),
        ("vllm@0.33.0", "--calculate-kv-scales", "has no flag", "vLLM had it until 0.27.1"),
        ("vllm@0.24.0", "--dcp-q-replicate", "has no flag", "vLLM has it from 0.29.0"),
        ("sglang@0.5.23", "--enable-flashinfer", "has no flag", "flags are not abbreviated"),
        ("sglang@0.5.23", "--tp 4", "has no flag --tp", "flags are not abbreviated; these begin so: --tp-size"),
        ("vllm@0.33.0", "--tensor-parallel-siz 4", "has no flag", "--tensor-parallel-size"),
        ("vllm@0.33.0", "--max-num-sequences 4", "has no flag", "did you mean --max-num-seqs?"),
        ("sglang@0.5.23", "--max_running_requests 4", "has no flag", "did you mean --max-running-requests?"),
        ("vllm@0.33.0", "--context_length 32k", "has no flag", "write --context-length"),
        ("vllm@0.33.0", "--wait-timeout 5", "has no flag", "write --timeout"),
        ("vllm@0.33.0", "--dryrun", "has no flag", "did you mean --dry-run?"),
        ("vllm@0.33.0", "-x", "has no flag -x", "--help"),
        ("vllm@0.33.0", "--max-model-len", "needs a value", "write it after the flag"),
        ("vllm@0.33.0", "--hf-token hf_mine", "is not passed on", "export HF_TOKEN"),
        ("vllm@0.33.0", "--max-model-len 32x", "'32x' is not an integer", "--context-length"),
        ("vllm@0.33.0", "--max-model-len infk", "'infk' is not an integer", ""),
        ("sglang@0.5.23", "--max-model-len infk", "has no flag", "write --context-length infk"),
        ("vllm@0.33.0", "--enable-prefix-caching=false", "takes no value", "--prefix-cache"),
        ("vllm@0.33.0", "--no-enable-prefix-caching=1", "takes no value", "--prefix-cache"),
        ("sglang@0.5.23", "--kv-cache-dtype fp8", "'fp8' is none of", "--kv-cache"),
        ("sglang@0.5.23", "--seed 1", "has no flag --seed", ""),
        ("vllm@0.33.0", "--seed 1 --seed 2", "is given twice: 1 by --seed, 2 by --seed", "keep one"),
        ("vllm@0.33.0", "-tp 2 --tensor-parallel-size 4", "tensor_parallel is given twice: 2 by -tp", "keep one"),
        ("vllm@0.33.0", "demo other", "'other' is one word too many", "--help"),
        ("vllm@0.33.0", "demo --model other", "model is given twice: demo by MODEL, other by --model", "keep one"),
        ("vllm@0.33.0", "--served-model-name a b", "is not passed on", "to one name"),
        ("vllm@0.33.0", "--ssl-keyfile k", "is not passed on", "plain HTTP"),
        ("vllm@0.33.0", "--uds /s", "is not passed on", "plain HTTP"),
        ("sglang@0.5.23", "--config f.yaml", "is not passed on", "--config FILE"),
    ],
)
def test_what_the_release_does_not_take_is_refused_with_what_to_write(
    text: str, line: str, what: str, fix: str
) -> None:
    errors = refused(text, *line.split())
    assert len(errors) == 1
    assert what in errors[0].what
    assert fix in errors[0].fix


@pytest.mark.parametrize("text", RELEASES)
@pytest.mark.parametrize("given", [["--api-key", "sk-mine"], ["--api-key=sk-mine"]])
def test_a_key_in_argv_is_refused_and_not_told_back(text: str, given: list[str]) -> None:
    error = refused(text, *given)[0]
    assert "SERVE_API_KEY" in error.fix
    assert "sk-mine" not in f"{error.what} {error.where} {error.fix}"


def test_every_problem_of_a_line_is_told() -> None:
    found = refused("vllm@0.33.0", "a/b", "--tp-size", "4", "--seed", "x", "--nope")
    assert ["--tp-size" in found[0].what, found[1].where, "--nope" in found[2].what] == [True, "--seed", True]


@pytest.mark.parametrize("word", ["", " ", "a\nb", "\x7f"])
def test_a_model_that_is_no_text(word: str) -> None:
    assert refused("vllm@0.33.0", word)[0].where == "MODEL"


def sample(flag: Flag) -> tuple[str, ...]:
    """Values that the flag takes."""
    kinds = {"int": "3", "human_int": "4k", "human_int_or_auto": "auto", "si_int": "4k", "float": "0.5"}
    kinds |= {
        "lora_module": "a=b",
        "lora_path": "a=b",
        "json": "[1]",
        "json_object": "{}",
        "json_config": "{}",
        "json_or_str": '{"a": 1}',
        "str": "x",
        "snake": "x",
    }
    one = flag.choices[0] if flag.choices else kinds[flag.type]
    return (one,) * (flag.nargs if isinstance(flag.nargs, int) else 1)


# one of each way in which the engines have declared their flags
GENERATIONS = ["vllm@0.11.0", "vllm@0.13.0", "vllm@0.33.0", "sglang@0.5.3", "sglang@0.5.17", "sglang@0.5.23"]


@pytest.mark.parametrize("text", GENERATIONS)
def test_every_flag_of_a_release_sets_a_key_or_reaches_argv(text: str) -> None:
    known = catalog.load(release(text))
    engine = BY_NAME[known.release.engine]
    for flag in known.flags.values():
        if flag.name in RESERVED or flag.refused:
            continue
        for spelling in flag.spellings:
            given = () if not flag.takes_value or spelling in flag.negations else sample(flag)
            layer = words.read((spelling, *given), engine, known)
            assert len(layer) == 1, spelling
            (name,) = layer
            if name.startswith("args."):
                assert command(text, spelling, *given).argv[-1 - len(given) :][1:] == list(given)
            else:
                assert name in keys.BY_NAME


@pytest.mark.parametrize("text", RELEASES)
def test_no_abbreviation_of_a_flag_is_a_flag(text: str) -> None:
    known = catalog.load(release(text))
    spellings = {spelling for flag in known.flags.values() for spelling in flag.spellings}
    abbreviations = {spelling[:-1] for spelling in spellings if len(spelling) > 4} - spellings
    wrong = [each for each in abbreviations if known.find(each) is not None]
    assert abbreviations
    assert wrong == []


WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["demo", "a/b", "--", "-", "=", "--=", "-O", "-O.", "-.", "--seed", "-1", "1e999", "nan", "infk", "{"]
    ),
    st.sampled_from([flag for text in RELEASES for flag in catalog.load(release(text)).flags]),
    st.builds("{}={}".format, st.sampled_from(["--seed", "--max-model-len", "--tp-size", "-tp"]), st.text(max_size=8)),
)


@settings(deadline=None)
@given(st.sampled_from(RELEASES), st.lists(WORDS, max_size=6))
def test_random_words_give_a_command_or_an_error_for_people(text: str, given: list[str]) -> None:
    made, errors = attempt(lambda: command(text, *given))
    assert all(each.what and each.code == 2 for each in errors)
    assert made is None or all(isinstance(word, str) for word in made.argv)
