"""Writes what is derived from code: ``python tools/generate.py schema golden``. Tests fail when the files differ."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from launcher.config.schema import schema  # noqa: E402 - the checkout's own package

SCHEMA = ROOT / "presets" / "schema.json"


def schema_text() -> str:
    """What presets/schema.json has to say."""
    return json.dumps(schema(), indent=2) + "\n"


def main() -> None:
    """Writes what is named; everything when nothing is."""
    names = sys.argv[1:] or ["schema", "golden"]
    if "schema" in names:
        SCHEMA.write_text(schema_text())
    if "golden" in names:
        from tests.golden.cases import write  # noqa: PLC0415 - imports the engines' catalogs

        write()


if __name__ == "__main__":
    main()
