"""Phases and facts, read from excerpts of real logs, whose names say engine, release and model."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.run.health.phases import FIRST, Progress

LOGS = Path(__file__).parent.parent / "data" / "engine-logs"
VLLM = [
    "reading the configuration",
    "starting the engine's workers",
    "loading weights",
    "profiling",
    "compiling",
    "profiling",
    "allocating KV cache",
    "tuning kernels",
    "capturing CUDA graphs",
    "warming up",
]
SGLANG = ["reading the configuration", "starting the engine's workers", "loading weights", "allocating KV cache"]


def read(name: str) -> tuple[list[str], dict[str, float | int]]:
    progress = Progress(name.partition("-")[0])
    assert progress.phase == FIRST
    lines = (LOGS / f"{name}.log").read_text(encoding="utf-8").splitlines()
    return [progress.phase for line in lines if progress.line(line)], progress.facts


@pytest.mark.parametrize(
    ("name", "phases", "facts"),
    [
        (
            "vllm-0.24.0-qwen3-14b-fp8",
            [*VLLM, "starting the server"],
            {
                "weights_gib": 15.9,
                "load_s": 2.426632,
                "kv_tokens": 726464,
                "context_tokens": 8192,
                "graphs_gib": 1.13,
                "compile_s": 34.14,
                "init_s": 45.72,
            },
        ),
        (
            "vllm-0.26.0-qwen3-8b-humming-silent-start",
            VLLM,
            {
                "weights_gib": 5.71,
                "load_s": 3.56,
                "kv_tokens": 354304,
                "context_tokens": 8192,
                "graphs_gib": 0.92,
                "compile_s": 25.62,
            },
        ),
        (
            "sglang-0.5.17-qwen3-8b-fp8-kv8",
            [*SGLANG, "capturing CUDA graphs", "starting the server", "warming up"],
            {
                "weights_gib": 9.09,
                "load_s": 1.95,
                "kv_tokens": 474372,
                "context_tokens": 8192,
                "max_requests": 4096,
                "graphs_gib": 0.24,
            },
        ),
        ("sglang-0.5.15.post1-qwen3-14b-torchao-importerror", SGLANG, {"weights_gib": 27.53, "load_s": 0.11}),
    ],
)
def test_real_logs(name: str, phases: list[str], facts: dict[str, float | int]) -> None:
    assert read(name) == (phases, facts)


def test_the_one_line_form_of_the_kv_cache_and_the_first_of_several_facts() -> None:
    progress = Progress("vllm")
    assert progress.line("CPU KV cache size: 12,345 tokens, Maximum concurrency for 40,960 tokens per request: 3.01x")
    assert not progress.line("GPU KV cache size: 99 tokens")
    assert progress.facts == {"kv_tokens": 12345}
    assert progress.phase == "allocating KV cache"
