"""The data file of an engine: its releases, and its flags as what each release changed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from packaging.version import Version

Record = dict[str, Any]


# What is said of a release and of a flag, in the order in which it is written.
FACTS = ("distribution", "python", "torch", "cuda", "released", "yanked", "x86")
FIELDS = (
    *("aliases", "negations", "type", "optional", "nargs", "choices", "advisory", "default"),
    *("repeats", "refused", "deprecated", "successor", "entry"),
)


@dataclasses.dataclass
class Store:
    """An engine's data.

    Attributes:
        engine: ``vllm`` or ``sglang``.
        path: the file.
        facts: what is known of each release, by version.
        flags: each release's flags, by version.
    """

    engine: str
    path: Path
    facts: dict[str, Record]
    flags: dict[str, dict[str, Record]]

    @classmethod
    def load(cls, engine: str, folder: Path) -> Store:
        """What the engine's file in a folder holds; nothing if there is none."""
        path = folder / f"{engine}.flags.json"
        data = json.loads(path.read_text()) if path.exists() else {"releases": {}, "flags": {}}
        return cls(engine, path, data["releases"], expand(data))

    def save(self) -> None:
        """Write the file anew: all of it or nothing. There is none for an engine without a release."""
        if not self.flags:
            return
        order = sorted(self.flags, key=Version)
        facts = {version: {name: self.facts[version].get(name) for name in FACTS} for version in order}
        releases = {version: {k: v for k, v in known.items() if v is not None} for version, known in facts.items()}
        flags = compact({version: self.flags[version] for version in order})
        new = self.path.with_suffix(".new")
        new.write_text(f'{{"releases": {{\n{_lines(releases)}\n}},\n"flags": {{\n{_lines(flags)}\n}}}}\n')
        new.replace(self.path)


def _lines(table: dict[str, Any]) -> str:
    return ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items())


def expand(data: dict[str, Any]) -> dict[str, dict[str, Record]]:
    """The data file's contents as flags by release."""
    releases = list(data["releases"])
    flags: dict[str, dict[str, Record]] = {release: {} for release in releases}
    for name, changes in data["flags"].items():
        steps = dict(changes)
        record: Record | None = None
        for release in releases:
            if release in steps:
                record = None if steps[release] is None else {**(record or {}), **steps[release]}
            if record is not None:
                flags[release][name] = {field: value for field, value in record.items() if value is not None}
    return flags


def compact(flags: dict[str, dict[str, Record]]) -> dict[str, list[Any]]:
    """Flags by release (ascending) as changes by flag: the inverse of ``expand``."""
    changes: dict[str, list[Any]] = {}
    for name in sorted({name for known in flags.values() for name in known}):
        before: Record | None = None
        for release, known in flags.items():
            now = known.get(name)
            if now != before:
                step = None if now is None else {k: v for k, v in now.items() if (before or {}).get(k) != v}
                if step is not None and before:
                    step |= {field: None for field in before if field not in (now or {})}
                ordered = step and {field: step[field] for field in sorted(step, key=FIELDS.index)}
                changes.setdefault(name, []).append([release, ordered])
            before = now
    return changes
