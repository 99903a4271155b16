"""Commands that an engine's own package shows: in its doc strings, comments, help texts and README."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from launcher.commands.judge import entry_of
from launcher.commands.launches import find
from launcher.commands.source import Source
from launcher.engines.arguments import Entry
from launcher.engines.catalog import Catalog

SIGNS = re.compile(r"vllm serve|vllm\.entrypoints\.openai\.api_server|sglang\.launch_server|sglang serve")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*(?:[= ](?:'[^'\n]*'|\"[^\"\n]*\"|[\w./:{}\[\],=-]+))?")


def commands(package: Path, known: Catalog) -> list[tuple[Entry, tuple[str, ...]]]:
    """Every command of the engine that stands in a package's files, without the program, once each.

    Args:
        package: the folder of the installed package, ``.../site-packages/vllm``.
        known: the flags of its release: for each that a text shows alone, with or without a value, a command with it.
    """
    found: dict[tuple[Entry, tuple[str, ...]], None] = {}
    engine = known.release.engine
    files = [path for pattern in ("*.py", "*.md", "*.rst", "*.sh", "*.yaml") for path in sorted(package.rglob(pattern))]
    for path in [*files, *sorted(package.parent.glob(f"{package.name}*.dist-info/METADATA"))]:
        source = path.read_text(encoding="utf-8", errors="replace")
        for text in _texts(path, source) if SIGNS.search(source) else ():
            for launch in find(Source("text.sh", text)).launches:
                words = tuple(word.text for word in launch.words)
                if launch.engine == engine and all(word.known for word in launch.words):
                    found[entry_of(launch), words] = None
        for match in FLAG.finditer(source):
            name, _, value = re.sub(r"[= ]", "\0", match[0].rstrip(".,:;"), count=1).partition("\0")
            if name in known.spellings:
                model = ("m/m",) if engine == "vllm" else ("--model-path", "m/m")
                entry: Entry = "serve" if engine == "vllm" else "module"
                found[entry, (*model, name, *([value.strip("'\"")] if value else []))] = None
    return list(found)


def _texts(path: Path, source: str) -> Iterator[str]:
    """The strings and the comments of a Python file; any other file whole."""
    if path.suffix != ".py":
        yield source
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SIGNS.search(node.value):
            yield "\n".join(line.strip(" `") for line in node.value.split("\n"))
    yield "\n".join(re.findall(r"^\s*# ?(.*)", source, re.MULTILINE))
