"""What is vLLM's alone: its flags for our keys, and the keys that it says in another way or not at all."""

from __future__ import annotations

import json
from typing import Any

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
    "context_length": ("--max-model-len",),
    "memory_fraction": ("--gpu-memory-utilization",),
    "max_concurrency": ("--max-num-seqs",),
    "prefill_tokens": ("--max-num-batched-tokens",),
    "scheduling": ("--scheduling-policy",),
    "prefix_cache": ("--enable-prefix-caching",),
    "attention_backend": ("--attention-backend",),
    "tensor_parallel": ("--tensor-parallel-size",),
    "pipeline_parallel": ("--pipeline-parallel-size",),
    "data_parallel": ("--data-parallel-size",),
    "nodes.count": ("--nnodes",),
    "nodes.rank": ("--node-rank",),
    "reasoning_parser": ("--reasoning-parser",),
}
KV_SPACE, CPU_KV_GIB = "VLLM_CPU_KVCACHE_SPACE", 2
BACKEND = "VLLM_ATTENTION_BACKEND"
# Flags that mean a key with another value than their own: flag -> (key, value given, text of the key).
MEANINGS: dict[str, tuple[str, str | None, str]] = {
    "--enforce-eager": ("cuda_graphs", None, "off"),
}
SUFFIXES = {"k": 1000, "K": 1024, "m": 10**6, "M": 2**20}  # vLLM 0.33, utils/argparse_utils: as its flags read numbers


def _program(target: Target) -> tuple[str, ...]:
    """The first words of argv.

    ``vllm serve`` asks for the distribution named vllm, which the CPU build of the registry is not (vllm-cpu); its
    module of the API server takes the same flags.
    """
    if target.distribution == "vllm":
        return (target.python, "-m", "vllm.entrypoints.cli.main", "serve")
    return (target.python, "-m", "vllm.entrypoints.openai.api_server")


def _model(draft: Draft, path: str) -> None:
    """``vllm serve`` takes the model as its first word, the API server's module by flag."""
    if _program(draft.target)[-1] == "serve":
        draft.positional("model", path)
    else:
        draft.add("model", "--model", path)


def _context_length(draft: Draft, value: int | str) -> None:
    (spelling,) = FLAGS["context_length"]
    flag = draft.catalog.find(spelling)
    if value == "auto" and flag and flag.type != "human_int_or_auto":  # before 0.14
        said = "takes the model's own maximum, and does not start where the memory is too small for it"
        draft.decide("context_length", f"{draft.target.release.title} {said}")
        return
    draft.flag("context_length", (spelling,), value, "the longest that fits" if value == "auto" else "")


def _memory_fraction(draft: Draft, value: float) -> None:
    of = (
        "the host's memory, as a CPU has no other"
        if draft.target.device == "cpu"
        else "everything that the server holds"
    )
    draft.flag("memory_fraction", FLAGS["memory_fraction"], value, f"of {of}")


def _scheduling(draft: Draft, value: str) -> None:
    if value == "longest_prefix":
        raise draft.refusal("scheduling", "vLLM has no such order", "use fcfs or priority, or --engine sglang")
    draft.flag("scheduling", FLAGS["scheduling"], value)


def _cuda_graphs(draft: Draft, value: int | str) -> None:
    if value == "off":
        draft.flag("cuda_graphs", ("--enforce-eager",), value=True)
    elif value != "auto":
        # 0.11.0 has only the second; one number means the sizes up to it (vllm/config/__init__.py).
        draft.flag("cuda_graphs", ("--max-cudagraph-capture-size", "--cuda-graph-sizes"), value)


def _attention_backend(draft: Draft, value: str) -> None:
    if draft.target.release.within("<0.13"):
        draft.environment[BACKEND] = value.upper()  # vllm/envs.py: names in capitals
        draft.decide("attention_backend", f"by {BACKEND}: {draft.target.release.title} has no flag for it")
    else:
        draft.flag("attention_backend", FLAGS["attention_backend"], value)


def _torch_compile(draft: Draft, value: str) -> None:
    if value == "off":
        name = "level" if draft.target.release.within("<0.11.1") else "mode"  # vllm/config/compilation.py
        draft.add("torch_compile", "--compilation-config", json.dumps({name: 0}))
    elif value == "on":
        draft.decide("torch_compile", "vLLM compiles by default")


def _nodes_address(draft: Draft, value: str) -> None:
    address, _, port = value.rpartition(":")
    draft.flag("nodes.address", ("--master-addr",), address)
    draft.flag("nodes.address", ("--master-port",), port)


