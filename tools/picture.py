"""Makes a picture of a launch in a terminal: ``python tools/picture.py CAPTURE... > docs/launch.svg``.

Each capture is what the terminal held at one moment, with its colours (``tmux capture-pane -e -p -J -S -``). What a
later one has in common with the one before is shown once, so that an early moment's live line stays in the picture. Of
the engine's log, which is dimmed, the lines that begin a phase are kept; the others are counted.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from launcher.run.health.phases import Progress  # noqa: E402 - the checkout's own package

COLUMNS = 110
FONTS = "Fira Code, Menlo, Consolas, DejaVu Sans Mono, "
INK = TerminalTheme(
    (28, 31, 38),
    (222, 226, 232),
    [(69, 75, 88), (224, 108, 117), (126, 190, 132), (214, 178, 104), (97, 165, 222), (190, 132, 214),
     (86, 182, 194), (222, 226, 232)],
)  # fmt: skip


def lines(capture: Path) -> list[Text]:
    """What the terminal held, a text a line; the home folder as a shell writes it."""
    text = capture.read_text().rstrip().replace(str(Path.home()), "~")
    return list(AnsiDecoder().decode(text))


def joined(moments: list[list[Text]]) -> list[Text]:
    """All moments in a row, each without the lines that it begins with as the one before did."""
    shown = list(moments[0])
    for before, after in itertools.pairwise(moments):
        pairs = enumerate(zip(before, after, strict=False))
        common = next((place for place, (old, new) in pairs if old.plain != new.plain), len(before))
        shown += after[common:]
    return shown


def shorten(every: list[Text], engine: str) -> list[Text]:
    """Without the lines of the engine's log that begin no phase; how many they were stands below each run."""
    progress = Progress(engine)
    kept: list[Text] = []
    for dimmed, group in itertools.groupby(every, key=_dimmed):
        run = list(group)
        shown = [line for line in run if progress.line(line.plain)] if dimmed else run
        for line in shown if dimmed else ():
            line.truncate(COLUMNS, overflow="ellipsis")
        kept += shown
        if len(run) > len(shown):
            kept.append(Text(f"... and {len(run) - len(shown)} more lines of the engine's log", style="dim italic"))
    return kept


def _dimmed(line: Text) -> bool:
    return any(isinstance(span.style, Style) and span.style.dim for span in line.spans) or not line.plain.strip()


def picture(every: list[Text]) -> str:
    """The SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in every:
        console.print(line, highlight=False)
    svg = console.export_svg(title="serve", theme=INK, unique_id="launch")
    # fonts of the reader's own: a picture on a page must not fetch any
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, ", FONTS)


def main() -> None:
    """Reads the captures that are named."""
    print(picture(shorten(joined([lines(Path(name)) for name in sys.argv[1:]]), "vllm")))


if __name__ == "__main__":
    main()
