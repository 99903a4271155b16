"""The catalog builder, run as its users run it, on small wheels in the style of each generation of the engines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.wheels import ANNOTATED, LITERAL, REGISTERED, STRUCTS, VLLM, plain, wheel

TOOL = Path(__file__).parents[2] / "tools" / "build_catalog.py"


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
        "--gone": {
            "type": "bool",
            "refused": "set --kv-cache-dtype to 'auto'",
            "deprecated": True,
            "successor": "--kv-cache-dtype=auto",
        },
        "--idle": {"type": "bool", "deprecated": True},
        "--kv-cache-dtype": {"choices": ["auto", "fp8_e4m3"], "default": "auto"},
        "--lora-paths": {"type": "lora_path", "nargs": "*"},
        "--lost": {"type": "bool", "refused": "use --draft with one of: a, b", "deprecated": True},
        "--old-draft": {"deprecated": True, "successor": "--draft"},
        "--plugin": {"repeats": True},
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
        "--enable-lora": {
            "negations": lora,
            "type": "bool",
            "default": "False",
            "deprecated": True,
            "successor": "--parallel.ranks",
        },
        "--grpc": {"type": "bool", "default": "False", "entry": "serve"},
        "--guided": {},
        "--loader": {"choices": ["auto", "half"], "advisory": True, "default": "auto"},
        "--max-model-len": {"type": "human_int_or_auto", "optional": True},
        "--old": {"type": "float", "deprecated": True, "successor": "--dtype"},
        "--parallel": {"type": "json_object", "default": "Parallel()"},
        "--tool-call-parser": {"choices": ["hermes", "mistral"], "advisory": True},
    }


def test_json_that_may_hold_human_numbers(tmp_path: Path) -> None:
    name = "vllm/engine/arg_utils.py"
    body = VLLM[name].replace("raise NotImplementedError", "return _expand_json_human_readable_numbers(val)")
    assert flags(tmp_path, VLLM | {name: body})["--parallel"]["type"] == "json_config"


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
        "parser.add_argument('--new', nargs=argparse.REMAINDER)": "nargs='...' is not known",
        "parser.declare('--new')": "'ArgumentParser' object has no attribute 'declare'",
        "while True: pass": "While statements are not understood",
        "parser.add_argument('--new', action=torch.Action)": "invalid nargs",
        "parser.add_argument('--new', type=lambda text: text + '!')": "is not known: add it to _TYPES",
        "parser.add_argument('--seed')": "conflicting option string",
        "if torch.cuda.is_available(): parser.add_argument('--new')": "depends on torch.cuda.is_available(...)",
        "[parser.add_argument(name) for name in torch.names]": "depends on torch.names",
        "parser.add_argument('--new', choices=[])": "--new: it has no choices: what fills the list?",
        "parser.add_argument('--new', metavar='{} or a name')": "--new: it shows no choices: what fills the list?",
    }.items():
        said = refused(tmp_path, with_line(line))
        assert place in said, (line, said)
        assert reason in said, (line, said)


def test_an_action_that_reads_its_value_in_its_own_way_stops_it(tmp_path: Path) -> None:
    name = "sglang/srt/server_args.py"
    text = ANNOTATED[name].replace("LoRAPathAction", "PathAction")
    actions = "sglang/srt/arg_groups/argparse_actions.py"
    said = refused(tmp_path, ANNOTATED | {name: text, actions: ANNOTATED[actions].replace("LoRAPath", "Path")})
    assert (
        "sglang/srt/server_args.py:33: --lora-paths: action=PathAction looks at its value: add it to _ACTIONS" in said
    )


def test_a_registry_whose_filling_is_not_understood_stops_it(tmp_path: Path) -> None:
    name = "vllm/tool_parsers/__init__.py"
    said = refused(tmp_path, VLLM | {name: VLLM[name].replace("in LAZY.items()", "in absent.items()")})
    assert "vllm/tool_parsers/__init__.py:7: vllm/tool_parsers/__init__.py has no name absent" in said


@pytest.mark.parametrize(
    "register",
    [
        "@extra\ndef more(parser): declare(parser)",
        "@registry.extra\ndef more(parser): declare(parser)",
        "extra(declare)",
        "_ = extra(declare)",
        "for function in (declare,): extra(function)",
        "if True: extra(declare)",
        "class Adds:\n    def __init_subclass__(cls): EXTRA.append(declare)\nclass Added(Adds): pass",
        "def fill():\n    from sglang.srt.registry import EXTRA as held\n    held.append(declare)\nfill()",
    ],
)
def test_a_list_of_functions_that_is_filled_by_a_statement_not_run_stops_it(tmp_path: Path, register: str) -> None:
    name = "sglang/srt/server_args.py"
    text = REGISTERED[name].replace("REGISTER", register.replace("\n", "\n        "))
    said = refused(tmp_path, REGISTERED | {name: text})
    assert "sglang/srt/server_args.py:" in said
    assert "this was not run and may change EXTRA, which the parser was built from" in said


def test_a_list_of_functions_that_is_filled_by_its_own_method_is_read(tmp_path: Path) -> None:
    name = "sglang/srt/server_args.py"
    text = REGISTERED[name].replace("REGISTER", "EXTRA.append(declare)")
    assert flags(tmp_path, REGISTERED | {name: text}) == {"--new": {}, "--seed": {"type": "int"}}


def test_a_flag_in_plain_words_that_the_parser_lacks_stops_it(tmp_path: Path) -> None:
    name, where = "sglang/srt/server_args.py", "is declared here, and the parser that was built has no such flag"
    function = LITERAL[name] + "\n        def more(parser):\n            parser.add_argument('--new', '-n')\n"
    assert f"{name}:25: --new, -n {where}" in refused(tmp_path, LITERAL | {name: function})
    field = ANNOTATED[name].replace(
        "KINDS = [", "class More:\n            new_one: A[int, 'words'] = 1\n\n        KINDS = ["
    )
    assert f"{name}:12: --new-one {where}" in refused(tmp_path, ANNOTATED | {name: field})


def test_a_field_whose_type_cannot_be_read_stops_it(tmp_path: Path) -> None:
    name = "sglang/srt/server_args.py"
    said = refused(tmp_path, ANNOTATED | {name: ANNOTATED[name].replace("A[bool,", "A[await_me(),")})
    assert "sglang/srt/server_args.py:17: " in said
    assert "await_me" in said


def wrapped(module: str, name: str) -> dict[str, str]:
    """The sources with a field whose type is wrapped in another from outside of the wheel."""
    path = "vllm/config/model.py"
    text = VLLM[path].replace("import torch\n", f"import torch\n        from {module} import {name}\n")
    return VLLM | {path: text.replace("eager: bool = False", f"eager: {name}[bool] = False")}


def test_a_known_wrapper_is_the_type_within(tmp_path: Path) -> None:
    assert flags(tmp_path, wrapped("pydantic", "SkipValidation"))["--eager"]["type"] == "bool"


def test_a_type_in_an_unknown_wrapper_stops_it(tmp_path: Path) -> None:
    assert "ModelConfig" in refused(tmp_path, wrapped("elsewhere", "Wrapped"))


def test_source_that_is_not_python_stops_it(tmp_path: Path) -> None:
    said = refused(tmp_path, {"sglang/srt/server_args.py": "x = 1\nclass ServerArgs: print this\n"})
    assert "sglang/srt/server_args.py:2: " in said


def test_missing_files_and_other_wheels_are_refused(tmp_path: Path) -> None:
    other = wheel(tmp_path, "1.0", {"requests/api.py": ""})
    for path in (tmp_path / "absent.whl", other, TOOL):
        done = build(tmp_path, path)
        assert (done.returncode, path.name in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ("Summary: no name\n", "not a wheel of vLLM or SGLang"),
        ("Name: sglang\n", "METADATA: Invalid version: ''"),
        ("Name: sglang\nVersion: one\n", "METADATA: Invalid version: 'one'"),
        ("Name: sglang\nVersion: 1\nRequires-Python: three\n", "METADATA: Invalid specifier: 'three'"),
        ("Name: sglang\nVersion: 1\nRequires-Dist: torch=2\n", "METADATA: "),
        ("Name: sglang-cpu\nVersion: 1\n", "not a wheel of vLLM or SGLang, but of sglang-cpu"),
    ],
)
def test_a_wheel_that_does_not_say_what_it_is_is_refused(tmp_path: Path, metadata: str, reason: str) -> None:
    done = build(tmp_path, wheel(tmp_path, "1.0", LITERAL, metadata=metadata))
    assert done.returncode == 1
    assert reason in done.stderr
    assert "sglang-1.0-py3-none-any.whl" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, "1.0", LITERAL)
    whole = path.read_bytes()
    packed = whole.index(b"sglang/srt/server_args.py") + 60  # within the member's packed bytes
    for damaged in (whole[: len(whole) // 2], whole[:packed] + b"\0" * 20 + whole[packed + 20 :]):
        path.write_bytes(damaged)
        done = build(tmp_path, path)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert path.name in done.stderr
    assert not list(tmp_path.glob("*.json"))
    path.write_bytes(whole)
    assert build(tmp_path, path).returncode == 0


def test_only_changes_are_stored_and_the_order_of_adding_does_not_matter(tmp_path: Path) -> None:
    same, old = "parser.add_argument('--same')", "parser.add_argument('--old', type=int)"
    new = "parser.add_argument('--x', type=float, choices=[1.0], nargs='+')"
    wheels = [
        wheel(tmp_path, "0.9", plain(same, old, "parser.add_argument('--x', choices=['a'], nargs='+', default='a')")),
        wheel(tmp_path, "0.10", plain(same, new)),
        wheel(tmp_path, "0.10.post1", plain(same, old, new)),
    ]
    first = {"nargs": "+", "choices": ["a"], "default": "a"}
    expected = {
        "--old": [["0.9", {"type": "int"}], ["0.10", None], ["0.10.post1", {"type": "int"}]],
        "--same": [["0.9", {}]],
        "--x": [["0.9", first], ["0.10", {"type": "float", "choices": ["1.0"], "default": None}]],
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
