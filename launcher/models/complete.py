"""Whether a folder holds all of a model's weights, as far as their names and headers tell: milliseconds, no hash."""

from __future__ import annotations

import json
import operator
import re
import struct
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from launcher.errors import ServeError
from launcher.models.needed import LEFTOVERS

WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
_SHARD = re.compile(r"(?P<begin>.+)-\d{5}-of-(?P<count>\d{5})(?P<end>\.\w+)")
_LENGTH_BYTES = 8  # before the header of a safetensors file: its length, little-endian
_HEADER_BYTES = 100_000_000  # the format's own bound


def problems(folder: Path, name: str) -> list[ServeError]:
    """What is missing or cut short; nothing if all is there.

    Args:
        folder: the model's.
        name: what people call it, for the errors.
    """
    if why := missing(folder):
        return [_incomplete(name, folder, why)]
    return cut(folder, name)


def cut(folder: Path, name: str, fix: str = "fetch the model again") -> list[ServeError]:
    """Which of the weights that are there are cut short.

    Args:
        folder: the model's.
        name: what people call it, for the errors.
        fix: what to do about it.
    """
    files = [folder / shard for shard in _listed(folder)] or sorted(folder.glob("*.safetensors"))
    return [_incomplete(name, path, why, fix) for path in files if path.is_file() and (why := _cut(path))]


def missing(folder: Path) -> str:
    """Which weights are not there, as the end of a sentence; empty if all are, whole or not."""
    if why := lacks(folder):
        return why
    return "" if _listed(folder) or any(_weights(folder, pattern) for pattern in WEIGHTS) else "holds no weights"


def lacks(folder: Path) -> str:
    """Which weights an index, or the number in the names of others, tells of in vain, as the end of a sentence."""
    listed = _listed(folder)
    lacking = [shard for shard in listed or _numbered(folder) if not (folder / shard).is_file()]
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    told = "its index lists" if listed else "the names of its others count"
    return f"lacks {lacking[0]}{more}, which {told}" if lacking else ""


def _incomplete(name: str, where: Path, what: str, fix: str = "fetch the model again") -> ServeError:
    return ServeError(f"model {name!r} is not complete: it {what}", where=str(where), fix=fix)


def _listed(folder: Path) -> list[str]:
    """The files of weights that an index names, each once; none where there is no index."""
    indexes = sorted(folder.glob("*.safetensors.index.json")) or sorted(folder.glob("*.bin.index.json"))
    return list(dict.fromkeys(shard for index in indexes for shard in _shards(index)))


def _numbered(folder: Path) -> list[str]:
    """The files that there have to be where all weights are shards without an index: ``a-00001-of-00002.bin``."""
    names = next((names for pattern in WEIGHTS if (names := _weights(folder, pattern))), [])
    shards = [_SHARD.fullmatch(name) for name in names]
    kinds = {(shard["begin"], shard["count"], shard["end"]) for shard in shards if shard}
    if not all(shards):
        return []
    return [f"{begin}-{n:05}-of-{count}{end}" for begin, count, end in sorted(kinds) for n in range(1, int(count) + 1)]


def _weights(folder: Path, pattern: str) -> list[str]:
    names = sorted(path.name for path in folder.glob(pattern))
    return [name for name in names if not any(fnmatch(name, other) for other in LEFTOVERS)]


def _shards(index: Path) -> Iterator[str]:
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        shards = {None}
    if all(isinstance(shard, str) for shard in shards):
        yield from sorted(shards)
    else:
        yield index.name + " in a form that can be read"


def _cut(path: Path) -> str:
    """Why a safetensors file is not whole; empty if it is, or is no such file."""
    if path.suffix != ".safetensors":
        return ""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(_LENGTH_BYTES))
            header = json.loads(file.read(min(length, _HEADER_BYTES)))
        ends = [each["data_offsets"][1] for key, each in header.items() if key != "__metadata__"]
        whole = _LENGTH_BYTES + length + max(map(operator.index, ends), default=0)
    except OSError as error:
        return f"has a file of weights that cannot be read: {error.strerror}"
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return "has a file of weights without a header"
    return f"is cut short: {size:,} of {whole:,} bytes are there" if size < whole else ""
