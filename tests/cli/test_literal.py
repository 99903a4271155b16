"""Secrets on the command line: found wherever they can stand, and in no argv of a program that goes on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from launcher.cli.literal import find
from launcher.errors import ServeError
from tests.cli.conftest import ROOT, Program

KEY = "sk-this-is-the-key-itself"


@pytest.mark.parametrize(
    ("line", "without"),
    [
        (f"launch demo --api-key {KEY} --port 1", "launch --api-key env demo --port 1"),
        (f"explain --api-key={KEY} demo", "explain --api-key env demo"),
        (f"launch demo --set api_key={KEY}", "launch --api-key env demo"),
        (f"launch demo --set=api_key={KEY}", "launch --api-key env demo"),
        (f"launch demo --api_key {KEY}", "launch --api-key env demo"),
        (f"launch demo --api_key={KEY}", "launch --api-key env demo"),
        (f"launch demo --json -- --api-key {KEY} --seed 1", "launch --api-key env demo --json -- --seed 1"),
        (f"launch -- demo --api_key={KEY}", "launch --api-key env -- demo"),
        (f"launch --set args.vllm.--api-key={KEY}", "launch --api-key env"),
        (f"launch --set args.vllm.api_key={KEY}", "launch --api-key env"),
        (f"launch --set env.VLLM_API_KEY={KEY}", "launch --api-key env"),
        (f"service install one demo --api-key {KEY}", "service install --api-key env one demo"),
        (f"smoke http://x --api-key {KEY}", "smoke --api-key env http://x"),
        (f"--api-key {KEY}", "--api-key env"),
    ],
)
def test_a_key_is_found_wherever_it_stands(line: str, without: str) -> None:
    found = find(line.split())
    assert found is not None
    assert " ".join(found.words) == without
    assert found.variables == {"SERVE_API_KEY": KEY}
    assert KEY not in found.warning.what + found.warning.fix


@pytest.mark.parametrize(
    ("line", "without", "variables"),
    [
        ("launch --set env.HF_TOKEN=hf_abc", "launch --set env.HF_TOKEN=null", {"HF_TOKEN": "hf_abc"}),
        ("launch --set=env.A_PASSWORD=a=b", "launch --set=env.A_PASSWORD=null", {"A_PASSWORD": "a=b"}),
        (
            f"launch --set env.HF_TOKEN=hf --api-key {KEY}",
            "launch --api-key env --set env.HF_TOKEN=null",
            {"HF_TOKEN": "hf", "SERVE_API_KEY": KEY},
        ),
    ],
)
def test_the_value_of_a_secret_variable_is_found(line: str, without: str, variables: dict[str, str]) -> None:
    found = find(line.split())
    assert found is not None
    assert " ".join(found.words) == without
    assert found.variables == variables


@pytest.mark.parametrize(
    "line",
    [
        "",
        "launch demo",
        "launch demo --api-key auto",
        "launch demo --api-key=env",
        "launch demo --api-key file:/run/secrets/key",
        "launch demo --set api_key=none",
        "launch demo --api-key",
        "launch demo --api-key=",
        "launch demo --api-key --context-length 32k",
        "launch demo --api-key atuo",
        "launch demo --api-key automatic",
        "launch demo --api-key sk-shrt",
        "launch demo --api-key /etc/passwd",
        f"launch demo --api-key sk:{KEY}",
        "launch demo --api-key " + "a" * 4097,
        "launch --set env.HF_TOKEN=null --set env.HF_HOME=/x --set env.TOKENIZERS_PARALLELISM=false",
    ],
)
def test_what_is_no_secret_stays_where_it_is(line: str) -> None:
    assert find(line.split()) is None


@pytest.mark.parametrize(
    "more", ["--api-key auto", "--api-key sk-another-key", "--set api_key=auto", f"-- --api-key={KEY}"]
)
def test_a_key_that_is_given_twice_is_refused(more: str) -> None:
    with pytest.raises(ServeError, match="api_key is given twice") as caught:
        find(["launch", "--api-key", KEY, *more.split()])
    assert KEY not in caught.value.what + caught.value.fix


# The ways in which the program is started: as a module, as the script that an installation makes, and by a call.
SCRIPT = "import sys\nfrom launcher.__main__ import main\nsys.exit(main())\n"


@pytest.mark.parametrize("way", ["module", "script", "executable", "call"])
def test_the_program_is_started_again_as_it_was_started(serve: Program, way: str) -> None:
    script = serve.folder / "serve script"
    script.write_text(f"#!{sys.executable} -I\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n{SCRIPT}")
    script.chmod(0o755)
    started = {
        "module": [sys.executable, "-X", "utf8", "-m", "launcher"],
        "script": [sys.executable, str(script)],
        "executable": ["./serve script"],
        "call": [sys.executable, "-c", SCRIPT],
    }
    done = subprocess.run(
        [*started[way], "launch", "demo", "--api-key", KEY, "--engine", "vllm@0.33.0", "--dry-run", "--json"],
        env=serve.environment(),
        cwd=serve.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["api_key"] == "$SERVE_API_KEY as VLLM_API_KEY"
    first, second = done.stderr.splitlines()
    assert first.startswith("serve: what belongs into SERVE_API_KEY stood on the command line")
    assert "the shell's history still has" in second
    assert KEY not in done.stdout + done.stderr
