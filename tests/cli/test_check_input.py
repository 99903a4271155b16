"""`serve check` on what is hostile, damaged or secret: told in a few lines, and never told back."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.conftest import Program
from tests.cli.test_check import places, told

PLENTY = 8 * 1024**2

# Secrets

SECRET = "Kept-2-My5elf"  # noqa: S105 - of nobody
KEYED = [
    "vllm serve m --api-key {} {} --port 1",
    "vllm serve m --api_key={}",
    "vllm serve m --api-ke {}",
    "vllm serve m --apikey {}",
    "vllm serve m --api-key -{}",
    "vllm serve m --api-key = {}",
    "vllm serve m --hf-token --port 1 {}",
    "vllm serve m --hf_token {} --admin-api-key {}",
    "vllm serve m --openai-api-key {} --token {} --password={}",
    "vllm serve m --ssl-keyfile-password {}",
    "vllm serve m --api-key.a={}",
    "vllm serve m --api-key '{}",
    "vllm serve m --port --api-key {} -- {}",
    "vllm serve --api-key {} m",
    "export VLLM_API_KEY={}; vllm serve m --api-key $VLLM_API_KEY",
    "VLLM_API_KEY={} HF_TOKEN={} vllm serve m",
    "docker run -e VLLM_API_KEY={} vllm/vllm-openai:v0.11.0 --model m --api-key {}",
    "python3 -m sglang.launch_server --model-path m --api_key {}",
    "python3 -m sglang.launch_server --model-path m --api-key = {}",
    "python3 -m sglang.launch_server --model-path m --hf-token {}",
    "python3 -m sglang.launch_server --model-path m --admin-api-key={} --ssl-keyfile-password {}",
    "python3 -m sglang.launch_server --model-path m --admin {}",
    "vllm serve m --watermark-config '{{\"key\": {}'",
    'vllm serve m --watermark-config \'{{"key": "{}"}}\' {}',
    "vllm serve m --watermark-config.key {}",
]


@pytest.mark.parametrize("form", [[], ["--json"], ["--sarif"], ["--all-releases"]])
def test_a_key_is_never_told_back(serve: Program, form: list[str]) -> None:
    files = [serve.file(text.format(SECRET, SECRET, SECRET) + "\n", f"{at}.sh") for at, text in enumerate(KEYED)]
    result = serve("check", *files, *form)
    assert result.code == 1
    assert SECRET not in result.out + result.err
    assert "key-in-argv" in result.out


def test_where_a_key_is_seen(serve: Program) -> None:
    text = "sglang serve m --api-key a --admin-api-key b --ssl-keyfile-password c"
    found = told(serve("check", "--command", text, "--engine", "sglang@0.5.23", "--json"))
    assert [(each["column"], each["fix"]) for each in found if each["rule"] == "key-in-argv"] == [
        (26, "serve keeps it in a file: --api-key auto"),
        (44, "write it into a YAML file for --config that its owner alone can read"),
        (69, "write it into a YAML file for --config that its owner alone can read"),
    ]
    assert told(serve("check", "--command", 'vllm serve m --api-key "$KEY"', "--json")) == []


# Files that are none, or hostile


def test_escape_codes_do_nothing(serve: Program) -> None:
    text = "vllm serve m $'--no\\e[2J' --\x1b]0;title\x07x '--\x1b[31mred' --port '\x1b[31m'\n"
    result = serve("check", serve.file(text, "run.sh"))
    assert result.code == 1
    assert result.out.replace("\n", "").isprintable()
    assert json.loads(serve("check", "run.sh", "--json").out)


def test_files_that_cannot_be_read(serve: Program) -> None:
    (serve.folder / "folder.sh").mkdir()
    os.mkfifo(serve.folder / "fifo.sh")
    with (serve.folder / "sparse.sh").open("wb") as file:
        file.truncate(100 * 1024**2)
    (serve.folder / "binary.sh").write_bytes(bytes(range(256)) * 100)
    (serve.folder / "utf16.sh").write_text("vllm serve m\n", encoding="utf-16")
    (serve.folder / "latin.sh").write_bytes(b"vllm serve m\n# caf\xe9\n")
    (serve.folder / "locked.sh").symlink_to("locked.sh")
    names = ["none.sh", "folder.sh", "fifo.sh", "/dev/zero", "sparse.sh", "binary.sh", "utf16.sh", "latin.sh"]
    result = serve("check", *names, "locked.sh")
    assert (result.code, result.err) == (1, "")
    lines = [line for line in result.out.splitlines() if "[unreadable]" in line]
    ends = [
        "none.sh:1:1: error: cannot be read: No such file or directory",
        "folder.sh:1:1: error: is a folder",
        "fifo.sh:1:1: error: is not a plain file",
        "/dev/zero:1:1: error: is not a plain file",
        "sparse.sh:1:1: error: is larger than ",
        "binary.sh:1:1: error: is not UTF-8 text (byte 0)",
        "utf16.sh:1:1: error: is not UTF-8 text (byte 0)",
        "latin.sh:2:1: error: is not UTF-8 text (byte 18)",
        "locked.sh:1:1: error: cannot be read: Too many levels of symbolic links",
    ]
    assert [line[: len(end)] for line, end in zip(lines, ends, strict=True)] == ends


@pytest.mark.parametrize(
    "text",
    [
        "vllm serve m " + "-a " * 1_000_000,
        "vllm serve m " + "--nope 1 " * 9_000,
        "vllm serve m " + "".join(f"--nope{at} 1 " for at in range(9_000)),
        "vllm serve m --" + "x" * 1_000_000,
        "vllm serve m --port " + "9" * 1_000_000,
        "vllm serve m --hf-overrides" + ".a" * 400_000 + " 1",
        "vllm serve m --kv-transfer-config '" + "[" * 100_000 + "]" * 100_000 + "'",
        "vllm serve m --lora-modules '" + '{"a":' * 90_000 + "1" + "}" * 90_000 + "'",
        "vllm serve m " + "$(" * 50_000,
        "vllm serve m " + "'" * 99_999,
        "A=1 " * 100_000 + "vllm serve m --nope",
    ],
    ids=lambda text: text[:40] + str(len(text)),
)
def test_too_much_of_anything_is_told_in_a_few_lines(serve: Program, text: str) -> None:
    result = serve("check", serve.file(text, "run.sh"))
    assert result.code == 1
    assert max(map(len, result.out.splitlines())) < 3_000
    assert len(result.out) < PLENTY
    assert result.err == ""


def test_a_thousand_commands(serve: Program) -> None:
    lines = [f"vllm serve org/m{at} --port {8000 + at} -tp 2 --swap-space {at}" for at in range(500)]
    lines += [f"sglang serve org/m{at} --port {8000 + at} --tp-size 2 --torchao-config int8wo" for at in range(500)]
    result = serve("check", serve.file("\n".join(lines), "run.sh"), "--engine", "sglang@0.5.23", "--json")
    assert [line for _, line, _ in places(result)] == list(range(1, 1001))


def test_the_rest_of_a_file_is_checked(serve: Program) -> None:
    text = "vllm serve m --swap-space 4\nvllm serve 'm\n\nsglang serve m --torchao-config int8wo\n"
    found = places(serve("check", serve.file(text, "run.sh"), "--json"))
    assert found == [("removed-flag", 1, 14), ("unreadable", 2, 12), ("removed-flag", 4, 16)]
    result = serve("check", "--command", 'vllm serve m --swap-space 4 "open')
    assert result.out.splitlines()[2:4] == [
        '--command:1:29: error: the quote " is not closed [unreadable]',
        '    -> close it with "',
    ]
