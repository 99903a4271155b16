"""Checks that the evidence of the translation data stands in the engines' wheels.

    python tools/check_evidence.py --wheels FOLDER [FILE...]

reads the FILEs (launcher/engines/data/successors.yaml and counterparts.yaml) and, for each ``RELEASE PATH:LINE`` such
as ``vllm 0.16.0 vllm/config/cache.py:57``, opens the wheel of that release in FOLDER (as downloaded, by its file name).
Within three lines of LINE, one word of the row must stand as a whole word, as flags are written or as code has it
(``--max-model-len``, ``max_model_len``). The words of a row are its name (a flag, a variable, the flags of both
engines), the flags with their JSON keys and the variable that take its place, and the flags and the words in
backquotes of its reason or note. Where code shows the matter without any of them, the entry ends with what it says
there: ``vllm 0.17.1 vllm/config/cache.py:235 swap_space_bytes =``. Entries that do not hold, and rows without evidence,
are listed, and the program ends with status 1.
"""

from __future__ import annotations

import argparse
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

NEAR = 3  # lines above and below
KINDS = {"flag", "words", "value", "values", "key", "environment", "nothing", "evidence"}
_FLAG = re.compile(r"(?<![\w-])--?[a-zA-Z](?:[\w.-]*\w)?")
_ENTRY = re.compile(r"(?P<engine>\w+) (?P<release>\S+) (?P<path>\S+):(?P<line>\d+)(?: (?P<said>.+))?")


@dataclass(frozen=True)
class Claim:
    """One entry of evidence.

    Attributes:
        row: which row it belongs to, for people: its file and name.
        words: of which one must stand there.
        text: the entry as written; "" for a row that has none.
    """

    row: str
    words: frozenset[str]
    text: str


def claims(path: Path) -> Iterator[Claim]:
    """The evidence of all rows of a data file."""
    for name, row in _rows(yaml.safe_load(path.read_text(encoding="utf-8")), ""):
        entries = row.get("evidence") or ""
        for entry in entries if isinstance(entries, list) else [entries]:
            yield Claim(f"{path.name}: {name}", words_of(name, row), str(entry))


def _rows(node: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row below a node, with the name above it (a flag's value with its flag) or the flags that it compares."""
    if isinstance(node, list):
        for child in node:
            yield from _rows(child, name)
    elif isinstance(node, dict):
        compared = [node[engine] for engine in ("vllm", "sglang") if isinstance(node.get(engine), str)]
        if compared or KINDS & set(node):
            yield " ".join(compared) or name, node
        else:
            for key, child in node.items():
                yield from _rows(child, f"{name} {key}" if name.startswith("-") else str(key))


def words_of(name: str, row: dict[str, Any]) -> frozenset[str]:
    """The words of a row, without the dashes of long flags."""
    values = row.get("values") or {}
    fields = [str(row.get(field, "")) for field in ("flag", "words", "value", "nothing", "needless", "lost", "note")]
    text = " ".join([name, *fields, *map(str, values.values())])
    flags = [part for flag in _FLAG.findall(text) for part in flag.split(".")]
    other = [
        *name.split(),
        str(row.get("value", "")),
        str(row.get("environment", "")).partition("=")[0],
        *re.findall(r"`([^`]+)`", text),
    ]
    return frozenset(word.removeprefix("--") for word in (*flags, *other) if word)


def shows(lines: list[str], place: int, words: frozenset[str], said: str | None = None) -> bool:
    """Whether what an entry says, or else one of the words, stands near a line, counted from 1."""
    near = "\n".join(lines[max(place - 1 - NEAR, 0) : place + NEAR]) if place <= len(lines) else ""
    if said:
        return " ".join(said.split()) in " ".join(near.split())
    bodies = (re.escape(word).replace("_", "[-_]").replace(r"\-", "[-_]") for word in words)
    return any(re.search(rf"(?<![\w-])(--)?{body}(?!\w|-\w)", near) for body in bodies)


def faults(found: list[Claim], wheels: Path) -> Iterator[str]:
    """What does not hold, one sentence an entry; each wheel is opened once."""
    by_release: dict[str, list[tuple[Claim, re.Match[str]]]] = defaultdict(list)
    for claim in found:
        if entry := _ENTRY.fullmatch(claim.text):
            by_release[f"{entry['engine']}-{entry['release']}"].append((claim, entry))
        else:
            yield f"{claim.row}: {claim.text!r} is not RELEASE PATH:LINE" if claim.text else f"{claim.row}: no evidence"
    for release, entries in sorted(by_release.items()):
        wheel = next(iter(sorted(wheels.glob(f"{release}-*.whl"))), None)
        if wheel is None:
            yield from (f"{claim.row}: no wheel of {release} in {wheels}" for claim, _ in entries)
            continue
        with zipfile.ZipFile(wheel) as members:
            yield from _faults_in(members, entries)


def _faults_in(members: zipfile.ZipFile, entries: list[tuple[Claim, re.Match[str]]]) -> Iterator[str]:
    texts: dict[str, list[str]] = {}
    present = set(members.namelist())
    for claim, entry in entries:
        path = entry["path"]
        if path not in present:
            yield f"{claim.row}: {claim.text}: the wheel has no such file"
            continue
        if path not in texts:
            texts[path] = members.read(path).decode(errors="replace").split("\n")
        if not shows(texts[path], int(entry["line"]), claim.words, entry["said"]):
            wanted = "that text is not" if entry["said"] else f"none of {', '.join(sorted(claim.words))}"
            yield f"{claim.row}: {claim.text}: {wanted} within {NEAR} lines"


def main() -> int:
    """Read the arguments, check, list what does not hold."""
    data = Path(__file__).parent.parent / "launcher" / "engines" / "data"
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--wheels", type=Path, required=True, metavar="FOLDER", help="where the wheels are")
    files = [data / "successors.yaml", data / "counterparts.yaml"]
    options.add_argument("files", nargs="*", type=Path, default=files, metavar="FILE", help="in place of those two")
    given = options.parse_args()
    if missing := [str(path) for path in given.files if not path.is_file()]:
        options.error(f"no such file: {', '.join(missing)}")
    found = [claim for path in given.files for claim in claims(path)]
    wrong = list(faults(found, given.wheels))
    for fault in wrong:
        print(fault, file=sys.stderr)
    print(f"{len(found)} entries of evidence, {len(wrong)} of them do not hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
