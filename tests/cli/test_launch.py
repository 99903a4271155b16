"""`serve launch` from the outside: what is refused, what a dry run prints, and that a launch runs just that."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import PATIENCE_S, Program

KEY = "sk-this-is-the-key-itself"


def free_port() -> str:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return str(attempt.getsockname()[1])


# words of the command line, and what the one message says: where, what, what to do
REFUSED: list[tuple[str, str]] = [
    (
        "--set contxt_length=5",
        "serve: --set contxt_length: 'contxt_length' is not a key\n  -> did you mean 'context_length'?",
    ),
    ("--set nonsense", "serve: --set: 'nonsense' is not KEY=VALUE\n  -> write --set context_length=32k"),
    ("--port eighty", "serve: --port: port: 'eighty' is not a whole number\n  -> port: The TCP port to bind."),
    ("--port 70000", "serve: --port: port: '70000' is not between 1 and 65535\n  -> port: The TCP port to bind."),
    ("--weights int5", "serve: --weights: weights: 'int5' holds 'int5'"),
    ("--kv-cache fp9", "serve: --kv-cache: kv_cache: 'fp9' is none of auto, fp8"),
    ("--memory-fraction 80", "serve: --memory-fraction: memory_fraction: '80' is not above 0 and at most 1"),
    ("--preset balancd", "serve: --preset: 'balancd' is not a preset\n  -> did you mean 'balanced'?"),
    ("--preset no.yaml", "serve: --preset: there is no file 'no.yaml'\n  -> give the path of a YAML file"),
    (
        "--config no.yaml",
        "serve: no.yaml: cannot be read: No such file or directory\n  -> give the path of a YAML file",
    ),
    ("--config .", "serve: .: cannot be read: Is a directory\n  -> give the path of a YAML file"),
    ("/no/such/folder", "serve: MODEL: there is no folder '/no/such/folder'\n  -> /no/such does not exist"),
    ("--model ./nothing", "serve: --model: there is no folder './nothing'"),
    ("demmo", "serve: MODEL: model 'demmo' is neither a folder nor a repository id\n  -> did you mean 'demo'?"),
    ("org/name --source local", "serve: --source: source is local, but model 'org/name' is no folder of this host"),
    ("demo --name a/b", "serve: --name: 'a/b' is no name for an instance"),
    (
        "demo --host 0.0.0.0",
        "serve: --host: host 0.0.0.0 would serve other machines without an API key\n  -> add --api-key",
    ),
    ("demo --engine vlm", "serve: --engine: engine: 'vlm' is not auto, vllm, sglang or one of them with @VERSION"),
    (
        "demo --engine vllm@9.9",
        "serve: --engine: the flags of vLLM 9.9 are not known\n  -> 0.11.0 to 0.33.0 are known: serve releases vllm",
    ),
    ("demo --engine vllm@x", "serve: --engine: 'x' is not a version of vLLM\n  -> write it like vllm@0.32.0"),
    ("demo --engine-version 9.9", "serve: --engine-version: the flags of vLLM 9.9 are not known"),
    ("demo --engine-python /no/python", "serve: --engine-python: /no/python is no Python\n  -> give the python of"),
    (
        "demo --engine vllm --tp-size 4",
        "serve: vLLM 0.32.0 has no flag --tp-size\n  -> it is a flag of SGLang; write --tens",
    ),
    (
        "demo --engine sglang --torchao-config int4wo-128",
        "no flag --torchao-config\n  -> SGLang had it until 0.5.17; write",
    ),
    (
        "demo --engine vllm --max-num-seqs 5 --max-concurrency 6",
        "serve: max_concurrency is given twice: 6 by --max-con",
    ),
    ("demo --model other", "serve: model is given twice: other by --model, demo by MODEL\n  -> keep one of the two"),
    (
        "demo --scheduling longest_prefix --engine vllm",
        "serve: --scheduling: scheduling longest_prefix: vLLM has no such",
    ),
    ("demo other", "serve: 'other' is one word too many: MODEL is 'demo' already"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=[line for line, _ in REFUSED])
def test_bad_input_is_one_message_and_nothing_else(serve: Program, line: str, message: str) -> None:
    told = serve("launch", *line.split())
    assert (told.code, told.out, told.files) == (2, "", ())
    assert message in told.err
    assert told.err.count("serve: ") == 1
    assert "\n  -> " in told.err


FILES: list[tuple[str, str]] = [
    ("contxt_length: 5\n", "serve: mine.yaml:1: 'contxt_length' is not a key\n  -> did you mean 'context_length'?"),
    ("dtype: half\nport: [1]\n", "serve: mine.yaml:2: port is a list\n  -> port: The TCP port to bind."),
    ("port: 1\nport: 2\n", "serve: mine.yaml:2: 'port' stands twice (first in line 1)"),
    ("extends: mine.yaml\n", "serve: mine.yaml:1: extends goes in a circle"),
    ("extends: [balanced]\n", "serve: mine.yaml:1: extends is not one line of text"),
    ("extends: balancd\n", "serve: mine.yaml:1: 'balancd' is not a preset\n  -> did you mean 'balanced'?"),
    ("a: &a [1]\nb: *a\n", "serve: mine.yaml:1: anchors and aliases are not used here"),
    ("port: {\n", "serve: mine.yaml:2: is not YAML"),
    ("args: {vllm: {--nope: 1}}\n", "serve: mine.yaml:1: vLLM 0.32.0 has no flag --nope"),
    (f"api_key: {KEY}\n", "serve: mine.yaml:1: api_key: what is given is not auto, env, file, file:PATH or none"),
    (f"args: {{vllm: {{--api-key: {KEY}}}}}\n", "serve: mine.yaml:1: --api-key is not passed on"),
    (f"env: {{VLLM_API_KEY: {KEY}}}\n", "serve: mine.yaml:1: env: VLLM_API_KEY would put the key into a file"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_a_bad_file_is_told_with_its_line(serve: Program, text: str, message: str) -> None:
    told = serve("launch", "demo", "--engine", "vllm", "--config", serve.file(text))
    assert (told.code, told.out, told.files) == (2, "", ())
    assert message in told.err
    assert KEY not in told.err


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SERVE_PROT": "1"}, "SERVE_PROT is not a variable of serve\n  -> did you mean 'SERVE_PORT'?"),
        ({"SERVE_PORT": "x"}, "serve: SERVE_PORT: port: 'x' is not a whole number"),
        ({"SERVE_MODEL": "a\nb"}, "serve: SERVE_MODEL: model: 'a\\nb' holds a control character"),
    ],
)
def test_a_bad_variable_is_told_by_its_name(serve: Program, variables: dict[str, str], message: str) -> None:
    told = serve("launch", "--dry-run", environment=variables)
    assert (told.code, told.out, told.files) == (2, "", ())
    assert message in told.err


def test_a_literal_key_is_never_told_back(serve: Program) -> None:
    for words in (("--api-key", KEY), (f"--api-key={KEY}",), ("--set", f"api_key={KEY}"), ("--", f"--api-key={KEY}")):
        told = serve("launch", "demo", *words)
        assert (told.code, told.files) == (2, ())
        assert KEY not in told.out + told.err
        assert "SERVE_API_KEY" in told.err


def test_all_problems_of_a_file_are_told_at_once(serve: Program) -> None:
    told = serve("launch", "--config", serve.file("prot: 1\nport: x\nkv_cache: fp9\n"))
    assert [line.split(":")[2] for line in told.err.splitlines() if line.startswith("serve: ")] == ["1", "2", "3"]


def test_without_an_engine_it_is_said_how_to_get_one(serve: Program) -> None:
    told = serve("launch", "demo", "--preset", "balanced")
    assert (told.code, told.out, told.files) == (2, "", ())
    assert told.err == (
        "serve: vLLM 0.32.0 is not installed on this host\n  -> run: serve engines install vllm@0.32.0 --device cpu\n"
    )


def test_a_port_in_use(serve: Program) -> None:
    serve.holds_vllm()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        told = serve("launch", "demo", "--port", str(port))
    assert (told.code, told.out, told.files) == (1, "", ())
    assert f"serve: port {port} of 127.0.0.1 is in use by process {os.getpid()}" in told.err
    assert told.err.endswith("  -> choose another --port, or stop it\n")


def test_the_default_model_is_said_aloud(serve: Program) -> None:
    told = serve("launch", "--dry-run")
    assert "# model: none was named: Qwen/Qwen3-0.6B is the default for a host without a GPU\n" in told.err
    assert "none was named" not in serve("launch", "Qwen/Qwen3-0.6B", "--dry-run").err


def dry_run(serve: Program, *words: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    told = serve("launch", *words, "--dry-run", "--json", environment=environment)
    assert (told.code, told.err, told.files) == (0, "", ())
    value: dict[str, Any] = json.loads(told.out)
    return value


def test_a_dry_run_prints_a_command_for_a_shell(serve: Program) -> None:
    words = ("demo", "--engine", "vllm@0.33.0", "--set", "env.A=x y", "--set", 'args.vllm.hf_overrides={"a": "b c"}')
    told = serve("launch", *words, "--dry-run")
    assert (told.code, told.files) == (0, ())
    assert all(line.startswith("# ") for line in told.err.splitlines())
    argv = dry_run(serve, *words)["argv"]
    shows = serve.folder / "shows"
    shows.write_text('#!/bin/sh\nprintf "%s\\n" "$A" "$@"\n')
    shows.chmod(0o755)
    script = told.out.replace(argv[0], str(shows), 1)
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == ["x y", *argv[1:]]


def test_the_fields_of_a_dry_run(serve: Program) -> None:
    value = dry_run(serve, "demo", "--preset", "balanced", "--engine", "sglang@0.5.17")
    assert set(value) == {
        "name", "engine", "device", "distribution", "installed", "model", "demo", "served_name", "argv", "environment",
        "api_key", "base_url", "arguments", "decisions",
    }  # fmt: skip
    assert (value["engine"], value["installed"], value["demo"]) == ("sglang@0.5.17", False, True)
    flat = [word for each in value["arguments"] for word in each["words"]]
    assert value["argv"][-len(flat) :] == flat
    assert all(each["origin"] and each["layer"] for each in value["arguments"])


@pytest.mark.parametrize("engine", ["vllm@0.33.0", "sglang@0.5.23"])
def test_a_key_is_in_no_output(serve: Program, engine: str) -> None:
    environment = {"SERVE_API_KEY": KEY}
    words = ("demo", "--engine", engine, "--config", serve.file("env: {HF_TOKEN: hf_secret, A_PASSWORD: hf_secret}\n"))
    for line in (("launch", *words, "--dry-run"), ("launch", *words, "--dry-run", "--json"), ("explain", *words)):
        told = serve(*line, environment=environment)
        assert (told.code, told.files) == (0, ())
        assert KEY not in told.out + told.err
        assert "hf_secret" not in told.out + told.err
        assert "HF_TOKEN" in told.out
        assert "$SERVE_API_KEY" in told.out + told.err


class Launched:
    """A launch that runs; its output in files."""

    def __init__(self, serve: Program, words: tuple[str, ...], environment: dict[str, str]) -> None:
        self.out, self.err = serve.folder / "out", serve.folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                serve.argv("launch", *words),
                env=serve.environment(environment),
                cwd=serve.folder,
                stdout=out,
                stderr=err,
            )

    def until_ready(self) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while "ready" not in self.out.read_text():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < end_s, self.err.read_text()
            time.sleep(0.05)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)


def test_a_launch_runs_what_the_dry_run_printed(serve: Program) -> None:
    serve.holds_vllm()
    words = ("demo", "--port", free_port(), "--max-num-seqs", "7", "--name", "mine")
    environment = {"SERVE_API_KEY": KEY, "FAKE_PRINT_KEY": "1"}
    expected = dry_run(serve, *words, environment=environment)["argv"]
    launched = Launched(serve, words, environment)
    try:
        launched.until_ready()
        engines = [each.cmdline() for each in psutil.Process(launched.process.pid).children(recursive=True)]
        smoke = serve("smoke", "mine", environment={"SERVE_API_KEY": KEY})
        again = serve("launch", *words[:-1], "another", environment=environment)
    finally:
        code = launched.end()
    assert expected in engines
    assert code == 130
    assert (smoke.code, again.code) == (0, 1)
    assert "is in use by the instance mine (serve stop mine)" in again.err
    told = launched.out.read_text() + launched.err.read_text() + smoke.out
    assert "ready: http://127.0.0.1:" in told
    assert "random weights: its answers mean nothing" in told
    assert "--preset" not in told
    assert KEY not in told
    assert not [path for path in serve.home.rglob("*") if path.is_file() and KEY in path.read_text(errors="replace")]


def test_ready_as_json(serve: Program) -> None:
    serve.holds_vllm()
    port = free_port()
    launched = Launched(serve, ("demo", "--port", port, "--json"), {})
    try:
        launched.until_ready()
    finally:
        launched.end()
    report = json.loads(launched.out.read_text().splitlines()[0])
    assert report["ready"] is True
    assert report["base_url"] == f"http://127.0.0.1:{port}"
    assert report["secret"] is None
    assert Path(report["log"]).is_file()


def test_the_end_of_an_engine_while_it_starts(serve: Program) -> None:
    serve.holds_vllm()
    told = serve("launch", "demo", "--port", free_port(), environment={"FAKE_EXIT": "3"})
    assert told.code == 1
    assert "the fake engine was told to fail" in told.err
    assert "engine.log" in told.err
