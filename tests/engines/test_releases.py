"""Every preset and example on every release that we know: it renders, and the release's parser takes all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launcher.config import presets
from launcher.config.layers import merge
from launcher.config.request import Request
from launcher.config.resolve import layers
from launcher.engines import arguments, catalog
from launcher.engines.command import Command
from tests.engines.rendering import RELEASES, command, release, target

# The GPUs that the examples are for: compute capability, and how many. The presets are rendered for eight of 9.0.
HARDWARE = {
    "examples/a100-40gb": (8.0, 1),
    "examples/a100-80gb": (8.0, 1),
    "examples/h100-80gb": (9.0, 1),
    "examples/internvl2-8b-two-gpus": (7.5, 2),
    "examples/l40s-qwen2.5-vl-7b": (8.9, 1),
    "examples/qwen3-vl-8b-eagle3": (8.9, 1),
    "examples/rtx3060-8gb": (8.6, 1),
    "examples/rtx3080-12gb": (8.6, 1),
    "examples/rtx4090-24gb": (8.9, 1),
}


CASES = [
    (name, text)
    for name in presets.names()
    for engine in [merge(layers(Request(preset=name)))["engine"].value]
    for text in RELEASES
    if engine in ("auto", release(text).engine)
]


def rendered(name: str, text: str) -> Command:
    """What a preset becomes on a release, where nothing is installed beside the engine."""
    capability, gpus = HARDWARE.get(name, (9.0, 8))
    host = replace(target(text), capability=capability, gpus=gpus, packages=frozenset())
    return command(text, preset=name, host=host)


def test_every_example_has_its_hardware_here() -> None:
    assert {name for name in presets.names() if "/" in name} == HARDWARE.keys()
    assert len(RELEASES) >= 72


@pytest.mark.parametrize(("name", "text"), CASES)
def test_it_renders_and_the_release_takes_it(name: str, text: str) -> None:
    made = rendered(name, text)
    known = catalog.load(release(text))
    reading = arguments.read(made.argv[len(made.program) :], known, "serve" if "serve" in made.program else "module")
    assert not reading.refused, [*reading.strays, *reading.complaints, *(use.problem for use in reading.uses)]
    assert len(reading.uses) == sum(argument.words[0].startswith("-") for argument in made.arguments)
    for use in reading.uses:
        assert use.written in known.spellings
        assert use.flag.refusal(use.values) is None
        assert not use.flag.deprecated, use.written
    assert (reading.model is not None) == (release(text).engine == "vllm")
