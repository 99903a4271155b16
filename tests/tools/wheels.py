"""Small wheels in the style of each generation of the engines."""

from __future__ import annotations

import zipfile
from pathlib import Path
from textwrap import dedent

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

            def __call__(self, parser, namespace, values, option_string=None):
                setattr(namespace, self.dest, values)

        class LoRAPathAction(argparse.Action):
            def __call__(self, parser, namespace, values, option_string=None):
                setattr(namespace, self.dest, [value.strip() for value in values])

        class DeprecatedAction(argparse.Action):
            def __init__(self, option_strings, dest, error_message=None, nargs=0, **kwargs):
                self.error_message = error_message
                super().__init__(option_strings, dest, nargs=nargs, **kwargs)

            def __call__(self, parser, namespace, values, option_string=None):
                if self.error_message:
                    parser.error(self.error_message)
                if not self.help.startswith("No longer"):
                    raise ValueError(self.help)
    """,
    "sglang/srt/server_args.py": """
        from __future__ import annotations
        import dataclasses
        from sglang.srt.arg_groups.arg_utils import A, Arg, add_cli_args_from_dataclass
        from sglang.srt.arg_groups.argparse_actions import (
            DeprecatedAction,
            DeprecatedAliasStoreAction,
            LoRAPathAction,
        )

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
                for name, help, message in (
                    ("--gone", "NOTE: --gone is deprecated. Please set `--kv-cache-dtype` to 'auto' instead.", None),
                    ("--lost", "words", "--lost is no longer supported. Use --draft with one of: a, b."),
                    ("--idle", "No longer does a thing.", None),
                ):
                    parser.add_argument(name, action=DeprecatedAction, help=help, error_message=message)
                parser.add_argument("--lora-paths", type=str, nargs="*", action=LoRAPathAction)
                parser.add_argument("--plugin", action="append")
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
    "vllm/config/utils.py": """
        import ast
        import inspect
        import textwrap
        from pydantic.dataclasses import dataclass

        def config(cls):
            return dataclass(config={"arbitrary_types_allowed": True})(cls)

        def get_attr_docs(cls):
            def pairwise(items):
                before = None
                for item in items:
                    if before is not None:
                        yield before, item
                    before = item

            out = {}
            for a, b in pairwise(ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body):
                if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant):
                    out[a.target.id] = inspect.cleandoc(b.value.value)
            return out
    """,
    "vllm/platforms/__init__.py": "current_platform = type('Platform', (), {'width': lambda self: 8})()",
    "vllm/config/model.py": """
        from typing import ClassVar, Literal
        from pydantic import Field, field_validator
        import torch
        from vllm.config.utils import config
        from vllm.platforms import current_platform

        Kind = Literal["auto", "half"]

        @config
        class Parallel:
            ranks: int = 1
            width: ClassVar[int] = current_platform.width()

        @config
        class ModelConfig:
            dtype: Kind | torch.dtype = "auto"
            loader: Kind | str = "auto"
            max_model_len: int | None = Field(default=None, ge=-1)
            eager: bool = False
            enable_lora: bool = False
            '''Whether to.

            Deprecated: use `parallel.ranks`.
            '''
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
        import sys
        from dataclasses import MISSING, fields, is_dataclass
        from typing import Literal, Union, get_args, get_origin
        from types import UnionType
        from pydantic.fields import FieldInfo
        from vllm.config.utils import get_attr_docs
        from vllm.utils.argparse_utils import human_readable_int_or_auto

        def optional_type(return_type):
            def _optional_type(val):
                return None if val in ("", "None") else return_type(val)
            return _optional_type

        @functools.lru_cache(maxsize=30)
        def get_kwargs(cls):
            docs = get_attr_docs(cls) if any("--help" in word for word in sys.argv) else {}
            made = {}
            for field in fields(cls):
                hints = get_args(field.type) if get_origin(field.type) in (Union, UnionType) else (field.type,)
                default = field.default
                if isinstance(default, FieldInfo):
                    default = default.default if default.default_factory is None else default.default_factory()
                made[field.name] = {"default": default, "help": docs.get(field.name, "")}
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
    "vllm/tool_parsers/__init__.py": """
        from vllm.tool_parsers.manager import Manager

        LAZY = {"hermes": "HermesParser", "mistral": "MistralParser"}

        def register():
            for name, parser in LAZY.items():
                Manager.register(name, parser)

        register()
    """,
    "vllm/tool_parsers/manager.py": """
        class Manager:
            parsers: dict[str, str] = {}

            @classmethod
            def register(cls, name, parser):
                cls.parsers[name] = parser
    """,
    "vllm/entrypoints/openai/cli_args.py": """
        from vllm.config.model import ModelConfig
        from vllm.engine.arg_utils import get_kwargs
        from vllm.tool_parsers.manager import Manager

        def make_arg_parser(parser):
            parser.add_argument("model_tag", nargs="?")
            for key, value in get_kwargs(ModelConfig).items():
                extra = ["-d"] if key == "dtype" else []
                parser.add_argument(*extra, f"--{key.replace('_', '-')}", **value)
            parser.add_argument("--old", type=float, deprecated=True, help="Deprecated. Use --dtype instead.")
            parser.add_argument("--guided", type=bool)
            parser.add_argument("--tool-call-parser", metavar="{" + ",".join(Manager.parsers) + "} or a name")
            return parser
    """,
    "vllm/entrypoints/cli/serve.py": """
        from vllm.entrypoints.openai.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        class ServeSubcommand:
            def subparser_init(self, subparsers):
                parser = make_arg_parser(subparsers.add_parser("serve"))
                parser.add_argument("--grpc", action="store_true")
                return parser
    """,
}


# A parser that asks a list what else to declare; REGISTER stands for what fills the list.
REGISTERED = {
    "sglang/srt/registry.py": """
        EXTRA = []

        def extra(function):
            EXTRA.append(function)
            return function
    """,
    "sglang/srt/server_args.py": """
        from sglang.srt import registry
        from sglang.srt.registry import EXTRA, extra

        def declare(parser):
            for name in ("new",):
                parser.add_argument(f"--{name}")

        REGISTER

        class ServerArgs:
            def add_cli_args(parser):
                parser.add_argument("--seed", type=int)
                for function in EXTRA:
                    function(parser)
    """,
}


def wheel(folder: Path, version: str, sources: dict[str, str], tag: str = "py3-none-any", metadata: str = "") -> Path:
    """A wheel of those sources; its engine is the first folder of their names, ``metadata`` replaces what it says."""
    engine = next(iter(sources)).partition("/")[0]
    path = folder / f"{engine}-{version}-{tag}.whl"
    number = version.partition("-")[0]  # a build's number is no part of the version
    plain = f"Name: {engine}\nVersion: {number}\nRequires-Python: >=3.10\nRequires-Dist: torchvision==1\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{engine}-{number}.dist-info/METADATA", metadata or plain + "Requires-Dist: torch==2.11.0\n")
        for name, text in {f"{engine}/__init__.py": "", **sources}.items():
            archive.writestr(name, dedent(text))
    return path


def plain(*lines: str) -> dict[str, str]:
    """Sources of the literal style with just the flags that these lines declare."""
    body = "".join(f"\n        {line}" for line in lines)
    return {"sglang/srt/server_args.py": f"class ServerArgs:\n    def add_cli_args(parser):{body}\n"}
