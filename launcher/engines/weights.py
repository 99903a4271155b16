"""Intents for weights (``int4``, ``fp8`` ...) against what a release really does (data/weights.yaml): the choice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from launcher.engines.release import TITLES, Release
from launcher.engines.target import Checkpoint, Target
from launcher.errors import ServeError
from launcher.files import load_data

DEVICES = {"cuda": "a GPU", "cpu": "a CPU"}


@dataclass(frozen=True)
class Row:
    """One way in which an engine makes quantized weights at load. The fields are explained in data/weights.yaml.

    Attributes:
        releases: a range of versions as PEP 440 writes it.
        status: ``measured``, ``read`` or ``broken``.
        bits: of one quantized weight with its scales; 0 in broken rows.
        arguments: exact flags of the engine and their values.
        environment: variables of the engine's process.
        capability: the least CUDA compute capability, or None.
        not_for: architectures of config.json that it cannot take, with the reason.
        packages: what must be installed beside the engine.
        measured_on: the versions that a measured row was measured on; its range may hold more.
        note: what to tell the user when the row is taken.
    """

    engine: str
    intent: str
    device: str
    releases: str
    method: str
    status: str
    evidence: str
    bits: float = 0
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    capability: float | None = None
    not_for: dict[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    measured_on: tuple[str, ...] = ()
    note: str = ""

    def obstacle(self, target: Target, checkpoint: Checkpoint) -> str:
        """Why it cannot be taken for a target that its device and releases cover, or the empty string.

        What is not known is not an obstacle, except packages: a missing one ends a start after a minute of loading.
        """
        if self.status == "broken":
            return f"{self.method}: {self.evidence}"
        if self.capability and target.capability is not None and target.capability < self.capability:
            return f"{self.method} needs compute capability {self.capability}, this GPU has {target.capability}"
        for architecture in checkpoint.architectures:
            if reason := self.not_for.get(architecture):
                return f"{self.method} cannot take {architecture}: {reason}"
        missing = [name for name in self.packages if name not in (target.packages or ())]
        return f"{self.method} needs {', '.join(missing)} in the engine's environment" if missing else ""


@dataclass(frozen=True)
class Table:
    """data/weights.yaml, read.

    Attributes:
        rows: in order of preference.
        meanings: engine -> flag -> value -> intent.
        checkpoints: a quantized checkpoint's method -> the intent that it fulfils.
        exact: flags of `meanings` whose values say more than an intent.
    """

    rows: tuple[Row, ...]
    meanings: dict[str, dict[str, dict[str, str]]]
    checkpoints: dict[str, str]
    exact: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What becomes of a list of intents on a target.

    Attributes:
        intent: the one taken: ``none``, ``fp8``, ``int8``, ``int4``; ``checkpoint`` where that is quantized already.
        row: how it is done, or None when the engine needs no argument for it.
        passed_over: intents before it, each with the reason.
        notes: what the user should know beside that.
    """

    intent: str
    row: Row | None
    passed_over: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@functools.cache
def table() -> Table:
    """The table that comes with this program."""
    data = load_data(Path(__file__).parent / "data" / "weights.yaml")
    rows = tuple(Row(**{**row, "packages": tuple(row.get("packages", ()))}) for row in data["rows"])
    return Table(rows, data["meanings"], data["checkpoints"], tuple(data["exact"]))


def meaning(engine: str, flag: str, value: str, release: Release | None = None) -> str | None:
    """The intent that an engine's flag asks for: ``("sglang", "--torchao-config", "int8wo")`` -> ``"int8"``.

    Args:
        engine: whose flag it is.
        flag: its spelling.
        value: what it is given.
        release: where it is to run; there, a value that is more exact than the intent has no meaning but itself.
    """
    intent = table().meanings[engine].get(flag, {}).get(value)
    if intent is None or release is None or flag not in table().exact:
        return intent
    here = [row for row in table().rows if row.engine == release.engine and release.within(row.releases)]
    values = {row.arguments[flag] for row in here if flag in row.arguments}
    return intent if not values or value in values else None


def flags(engine: str) -> tuple[str, ...]:
    """The flags by which an engine itself is told how to quantize: ``--quantization`` and its like."""
    return tuple(table().meanings[engine])


