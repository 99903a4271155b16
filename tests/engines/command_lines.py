"""Random command lines for an engine: real flags and values, and everything that people write in their place."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.flags import Flag

VALUES = [
    "", "None", "auto", "7", "-1", "0", "1.5", "32k", "32K", "8Ki", "true", "fp8", "x", "a=b", "a,b", "a b", "-x", "--",
    "-0.5", "-1e5", '{"a":1}', '{"a":', "[1]", '{"image": 2}', "null", "3", "/models/x", "eagle3",
]  # fmt: skip
FITTING = {
    "int": "5", "float": "0.5", "human_int": "8k", "human_int_or_auto": "auto", "si_int": "32k", "json": "[]",
    "json_config": "{}", "json_object": "{}", "json_or_str": "x", "lora_module": "a=b", "lora_path": "a=/b",
}  # fmt: skip
ODD = [
    "-O3", "-O", "-O=2", "-Odec", "-O.x", "-O.x=1", "-tp2", "-tp=2", "-t=2", "-q4", "-x", "-cc.mode", "-c", "--h",
    "--model", "--model=x", "--model-type", "--model-type=llm", "--api-key", "-", "--=", "-.", "--.a", "---x",
]  # fmt: skip
ENDS = (".a", ".a.b", ".a+", ".", "_", "x")


def command_lines(known: Catalog) -> st.SearchStrategy[list[str]]:
    """Words that follow the program: for the release, with flags of the other engine among them.

    One number makes a line: built of many small strategies, a line would take longer than the parsers do.
    """
    other = catalog.load(catalog.known("sglang" if known.release.engine == "vllm" else "vllm")[-1])
    lines = _Lines(known, other)
    return st.integers(0, 2**48).map(lambda number: lines.line(Random(number)))  # noqa: S311 - no secret


class _Lines:
    """Makes lines of the flags of a release and of another engine's."""

    def __init__(self, known: Catalog, other: Catalog) -> None:
        self.known, self.other = known, other
        self.spellings, self.foreign = sorted(known.spellings), sorted(other.spellings)

    def line(self, random: Random) -> list[str]:
        vllm = self.known.release.engine == "vllm"
        words = random.choice([["m/m"], []] if vllm else [["--model-path", "m"], ["--model-path", "m"], ["m/m"], []])
        return [*words, *(word for _ in range(random.choice([0, 1, 1, 2, 2, 3, 4])) for word in self._use(random))]

    def _use(self, random: Random) -> list[str]:
        """A flag with values: mostly a real one, with such values and as many as it takes."""
        spelling, kind = random.choice(self.spellings), random.random()
        flag: Flag | None = self.known.spellings[spelling]
        word = spelling
        if kind > 0.95:
            word, flag = random.choice(ODD), None
        elif kind > 0.9:
            word = random.choice(["--" + spelling.lstrip("-").replace("-", "_"), spelling + random.choice(ENDS)])
        elif kind > 0.82:
            spelling = word = random.choice(self.foreign)
            flag = self.other.spellings[spelling]
        elif kind > 0.7:
            word = spelling[: random.randint(2, len(spelling))]
        alone = flag is not None and (not flag.takes_value or spelling in flag.negations)
        if random.random() < (0.85 if alone else 0.1):
            return [word]
        if random.random() < 0.3:
            return [f"{word}={self._value(random, flag)}"]
        return [word, *(self._value(random, flag) for _ in range(random.choice([1, 1, 1, 1, 2])))]

    @staticmethod
    def _value(random: Random, flag: Flag | None) -> str:
        if flag and flag.choices and random.random() < 0.5:
            return random.choice(flag.choices)
        if flag and random.random() < 0.5:
            return FITTING.get(flag.type, "word")
        return random.choice(VALUES)