def _speculative(draft: Draft, method: str) -> None:
    get = draft.deployment.get
    if draft.target.device == "cpu":
        # vllm-cpu 0.32.0: with a draft, 172 of 300 tokens sampled at temperature 1 had a log-probability below -12
        # (without: none), so most answers are wrong in a way that no error tells.
        why = "on a CPU vLLM samples wrong tokens with a draft model (0.32.0: 172 of 300 were all but excluded)"
        raise draft.refusal("speculative.method", why, "take another preset, such as balanced")
    if (get("speculative.topk") or 1) > 1:
        raise draft.refusal("speculative.topk", "vLLM drafts a chain, not a tree", "leave it unset, or --engine sglang")
    steps = get("speculative.steps")
    if get("speculative.draft_tokens") not in (None, steps, (steps or 0) + 1):
        raise draft.refusal(
            "speculative.draft_tokens",
            "in vLLM it follows from speculative.steps",
            "leave it unset, or --engine sglang",
        )
    config: dict[str, Any] = {"method": method, "model": get("speculative.draft_model")}
    draft.add(
        "speculative.method",
        "--speculative-config",
        json.dumps(config | ({"num_speculative_tokens": steps} if steps else {})),
    )


def drafts(config: str) -> dict[str, str]:
    """The keys, with their texts, that a ``--speculative-config`` means; none where it says more than they can."""
    try:
        given = json.loads(config)
    except ValueError:
        return {}
    names = {"method": "method", "model": "draft_model", "num_speculative_tokens": "steps"}
    if not isinstance(given, dict) or not set(given) <= set(names) or given.get("method") != "eagle3":
        return {}
    return {f"speculative.{names[name]}": str(value) for name, value in given.items()}


def _within_speculative(_draft: Draft, _value: Any) -> None:
    """Said by `_speculative`, in one JSON."""


def _tool_call_parser(draft: Draft, value: str) -> None:
    draft.flag("tool_call_parser", ("--tool-call-parser",), value)
    draft.flag(
        "tool_call_parser", ("--enable-auto-tool-choice",), value=True, note="vLLM reads tool calls only with it"
    )


def _multimodal(draft: Draft, _value: int) -> None:
    draft.limits("--limit-mm-per-prompt")


def _metrics(draft: Draft, value: bool) -> None:
    if not value:
        raise draft.refusal("metrics", "vLLM always serves /metrics", "leave it unset")
    draft.decide("metrics", "vLLM always serves /metrics")


def _log_level(draft: Draft, value: str) -> None:
    draft.environment["VLLM_LOGGING_LEVEL"] = value.upper()
    draft.flag("log_level", ("--uvicorn-log-level",), value)


def _additions(draft: Draft) -> None:
    """On a CPU the KV cache takes 92% of the host's memory unless told otherwise, and dies when that is not free."""
    own = draft.deployment.below("env.")
    if draft.target.device == "cpu" and KV_SPACE not in own and draft.deployment.get("memory_fraction") is None:
        draft.environment[KV_SPACE] = str(CPU_KV_GIB)
        draft.decide("memory_fraction", f"not set: {CPU_KV_GIB} GiB of host memory for the KV cache")


EXPRESSIONS: dict[str, Expression] = {
    "context_length": _context_length,
    "memory_fraction": _memory_fraction,
    "scheduling": _scheduling,
    "cuda_graphs": _cuda_graphs,
    "attention_backend": _attention_backend,
    "torch_compile": _torch_compile,
    "nodes.address": _nodes_address,
    "speculative.method": _speculative,
    "speculative.draft_model": _within_speculative,
    "speculative.steps": _within_speculative,
    "speculative.topk": _within_speculative,
    "speculative.draft_tokens": _within_speculative,
    "tool_call_parser": _tool_call_parser,
    "multimodal.images": _multimodal,
    "multimodal.videos": _multimodal,
    "metrics": _metrics,
    "log_level": _log_level,
}

ENGINE = Engine(
    name="vllm",
    flags=FLAGS,
    expressions=EXPRESSIONS,
    meanings=MEANINGS,
    suffixes=SUFFIXES,
    program=_program,
    model=_model,
    model_flag="--model",
    modelscope_variable="VLLM_USE_MODELSCOPE",
    additions=_additions,
    api_key_variable="VLLM_API_KEY",
    devices=("cuda", "cpu"),
)
