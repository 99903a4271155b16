"""What the checkpoint and the host allow, as far as it can be known before loading: told now, not after minutes."""

from __future__ import annotations

from pathlib import Path

from launcher.config.values import show
from launcher.engines import weights
from launcher.engines.draft import Draft
from launcher.engines.release import Release
from launcher.errors import ServeError

# What makes a model longer than its config.json says: overrides of the configuration, and the engines' own permission.
LONGER_FLAGS = ("--hf-overrides", "--json-model-override-args", "--rope-scaling")
LONGER_VARIABLES = ("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN")
# What splits attention in another way than by tensor_parallel alone (sglang 0.5.23 srt/layers/dp_attention.py).
SPLIT_FLAGS = ("--enable-dp-attention", "--attn-cp-size", "--attention-context-parallel-size")
# From which release an engine drafts by EAGLE-3 for a model, where that came later than the model: the class in the
# engine's models/qwen3_vl.py is a SupportsEagle3 (vLLM), has set_eagle3_layers_to_capture (SGLang).
EAGLE3_SINCE = {"Qwen3VLForConditionalGeneration": {"vllm": "0.12.0", "sglang": "0.5.11"}}


def problems(draft: Draft) -> list[ServeError]:
    """Every value that the model or this host contradicts."""
    return [problem for rule in (_context, _gpus, _heads, _quantization, _draft, _template) if (problem := rule(draft))]


def _context(draft: Draft) -> ServeError | None:
    asked, longest = draft.deployment.get("context_length"), draft.checkpoint.context_length
    if not isinstance(asked, int) or longest is None or asked <= longest:
        return None
    args = draft.deployment.below(f"args.{draft.target.release.engine}.")
    if set(LONGER_FLAGS) & set(args) or set(LONGER_VARIABLES) & set(draft.deployment.below("env.")):
        return None
    name = draft.checkpoint.name
    return draft.refusal(
        "context_length", f"{name} was made for {longest} tokens (its config.json)", f"at most {longest}"
    )


def _gpus(draft: Draft) -> ServeError | None:
    """Hosts without a GPU render for others, so only a host with some can say that they are too few."""
    get, gpus = draft.deployment.get, draft.target.gpus
    factors = {key: get(key) for key in ("tensor_parallel", "pipeline_parallel") if get(key)}
    needed = 1
    for count in factors.values():
        needed *= count
    if not gpus or (get("nodes.count") or 1) > 1 or needed <= gpus:
        return None
    product = " x ".join(f"{key} {show(count)}" for key, count in factors.items())
    return draft.refusal(next(iter(factors)), f"{product} needs {needed} GPUs, this host has {gpus}", "ask for fewer")


def _heads(draft: Draft) -> ServeError | None:
    """Each GPU takes a whole number of attention heads, unless attention itself runs data parallel."""
    heads, count = draft.checkpoint.heads, draft.deployment.get("tensor_parallel")
    args = draft.deployment.below(f"args.{draft.target.release.engine}.")
    if not heads or not count or heads % count == 0 or set(SPLIT_FLAGS) & set(args):
        return None
    possible = ", ".join(str(each) for each in range(1, min(heads, 16) + 1) if heads % each == 0)
    what = f"{draft.checkpoint.name} has {heads} attention heads, which {count} GPUs cannot share"
    return draft.refusal("tensor_parallel", what, f"one of {possible}")


def _quantization(draft: Draft) -> ServeError | None:
    """What was asked for at this launch is meant; what a preset or a file says of any model is noted."""
    setting = draft.deployment.settings.get("weights")
    if setting is None or setting.value is None or setting.origin.layer not in ("environment", "command line"):
        return None
    if not weights.contradicts(draft.checkpoint, setting.value):
        return None
    bits = f", {draft.checkpoint.bits} bits" if draft.checkpoint.bits else ""
    what = f"{draft.checkpoint.name} is quantized already, otherwise ({draft.checkpoint.quantization}{bits})"
    return draft.refusal("weights", what, "leave it out, or choose the unquantized model")


def _draft(draft: Draft) -> ServeError | None:
    """Drafting for a model that the release cannot draft for ends its start after the model was loaded."""
    here = draft.target.release
    for architecture in draft.checkpoint.architectures if draft.deployment.get("speculative.method") else ():
        since = EAGLE3_SINCE.get(architecture, {}).get(here.engine)
        if since and here < Release(here.engine, since):
            fix = f"take {Release(here.engine, since).title} or later, or another preset"
            return draft.refusal("speculative.method", f"{here.title} cannot draft for {architecture}", fix)
    return None


def _template(draft: Draft) -> ServeError | None:
    """Both engines take a path; vLLM also the template itself, SGLang also the name of one that it knows."""
    value = draft.deployment.get("chat_template")
    if value is None or "{" in value or not ("/" in value or Path(value).suffix) or Path(value).expanduser().is_file():
        return None
    return draft.refusal("chat_template", "there is no such file", "give the path of a Jinja template")
