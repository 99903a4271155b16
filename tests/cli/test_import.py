"""`serve import`: a command as a file, whose check passes and whose dry run gives the command back."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from launcher.commands import launches
from launcher.engines import catalog
from launcher.engines.release import exactly
from launcher.engines.render import RESERVED
from tests.cli.conftest import Program
from tests.commands.same import flags

COMMANDS = Path(__file__).parent / "imported.txt"  # a release and a command for it in each line
CORPUS = [line.split(maxsplit=1) for line in COMMANDS.read_text().splitlines() if line and not line.startswith("#")]
# Flags that serve writes itself, or leaves and names; where it listens and the model are compared by themselves.
OURS = set(RESERVED)


def listens(argv: list[str]) -> dict[str, str]:
    return {name: argv[argv.index(name) + 1] for name in ("--host", "--port") if name in argv}


@pytest.mark.parametrize(("engine", "text"), CORPUS, ids=[f"{at}-{engine}" for at, (engine, _) in enumerate(CORPUS)])
def test_the_dry_run_gives_the_command_back(serve: Program, engine: str, text: str) -> None:
    """The flags with their values as the release's parser reads them, the variables, the model, where it listens."""
    result = serve("import", "--command", text, "--engine", engine, "--output", "mine.yaml")
    assert (result.code, result.files) == (0, ()), result.err
    assert serve("check", "mine.yaml", "--engine", engine).out.startswith("mine.yaml: ok for ")
    run = json.loads(serve("launch", "--config", "mine.yaml", "--engine", engine, "--dry-run", "--json").out)
    (launch,) = launches.command(text).launches
    known, argv = catalog.load(exactly(engine)), run["argv"]
    program = argv.index("serve") + 1 if "serve" in argv else argv.index("sglang.launch_server") + 1
    words = [word.text for word in launch.words]
    before = flags(words, known, launch.entry == "serve", without=OURS)
    assert flags(argv[program:], known, "serve" in argv, without=OURS) == before
    defaults = {f"--{name}": known.flags[f"--{name}"].default or "0.0.0.0" for name in ("host", "port")}
    assert listens(argv) == {**defaults, **listens([part for word in words for part in word.split("=", 1)])}
    variables = {name: word.text for name, word in launch.environment if "KEY" not in name and "TOKEN" not in name}
    assert variables.items() <= run["environment"].items()
    assert run["model"] in {part for word in words for part in word.split("=", 1)}


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 30
    assert {engine.partition("@")[0] for engine, _ in CORPUS} == {"vllm", "sglang"}


def test_to_standard_output(serve: Program) -> None:
    result = serve("import", "--command", "vllm serve org/m -tp 2 --seed 1", "--engine", "vllm@0.33.0")
    assert result.code == 0
    assert result.out.splitlines() == [
        "# From a command, by serve import.",
        "engine: vllm@0.33.0",
        "model: org/m",
        "host: 0.0.0.0",
        "port: 8000",
        "allow_unauthenticated: true",
        "tensor_parallel: 2",
        "args:",
        "  vllm:",
        "    --seed: 1",
    ]
    assert result.err.splitlines() == [
        "--command:1:6: the command serves every host that reaches 0.0.0.0, without a key",
        "  -> put api_key: auto in place of allow_unauthenticated: true",
    ]


def test_the_release_is_named_where_it_is_known(serve: Program) -> None:
    text = "docker run vllm/vllm-openai:v0.24.0 org/m --host 127.0.0.1"
    assert "engine: vllm@0.24.0\n" in serve("import", "--command", text).out
    assert "engine: vllm\n" in serve("import", "--command", "vllm serve org/m").out
    serve.holds_vllm("0.26.0")
    assert "engine: vllm@0.26.0\n" in serve("import", "--command", "vllm serve org/m").out


