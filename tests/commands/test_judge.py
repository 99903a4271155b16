"""What one release makes of a command, and how the findings of several are told as one."""

from __future__ import annotations

import pytest

from launcher.commands import launches
from launcher.commands.findings import RULES, Finding, merged, span
from launcher.commands.judge import described, judge
from launcher.engines import catalog
from launcher.engines.release import Release, exactly

MODULE = "python3 -m vllm.entrypoints.openai.api_server"
SG = "python3 -m sglang.launch_server --model-path m"


def found(text: str, release: str = "vllm@0.33.0") -> tuple[Finding, ...]:
    (launch,) = launches.command(text).launches
    return judge(launch, catalog.load(exactly(release))).findings


def said(text: str, release: str = "vllm@0.33.0") -> list[tuple[str, str]]:
    """Each finding's rule with the part of the command that it is about."""
    return [(each.rule, text[each.start : each.end]) for each in found(text, release)]


@pytest.mark.parametrize(
    ("text", "release", "findings"),
    [
        ("vllm serve m --port 80 --enforce-eager -tp 2 -O3 -cc.mode=3", "vllm@0.33.0", []),
        ("vllm serve m --max_model_len=8k --trust_remote_code", "vllm@0.33.0", []),
        ("vllm serve m --middleware a --middleware b", "vllm@0.33.0", []),  # each adds to those before
        (f"{SG} --trust_remote_code", "sglang@0.5.23", [("other-engine", "--trust_remote_code")]),
        ("vllm serve m --port x --seed=1.5", "vllm@0.33.0", [("bad-value", "x"), ("bad-value", "--seed=1.5")]),
        ("vllm serve m --port", "vllm@0.33.0", [("bad-value", "--port")]),
        ("vllm serve m --tokenizer-mode fast", "vllm@0.33.0", [("unlisted-value", "fast")]),
        ("vllm serve m --dtype int3", "vllm@0.33.0", [("bad-value", "int3")]),
        ("vllm serve m -q gptq --quantization fp8", "vllm@0.33.0", [("given-twice", "--quantization")]),
        ("vllm serve m --no-enforce-eager --enforce-eager", "vllm@0.33.0", [("given-twice", "--enforce-eager")]),
        ("vllm serve m --hf-overrides.a 1 --hf-overrides.b 2", "vllm@0.33.0", []),
        ("vllm serve m --hf-overrides.a 1 --hf-overrides.a 2", "vllm@0.33.0", [("given-twice", "--hf-overrides.a")]),
        ("vllm serve m --hf-overrides '{}' --hf-overrides.a 2", "vllm@0.33.0", [("given-twice", "--hf-overrides.a")]),
        ("vllm serve m --compilation-config.mode x --seed.a 1", "vllm@0.33.0", [("bad-value", "1")]),
        ("vllm serve m -- x", "vllm@0.33.0", [("stray-word", "x")]),
        ("vllm serve m x -1", "vllm@0.33.0", [("stray-word", "x"), ("stray-word", "-1")]),
        ("vllm serve m --help --nope", "vllm@0.33.0", []),  # it prints its help and ends
        ("vllm serve m --device cuda", "vllm@0.26.0", [("other-meaning", "--device")]),
        (
            "vllm serve m --ep 2",
            "vllm@0.33.0",
            [("bad-value", "2"), ("other-meaning", "--ep")],  # SGLang's, which becomes --eplb-config here
        ),
        (f"{SG} --nsa-decode fa3", "sglang@0.5.10", [("completed-flag", "--nsa-decode")]),  # the same by another name
        (f"{SG} --max-loras 2", "sglang@0.5.23", [("completed-flag", "--max-loras")]),
        ("vllm serve m --api-key '' --hf-token", "vllm@0.33.0", []),
        (f"{MODULE} --model m --num-scheduler-steps 8", "vllm@0.33.0", [("removed-flag", "--num-scheduler-steps")]),
        (f"{MODULE} m", "vllm@0.33.0", [("ignored-model", "m")]),
        ("vllm serve --model=m", "vllm@0.33.0", []),
        (f"{SG} $X --port $Y", "sglang@0.5.23", [("known-at-run-time", "$X")]),
        ("vllm serve m --max-model-len=$N --kv-cache-dtype $K", "vllm@0.33.0", []),
        ("A=1 VLLM_USE_V1=0 vllm serve m", "vllm@0.33.0", [("removed-variable", "0")]),
        ("A=1 VLLM_USE_V1=0 vllm serve m", "vllm@0.11.0", []),
    ],
)  # fmt: skip
def test_what_a_release_makes_of_a_command(text: str, release: str, findings: list[tuple[str, str]]) -> None:
    assert sorted(said(text, release)) == sorted(findings)


