"""The weights table and the choice from it: every row can be taken, every fact we know of a release holds."""

from __future__ import annotations

import itertools
import json

import pytest

from launcher.config import keys
from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.engines.target import Checkpoint, Target
from launcher.engines.weights import Choice, Row, Table, choose, meaning, table
from launcher.errors import ServeError

INTENTS = ("int4", "int8", "fp8")
DENSE = Checkpoint("org/model", "model", architectures=("Qwen3ForCausalLM",))
VISION = Checkpoint("org/model", "model", architectures=("Qwen3VLForConditionalGeneration",))
UNKNOWN = Checkpoint("org/model", "model")


def target(
    release: str, device: str = "cuda", capability: float | None = 9.0, packages: frozenset[str] | None = frozenset()
) -> Target:
    engine, _, version = release.partition("@")
    return Target(
        Release(engine, version), device, "python", engine, capability if device == "cuda" else None, packages=packages
    )


def method(release: str, intent: str, **more: object) -> str:
    """The method that is taken for one intent, or ``none`` when nothing works."""
    try:
        row = choose((intent,), target(release, **more), DENSE).row  # type: ignore[arg-type]
    except ServeError:
        return "none"
    assert row is not None
    return row.method


@pytest.fixture(scope="module")
def every_choice() -> list[Choice]:
    """Choices for single intents on every release that we know, over devices, GPUs, models and packages."""
    releases = [str(release) for engine in keys.ENGINES for release in catalog.known(engine)]
    choices = []
    for release, capability, model, packages in itertools.product(
        releases, (7.0, 7.5, 8.0, 9.0), (DENSE, VISION), (frozenset(), frozenset({"bitsandbytes"}))
    ):
        for device, intent in itertools.product(("cuda", "cpu"), INTENTS):
            try:
                choices.append(choose((intent,), target(release, device, capability, packages), model))
            except ServeError as error:
                choices.append(Choice("error", None, ((error.what, error.fix),)))
    return choices


def test_rows_are_whole() -> None:
    for row in table().rows:
        assert row.engine in keys.ENGINES
        assert row.intent in INTENTS
        assert row.device in ("cuda", "cpu")
        assert row.status in ("measured", "read", "broken")
        assert row.evidence
        Release(row.engine, "1.0").within(row.releases)  # raises where the range is none
        if row.status == "broken":
            assert (row.arguments, row.environment, row.note) == ({}, {}, "")
        else:
            assert row.arguments
            assert 4 <= row.bits < 9
            assert (row.capability is None) == (row.device == "cpu")
        for text in [*row.arguments.values(), *row.environment.values()]:
            assert isinstance(text, str)
        if row.method == "humming" and row.environment:
            (text,) = row.environment.values()
            assert set(json.loads(text)) == {"dtype", "group_size"}


def test_intents_are_those_of_the_vocabulary() -> None:
    words = keys.BY_NAME["weights"].type.metavar.removesuffix("[,...]").split("|")
    assert {row.intent for row in table().rows} | {"none"} == set(words)


@pytest.mark.parametrize(
    "row",
    [row for row in table().rows if row.status != "broken"],
    ids=lambda row: f"{row.engine}-{row.intent}-{row.method}-{row.releases}",
)
def test_every_row_is_taken_somewhere(row: Row, every_choice: list[Choice]) -> None:
    assert any(choice.row is row for choice in every_choice)


def test_every_flag_is_one_of_the_releases_it_is_for() -> None:
    tried = 0
    for row in table().rows:
        for release in catalog.known(row.engine):
            if not release.within(row.releases):
                continue
            flags = catalog.load(release)
            for flag, value in row.arguments.items():
                found = flags.find(flag)
                assert found is not None, f"{release} has no {flag}"
                assert not found.refusal((value,)), f"{release}: {flag} {value}"
                tried += 1
    assert tried > 10


