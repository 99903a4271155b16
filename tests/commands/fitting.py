"""Random flags that a release takes, with values that it takes, among them those that need quotes."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import strategies as st

from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag

VALUES = {
    "str": ["x", "a b", "auto", "None", "it's", "$HOME", "a,b", "é", "/m/x y", "%h", "a\\b", '"q"', "`x`", "#x", "a: b",
            "{x", "[y", "true", "~", "", "* x", "-1"],
    "snake": ["x"],
    "int": ["5", "0", "-1"],
    "float": ["0.5", "1"],
    "human_int": ["8k", "4096", "32K"],
    "human_int_or_auto": ["auto", "8k", "-1"],
    "si_int": ["32k", "8192"],
    "json": ["[]", "{}", "[1, 2]"],
    "json_object": ["{}", '{"a": 1}'],
    "json_config": ["{}", '{"a": 1}'],
    "json_or_str": ["x", '{"a": "b c"}'],
    "lora_module": ["a=b"],
    "lora_path": ["a=/b"],
}  # fmt: skip


def fitting(known: Catalog, among: Collection[str] = ()) -> st.SearchStrategy[list[str]]:
    """The words of one flag of a release.

    Args:
        known: the release's flags.
        among: the spellings to choose from; all unless given.
    """
    flags = st.sampled_from(sorted(among or known.spellings))
    dotted = known.release.engine == "vllm"  # which takes JSON in parts: --flag.name value
    return flags.flatmap(lambda spelling: _used(spelling, known.spellings[spelling], dotted=dotted))


def _used(spelling: str, flag: Flag, *, dotted: bool) -> st.SearchStrategy[list[str]]:
    if spelling in flag.negations or not flag.takes_value:
        return st.just([spelling])
    value = st.sampled_from(flag.choices or VALUES[flag.type])
    least, most = _counts(flag)
    apart = st.lists(value, min_size=least, max_size=most).map(lambda values: [spelling, *values])
    if flag.nargs not in (None, 1, "?", "+", "*") or not spelling.startswith("--"):
        return apart
    joined = value.map(lambda text: [f"{spelling}={text}"])
    in_parts = value.map(lambda text: [f"{spelling}.a", text])
    return st.one_of(apart, joined, *([in_parts] if dotted and flag.type.startswith("json") else []))


def _counts(flag: Flag) -> tuple[int, int]:
    if isinstance(flag.nargs, int):
        return flag.nargs, flag.nargs
    return 0 if flag.nargs in ("?", "*") else 1, 2 if flag.nargs in ("*", "+") else 1
