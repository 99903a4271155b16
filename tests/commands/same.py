"""When two command lines say the same to a release."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from launcher.engines.arguments import read
from launcher.engines.catalog import Catalog
from launcher.engines.meanings import BY_NAME, number_text

Given = dict[tuple[str, tuple[str, ...]], tuple[tuple[str, ...], bool]]


def flags(words: Sequence[str], known: Catalog, serve: bool, *, without: Collection[str] = ()) -> Given:
    """Each flag with what it is given, or the opposite of which is set, once all words are read.

    Spellings and the order do not count, nor does what a later word overrides: a flag that is given again (unless each
    use adds to the one before), and a whole JSON value that is also given in parts. Numbers are in full, 32k as 32000.

    Args:
        words: what follows the program.
        known: the release's flags.
        serve: whether the program is ``vllm serve`` or ``sglang serve``, not a module.
        without: names of flags that do not count.
    """
    reading = read(words, known, "serve" if serve else "module")
    assert not reading.refused
    engine = BY_NAME[known.release.engine]
    found: Given = {}
    for use in reading.uses:
        name, values = (use.flag.name, use.path), tuple(number_text(engine, value) for value in use.values)
        before = found[name][0] if use.flag.repeats and name in found else ()
        found[name] = (*before, *values), use.negated
    in_parts = {name for name, path in found if path}
    return {
        (name, path): given
        for (name, path), given in found.items()
        if name not in without and (path or name not in in_parts)
    }