# What was measured, or read in the wheels; a change here is a change of what we know, not of taste.
FACTS = [
    ("vllm@0.11.0", "fp8", "fp8"),
    ("vllm@0.24.0", "fp8", "fp8"),  # measured on an H200
    ("vllm@0.30.0", "fp8", "fp8"),
    ("vllm@0.31.0", "fp8", "fp8_per_tensor"),  # from here on fp8 alone is deprecated
    ("vllm@0.33.0", "fp8", "fp8_per_tensor"),
    ("sglang@0.5.3", "fp8", "fp8"),
    ("sglang@0.5.15.post1", "fp8", "fp8"),  # measured on an H200
    ("sglang@0.5.17", "fp8", "fp8"),  # measured on an H200
    ("sglang@0.5.23", "fp8", "fp8"),
    ("vllm@0.11.0", "int4", "none"),  # its rtn widens the weights at each step
    ("vllm@0.11.1", "int4", "rtn"),
    ("vllm@0.13.0", "int4", "rtn"),
    ("vllm@0.14.0", "int4", "none"),  # rtn only by a flag for what is deprecated
    ("vllm@0.21.0", "int4", "none"),  # has humming, but does not require its package
    ("vllm@0.22.0", "int4", "humming"),
    ("vllm@0.27.1", "int4", "humming"),  # no mxfp4 before 0.28
    ("vllm@0.28.0", "int4", "mxfp4"),
    ("vllm@0.33.0", "int4", "mxfp4"),
    ("sglang@0.5.3", "int4", "torchao"),
    ("sglang@0.5.10.post1", "int4", "torchao"),
    ("sglang@0.5.11", "int4", "none"),  # torchao 0.17.0
    ("sglang@0.5.15.post1", "int4", "none"),  # torchao measured broken, no humming yet
    ("sglang@0.5.17", "int4", "humming"),
    ("sglang@0.5.18", "int4", "humming"),
    ("sglang@0.5.19", "int4", "none"),  # humming-kernels 0.1.12
    ("sglang@0.5.23", "int4", "none"),
    ("vllm@0.12.0", "int8", "rtn"),
    ("vllm@0.20.0", "int8", "none"),  # for experts only
    ("vllm@0.24.0", "int8", "humming"),
    ("vllm@0.28.0", "int8", "none"),  # humming is broken to 0.31, the rest is for experts only
    ("vllm@0.31.0", "int8", "none"),
    ("vllm@0.32.0", "int8", "humming"),
    ("vllm@0.33.0", "int8", "humming"),
    ("sglang@0.5.3", "int8", "torchao"),
    ("sglang@0.5.15.post1", "int8", "none"),
    ("sglang@0.5.17", "int8", "humming"),
    ("sglang@0.5.23", "int8", "none"),
]


@pytest.mark.parametrize(("release", "intent", "expected"), FACTS)
def test_facts_on_a_hopper_gpu(release: str, intent: str, expected: str) -> None:
    assert method(release, intent) == expected


@pytest.mark.parametrize(("intent", "expected"), [("fp8", "fp8_per_channel"), ("int8", "none"), ("int4", "none")])
def test_facts_on_a_cpu(intent: str, expected: str) -> None:
    assert method("vllm@0.32.0", intent, device="cpu") == expected


@pytest.mark.parametrize("release", ["sglang@0.5.15.post1", "sglang@0.5.17", "sglang@0.5.23"])
def test_the_broken_ways_of_sglang_are_named(release: str) -> None:
    broken = {
        row.method: row
        for row in table().rows
        if row.engine == "sglang" and row.status == "broken" and target(release).release.within(row.releases)
    }
    assert {"bitsandbytes", "torchao", "w8a8_int8"} <= set(broken)
    assert "KeyError" in broken["bitsandbytes"].evidence
    assert "garbage" in broken["w8a8_int8"].evidence
    assert ("humming" in broken) == (release == "sglang@0.5.23")


def test_the_first_intent_that_works_is_taken_and_the_others_are_explained() -> None:
    choice = choose(("int4", "int8", "fp8", "none"), target("sglang@0.5.23"), DENSE)
    assert (choice.intent, choice.row and choice.row.arguments) == ("fp8", {"--quantization": "fp8"})
    assert [intent for intent, _ in choice.passed_over] == ["int4", "int8"]
    assert "humming" in choice.passed_over[0][1]
    assert "bitsandbytes" in choice.passed_over[0][1]


def test_humming_is_told_by_a_variable() -> None:
    choice = choose(("int4",), target("sglang@0.5.17"), DENSE)
    assert choice.row is not None
    assert choice.row.arguments == {"--quantization": "humming"}
    assert json.loads(choice.row.environment["SGLANG_HUMMING_ONLINE_QUANT_CONFIG"]) == {
        "dtype": "int4",
        "group_size": 128,
    }
    assert any("compiles" in note for note in choice.notes)