def test_from_a_file(serve: Program) -> None:
    file = serve.file(
        "[Service]\nEnvironment=OMP_NUM_THREADS=4\nExecStart=/opt/bin/vllm serve org/m --seed 1\n", "a.service"
    )
    result = serve("import", file, "--engine", "vllm@0.33.0", "--output", "mine.yaml")
    assert (result.code, result.files) == (0, ())
    assert result.out == (
        "mine.yaml written for vLLM 0.33.0 (--engine); see it: serve launch --config mine.yaml --dry-run\n"
    )
    text = (serve.folder / "mine.yaml").read_text()
    assert text.startswith("# From a.service:3, by serve import.\n")
    assert "  OMP_NUM_THREADS: 4\n" in text


def test_a_file_that_is_there_is_never_replaced(serve: Program) -> None:
    serve.file("port: 1\n", "mine.yaml")
    result = serve("import", "--command", "vllm serve org/m", "--output", "mine.yaml")
    assert (result.code, result.out) == (2, "")
    assert result.err == "serve: mine.yaml: is there already\n  -> take another name\n"
    assert (serve.folder / "mine.yaml").read_text() == "port: 1\n"


def test_as_json(serve: Program) -> None:
    text = "vllm serve org/m --host 127.0.0.1 --config c.yaml"
    result = serve("import", "--command", text, "--engine", "vllm@0.33.0", "--json")
    assert result.code == 1  # something that would count is not carried over
    row = json.loads(result.out)
    assert list(row) == ["text", "release", "argv", "left"]
    assert row["release"] == "vllm@0.33.0"
    assert shlex.join(row["argv"]).endswith("serve org/m --served-model-name org/m --host 127.0.0.1 --port 8000")
    assert [(each["line"], each["column"], each["what"]) for each in row["left"]] == [
        (1, 35, "--config is not passed on")
    ]


@pytest.mark.parametrize("form", [[], ["--json"], ["--output", "mine.yaml"]])
def test_a_key_is_never_told_or_written(serve: Program, form: list[str]) -> None:
    text = "VLLM_API_KEY=S3CR HF_TOKEN=S3CR vllm serve org/m --api-key S3CR --hf-token=S3CR"
    result = serve("import", "--command", text, *form)
    assert result.code == 0
    files = [path.read_text() for path in serve.folder.iterdir()]
    assert "S3CR" not in result.out + result.err + "".join(files)
    assert "api_key: env" in (result.out + "".join(files)).replace("\\n", "\n")
    wrong = serve("import", "--command", "vllm serve org/m --api-key --nope S3CR S3CR", *form)
    assert wrong.code == 2
    assert "S3CR" not in wrong.out + wrong.err


TWO = "vllm serve a\nvllm serve b\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "one command is imported"),
        (["two.sh", "--command", "vllm serve m"], "one command is imported"),
        (["two.sh"], "two.sh: holds 2 launch commands (lines 1, 2)"),
        (["none.sh"], "none.sh: cannot be read: No such file or directory"),
        (["mine.yaml"], "mine.yaml: no launch command of vLLM or SGLang in it"),
        (["--command", "ls"], "--command: no launch command of vLLM or SGLang in it"),
        (["--command", "vllm serve m", "--engine", "vlm"], "--engine: 'vlm' is not an engine"),
        (["--command", "vllm serve m", "--engine", "sglang@0.5.23"], "--engine: it is a command of vLLM"),
        (["--command", "vllm serve m", "--engine", "vllm@0.1.0"], "the flags of vLLM 0.1.0 are not known"),
        (["--command", "vllm serve m --nope"], "--command:1:14: vLLM "),
        (["--command", "vllm serve m $X"], "--command:1:14: what stands here is known only when the command runs"),
    ],
)
def test_what_is_asked_wrongly(serve: Program, words: list[str], what: str) -> None:
    serve.file(TWO, "two.sh")
    serve.file("port: 1\n")
    result = serve("import", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"serve: {what}")
    assert "Traceback" not in result.err


def test_escape_codes_do_nothing(serve: Program) -> None:
    serve.file("X='\x1b[2J' vllm serve org/m --tokenizer '\x1b[31m' --config '\x1b[0m'\n", "r\x1bn.sh")
    result = serve("import", "r\x1bn.sh")
    assert (result.out + result.err).replace("\n", "").isprintable()
