"""`serve migrate`: the difference and its reasons; files change only when that is asked for, wholly or not at all."""

from __future__ import annotations

import json
import resource
import stat

import pytest

from tests.cli.conftest import Program

TO = ("--to", "vllm@0.33.0")
SCRIPT = "#!/bin/bash\nexec vllm serve m \\\n  --swap-space 4 \\\n  --max-model-le 8k --nope\n"
AFTER = "#!/bin/bash\nexec vllm serve m \\\n  --max-model-len 8k --nope\n"
WHY = (
    "V1 swaps nothing to the host's memory, and did not use the value "
    "[vllm 0.18.0 vllm/entrypoints/llm.py:266; vllm 0.17.1 vllm/config/cache.py:235]"
)


def test_the_difference_its_reasons_and_what_is_left(serve: Program) -> None:
    file = serve.file(SCRIPT, "run.sh")
    result = serve("migrate", file, *TO)
    assert (result.code, result.err, result.files) == (1, "", ())
    assert result.out.splitlines() == [
        "--- run.sh",
        "+++ run.sh",
        "@@ -1,4 +1,3 @@",
        " #!/bin/bash",
        " exec vllm serve m \\",
        "-  --swap-space 4 \\",
        "-  --max-model-le 8k --nope",
        "+  --max-model-len 8k --nope",
        f"run.sh:3:3: --swap-space 4 -> (nothing): {WHY}",
        "run.sh:4:3: --max-model-le -> --max-model-len: --max-model-le abbreviates it",
        "run.sh:4:21: left as it is: --nope is not known to any release",
        "run.sh: 2 changes, not written (--write writes); 1 left as it is; for vLLM 0.33.0",
    ]
    assert (serve.folder / file).read_text() == SCRIPT


def test_a_command_as_text(serve: Program) -> None:
    result = serve("migrate", "--command", "vllm serve m --swap-space 4", *TO)
    assert result.code == 0
    assert result.out.splitlines() == [
        "--- --command",
        "+++ --command",
        "@@ -1 +1 @@",
        "-vllm serve m --swap-space 4",
        "+vllm serve m",
        f"--command:1:14: --swap-space 4 -> (nothing): {WHY}",
        "--command: 1 change, not written; for vLLM 0.33.0",
    ]


def test_nothing_to_do(serve: Program) -> None:
    file = serve.file("vllm serve m --port 80\n", "run.sh")
    result = serve("migrate", file, *TO)
    assert (result.code, result.out) == (0, "run.sh: no change; for vLLM 0.33.0\n")


def test_written_once_and_no_change_the_second_time(serve: Program) -> None:
    path = serve.folder / serve.file(SCRIPT, "run.sh")
    path.chmod(0o750)
    result = serve("migrate", "run.sh", *TO, "--write")
    assert result.code == 1  # something is left
    assert result.out.splitlines()[-1] == "run.sh: 2 changes, written; 1 left as it is; for vLLM 0.33.0"
    assert path.read_text() == AFTER
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    before = path.stat()
    again = serve("migrate", "run.sh", *TO, "--write")
    assert again.out.splitlines()[-1] == "run.sh: no change; 1 left as it is; for vLLM 0.33.0"
    assert path.stat() == before
    assert [each.name for each in serve.folder.iterdir()] == ["run.sh"]


def test_line_ends_and_links_stay(serve: Program) -> None:
    path = serve.folder / "real.sh"
    path.write_bytes(SCRIPT.replace("\n", "\r\n").encode())
    (serve.folder / "link.sh").symlink_to("real.sh")
    assert serve("migrate", "link.sh", "real.sh", *TO, "--write").code == 1
    assert path.read_bytes() == AFTER.replace("\n", "\r\n").encode()
    assert (serve.folder / "link.sh").is_symlink()


def test_a_file_that_cannot_be_written_stays_as_it_was(serve: Program) -> None:
    path = serve.folder / serve.file(SCRIPT, "run.sh")
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))  # as on a disk that is full after ten bytes
    try:
        result = serve("migrate", "run.sh", *TO, "--write")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))
    assert (result.code, result.out) == (1, "")
    assert result.err == "serve: run.sh: cannot be written: File too large\n  -> the file is as it was\n"
    assert path.read_text() == SCRIPT
    assert [each.name for each in serve.folder.iterdir()] == ["run.sh"]


