"""The catalog builder, run as its users run it, on small wheels in the style of each generation of the engines."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import Any

TOOL = Path(__file__).parents[2] / "tools" / "build_catalog.py"

LITERAL = {
    "sglang/srt/server_args.py": """
        import argparse
        import dataclasses
        import torch
        from sglang.srt.words import BACKENDS

        @dataclasses.dataclass
        class ServerArgs:
            model_path: str
            seed: int = 7

            def __post_init__(self):
                self.device = torch.device("cuda")

            @staticmethod
            def add_cli_args(parser: argparse.ArgumentParser):
                parser.add_argument("--model-path", "--model", type=str, required=True)
                parser.add_argument("--seed", type=int, default=ServerArgs.seed)
                parser.add_argument("--backend", choices=["auto"] + [name.lower() for name in BACKENDS], default="auto")
                for phase in ("prefill", "decode"):
                    parser.add_argument(f"--{phase}-sizes", type=int, nargs="+")
                parser.add_argument("--log-everything", action="store_true")
    """,
    "sglang/srt/words.py": """
        BACKENDS = ["FA3"]
        BACKENDS.append("Triton")
        BACKENDS += ["Torch"]
    """,
}

ANNOTATED = {
    "sglang/srt/arg_groups/arg_utils.py": """
        import dataclasses
        from typing import Annotated, List, Optional, get_args, get_origin, get_type_hints

        A = Annotated

        @dataclasses.dataclass(frozen=True)
        class Arg:
            help: str = ""
            choices: Optional[list] = None
            aliases: Optional[List[str]] = None
            no_cli: bool = False

        def add_cli_args_from_dataclass(parser, cls):
            hints = get_type_hints(cls, include_extras=True)
            for field in dataclasses.fields(cls):
                if get_origin(hints[field.name]) is not Annotated:
                    continue
                kind, *extra = get_args(hints[field.name])
                arg = next((each for each in extra if isinstance(each, Arg)), Arg(help=extra[0]))
                if arg.no_cli:
                    continue
                names = ["--" + field.name.replace("_", "-")] + (arg.aliases or [])
                if kind is bool:
                    parser.add_argument(*names, action="store_true", help=arg.help)
                else:
                    parser.add_argument(*names, type=kind, choices=arg.choices, default=field.default, help=arg.help)
    """,
    "sglang/srt/arg_groups/argparse_actions.py": """
        import argparse

        class DeprecatedAliasStoreAction(argparse.Action):
            def __init__(self, option_strings, dest, new_flag=None, **kwargs):
                self.new_flag = new_flag
                super().__init__(option_strings, dest, **kwargs)
    """,
    "sglang/srt/server_args.py": """
        from __future__ import annotations
        import dataclasses
        from sglang.srt.arg_groups.arg_utils import A, Arg, add_cli_args_from_dataclass
        from sglang.srt.arg_groups.argparse_actions import DeprecatedAliasStoreAction

        KINDS = ["auto", "fp8_e4m3"]

        @dataclasses.dataclass
        class ServerArgs:
            kv_cache_dtype: A[str, Arg(help="words", choices=KINDS)] = "auto"
            draft: A[str, Arg(help="words", aliases=["--draft-model"])] = None
            quiet: A[bool, "words"] = False
            hidden: A[str, Arg(no_cli=True)] = ""
            internal: int = 0

            @staticmethod
            def add_cli_args(parser):
                add_cli_args_from_dataclass(parser, ServerArgs)
                parser.add_argument(
                    "--old-draft", dest="draft", action=DeprecatedAliasStoreAction, new_flag="--draft", help="words"
                )
    """,
}

STRUCTS = ANNOTATED | {
    "sglang/srt/arg_groups/fields.py": """
        from __future__ import annotations
        import msgspec
        from sglang.srt.arg_groups.arg_utils import A, Arg

        class Memory(msgspec.Struct):
            page_size: A[int, "words"] = 1

        class Log(msgspec.Struct):
            log_level: A[str, "words"] = "info"
    """,
    "sglang/srt/server_args.py": """
        from __future__ import annotations
        import msgspec
        from sglang.srt.arg_groups.arg_utils import add_cli_args_from_dataclass
        from sglang.srt.arg_groups.fields import Log, Memory

        class ServerArgs:
            @staticmethod
            def add_cli_args(parser):
                add_cli_args_from_dataclass(parser, ServerArgs)

        members = [field for source in (Memory, Log) for field in msgspec.structs.fields(source)]
        ServerArgs = msgspec.defstruct(
            "ServerArgs",
            [(field.name, field.type, field.default) for field in members],
            namespace={key: value for key, value in vars(ServerArgs).items() if not key.startswith("__")},
            dict=True,
        )
    """,
}

VLLM = {
    "vllm/config/utils.py": "def config(cls): raise NotImplementedError",
    "vllm/config/model.py": """
        from typing import Literal
        from pydantic import Field, field_validator
        import torch
        from vllm.config.utils import config

        Kind = Literal["auto", "half"]

        @config
        class Parallel:
            ranks: int = 1

        @config
        class ModelConfig:
            dtype: Kind | torch.dtype = "auto"
            loader: Kind | str = "auto"
            max_model_len: int | None = Field(default=None, ge=-1)
            eager: bool = False
            enable_lora: bool = False
            parallel: Parallel = Field(default_factory=Parallel)

            @field_validator("eager")
            @classmethod
            def check(cls, value):
                return torch.anything(value)
    """,
    "vllm/utils/argparse_utils.py": """
        import argparse

        def human_readable_int_or_auto(value):
            return int(value)

        class PairAction(argparse.BooleanOptionalAction):
            def __init__(self, option_strings, dest, *args, **kwargs):
                super().__init__(option_strings, dest, *args, **kwargs)
                enabling = [word for word in option_strings if word.startswith("--enable-")]
                pairs = ["--disable-" + word.removeprefix("--enable-") for word in enabling]
                self.off = set(pairs) | (set(self.option_strings) - set(option_strings))
                self.option_strings = [*self.option_strings, *pairs]

            def __call__(self, parser, namespace, values, option_string=None):
                setattr(namespace, self.dest, option_string not in self.off)

        class FlexibleArgumentParser(argparse.ArgumentParser):
            def __init__(self, *args, **kwargs):
                self._deprecated = set()
                super().__init__(*args, **kwargs)
                self.register("action", argparse.BooleanOptionalAction, PairAction)

            def add_argument(self, *args, **kwargs):
                deprecated = kwargs.pop("deprecated", False)
                action = super().add_argument(*args, **kwargs)
                if deprecated:
                    self._deprecated.add(action)
                return action
    """,
    "vllm/engine/arg_utils.py": """
        import argparse
        import functools
        from dataclasses import MISSING, fields, is_dataclass
        from typing import Literal, Union, get_args, get_origin
        from types import UnionType
        from pydantic.fields import FieldInfo
        from vllm.utils.argparse_utils import human_readable_int_or_auto

        def optional_type(return_type):
            def _optional_type(val):
                return None if val in ("", "None") else return_type(val)
            return _optional_type

        @functools.lru_cache(maxsize=30)
        def get_kwargs(cls):
            made = {}
            for field in fields(cls):
                hints = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
                default = field.default
                if isinstance(default, FieldInfo):
                    default = default.default if default.default_factory is None else default.default_factory()
                made[field.name] = {"default": default}
                literal = next((hint for hint in hints if get_origin(hint) is Literal), None)
                if any(is_dataclass(hint) for hint in hints):
                    def parse_dataclass(val):
                        raise NotImplementedError
                    made[field.name]["type"] = parse_dataclass
                elif bool in hints:
                    made[field.name]["action"] = argparse.BooleanOptionalAction
                elif literal:
                    made[field.name]["metavar" if str in hints else "choices"] = sorted(get_args(literal))
                elif field.name == "max_model_len":
                    made[field.name]["type"] = human_readable_int_or_auto
                if type(None) in hints:
                    made[field.name]["type"] = optional_type(made[field.name]["type"])
            return made
    """,
    "vllm/entrypoints/openai/cli_args.py": """
        from vllm.config.model import ModelConfig
        from vllm.engine.arg_utils import get_kwargs
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        def make_arg_parser(parser):
            parser.add_argument("model_tag", nargs="?")
            for key, value in get_kwargs(ModelConfig).items():
                extra = ["-d"] if key == "dtype" else []
                parser.add_argument(*extra, f"--{key.replace('_', '-')}", **value)
            parser.add_argument("--old", type=float, deprecated=True, help="Deprecated. Use --dtype instead.")
            return parser
    """,
}


def wheel(folder: Path, version: str, sources: dict[str, str]) -> Path:
    """A wheel of those sources; its engine is the first folder of their names."""
    engine = next(iter(sources)).partition("/")[0]
    path = folder / f"{engine}-{version}-py3-none-any.whl"
    metadata = f"Name: {engine}\nVersion: {version}\nRequires-Python: >=3.10\nRequires-Dist: torchvision==1\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{engine}-{version}.dist-info/METADATA", metadata + "Requires-Dist: torch==2.11.0\n")
        for name, text in {f"{engine}/__init__.py": "", **sources}.items():
            archive.writestr(name, dedent(text))
    return path


def build(data: Path, *wheels: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), "--data", str(data), *map(str, wheels)], capture_output=True, text=True, check=False
    )


def flags(folder: Path, sources: dict[str, str]) -> dict[str, Any]:
    """The flags that the tool finds in a wheel of those sources, which must be readable."""
    done = build(folder, wheel(folder, "1.0", sources))
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.flags.json")
    return {name: changes[0][1] for name, changes in json.loads(path.read_text())["flags"].items()}


def test_literal_declarations(tmp_path: Path) -> None:
    assert flags(tmp_path, LITERAL) == {
        "--backend": {"choices": ["auto", "fa3", "triton", "torch"], "default": "auto"},
        "--decode-sizes": {"type": "int", "nargs": "+"},
        "--log-everything": {"type": "bool", "default": "False"},
        "--model-path": {"aliases": ["--model"]},
        "--prefill-sizes": {"type": "int", "nargs": "+"},
        "--seed": {"type": "int", "default": "7"},
    }


def test_annotated_fields(tmp_path: Path) -> None:
    assert flags(tmp_path, ANNOTATED) == {
        "--draft": {"aliases": ["--draft-model"]},
        "--kv-cache-dtype": {"choices": ["auto", "fp8_e4m3"], "default": "auto"},
        "--old-draft": {"deprecated": True, "successor": "--draft"},
        "--quiet": {"type": "bool", "default": "False"},
    }


def test_structs(tmp_path: Path) -> None:
    assert flags(tmp_path, STRUCTS) == {
        "--log-level": {"default": "info"},
        "--page-size": {"type": "int", "default": "1"},
    }


def test_config_classes(tmp_path: Path) -> None:
    lora = ["--no-enable-lora", "--disable-lora"]
    assert flags(tmp_path, VLLM) == {
        "--dtype": {"aliases": ["-d"], "choices": ["auto", "half"], "default": "auto"},
        "--eager": {"negations": ["--no-eager"], "type": "bool", "default": "False"},
        "--enable-lora": {"negations": lora, "type": "bool", "default": "False"},
        "--loader": {"choices": ["auto", "half"], "advisory": True, "default": "auto"},
        "--max-model-len": {"type": "human_int_or_auto", "optional": True},
        "--old": {"type": "float", "deprecated": True, "successor": "--dtype"},
        "--parallel": {"type": "json_config", "default": "Parallel()"},
    }


def test_pins(tmp_path: Path) -> None:
    flags(tmp_path, VLLM)
    data = json.loads((tmp_path / "vllm.flags.json").read_text())
    assert data["releases"] == {"1.0": {"distribution": "vllm", "python": ">=3.10", "torch": "==2.11.0"}}


def with_line(line: str) -> dict[str, str]:
    """The literal style with one more line at the end of ``add_cli_args``."""
    name = "sglang/srt/server_args.py"
    return LITERAL | {name: LITERAL[name].rstrip() + "\n" + " " * 16 + line + "\n"}


def refused(folder: Path, sources: dict[str, str]) -> str:
    """What the tool says about a wheel that it must not accept; it must write nothing."""
    done = build(folder, wheel(folder, "1.0", sources))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("*.json"))
    return done.stderr


def test_unknown_ways_of_declaring_stop_it(tmp_path: Path) -> None:
    place = "sglang/srt/server_args.py:23: "
    for line, reason in {
        "parser.add_argument('--new', type=torch.device)": "depends on torch.device",
        "parser.add_argument('--new', choices=torch.backends())": "torch.backends",
        "torch.add_flags(parser)": "torch.add_flags may declare flags",
        "parser.add_argument('--new', nargs=argparse.REMAINDER)": "nargs='...'",
        "parser.declare('--new')": "'ArgumentParser' object has no attribute 'declare'",
        "while True: pass": "While statements are not understood",
        "parser.add_argument('--new', action=torch.Action)": "invalid nargs",
        "parser.add_argument('--new', type=lambda text: text + '!')": "is not known: add it to _TYPES",
        "parser.add_argument('--seed')": "conflicting option string",
        "if torch.cuda.is_available(): parser.add_argument('--new')": "depends on torch.cuda.is_available(...)",
        "[parser.add_argument(name) for name in torch.names]": "depends on torch.names",
    }.items():
        said = refused(tmp_path, with_line(line))
        assert place in said, (line, said)
        assert reason in said, (line, said)


def test_a_field_whose_type_cannot_be_read_stops_it(tmp_path: Path) -> None:
    name = "sglang/srt/server_args.py"
    said = refused(tmp_path, ANNOTATED | {name: ANNOTATED[name].replace("A[bool,", "A[await_me(),")})
    assert "sglang/srt/server_args.py:13: " in said
    assert "await_me" in said


def test_source_that_is_not_python_stops_it(tmp_path: Path) -> None:
    said = refused(tmp_path, {"sglang/srt/server_args.py": "x = 1\nclass ServerArgs: print this\n"})
    assert "sglang/srt/server_args.py:2: " in said


def test_missing_files_and_other_wheels_are_refused(tmp_path: Path) -> None:
    other = wheel(tmp_path, "1.0", {"requests/api.py": ""})
    for path in (tmp_path / "absent.whl", other, TOOL):
        done = build(tmp_path, path)
        assert (done.returncode, path.name in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def release(folder: Path, version: str, *lines: str) -> Path:
    """A release of the literal style with just these flags."""
    body = "".join(f"\n                {line}" for line in lines)
    text = f"class ServerArgs:\n    def add_cli_args(parser):{dedent(body) and body}\n"
    return wheel(folder, version, {"sglang/srt/server_args.py": text})


def test_only_changes_are_stored_and_the_order_of_adding_does_not_matter(tmp_path: Path) -> None:
    same, old = "parser.add_argument('--same')", "parser.add_argument('--old', type=int)"
    wheels = [
        release(tmp_path, "0.9", same, old, "parser.add_argument('--x', choices=['a'], default='a')"),
        release(tmp_path, "0.10", same, "parser.add_argument('--x', choices=['a', 'b'])"),
        release(tmp_path, "0.10.post1", same, old, "parser.add_argument('--x', choices=['a', 'b'])"),
    ]
    expected = {
        "--old": [["0.9", {"type": "int"}], ["0.10", None], ["0.10.post1", {"type": "int"}]],
        "--same": [["0.9", {}]],
        "--x": [["0.9", {"choices": ["a"], "default": "a"}], ["0.10", {"choices": ["a", "b"], "default": None}]],
    }
    texts = set()
    for order in (wheels, wheels[::-1], [wheels[2], wheels[0], wheels[1], wheels[0]]):
        data = tmp_path / "data"
        data.mkdir()
        for path in order:
            assert build(data, path).returncode == 0
        (written,) = data.iterdir()
        texts.add(written.read_text())
        assert json.loads(written.read_text())["flags"] == expected
        written.unlink()
        data.rmdir()
    assert len(texts) == 1
    assert '\n"--same": [["0.9", {}]],\n' in texts.pop()