def test_none_always_works() -> None:
    assert choose(("none",), target("sglang@0.5.23", "cpu"), UNKNOWN) == Choice("none", None)
    last = choose(("int4", "none"), target("sglang@0.5.23"), DENSE)
    assert (last.intent, last.row, last.passed_over[0][0]) == ("none", None, "int4")


def test_a_gpu_that_is_too_old() -> None:
    with pytest.raises(ServeError, match=r"fp8 needs compute capability 8\.0, this GPU has 7\.5"):
        choose(("fp8",), target("sglang@0.5.23", capability=7.5), DENSE)
    assert method("vllm@0.33.0", "fp8", capability=7.5) == "fp8_per_tensor"
    assert method("vllm@0.24.0", "int4", capability=7.0) == "none"
    assert method("vllm@0.13.0", "fp8", capability=7.5) == "none"
    assert method("vllm@0.14.0", "fp8", capability=7.5) == "fp8"
    assert method("sglang@0.5.5.post3", "fp8", capability=8.0) == "none"  # no Marlin kernels of its own
    assert method("sglang@0.5.6", "fp8", capability=8.0) == "fp8"


def test_a_gpu_that_cannot_be_asked_is_not_checked_and_that_is_said() -> None:
    choice = choose(("fp8",), target("sglang@0.5.23", capability=None), DENSE)
    assert choice.intent == "fp8"
    assert any("compute capability 8.0" in note for note in choice.notes)
    assert choose(("int4",), target("sglang@0.5.17"), DENSE).notes == (
        "the first start compiles kernels, silently, for minutes, and needs g++ on the host",
    )


def test_a_release_on_which_nothing_was_measured_is_told() -> None:
    notes = choose(("fp8",), target("sglang@0.5.23"), DENSE).notes
    assert notes[-1] == "fp8 was seen to serve in 0.5.15.post1 and 0.5.17, not in this release"
    assert choose(("fp8",), target("sglang@0.5.17"), DENSE).notes == notes[:-1]


def test_weights_that_shrink_only_when_all_are_loaded_are_told() -> None:
    whole = "the weights are on the GPU whole, in 16 bits, before they shrink"
    assert whole in choose(("fp8",), target("sglang@0.5.17"), DENSE).notes
    assert whole in choose(("fp8",), target("vllm@0.15.1"), DENSE).notes
    assert whole not in choose(("fp8",), target("vllm@0.16.0"), DENSE).notes


def test_packages_count_only_when_they_are_known_to_be_there() -> None:
    with_it = frozenset({"bitsandbytes"})
    assert method("vllm@0.21.0", "int4", packages=with_it) == "bitsandbytes"
    assert method("vllm@0.21.0", "int4", packages=frozenset()) == "none"
    assert method("vllm@0.21.0", "int4", packages=None) == "none"
    assert method("vllm@0.13.0", "int4", packages=with_it) == "bitsandbytes"
    with pytest.raises(ServeError, match="needs bitsandbytes") as raised:
        choose(("int4",), target("vllm@0.21.0"), DENSE)
    assert "install bitsandbytes into the engine's environment" in raised.value.fix


def test_vision_towers_that_no_group_divides() -> None:
    newest = choose(("int4",), target("vllm@0.33.0"), VISION)
    assert newest.row is not None
    assert newest.row.method == "humming"  # leaves such layers as they are; mxfp4 refuses them
    assert choose(("int4", "fp8"), target("vllm@0.24.0"), VISION).intent == "fp8"
    assert choose(("int4",), target("vllm@0.33.0"), UNKNOWN).row is not newest.row


@pytest.mark.parametrize(
    ("quantization", "intents", "against"),
    [
        ("awq", ("int4", "fp8"), False),
        ("awq", ("fp8",), True),
        ("awq", ("none",), True),
        ("fp8", ("fp8",), False),
        ("compressed-tensors", ("int4",), False),  # may be any width
        ("compressed-tensors", ("none",), True),
        ("gptq", (), False),
    ],
)
def test_a_quantized_checkpoint_is_served_as_it_is(quantization: str, intents: tuple[str, ...], against: bool) -> None:
    checkpoint = Checkpoint("org/model", "model", quantization=quantization)
    choice = choose(intents, target("sglang@0.5.23"), checkpoint)
    assert (choice.intent, choice.row) == ("checkpoint", None)
    assert quantization in choice.notes[0]
    assert ("against" in choice.notes[0]) == against