@pytest.mark.parametrize(
    ("text", "release", "fix"),
    [
        ("vllm serve m --enable-chunked-prefill=False", "vllm@0.33.0", "write --no-enable-chunked-prefill"),
        (f"{SG} --disable-radix-cache=0", "sglang@0.5.23", "leave it out: --disable-radix-cache is off unless"),
        ("vllm serve m --enforce-eager=x", "vllm@0.33.0", ""),
        (f"{SG} --kv-cache-dtype fp4_e2m1", "sglang@0.5.23", "write --kv-cache-dtype fp4_mx_block16 (0.5.16 "),
        ("vllm serve m --quantization auto-round", "vllm@0.33.0", "write --quantization inc"),
        ("vllm serve m --swap-spac 4", "vllm@0.33.0", ""),
        ("vllm serve m --max-model-lenn 4", "vllm@0.33.0", "perhaps --max-model-len is meant: that is a guess"),
        (f"{SG} --cuda-graph-max-bs $N", "sglang@0.5.23", "write --cuda-graph-max-bs-decode $..."),
        (f"{SG} --gpu-memory-utilization 0.9", "sglang@0.5.23", "write --mem-fraction-static 0.9 (of weights and KV"),
        (f"{SG} --torchao-config int8wo", "sglang@0.5.18", "write SGLANG_HUMMING_ONLINE_QUANT_CONFIG='{"),
        (f"{SG} --torchao-config int8wo", "sglang@0.5.23", "torchao was removed in 0.5.18; SGLang 0.5.23 cannot make"),
        ("vllm serve m --rope-theta 1", "vllm@0.33.0", "choose by hand: its place is rope_theta within"),
        ("vllm serve m --swap-space 4", "vllm@0.33.0", "leave it out: V1 swaps nothing to the host's memory"),
    ],
)  # fmt: skip
def test_what_to_do(text: str, release: str, fix: str) -> None:
    (each,) = found(text, release)
    assert each.fix[: len(fix)] == fix
    assert bool(each.fix) == bool(fix)


def test_what_the_parser_would_refuse_is_marked() -> None:
    text = "vllm serve m --nope --port x word --seed 1 --seed 2 --api-key k"
    assert {each.rule for each in found(text) if each.refuses} == {"unknown-flag", "bad-value", "stray-word"}


def test_guesses_and_values_are_bounded() -> None:
    many = found("vllm serve m " + " ".join(f"--max-model-len{at}" for at in range(200)))
    assert len(many) == 200
    assert 0 < sum(bool(each.fix) for each in many) <= 50
    (long,) = found("vllm serve m --port " + "9x" * 100_000)
    assert len(long.what) < 1_100


def test_described_flags_hide_keys() -> None:
    (launch,) = launches.command("vllm serve m --api-key a b --hf-token=c --max-num-seqs $N -tp 2").launches
    rows = described(launch, judge(launch, catalog.load(exactly("vllm@0.33.0"))).reading)
    assert [(row["flag"], row["written"], row["values"]) for row in rows] == [
        ("--api-key", "--api-key", ["(hidden)", "(hidden)"]),
        ("--hf-token", "--hf-token", ["(hidden)"]),
        ("--max-num-seqs", "--max-num-seqs", ["$..."]),
        ("-tp", "-tp", ["2"]),
    ]


# The findings of several releases


def test_releases_in_words() -> None:
    every = catalog.known("vllm")
    assert span(every) == f"vLLM 0.11.0 to {every[-1].version}"
    assert span(every[:1]) == "vLLM 0.11.0"
    some = tuple(Release("vllm", version) for version in ("0.11.2", "0.12.0", "0.33.0", "0.11.0", "9.9.9"))
    assert span(some) == "vLLM 0.11.0, 0.11.2 to 0.12.0, 0.33.0, 9.9.9"


def test_what_several_say_alike_is_one() -> None:
    old, new = Release("vllm", "0.12.0"), Release("vllm", "0.33.0")
    one = Finding("removed-flag", "no flag --x", 5, 8, "write --y", releases=(new,))
    same = Finding("removed-flag", "no flag --x", 5, 8, "write --y", releases=(old,))
    (each,) = merged([one, same, one])
    assert (each.releases, each.fix) == ((old, new), "write --y")
    other = Finding("removed-flag", "no flag --x", 5, 8, "write --z", releases=(old,))
    (each,) = merged([one, other])
    assert each.fix == "for vLLM 0.33.0: write --y"
    elsewhere = Finding("removed-flag", "no flag --x", 4, 8, "write --y", releases=(old,))
    assert [each.start for each in merged([one, elsewhere])] == [4, 5]
    unreadable = [Finding("unreadable", "the quote is not closed", 1, 2, fix) for fix in ("a", "b")]
    assert len(merged(unreadable)) == 1


def test_every_level_is_used() -> None:
    assert {level for level, _ in RULES.values()} == {"error", "warning", "note"}
