"""Facts about the engines' flags that were seen on the engines themselves, asked of the shipped catalogs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.release import Release
from launcher.errors import ServeError


def load(text: str) -> Catalog:
    engine, _, version = text.partition("@")
    return catalog.load(Release(engine, version))


SGLANG, VLLM = load("sglang@0.5.23"), load("vllm@0.33.0")


def versions(engine: str, spelling: str) -> tuple[str, ...]:
    return tuple(release.version for release in catalog.history(engine, spelling))


def refusal(known: Catalog, spelling: str, *values: str) -> str | None:
    flag = known.find(spelling)
    assert flag is not None, spelling
    return flag.refusal(values)


def test_known_releases_are_in_order() -> None:
    for engine, first, count in (("sglang", "0.5.3", 37), ("vllm", "0.11.0", 35)):
        known = catalog.known(engine)
        assert known[0].version == first
        assert len(known) >= count
        assert list(known) == sorted(set(known))
    posts = [release.version for release in catalog.known("sglang") if release.within("==0.5.3.*")]
    assert posts == ["0.5.3", "0.5.3.post1", "0.5.3.post2", "0.5.3.post3"]


@pytest.mark.parametrize(
    ("release", "flags", "spellings"),
    [
        # Counted on the engines' real parsers, --help aside.
        ("sglang@0.5.3", 246, 254),
        ("sglang@0.5.6.post2", 292, 300),
        ("sglang@0.5.9", 331, 341),
        ("sglang@0.5.15.post1", 437, 451),
        ("sglang@0.5.17", 474, 491),
        ("sglang@0.5.23", 531, 559),
        ("vllm@0.24.0", 266, 359),
        ("vllm@0.32.0", 316, 428),
        ("vllm@0.33.0", 320, 483),
    ],
)
def test_counts_are_those_of_the_real_parsers(release: str, flags: int, spellings: int) -> None:
    known = load(release)
    assert len(known.flags) == flags
    assert sum(len(flag.spellings) for flag in known.flags.values()) == spellings
    assert all(known.find(spelling) is flag for flag in known.flags.values() for spelling in flag.spellings)


def test_an_unknown_release_names_the_known_ones() -> None:
    with pytest.raises(ServeError) as raised:
        load("vllm@0.1.0")
    assert "vLLM 0.1.0" in raised.value.what
    assert raised.value.fix == "0.11.0 to 0.33.0 are known: serve releases vllm"


def test_facts_of_a_release() -> None:
    assert catalog.facts(Release("vllm", "0.24.0")).torch == "==2.11.0"
    found = catalog.facts(Release("sglang", "0.5.23"))
    assert (found.distribution, found.python, found.torch, found.yanked) == ("sglang", ">=3.11", "==2.14.1", "")


def test_every_release_says_when_it_came_and_what_it_needs() -> None:
    for engine, oldest in (("sglang", "2025-10-06"), ("vllm", "2025-10-04")):
        found = [catalog.facts(release) for release in catalog.known(engine)]
        days = [facts.released for facts in found]
        assert days[0] == oldest
        assert all(re.fullmatch(r"202\d-\d\d-\d\d", day) for day in days)
        assert all(re.fullmatch(r"1\d\.\d+", facts.cuda) and facts.torch.startswith("==") for facts in found)
    cuda = {release.version: catalog.facts(release).cuda for release in catalog.known("vllm")}
    assert (cuda["0.19.1"], cuda["0.20.0"]) == ("12.8", "13.0")  # libcudart.so.12 and .13 in their wheels


@pytest.mark.parametrize(
    ("engine", "spelling", "last", "gone"),
    [
        ("sglang", "--enable-ep-moe", "0.5.4", "0.5.4.post1"),
        ("sglang", "--enable-double-sparsity", "0.5.9", "0.5.12"),
        ("sglang", "--torchao-config", "0.5.17", "0.5.18"),
        ("sglang", "--cuda-graph-max-bs", "0.5.19", "0.5.20"),
        ("sglang", "--elastic-ep-rejoin", "0.5.20", "0.5.21"),
        ("vllm", "--task", "0.12.0", "0.13.0"),
        ("vllm", "--num-redundant-experts", "0.11.2", "0.12.0"),
        ("vllm", "--swap-space", "0.16.0", "0.20.2"),
        ("vllm", "--calculate-kv-scales", "0.26.0", "0.30.0"),
        ("vllm", "--enable-mamba-fine-grained-prefix-cache", "0.30.0", "0.33.0"),
    ],
)
def test_flags_that_are_gone(engine: str, spelling: str, last: str, gone: str) -> None:
    assert last in versions(engine, spelling)
    assert gone not in versions(engine, spelling)


def test_flags_that_came_and_went() -> None:
    assert versions("sglang", "--cuda-graph-max-bs-decode")[0] == "0.5.14"
    assert versions("vllm", "--max_num_seqs") == tuple(release.version for release in catalog.known("vllm"))
    assert versions("vllm", "--disable-log-requests")[-1] == "0.33.0"  # gone for a while, back as a negation
    assert "0.26.0" not in versions("vllm", "--disable-log-requests")
    assert versions("sglang", "--stat-loggers") == ()  # a field without a flag
    assert versions("sglang", "--max-num-seqs") == ()
    for spelling in ("--enable-flashinfer", "--mm-proj-url"):
        assert versions("sglang", spelling) == versions("vllm", spelling) == ()


def test_prefixes_are_not_spellings() -> None:
    for spelling in ("--enable-flashinfer", "--tp", "--mem-fraction", "--cuda-graph-max-bs"):
        assert SGLANG.find(spelling) is None
    assert VLLM.find("--tensor-parallel") is None
    assert SGLANG.nearest("--mem-fraction-statik") == "--mem-fraction-static"
    assert VLLM.nearest("--max_model_lenn") == "--max-model-len"
    assert VLLM.nearest("--zzzzzz") is None


def test_vllm_spellings() -> None:
    for spelling, name in {
        "--trust_remote_code": "--trust-remote-code",
        "-tp": "--tensor-parallel-size",
        "-O3": "--optimization-level",
        "-O=3": "--optimization-level",
        "-O": "--optimization-level",
        "--limit-mm-per-prompt.image": "--limit-mm-per-prompt",
        "--limit_mm_per_prompt.image": "--limit-mm-per-prompt",
        "-cc.mode": "--compilation-config",
        "--no-enable-prefix-caching": "--enable-prefix-caching",
        "--disable-log-requests": "--enable-log-requests",
    }.items():
        flag = VLLM.find(spelling)
        assert flag is not None, spelling
        assert flag.name == name
    for spelling in ("--seed.x", "-t_p", "--device", "model_tag", "", "--", "-"):
        assert VLLM.find(spelling) is None, spelling
    assert load("vllm@0.32.0").find("--disable-log-requests") is None


def test_sglang_takes_what_it_declares_and_nothing_else() -> None:
    for spelling in ("--trust_remote_code", "--json-model-override-args.x", "-O3"):
        assert SGLANG.find(spelling) is None
    flag = SGLANG.find("--model")
    assert flag is not None
    assert (flag.name, flag.aliases) == ("--model-path", ("--model",))
    assert SGLANG.find("--tp-size") is SGLANG.find("--tensor-parallel-size")


def test_booleans() -> None:
    eager = VLLM.flags["--enforce-eager"]
    assert (eager.type, eager.nargs, eager.takes_value, eager.default) == ("bool", 0, False, "False")
    assert "--no-enforce-eager" in eager.negations
    assert "takes no value" in str(eager.refusal(("true",)))
    assert eager.refusal(()) is None


def test_deprecated() -> None:
    old = load("sglang@0.5.17").flags["--cuda-graph-max-bs"]
    assert (old.deprecated, old.successor) == ("use --cuda-graph-max-bs-decode", "--cuda-graph-max-bs-decode")
    assert VLLM.flags["--mamba-cache-mode"].deprecated == "the engine names no successor"
    assert VLLM.flags["--seed"].deprecated is None


def test_flags_that_are_there_only_to_be_refused() -> None:
    old = load("sglang@0.5.3").flags["--enable-deepep-moe"]
    assert (old.refused, old.successor) == ("set --moe-a2a-backend to 'deepep'", "--moe-a2a-backend=deepep")
    assert load("sglang@0.5.18").flags["--enable-expert-distribution-metrics"].refused.startswith("use --expert-bal")
    assert not load("sglang@0.5.17").flags["--prefill-round-robin-balance"].refused  # warns, and goes on
    assert not any(flag.refused for flag in [*VLLM.flags.values(), *SGLANG.flags.values()])


def test_flags_that_only_the_serve_command_has() -> None:
    assert load("vllm@0.18.0").flags["--grpc"].entry == "serve"
    assert VLLM.flags["--grpc"].entry == ""


def test_flags_of_which_each_use_counts() -> None:
    assert VLLM.flags["--middleware"].repeats
    assert not VLLM.flags["--api-key"].repeats


@pytest.mark.parametrize(
    ("known", "spelling", "values"),
    [
        (SGLANG, "--kv-cache-dtype", ["fp8_e4m3"]),
        (SGLANG, "--lora-paths", ['{"lora_name": "a", "lora_path": "b"}', "c"]),
        (VLLM, "--lora-modules", ['{"name": "a", "path": "b"}', "c=d"]),
        (SGLANG, "--context-length", ["32k"]),
        (SGLANG, "--context-length", ["32Ki"]),
        (SGLANG, "--quantization", ["fp8"]),
        (SGLANG, "--lora-paths", []),
        (SGLANG, "--lora-paths", ["a=b", "c=d"]),
        (VLLM, "--max-model-len", ["auto"]),
        (VLLM, "--max-model-len", ["-1"]),
        (VLLM, "--max-model-len", ["25.6k"]),
        (VLLM, "--max-num-batched-tokens", ["8K"]),
        (VLLM, "--kv-cache-dtype", ["fp8"]),
        (VLLM, "--kv-cache-dtype", ["from-a-plugin"]),
        (VLLM, "--tensor-parallel-size", ["2"]),
        (VLLM, "--gpu-memory-utilization", ["0.9"]),
        (VLLM, "--max-logprobs", ["1_000"]),
        (VLLM, "--api-key", ["one", "two"]),
        (VLLM, "--quantization", ["None"]),
        (VLLM, "--speculative-config", ['{"method": "eagle3"}']),
        (VLLM, "--kv-transfer-config", ['{"kv_buffer_size": 80m}']),
        (VLLM, "--hf-overrides", ['{"a": 1}']),
        (VLLM, "--hf-overrides", ["some.function"]),
        (VLLM, "--moe-backend", ["Flashinfer-TRTLLM"]),
    ],
)
def test_values_that_the_parsers_take(known: Catalog, spelling: str, values: list[str]) -> None:
    assert refusal(known, spelling, *values) is None


@pytest.mark.parametrize(
    ("known", "spelling", "values", "reason"),
    [
        (SGLANG, "--kv-cache-dtype", ["fp8"], "is none of auto, fp8_e5m2"),
        (SGLANG, "--kv-cache-dtype", ["int8"], "is none of"),
        (SGLANG, "--chunked-prefill-size", ["8kb"], "is not an integer"),
        (SGLANG, "--context-length", ["32K"], "is not an integer"),
        (SGLANG, "--quantization", ["int4"], "is none of"),
        (SGLANG, "--quantization", ["None"], "is none of"),
        (VLLM, "--max-model-len", ["long"], "or auto"),
        (VLLM, "--max-model-len", ["1.5K"], "is not an integer"),
        (VLLM, "--max-num-seqs", ["64k"], "is not an integer"),
        (VLLM, "--max-num-batched-tokens", ["auto"], "is not an integer"),
        (VLLM, "--gpu-memory-utilization", ["90%"], "is not a number"),
        (VLLM, "--speculative-config", ["{method: eagle3}"], "is not JSON"),
        (VLLM, "--kv-transfer-config", ["[]"], "is not a JSON object"),
        (load("vllm@0.19.1"), "--kv-transfer-config", ['{"kv_buffer_size": 80m}'], "is not a JSON object"),
        (VLLM, "--lora-modules", ["name"], "is not NAME=PATH or a JSON object"),
        (SGLANG, "--lora-paths", ['{"lora_name": "a"}'], "is not a path, NAME=PATH or a JSON object"),
        (load("vllm@0.11.0"), "--reasoning-parser", ["none"], "is none of deepseek_r1"),
        (VLLM, "--tensor-parallel-size", ["2", "3"], "takes one value; 2 given"),
        (VLLM, "--tensor-parallel-size", [], "takes one value; 0 given"),
        (VLLM, "--api-key", [], "takes one value or more; 0 given"),
        (VLLM, "--moe-backend", ["nonsense"], "is none of"),
    ],
)
def test_values_that_the_parsers_refuse(known: Catalog, spelling: str, values: list[str], reason: str) -> None:
    assert reason in str(refusal(known, spelling, *values))


def test_choices_that_are_known_but_not_enforced() -> None:
    quantization = VLLM.flags["--quantization"]
    assert {"fp8", "mxfp4", "humming"} <= set(quantization.choices)
    assert not quantization.enforced
    assert not VLLM.flags["--kv-cache-dtype"].enforced
    assert SGLANG.flags["--kv-cache-dtype"].enforced


def test_every_enforced_choice_is_taken() -> None:
    for engine in ("vllm", "sglang"):
        for release in catalog.known(engine):
            known = catalog.load(release)
            for flag in known.flags.values():
                for choice in flag.choices:
                    values = (choice,) * (flag.nargs if isinstance(flag.nargs, int) else 1)
                    assert flag.refusal(values) is None, (release, flag.name, choice)


def test_the_data_is_one_flag_a_line() -> None:
    for path in (Path(catalog.__file__).parent / "data").glob("*.flags.json"):
        text = path.read_text()
        data = json.loads(text)
        assert len(text.splitlines()) == len(data["flags"]) + len(data["releases"]) + 4
