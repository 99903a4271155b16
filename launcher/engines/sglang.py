"""What is SGLang's alone: its flags for our keys, and the keys that it says in another way or not at all."""

from __future__ import annotations

from launcher.engines.command import Argument
from launcher.engines.draft import Draft
from launcher.engines.engine import Engine, Expression
from launcher.engines.target import Target

# Keys that are one flag; where releases differ, the first spelling that the release has is taken.
FLAGS: dict[str, tuple[str, ...]] = {
    "revision": ("--revision",),
    "trust_remote_code": ("--trust-remote-code",),
    "chat_template": ("--chat-template",),
    "dtype": ("--dtype",),
    "kv_cache": ("--kv-cache-dtype",),
    "context_length": ("--context-length",),
    "memory_fraction": ("--mem-fraction-static",),
    "max_concurrency": ("--max-running-requests",),
    "prefill_tokens": ("--chunked-prefill-size",),
    "scheduling": ("--schedule-policy",),
    "attention_backend": ("--attention-backend",),
    "tensor_parallel": ("--tensor-parallel-size",),
    "pipeline_parallel": ("--pipeline-parallel-size",),
    "data_parallel": ("--data-parallel-size",),
    "nodes.count": ("--nnodes",),
    "nodes.rank": ("--node-rank",),
    "nodes.address": ("--dist-init-addr",),
    "speculative.draft_model": ("--speculative-draft-model-path",),
    "speculative.steps": ("--speculative-num-steps",),
    "speculative.topk": ("--speculative-eagle-topk",),
    "speculative.draft_tokens": ("--speculative-num-draft-tokens",),
    "reasoning_parser": ("--reasoning-parser",),
    "tool_call_parser": ("--tool-call-parser",),
    "metrics": ("--enable-metrics",),
    "log_level": ("--log-level",),
}
# Flags that mean a key with another value than their own: flag -> (key, value given, text of the key).
MEANINGS: dict[str, tuple[str, str | None, str]] = {
    "--disable-radix-cache": ("prefix_cache", None, "false"),
    "--disable-cuda-graph": ("cuda_graphs", None, "off"),
    "--enable-torch-compile": ("torch_compile", None, "on"),
    "--cuda-graph-max-bs": ("cuda_graphs", "", ""),
    "--cuda-graph-max-bs-decode": ("cuda_graphs", "", ""),
    "--speculative-algorithm": ("speculative.method", "EAGLE3", "eagle3"),
}
SUFFIXES = {"k": 1000, "K": 1000, "m": 10**6, "M": 10**6}  # 32k = 32000, since 0.5.12


def _program(target: Target) -> tuple[str, ...]:
    """The first words of argv: the module, which every release has (the ``sglang`` script begins with 0.5.6)."""
    return (target.python, "-m", "sglang.launch_server")


def _model(draft: Draft, path: str) -> None:
    """By flag."""
    draft.add("model", "--model-path", path)


def _kv_cache(draft: Draft, value: str) -> None:
    note = "SGLang has no bare fp8; e4m3 keeps one more bit of precision than e5m2" if value == "fp8" else ""
    draft.flag("kv_cache", FLAGS["kv_cache"], "fp8_e4m3" if value == "fp8" else value, note)


def _context_length(draft: Draft, value: int | str) -> None:
    if value == "auto":
        draft.decide("context_length", "SGLang takes the model's own maximum; it fits the KV cache, not the context")
        return
    draft.flag("context_length", FLAGS["context_length"], value)


def _memory_fraction(draft: Draft, value: float) -> None:
    draft.flag("memory_fraction", FLAGS["memory_fraction"], value, "of weights and KV cache; activations come on top")


def _scheduling(draft: Draft, value: str) -> None:
    draft.flag("scheduling", FLAGS["scheduling"], {"longest_prefix": "lpm"}.get(value, value))
    if value == "priority":
        draft.flag("scheduling", ("--enable-priority-scheduling",), value=True)


def _prefix_cache(draft: Draft, value: bool) -> None:
    if value:
        draft.decide("prefix_cache", "SGLang keeps prefixes by default")
    else:
        draft.flag("prefix_cache", ("--disable-radix-cache",), value=True)


def _cuda_graphs(draft: Draft, value: int | str) -> None:
    backends = [f"--cuda-graph-backend-{phase}" for phase in ("decode", "prefill")]
    if value == "off" and all(map(draft.catalog.find, backends)):
        for backend in backends:
            draft.flag("cuda_graphs", (backend,), "disabled")
    elif value == "off":
        draft.flag("cuda_graphs", ("--disable-cuda-graph",), value=True)
    elif value != "auto":
        draft.flag("cuda_graphs", ("--cuda-graph-max-bs-decode", "--cuda-graph-max-bs"), value)


def _torch_compile(draft: Draft, value: str) -> None:
    if value == "on":
        draft.flag("torch_compile", ("--enable-torch-compile",), value=True)
    elif value == "off":
        draft.decide("torch_compile", "SGLang compiles nothing by default")


def _speculative(draft: Draft, method: str) -> None:
    draft.add("speculative.method", "--speculative-algorithm", method.upper())


def _multimodal(draft: Draft, _value: int) -> None:
    draft.limits("--limit-mm-data-per-request")


def _additions(draft: Draft) -> None:
    """SGLang's metrics are off by default; the watchdog and ``serve ps`` read how many tokens it makes from them."""
    if draft.deployment.get("metrics") is None and not draft.has("--enable-metrics"):
        note = "for the watchdog and serve ps; metrics: false leaves it out"
        after = 1 + next(place for place, each in enumerate(draft.arguments) if each.words[0] == "--port")
        draft.arguments.insert(after, Argument(("--enable-metrics",), "metrics", note=note))


EXPRESSIONS: dict[str, Expression] = {
    "kv_cache": _kv_cache,
    "context_length": _context_length,
    "memory_fraction": _memory_fraction,
    "scheduling": _scheduling,
    "prefix_cache": _prefix_cache,
    "cuda_graphs": _cuda_graphs,
    "torch_compile": _torch_compile,
    "speculative.method": _speculative,
    "multimodal.images": _multimodal,
    "multimodal.videos": _multimodal,
}

ENGINE = Engine(
    name="sglang",
    flags=FLAGS,
    expressions=EXPRESSIONS,
    meanings=MEANINGS,
    suffixes=SUFFIXES,
    program=_program,
    model=_model,
    model_flag="--model-path",
    modelscope_variable="SGLANG_USE_MODELSCOPE",
    additions=_additions,
    api_key_config="api-key",  # no variable, only --config; its YAML keys have hyphens (read and tried: 0.5.23)
)