def test_the_error_says_why_and_what_would_work() -> None:
    with pytest.raises(ServeError) as raised:
        choose(("int4", "int8"), target("sglang@0.5.23"), DENSE, where="balanced.yaml:9")
    error = raised.value
    assert error.where == "balanced.yaml:9"
    assert error.what.startswith("SGLang 0.5.23 cannot make int4 or int8 weights here: int4: humming: ")
    assert "int8: humming: " in error.what
    assert error.fix.startswith("--weights fp8 (by fp8)")  # what works here comes first
    assert error.fix.index("SGLang >=0.5.16,<0.5.19 (int4)") < error.fix.index("vLLM >=0.28 (int4)")
    assert "published quantized" in error.fix
    assert error.fix.endswith("--weights none")


def test_the_error_on_a_cpu_offers_nothing_that_needs_a_gpu() -> None:
    with pytest.raises(ServeError, match="int4: mxfp4, humming: a CPU build has no kernels") as raised:
        choose(("int4",), target("vllm@0.32.0", "cpu"), DENSE)
    assert raised.value.fix.startswith("--weights fp8 (by fp8_per_channel); or a checkpoint")
    assert "take" not in raised.value.fix


def test_the_choice_depends_on_the_given_table_alone() -> None:
    row = Row("sglang", "int8", "cuda", ">=9", "other", "read", "a test", 8, {"--other": "1"})
    given = Table((row,), {}, {})
    assert choose(("int8",), target("sglang@9.1"), UNKNOWN, lambda: given).row is row
    with pytest.raises(ServeError, match="no way is known on a GPU"):
        choose(("int8",), target("sglang@8.9"), UNKNOWN, lambda: given)


@pytest.mark.parametrize(
    ("engine", "flag", "value", "intent"),
    [
        ("vllm", "--quantization", "fp8", "fp8"),
        ("sglang", "--quantization", "fp8", "fp8"),
        ("sglang", "--torchao-config", "int4wo-128", "int4"),
        ("sglang", "--torchao-config", "int4wo-64", "int4"),
        ("sglang", "--torchao-config", "int8wo", "int8"),
        ("sglang", "--torchao-config", "fp8dq-per_tensor", "fp8"),
        ("sglang", "--quantization", "bitsandbytes", None),
        ("vllm", "--quantization", "awq", None),  # a checkpoint's method, not an intent
        ("vllm", "--quantization", "fp8_per_block", None),  # more exact than the intent
        ("vllm", "--torchao-config", "int8wo", None),  # not vLLM's
        ("sglang", "--load-format", "bitsandbytes", None),
    ],
)
def test_flags_that_ask_for_an_intent(engine: str, flag: str, value: str, intent: str | None) -> None:
    assert meaning(engine, flag, value) == intent


@pytest.mark.parametrize(
    ("release", "value", "intent"),
    [
        ("sglang@0.5.9", "int4wo-128", "int4"),  # what the intent itself becomes there
        ("sglang@0.5.9", "int4wo-64", None),  # works there, and is not that
        ("sglang@0.5.9", "fp8dq-per_row", None),
        ("sglang@0.5.15.post1", "int4wo-64", "int4"),  # a flag that works no more
        ("sglang@0.5.23", "int4wo-64", "int4"),  # a flag that is gone
    ],
)
def test_a_value_that_is_exact_passes_where_it_works(release: str, value: str, intent: str | None) -> None:
    assert meaning("sglang", "--torchao-config", value, target(release).release) == intent
    assert meaning("vllm", "--quantization", "fp8", target("vllm@0.33.0").release) == "fp8"


def test_meanings_lead_to_intents_that_exist() -> None:
    known = table()
    for flags in known.meanings.values():
        for values in flags.values():
            assert set(values.values()) <= set(INTENTS)
    assert set(known.checkpoints.values()) <= set(INTENTS)
    assert set(known.exact) <= {flag for flags in known.meanings.values() for flag in flags}