def test_nothing_is_written_where_one_file_is_none(serve: Program) -> None:
    good, bad = serve.file(SCRIPT, "run.sh"), serve.file("port: 1\n", "mine.yaml")
    result = serve("migrate", good, bad, *TO, "--write")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("serve: mine.yaml: ")
    assert "serve check says what a release makes of it" in result.err
    assert (serve.folder / good).read_text() == SCRIPT


def test_to_the_other_engine(serve: Program) -> None:
    result = serve("migrate", "--command", "VLLM_USE_V1=1 vllm serve m", "--to", "sglang@0.5.23")
    assert result.code == 1
    assert result.out.splitlines()[3:] == [
        "-VLLM_USE_V1=1 vllm serve m",
        "+VLLM_USE_V1=1 python3 -m sglang.launch_server --model-path m --host 0.0.0.0 --port 8000",
        "--command:1:27: (nothing) -> --host 0.0.0.0: vLLM does so by default",
        "--command:1:27: (nothing) -> --port 8000: vLLM does so by default",
        "--command:1:13: left as it is: VLLM_USE_V1 is a variable of vLLM",
        "    -> see what SGLang 0.5.23 has",
        "--command: 4 changes, not written; 1 left as it is; for SGLang 0.5.23",
    ]


def test_as_json(serve: Program) -> None:
    file = serve.file(SCRIPT, "run.sh")
    result = serve("migrate", file, "--command", "vllm serve m", *TO, "--json")
    assert result.code == 1
    first, second = json.loads(result.out)
    assert first == {
        "file": "run.sh",
        "to": "vllm@0.33.0",
        "text": AFTER,
        "changes": [
            {
                "line": 2,
                "column": 18,
                "before": " \\\n  --swap-space 4",
                "after": "",
                "why": WHY.partition(" [")[0],
                "evidence": WHY.partition(" [")[2][:-1].split("; "),
            },
            {
                "line": 4,
                "column": 3,
                "before": "--max-model-le",
                "after": "--max-model-len",
                "why": "--max-model-le abbreviates it",
                "evidence": [],
            },
        ],
        "left": [{"line": 4, "column": 21, "what": "--nope is not known to any release", "fix": ""}],
    }
    assert (second["file"], second["text"], second["changes"], second["left"]) == ("--command", "vllm serve m", [], [])


@pytest.mark.parametrize(
    "words",
    [
        ["run.sh"],
        ["run.sh", "--to", "vllm"],
        ["run.sh", "--to", "vlm@1.0"],
        ["run.sh", "--to", "vllm@0.1.0"],
        [*TO],
        ["--command", "vllm serve m", "--write", *TO],
        ["--command", "echo", *TO],
        ["none.sh", *TO],
        ["/dev/zero", *TO],
        ["loop.sh", *TO],
        [".", *TO],
    ],
)
def test_what_is_asked_wrongly(serve: Program, words: list[str]) -> None:
    serve.file(SCRIPT, "run.sh")
    (serve.folder / "loop.sh").symlink_to("loop.sh")
    result = serve("migrate", *words)
    assert (result.code, result.out) == (2, "")
    assert "\n  -> " in result.err


def test_escape_codes_do_nothing(serve: Program) -> None:
    serve.file("vllm serve '\x1b[2J' --swap-space 4 --x\x1b]0;t\x07 \\\n  --port '\x1b[31m'\n", "run.sh")
    result = serve("migrate", "run.sh", *TO)
    assert result.out.replace("\n", "").isprintable()
    assert json.loads(serve("migrate", "run.sh", *TO, "--json").out)


def test_what_is_very_long_is_told_in_short(serve: Program) -> None:
    for text in (
        "--swap-space " + "4" * 500_000,
        "--port " + "4" * 500_000,
        "--" + "x" * 500_000,
        "--seed 1 " * 30_000,
    ):
        result = serve("migrate", serve.file(f"vllm serve m {text}\n", "run.sh"), *TO)
        told = [line for line in result.out.splitlines() if line.startswith("run.sh")]
        assert max(map(len, told)) < 5_000
