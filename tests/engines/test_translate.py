"""What a release takes in place of a flag of another release or of the other engine; the tables have own tests."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.engines import arguments, catalog
from launcher.engines.express import express
from launcher.engines.flexible import UNKNOWN
from launcher.engines.hints import known_elsewhere, owner
from launcher.engines.release import exactly
from launcher.engines.translate import Advice, Old, advise, gone_before, variable
from tests.commands.fitting import fitting


def given_to(text: str, *words: str) -> Old:
    """A flag as a release reads it: ``given_to("vllm@0.17.1", "--swap-space", "4")``."""
    known = catalog.load(exactly(text))
    (use,) = arguments.read(words, known, "module").uses
    return Old(known, use.flag, use.spelling, use.values, use.path)


def advised(before: str, words: list[str], after: str) -> Advice:
    return advise(given_to(before, *words), catalog.load(exactly(after)))


@pytest.mark.parametrize(
    ("before", "words", "after", "wanted"),
    [
        # the flag itself, by a spelling that the release has
        ("vllm@0.11.0", ["--max-model-len", "8k"], "vllm@0.33.0", ["--max-model-len", "8k"]),
        ("vllm@0.11.0", ["-tp", "2"], "vllm@0.33.0", ["-tp", "2"]),
        ("vllm@0.33.0", ["--hf-overrides.a", "1"], "vllm@0.11.0", ["--hf-overrides.a", "1"]),
        ("vllm@0.33.0", ["--no-enforce-eager"], "vllm@0.11.0", ["--no-enforce-eager"]),
        ("vllm@0.33.0", ["--tokenizer=-x"], "vllm@0.11.0", ["--tokenizer=-x"]),
        # a row of the successors: another flag, other words, words by the value; backwards too
        ("vllm@0.12.0", ["--cuda-graph-sizes", "1", "2"], "vllm@0.33.0", ["--cudagraph-capture-sizes", "1", "2"]),
        ("vllm@0.11.0", ["--eplb-step-interval", "9"], "vllm@0.33.0", ["--eplb-config.step_interval", "9"]),
        ("vllm@0.12.0", ["--task", "embed"], "vllm@0.33.0", ["--runner", "pooling", "--convert", "embed"]),
        ("sglang@0.5.19", ["--cuda-graph-max-bs", "8"], "sglang@0.5.23", ["--cuda-graph-max-bs-decode", "8"]),
        ("sglang@0.5.23", ["--dsa-prefill-backend", "fa3"], "sglang@0.5.10", ["--nsa-prefill-backend", "fa3"]),
        # another word for the value, where the parser refuses the old one and where it only does not list it
        ("sglang@0.5.20", ["--kv-cache-dtype", "fp4_e2m1"], "sglang@0.5.23", ["--kv-cache-dtype", "fp4_mx_block16"]),
        ("vllm@0.11.0", ["--quantization", "auto-round"], "vllm@0.33.0", ["--quantization", "inc"]),
        # what the release that has the flag names in its place itself
        (
            "sglang@0.5.19",
            ["--enable-breakable-cuda-graph"],
            "sglang@0.5.23",
            ["--cuda-graph-backend-prefill=breakable"],
        ),
        # a row of the counterparts: another name, another word, the contrary
        ("vllm@0.33.0", ["--seed", "3"], "sglang@0.5.23", ["--random-seed", "3"]),
        ("sglang@0.5.23", ["--random-seed", "3"], "vllm@0.33.0", ["--seed", "3"]),
        ("vllm@0.33.0", ["--enable-log-requests"], "sglang@0.5.23", ["--log-requests"]),
        # switches with a value, which no parser takes
        ("vllm@0.33.0", ["--enable-chunked-prefill=True"], "vllm@0.33.0", ["--enable-chunked-prefill"]),
        ("vllm@0.33.0", ["--enable-chunked-prefill=0"], "vllm@0.33.0", ["--no-enable-chunked-prefill"]),
        ("vllm@0.33.0", ["--no-enforce-eager=false"], "vllm@0.33.0", ["--enforce-eager"]),
    ],
)
def test_words(before: str, words: list[str], after: str, wanted: list[str]) -> None:
    advice = advised(before, words, after)
    assert [*advice.words] == wanted
    assert advice.how in {"same", "words"}
    assert (advice.how == "same") or advice.evidence or advice.note


@pytest.mark.parametrize(
    ("before", "words", "after", "keys"),
    [
        ("sglang@0.5.23", ["--tp-size", "2"], "vllm@0.33.0", {"tensor_parallel": "2"}),
        ("sglang@0.5.23", ["--context-length", "32k"], "vllm@0.33.0", {"context_length": "32000"}),
        ("sglang@0.5.23", ["--disable-radix-cache"], "vllm@0.33.0", {"prefix_cache": "false"}),
        ("vllm@0.33.0", ["--no-enable-prefix-caching"], "sglang@0.5.23", {"prefix_cache": "false"}),
        ("vllm@0.33.0", ["--enforce-eager=true"], "sglang@0.5.23", {"cuda_graphs": "off"}),
        ("sglang@0.5.17", ["--torchao-config", "int8wo"], "sglang@0.5.18", {"weights": "int8"}),
        (
            "vllm@0.33.0",
            ["--speculative-config", '{"method": "eagle3", "model": "d", "num_speculative_tokens": 3}'],
            "sglang@0.5.23",
            {"speculative.method": "eagle3", "speculative.draft_model": "d", "speculative.steps": "3"},
        ),
    ],
)
def test_keys_are_the_bridge(before: str, words: list[str], after: str, keys: dict[str, str]) -> None:
    advice = advised(before, words, after)
    assert (advice.how, {**advice.keys}) == ("keys", keys)


@pytest.mark.parametrize(
    ("before", "words", "after", "how", "note"),
    [
        ("vllm@0.17.1", ["--swap-space", "4"], "vllm@0.33.0", "nothing", "V1 swaps nothing to the host's memory"),
        ("vllm@0.11.0", ["--rope-theta", "1"], "vllm@0.33.0", "lost", "its place is rope_theta within"),
        ("sglang@0.5.23", ["--disable-radix-cache=no"], "sglang@0.5.23", "nothing", "--disable-radix-cache is off"),
        ("sglang@0.5.23", ["--tool-call-parser", "x"], "vllm@0.33.0", "lost", "its value is a word of the one engine"),
        ("vllm@0.33.0", ["--cohere-format", "auto"], "vllm@0.11.0", "unknown", ""),
        ("vllm@0.33.0", ["--enforce-eager=x"], "vllm@0.33.0", "unknown", ""),
        ("sglang@0.5.17", ["--torchao-config", UNKNOWN], "sglang@0.5.23", "unknown", ""),
    ],
)  # fmt: skip
def test_what_has_no_words(before: str, words: list[str], after: str, how: str, note: str) -> None:
    advice = advised(before, words, after)
    assert (advice.how, advice.note[: len(note)], advice.words, {**advice.keys}) == (how, note, (), {})


def test_a_variable_takes_a_flags_place() -> None:
    advice = advised("vllm@0.33.0", ["--attention-backend", "FLASHINFER"], "vllm@0.12.0")
    assert (advice.how, {**advice.environment}) == ("environment", {"VLLM_ATTENTION_BACKEND": "FLASHINFER"})
    assert advice.evidence


def test_a_flag_takes_a_variables_place() -> None:
    known = catalog.load(exactly("vllm@0.33.0"))
    found = variable("VLLM_ATTENTION_BACKEND", "FLASHINFER", known)
    assert found is not None
    assert (found[0], found[1].words) == ("0.14.1", ("--attention-backend", "FLASHINFER"))
    assert variable("VLLM_ATTENTION_BACKEND", "FLASHINFER", catalog.load(exactly("vllm@0.14.1"))) is None
    assert variable("VLLM_LOGGING_LEVEL", "INFO", known) is None
    assert variable("PATH", "/bin", known) is None


def test_a_variable_is_deprecated_before_it_is_gone() -> None:
    name = "SGLANG_USE_CUDA_IPC_TRANSPORT"
    assert variable(name, "1", catalog.load(exactly("sglang@0.5.15"))) is None
    found = variable(name, "1", catalog.load(exactly("sglang@0.5.16")))
    assert found is not None
    assert (found[0], found[1].words) == ("", ("--mm-feature-transport=cuda_ipc",))
    odd = variable(name, "perhaps", catalog.load(exactly("sglang@0.5.16")))
    assert odd == ("", Advice("unknown"))


def test_what_was_there_before_our_first_release() -> None:
    old = gone_before("--num-scheduler-steps", ("8",), "vllm")
    assert old is not None
    known = catalog.load(exactly("vllm@0.33.0"))
    assert advise(old, known).how == "nothing"
    assert owner(old, known) == "vLLM had it before 0.11.0"
    assert gone_before("--never-there", (), "vllm") is None


def test_its_own_engine_comes_before_the_other() -> None:
    known = catalog.load(exactly("vllm@0.33.0"))
    its_own, others = known_elsewhere("--device", ("cuda",), known), known_elsewhere("--tp-size", ("2",), known)
    assert its_own is not None
    assert others is not None
    assert (its_own.engine, others.engine) == ("vllm", "sglang")
    underscored = known_elsewhere("--num_scheduler_steps", ("8",), known)
    assert underscored is not None
    assert underscored.spelling == "--num-scheduler-steps"
    assert known_elsewhere("--never-there", (), known) is None


def test_what_is_known_only_when_it_runs_passes_on_where_it_does_not_matter() -> None:
    assert advised("sglang@0.5.19", ["--cuda-graph-max-bs", UNKNOWN], "sglang@0.5.23").words == (
        "--cuda-graph-max-bs-decode",
        UNKNOWN,
    )
    assert advised("vllm@0.33.0", ["--port", UNKNOWN], "vllm@0.11.0").words == ("--port", UNKNOWN)
    keys = advised("sglang@0.5.23", ["--tp-size", f"1{UNKNOWN}"], "vllm@0.33.0").keys
    expressed = express(keys, catalog.load(exactly("vllm@0.33.0")))
    assert [each.words for each in expressed.arguments] == [("--tensor-parallel-size", f"1{UNKNOWN}")]
    lost = express({"kv_cache": UNKNOWN}, catalog.load(exactly("vllm@0.33.0")))
    assert [each.what for each in lost.problems] == ["kv_cache: the value is known only when the command runs"]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_whatever_is_advised_is_taken(engine: str) -> None:
    everywhere = [*catalog.known("vllm"), *catalog.known("sglang")]

    @settings(max_examples=600, deadline=None, suppress_health_check=[*HealthCheck])
    @given(st.sampled_from(catalog.known(engine)), st.sampled_from(everywhere), st.data())
    def check(before: Any, after: Any, data: st.DataObject) -> None:
        source, known = catalog.load(before), catalog.load(after)
        reading = arguments.read(data.draw(fitting(source)), source, "module")
        for use in reading.uses:
            advice = advise(Old(source, use.flag, use.spelling, use.values, use.path), known)
            entry: Any = "serve" if after.engine == "vllm" else "module"  # where a few flags are that the module lacks
            read = arguments.read(advice.words, known, entry)
            assert not read.strays, advice
            assert not any(each.problem or each.flag.refused for each in read.uses), advice
            assert bool(advice.words) == (advice.how in {"same", "words"})
            assert bool(advice.keys) == (advice.how == "keys")
            assert bool(advice.environment) == (advice.how == "environment")
            assert bool(advice.note) or advice.how not in {"nothing", "lost"}
            for each in express(advice.keys, known).arguments:
                written = arguments.read(each.words, known, "module")
                assert each.words[0] in known.spellings
                assert not any(use.problem for use in written.uses)
            assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", name) for name in advice.environment)

    check()
