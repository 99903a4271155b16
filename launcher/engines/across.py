"""The flags of a whole command for the other engine: what they mean together, which none of them says alone."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.engines.catalog import Catalog
from launcher.engines.translate import Advice, Old, advise

# SGLang spreads attention over data parallel groups within --tp-size GPUs; vLLM's replicas multiply them.
REPLICAS = frozenset({"--enable-dp-attention", "--attn-dp-size"})


def across(olds: Sequence[Old], known: Catalog) -> list[Advice]:
    """What takes the place of each flag of a command in a release of the other engine.

    Args:
        olds: the command's flags.
        known: the release.
    """
    advices = [advise(old, known) for old in olds]
    named = {old.flag.name for old in olds}
    keys = {name: text for advice in advices for name, text in advice.keys.items()}
    if named & REPLICAS:
        why = "SGLang's --tp-size counts all GPUs then, vLLM's --tensor-parallel-size those of one replica"
        advices = [_lost(each, {"tensor_parallel", "data_parallel"}, why) for each in advices]
        advices = [
            Advice("lost", note=why) if old.flag.name in REPLICAS else each
            for old, each in zip(olds, advices, strict=True)
        ]
    if keys.get("scheduling") == "priority":
        why = "vLLM starts low numbers first, SGLang high ones unless --schedule-low-priority-values-first is given"
        advices = [_lost(each, {"scheduling"}, why) for each in advices]
    drafts = {name for name in keys if name.startswith("speculative.")}
    if drafts and "speculative.method" not in drafts:
        advices = [_lost(each, drafts, "the way of speculative decoding that it belongs to is not") for each in advices]
    return advices


def _lost(advice: Advice, names: set[str], why: str) -> Advice:
    """The advice, unless it says one of the keys that the other engine does not mean alike here."""
    return Advice("lost", note=why) if names.intersection(advice.keys) else advice
