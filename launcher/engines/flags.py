"""What an engine's parser does with one flag: its spellings, and the values that it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass


def _vllm_int(value: str) -> int | str:
    # vllm/utils/argparse_utils.py human_readable_int: k m g t by 1000, with decimals; K M G T by 1024, without.
    return value if re.fullmatch(r"\s*(\d+(\.\d+)?[kmgt]|\d+[KMGT])\s*", value) else int(value)


def _vllm_int_or_auto(value: str) -> int | str:
    return "auto" if value.strip().lower() == "auto" else _vllm_int(value)


def _sglang_int(value: str) -> int | str:
    # sglang/srt/utils/common.py human_readable_int.
    return value if re.fullmatch(r"\s*(\d+(\.\d+)?[kMGT]|\d+[KMGT]i)\s*", value) else int(value)


def _json_or_word(value: str) -> object:
    return json.loads(value) if re.fullmatch(r"(?s)\s*{.*}\s*", value) else value


def _json_config(value: str) -> object:
    # vllm/engine/arg_utils.py _expand_json_human_readable_numbers: numbers outside strings may have a suffix.
    parts = re.split(r'("(?:[^"\\]|\\.)*")', value)
    return _object("".join(re.sub(r"\b(\d+)(\.\d+)?[kKmMgGtT]\b", r"\1", part) for part in parts))


def _lora_module(value: str) -> object:
    # vllm/entrypoints/common/cli_args.py LoRAParserAction.
    named = "=" in value and "," not in value
    return value if named or not value else _object(value, "name", "path")


def _lora_path(value: str) -> object:
    # sglang/srt/arg_groups/argparse_actions.py LoRAPathAction.
    told = re.fullmatch(r"(?s)\s*{.*}\s*", value)
    return _object(value, "lora_name", "lora_path") if told else value


def _object(value: str, *keys: str) -> object:
    made = json.loads(value)
    if not isinstance(made, dict) or not set(keys) <= set(made):
        raise ValueError(f"an object{' with ' * bool(keys)}{' and '.join(keys)} is wanted")
    return made


# What the engines' parsers do with a value of each type (a ValueError refuses it), and what they expect.
TYPES: dict[str, tuple[Callable[[str], object], str]] = {
    "str": (str, "text"),
    "snake": (lambda value: value.lower().replace("-", "_"), "a word"),
    "int": (int, "an integer"),
    "float": (float, "a number"),
    "human_int": (_vllm_int, "an integer, or one like 8k (8000) or 8K (8192)"),
    "human_int_or_auto": (_vllm_int_or_auto, "an integer, one like 8k (8000) or 8K (8192), or auto"),
    "si_int": (_sglang_int, "an integer, or one like 8k (8000) or 8Ki (8192)"),
    "json": (json.loads, "JSON"),
    "json_object": (_object, "a JSON object"),
    "json_config": (_json_config, "a JSON object"),
    "json_or_str": (_json_or_word, "JSON"),
    "lora_module": (_lora_module, "NAME=PATH or a JSON object"),
    "lora_path": (_lora_path, "a path, NAME=PATH or a JSON object"),
}
_MANY = 1_000_000
_COUNTED: dict[str | int | None, str] = {"?": "or nothing", "*": "any number of them", "+": "one or more of them"}
COUNTS: dict[str | int | None, tuple[int, int]] = {None: (1, 1), "?": (0, 1), "*": (0, _MANY), "+": (1, _MANY)}


@dataclass(frozen=True)
class Flag:
    """What one release's parser does with one flag.

    Attributes:
        name: the first long spelling that the engine declares, such as ``--max-model-len``.
        aliases: further spellings with the same meaning, such as ``-tp``.
        negations: spellings that set the opposite (``--no-...``, ``--disable-...``).
        type: ``bool`` (takes no value), ``str``, ``int``, ``float``, ``json``, ``json_object``, ``json_config`` (an
            object in which numbers may be written like 80m), ``json_or_str``, ``snake`` (a word in which the engine
            ignores case and takes - for _), ``human_int`` and ``human_int_or_auto`` (vLLM's 32k, 32K, auto), ``si_int``
            (SGLang's 32k, 32Ki), ``lora_module`` and ``lora_path`` (adapters: NAME=PATH or an object).
        nargs: how many values, as argparse says it: None (one), ``?``, ``*``, ``+`` or a number; 0 for ``bool``.
        choices: the words that it takes, if they are known.
        enforced: whether the parser refuses other words; False: the list is what the engine itself names.
        optional: whether the words ``None`` and "" stand for no value.
        default: the default as text, or None where there is none.
        deprecated: None, or what to do instead, in a few words.
        successor: the flag that the engine names in its place, or None.
        repeats: whether each use adds to those before; else the last one counts.
        refused: why the parser refuses every use of it, or "" where it does not: the flag is there only to say so.
        entry: ``serve`` where only the engine's ``serve`` command has the flag, and its module (``python -m``) has not.
    """

    name: str
    aliases: tuple[str, ...] = ()
    negations: tuple[str, ...] = ()
    type: str = "str"
    nargs: str | int | None = None
    choices: tuple[str, ...] = ()
    enforced: bool = False
    optional: bool = False
    default: str | None = None
    deprecated: str | None = None
    successor: str | None = None
    repeats: bool = False
    refused: str = ""
    entry: str = ""

    @property
    def takes_value(self) -> bool:
        """Whether a value may follow the flag."""
        return self.nargs != 0

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every exact spelling, the name first."""
        return (self.name, *self.aliases, *self.negations)

    @property
    def takes(self) -> str:
        """What may be given to it, in a few words."""
        if not self.takes_value:
            return "no value"
        what = "one of its choices" if self.enforced else TYPES[self.type][1]
        return what if self.nargs in (None, 1) else f"{what}; {_COUNTED.get(self.nargs, f'{self.nargs} of them')}"

    def refusal(self, values: tuple[str, ...]) -> str | None:
        """Why the parser would refuse these values, or None if it would not."""
        least, most = (self.nargs, self.nargs) if isinstance(self.nargs, int) else COUNTS[self.nargs]
        if not least <= len(values) <= most:
            plain = {(0, 0): "no value", (1, 1): "one value", (1, _MANY): "one value or more"}
            wanted = plain.get((least, most), f"{least} to {most} values")
            return f"{self.name} takes {wanted}; {len(values)} given"
        return next((reason for value in values if (reason := self._refuses(value))), None)

    def _refuses(self, value: str) -> str | None:
        """Why one value is refused."""
        if self.optional and value in {"", "None"}:
            return None
        read, meaning = TYPES[self.type]
        try:
            word = str(read(value))
        except (ValueError, RecursionError) as error:  # the latter: of a thousand brackets in one another
            return f"{value!r} is not {meaning}" + (f" ({error})" if "JSON" in meaning else "")
        if self.enforced and word not in self.choices:
            return f"{value!r} is none of {', '.join(self.choices)}"
        return None
