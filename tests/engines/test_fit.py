"""What the model or the host contradicts is refused before anything loads."""

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.config.layers import Layer, Origin, Setting
from launcher.config.resolve import Deployment
from launcher.engines import catalog, fit
from launcher.engines.draft import Draft
from launcher.engines.target import Checkpoint
from tests.engines.rendering import target

SMALL = Checkpoint("/m", "m", context_length=4096)
TEXT = "vllm@0.33.0"


def problems(settings: dict[str, object], checkpoint: Checkpoint = SMALL, gpus: int = 2, text: str = TEXT) -> list[str]:
    layer: Layer = {name: Setting(value, Origin("command line", name)) for name, value in settings.items()}
    on = replace(target(text), gpus=gpus)
    draft = Draft(Deployment(layer), on, checkpoint, catalog.load(on.release))
    return [each.what for each in fit.problems(draft)]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"context_length": 4097}, "context_length 4097: m was made for 4096 tokens (its config.json)"),
        ({"tensor_parallel": 4}, "tensor_parallel 4: tensor_parallel 4 needs 4 GPUs, this host has 2"),
        ({"tensor_parallel": 2, "pipeline_parallel": 2}, "tensor_parallel 2 x pipeline_parallel 2 needs 4 GPUs"),
        ({"chat_template": "/no/such.jinja"}, "chat_template /no/such.jinja: there is no such file"),
        ({"chat_template": "such.jinja"}, "chat_template such.jinja: there is no such file"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], what: str) -> None:
    (problem,) = problems(settings)
    assert what in problem


@pytest.mark.parametrize(
    "settings",
    [
        {"context_length": 4096},
        {"context_length": "auto"},
        {"context_length": 8192, "env.VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"},
        {"context_length": 8192, "args.vllm.--hf-overrides": "{}"},
        {"tensor_parallel": 2},
        {"tensor_parallel": 16, "nodes.count": 8},
        {"chat_template": "{{ messages }}"},
        {"chat_template": "chatml"},
    ],
)
def test_what_may_be_is_left_alone(settings: dict[str, object]) -> None:
    assert problems(settings) == []


@pytest.mark.parametrize(
    ("text", "drafts"),
    [("vllm@0.11.2", False), ("vllm@0.12.0", True), ("sglang@0.5.10.post1", False), ("sglang@0.5.11", True)],
)
def test_a_release_that_cannot_draft_for_a_model(text: str, drafts: bool) -> None:
    draws = Checkpoint("/m", "m", architectures=("Qwen3VLForConditionalGeneration",))
    found = problems({"speculative.method": "eagle3"}, draws, text=text)
    assert [each.partition(": ")[2] for each in found] == [
        f"{target(text).release.title} cannot draft for Qwen3VLForConditionalGeneration"
    ] * (not drafts)
    assert problems({}, draws, text=text) == []
    assert problems({"speculative.method": "eagle3"}, text=text) == []


def test_what_is_not_known_is_left_alone(tmp_path: Path) -> None:
    assert problems({"context_length": 10**6}, Checkpoint("org/m", "org/m")) == []
    assert problems({"tensor_parallel": 8}, gpus=0) == []
    (tmp_path / "t.jinja").write_text("x")
    assert problems({"chat_template": str(tmp_path / "t.jinja")}) == []


@pytest.mark.parametrize(
    ("method", "bits", "asked", "refused"),
    [
        ("awq", 4, ("fp8", "int8"), True),
        ("awq", 4, ("fp8", "int4"), False),
        ("awq", None, ("none",), True),
        ("gptq", 8, ("int8",), False),
        ("gptq", 8, ("int4",), True),
        ("compressed-tensors", None, ("int4",), False),  # may be any width
        (None, None, ("int4",), False),
    ],
)
def test_a_checkpoint_that_is_quantized_otherwise_than_asked_is_refused(
    method: str | None, bits: int | None, asked: tuple[str, ...], refused: bool
) -> None:
    found = problems({"weights": asked}, Checkpoint("/m", "m", quantization=method, bits=bits))
    assert bool(found) == refused
    assert all(f"m is quantized already, otherwise ({method}" in each for each in found)


def test_what_a_preset_asks_of_any_model_refuses_none() -> None:
    layer: Layer = {"weights": Setting(("int4",), Origin("preset", "balanced.yaml:12"))}
    on = target(TEXT)
    draft = Draft(Deployment(layer), on, Checkpoint("/m", "m", quantization="fp8"), catalog.load(on.release))
    assert fit.problems(draft) == []
