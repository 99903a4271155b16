"""Makes a picture of a terminal: ``python tools/picture.py docs/launch.ansi docs/launch.svg``.

The text is what a terminal held, with its colours: ``tmux capture-pane -e -p -J -S -``. Of each run of dimmed lines (an
engine's log), all but the first and the last two are replaced by how many they were.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS = 110
EDGE = 2  # dimmed lines that stay at each end of a run
FONTS = "Fira Code, Menlo, Consolas, DejaVu Sans Mono, "
DIM = "\x1b[2m"
INK = TerminalTheme(
    (28, 31, 38),
    (222, 226, 232),
    [(69, 75, 88), (224, 108, 117), (126, 190, 132), (214, 178, 104), (97, 165, 222), (190, 132, 214),
     (86, 182, 194), (222, 226, 232)],
)  # fmt: skip


def shorten(lines: list[str]) -> list[str]:
    """The lines, with the middle of every long run of dimmed ones left out."""
    kept: list[str] = []
    for dimmed, run in itertools.groupby(lines, key=lambda line: line.startswith(DIM)):
        group = list(run)
        if dimmed and len(group) > 2 * EDGE + 1:
            left_out = len(group) - 2 * EDGE
            group[EDGE:-EDGE] = [f"{DIM}    ... {left_out} more lines of the engine's log ...\x1b[0m"]
        kept += group
    return kept


def picture(ansi: str, title: str) -> str:
    """The SVG of a terminal's text."""
    lines = shorten(ansi.rstrip("\n").split("\n"))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), highlight=False, soft_wrap=False)
    svg = console.export_svg(title=title, theme=INK, unique_id="launch")
    # fonts of the reader's own: a picture on a page must not fetch any
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, ", FONTS)


def main() -> None:
    """Reads the first file and writes the second."""
    source, target = map(Path, sys.argv[1:])
    target.write_text(picture(source.read_text(), "serve"))


if __name__ == "__main__":
    main()
