"""The engine flags that other launchers hold, read from their published wheels as data: nothing of them is imported.

A map is one list of flags that a peer keeps by hand for one engine. What is read of each, and what is left out because
it is not the engine's, stands beside it. README.md says how they are judged.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from launcher.host import packages

FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
Read = Callable[[Path], Iterator[tuple[str, str]]]  # folder of the package -> flags, each with its range of releases


@dataclass(frozen=True)
class Map:
    """A list of flags.

    Attributes:
        package: the peer's name on the registry, with its version.
        published: the day on which that version was.
        engine: whose flags they are.
        what: the place that they are in, and what the peer does with them.
        read: reads them; the range is that in which the peer itself uses the flag, "" without one.
        left_out: flags of the place that are not judged -> why.
    """

    package: str
    published: str
    engine: str
    what: str
    read: Read
    left_out: dict[str, str]


def download(package: str, folder: Path) -> None:
    """Unpacks a package's wheel, from where the user's settings for pip and uv say, without what it depends on."""
    argv = [packages.uv(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*argv, "--target", str(folder), package], env=packages.settings(os.environ), check=True)


def schema(path: str) -> Read:
    """The ``cli_flag`` of each argument in a JSON file."""

    def read(folder: Path) -> Iterator[tuple[str, str]]:
        for argument in json.loads((folder / path).read_text())["arguments"].values():
            if flag := argument["cli_flag"]:
                yield flag, ""

    return read


def added(path: str, gates: dict[str, str], elsewhere: tuple[str, ...] = ()) -> Read:
    """Every string of a module that is a flag and nothing else, less docstrings and what some functions hold.

    Args:
        path: the module.
        gates: flags that the module adds for some releases only, by its own comparison -> the range.
        elsewhere: functions that write another program's command.
    """

    def strings(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef) and node.name in elsewhere:
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        for child in ast.iter_child_nodes(node):
            yield from strings(child)

    def read(folder: Path) -> Iterator[tuple[str, str]]:
        for text in strings(ast.parse((folder / path).read_text())):
            if text.startswith("--") and FLAG.fullmatch(text):
                yield text, gates.get(text, "")

    return read


def offered(path: str, marker: str) -> Read:
    """The labels of the list, in a program for browsers, that has a certain flag; its files' names change."""

    def read(folder: Path) -> Iterator[tuple[str, str]]:
        (text,) = [text for file in sorted(folder.glob(path)) if f'label:"{marker}"' in (text := file.read_text())]
        lists = re.split(r'[\w$]+=\[(?=\{label:"-)', text)
        (found,) = [each for each in lists if f'label:"{marker}"' in each]
        for flag in re.findall(r'label:"(-[^"]+)"', found):
            yield flag, ""

    return read


def catalogued(path: str, engine: str) -> Read:
    """The parameters of the deployments in a YAML catalog, each for the engine release that its deployment names."""

    def read(folder: Path) -> Iterator[tuple[str, str]]:
        models = yaml.safe_load((folder / path).read_text())["model_sets"]
        for spec in (spec for model in models for spec in model["specs"]):
            words = spec.get("backend_parameters") or ()
            if spec.get("backend") != engine or OMNI in words:
                continue
            version = spec.get("backend_version")
            for word in words:
                yield re.split(r"[= ]", word)[0], f"=={version}" if version else ""

    return read


OMNI = "--omni"
OTHER_PROGRAM = "starts vLLM-Omni, another program; catalog entries that use it are left out whole"
VLLM_CLI = {"package": "vllm-cli==0.2.5", "published": "2025-08-25"}
GPUSTACK = {"package": "gpustack==2.3.0", "published": "2026-10-23"}
BACKENDS = "gpustack/worker/backends"
FORMS = "gpustack/ui/js/*.js"
CATALOG = "gpustack/assets/model-catalog.yaml"

MAPS = (
    Map(
        **VLLM_CLI,
        engine="vllm",
        what="vllm_cli/schemas/argument_schema.json: the flags that it can write, all of them",
        read=schema("vllm_cli/schemas/argument_schema.json"),
        left_out={},
    ),
    Map(
        **GPUSTACK,
        engine="vllm",
        what=f"{BACKENDS}/vllm.py: the flags that it adds by itself",
        read=added(
            f"{BACKENDS}/vllm.py",
            # get_access_log_arguments, get_cache_report_arguments
            {"--disable-access-log-for-endpoints": ">=0.16.0", "--enable-prompt-tokens-details": ">=0.9.0.1"},
            elsewhere=("_build_ray_configuration",),
        ),
        left_out={OMNI: OTHER_PROGRAM},
    ),
    Map(
        **GPUSTACK,
        engine="sglang",
        what=f"{BACKENDS}/sglang.py: the flags that it adds by itself",
        read=added(
            f"{BACKENDS}/sglang.py",
            {  # _supports_ngram_match_window, get_access_log_arguments, get_cache_report_arguments
                "--speculative-ngram-max-match-window-size": "<0.5.10",
                "--speculative-ngram-min-match-window-size": "<0.5.10",
                "--uvicorn-access-log-exclude-prefixes": ">=0.5.8.post1",
                "--enable-cache-report": ">=0.3.4",
            },
        ),
        left_out={},
    ),
    Map(
        **GPUSTACK,
        engine="vllm",
        what=f"{FORMS}: the flags that its form offers for vLLM, whatever the release",
        read=offered(FORMS, "--gpu-memory-utilization"),
        left_out={},
    ),
    Map(
        **GPUSTACK,
        engine="sglang",
        what=f"{FORMS}: the flags that its form offers for SGLang, whatever the release",
        read=offered(FORMS, "--mem-fraction-static"),
        left_out={},
    ),
    Map(
        **GPUSTACK,
        engine="vllm",
        what=f"{CATALOG}: the flags of its ready-made deployments on vLLM",
        read=catalogued(CATALOG, "vLLM"),
        left_out={},
    ),
    Map(
        **GPUSTACK,
        engine="sglang",
        what=f"{CATALOG}: the flags of its ready-made deployments on SGLang",
        read=catalogued(CATALOG, "SGLang"),
        left_out={},
    ),
)
