"""What was asked for, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """What was asked for, as text.

    Attributes:
        preset: a preset's name or path, or None.
        configs: ``--config`` files, in order.
        variables: the environment.
        options: keys given as options, name to text.
        assignments: ``--set KEY=VALUE`` texts.
        words: the words of the command line that are none of ours: MODEL and the engine's own flags.
        name: the instance's name, or None.
    """

    preset: str | None = None
    configs: tuple[Path, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    name: str | None = None