def choose(
    intents: tuple[str, ...], target: Target, checkpoint: Checkpoint, load: Callable[[], Table] = table, where: str = ""
) -> Choice:
    """The first intent that works for a release, its device and a checkpoint.

    Args:
        intents: in order of preference.
        target: what runs; an unknown capability is not checked (and a note says so), unknown packages count as absent.
        checkpoint: the model; one that is quantized already is served as it is, whatever the intents.
        load: gives the table.
        where: the origin of the intents, for the error.

    Raises:
        ServeError: no intent works; it names each with the reason, and what would work.
    """
    if checkpoint.quantization:
        return _as_it_is(intents, checkpoint, load)
    passed_over: list[tuple[str, str]] = []
    for intent in intents:
        if intent == "none":
            return Choice("none", None, tuple(passed_over))
        rows = [row for row in load().rows if _covers(row, intent, target)]
        obstacles = [row.obstacle(target, checkpoint) for row in rows]
        if "" in obstacles:
            row = rows[obstacles.index("")]
            return Choice(intent, row, tuple(passed_over), _notes(row, target))
        passed_over.append((intent, "; ".join(obstacles) or f"no way is known on {DEVICES[target.device]}"))
    raise ServeError(
        f"{target.release.title} cannot make {' or '.join(intents)} weights here: "
        + "; ".join(f"{intent}: {why}" for intent, why in passed_over),
        where=where,
        fix=_remedy(intents, target, checkpoint, load()),
    )


def _covers(row: Row, intent: str, target: Target) -> bool:
    same = (row.engine, row.intent, row.device) == (target.release.engine, intent, target.device)
    return same and target.release.within(row.releases)


def contradicts(checkpoint: Checkpoint, intents: tuple[str, ...], load: Callable[[], Table] = table) -> bool:
    """Whether a checkpoint is quantized already, and to nothing that is asked for.

    Args:
        checkpoint: the model.
        intents: in order of preference.
        load: gives the table.
    """
    if not (checkpoint.quantization and intents):
        return False
    fulfils = load().checkpoints.get(checkpoint.quantization)
    if fulfils and checkpoint.bits:  # the same method at another width
        fulfils = f"int{checkpoint.bits}"
    return intents == ("none",) or (fulfils is not None and fulfils not in intents)


def _as_it_is(intents: tuple[str, ...], checkpoint: Checkpoint, load: Callable[[], Table]) -> Choice:
    note = f"the checkpoint is quantized already ({checkpoint.quantization}) and served as it is"
    if contradicts(checkpoint, intents, load):
        note += f", against weights: {', '.join(intents)}"
    return Choice("checkpoint", None, notes=(note,))


def _notes(row: Row, target: Target) -> tuple[str, ...]:
    notes = [row.note] if row.note else []
    if row.capability and target.capability is None:
        notes.append(f"no GPU to ask: {row.method} needs compute capability {row.capability} or more")
    if row.status == "read":
        notes.append(f"{row.method} was read in the engine's source, not yet seen to serve")
    elif target.release.version not in row.measured_on:
        notes.append(f"{row.method} was seen to serve in {' and '.join(row.measured_on)}, not in this release")
    return tuple(notes)


def _remedy(intents: tuple[str, ...], target: Target, checkpoint: Checkpoint, known: Table) -> str:
    """What would work: another intent, an extra package, another release or engine, a published checkpoint."""
    here: list[str] = []
    packages: list[str] = []
    releases: dict[tuple[str, str], str] = {}
    for row in known.rows:
        able = replace(target, packages=frozenset(row.packages))
        if row.device != target.device or row.obstacle(able, checkpoint):
            continue
        covers = _covers(row, row.intent, target)
        if covers and not row.obstacle(target, checkpoint):
            here.append(f"--weights {row.intent} (by {row.method})")
        elif covers and row.intent in intents:
            packages.append(f"install {' '.join(row.packages)} into the engine's environment ({row.intent})")
        elif row.intent in intents:
            releases.setdefault((row.intent, row.engine), f"{TITLES[row.engine]} {row.releases} ({row.intent})")
    nearest = sorted(releases, key=lambda key: (intents.index(key[0]), key[1] != target.release.engine))
    ways = here + packages + ["take " + releases[key] for key in nearest]
    return "; ".join([*ways, "or a checkpoint that is published quantized (FP8, AWQ, GPTQ)", "or --weights none"])
