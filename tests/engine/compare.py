"""Compares the catalogs with the real parsers of any releases, for which CI has no time.

    python -m tests.engine.compare WHEEL...

Wheels of vLLM and SGLang, as downloaded. The Python files of each are put before the packages of the CPU vLLM that
``serve engines install vllm`` made; nothing of it changes. Prints every difference for which no reason is listed.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.host import environments
from tests.engine import parsers

LINE = 300  # letters of a difference that are shown
LARGEST_BYTES = 3 * 2**20  # of the text files that a parser may read


def unpack(wheel: Path, folder: Path) -> None:
    """The text files of a wheel; vLLM is told that it is a CPU build, or it looks for a GPU and gives up."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            text = member.filename.endswith((".py", ".json", ".yaml")) or ".dist-info/" in member.filename
            if text and member.file_size < LARGEST_BYTES:
                archive.extract(member, folder)
    for metadata in folder.glob("vllm-*.dist-info/METADATA"):
        metadata.write_text(
            re.sub(r"^(Version: [\w.]+)$", r"\1+cpu", metadata.read_text(), count=1, flags=re.MULTILINE)
        )


def compare(wheel: Path, python: str) -> list[str]:
    """How a release's own parser differs from its catalog, without a reason that is listed."""
    release = Release(*wheel.name.split("-")[:2])
    besides = parsers.installed(release.engine, python)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack(wheel, folder)
        try:
            with parsers.parser(python, release.engine, (besides, folder)) as parser:
                said = parser.ask("probe")
                (folder / "flags.json").write_text(json.dumps(said))
                declared = catalog.of_probe(folder / "flags.json", release)
                takes = parser.ask({"words": parsers.WORDS})
        except parsers.GoneError as error:
            return [f"it cannot be asked: {str(error).strip().splitlines()[-1]}"]
    found = parsers.differences(catalog.load(release), declared, takes)
    listed = parsers.reasons(release)
    points = [f"{name}: {ours!r}, the parser: {real!r}" for name, (ours, real) in found.items() if name not in listed]
    points += [f"{name}: a reason is listed for what does not differ" for name in listed if name not in found]
    return sorted([*points, *(f"not understood: {text}" for text in said["unknown"])])


def main() -> int:
    """Compares every wheel that is named; the exit code says whether all agree."""
    found = [each for each in environments.installed() if each.release.engine == "vllm" and each.device == "cpu"]
    if not found:
        sys.exit("no vLLM for the CPU is installed; run: serve engines install vllm --device cpu")
    total = 0
    for wheel in map(Path, sys.argv[1:]):
        begin_s = time.monotonic()
        points = compare(wheel, found[0].python)
        total += len(points)
        sys.stdout.write(f"{wheel.name}: {len(points)} differences, {time.monotonic() - begin_s:.0f} s\n")
        sys.stdout.writelines(f"  {point[:LINE]}\n" for point in points)
        sys.stdout.flush()
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
