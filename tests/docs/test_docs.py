"""The documents: what is generated is current, what is linked exists, what is shown as a command runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import generate
import pytest
from typer.testing import CliRunner

from launcher.cli.app import program

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(page for folder in (".", "docs", "deploy", "benchmarks") for page in (ROOT / folder).glob("*.md"))
DEPLOYMENT = {"launch", "explain"}  # they take flags of the engine's beside their own options


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def shown(program: str) -> list[str]:
    """Every command line of a program that README shows: the lines of shell blocks, and code within sentences."""
    text = README.read_text()
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    found = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line.split(" #")[0].strip()) for line in lines]
    return sorted({line for line in found if line.startswith(f"{program} ") and not re.search(r"[\[|]|\.\.\.", line)})


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_table_of_keys_is_current() -> None:
    assert generate.KEYS.read_text() == generate.keys_text(), "run: python3 tools/generate.py keys"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name}: {target}"
        assert linked.is_relative_to(ROOT), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in re.findall(
        r"`((?:launcher|presets|tools|tests|docs|deploy|systemd|benchmarks)/[\w./@-]+)`", page.read_text()
    ):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader would be who has copied README's files: each YAML block under the name in its first line."""
    for block in blocks(README, "yaml"):
        name = re.match(r"# (\S+\.yaml)$", block.splitlines()[0])
        assert name, f"a YAML block of README does not name its file:\n{block}"
        (tmp_path / name[1]).write_text(block)
    return tmp_path


def test_commands_are_found() -> None:
    """So that a change of README's form does not leave the tests below with nothing to do."""
    assert len(shown("serve")) > 10
    assert len(shown("python3 tools/dev.py")) >= 2


@pytest.mark.parametrize("line", shown("serve"))
def test_a_command_of_serve_is_understood(line: str, folder: Path) -> None:
    name, *words = shlex.split(line)[1:]
    if name not in DEPLOYMENT:
        # every word is parsed before the help is shown: an unknown command or option is an error all the same
        result = CliRunner().invoke(program(), [name, *words, "--help"])
        assert result.exit_code == 0, result.output
        return
    if "--engine-python" in words:  # a place on the reader's host
        at = words.index("--engine-python")
        words[at : at + 2] = ["--engine", "vllm"]
    done = subprocess.run(
        [sys.executable, "-m", "launcher", name, *words, *(["--dry-run"] if name == "launch" else [])],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SERVE_HOME": str(folder), "SERVE_API_KEY": "sk-of-the-reader"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", shown("python3 tools/dev.py"))
def test_a_task_is_one_that_there_is(line: str) -> None:
    usage = subprocess.run([sys.executable, ROOT / "tools" / "dev.py"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    assert line in usage.stdout


@pytest.mark.parametrize(
    "preset", ["high_performance", "fp8_hopper", "balanced", "memory_optimized", "ultra_low_memory", "eagle3"]
)
def test_a_measured_row_is_the_data(preset: str) -> None:
    cells = []
    for engine in ("vllm-0.24.0", "sglang-0.5.17"):
        data = json.loads((ROOT / "benchmarks" / "results" / f"presets-h200-{engine}.json").read_text())
        (found,) = (each for each in data["results"] if each["preset"] == preset and not each.get("words"))
        facts = found["facts"]
        cells += [f"{found['ready_s']:.0f}", f"{facts['weights_gib']:.2f}", f"{facts['kv_tokens']:,}"]
        cells.append(f"{found['tokens_per_s']:.0f}")
    assert f"| `{preset}` | {' | '.join(cells)} |" in README.read_text().splitlines()


def test_the_cpu_numbers_are_the_data() -> None:
    data = json.loads((ROOT / "benchmarks" / "results" / "cpu-vllm-0.32.0.json").read_text())
    results = [each for each in data["results"] if each["flags"][:1] == ["--enforce-eager"]]
    rates: dict[bool, list[float]] = {False: [], True: []}  # by whether weights are quantized to fp8
    for each in results:
        fp8 = "fp8_per_channel" in each["flags"]
        if "tokens_per_s" in each and (fp8 or len(each["flags"]) == 1):
            rates[fp8].append(each["tokens_per_s"])
    assert max(rates[True]) / min(rates[False]) == pytest.approx(1 / 5, abs=0.02)
    assert "at best a fifth of the speed" in " ".join(README.read_text().split())
    sampled = {len(each["flags"]) > 1: each["sampled"] for each in results if "sampled" in each}
    assert sampled[False]["unlikely"] == 0
    said = f"{sampled[True]['unlikely']} of {sampled[True]['tokens']}"
    assert said in (ROOT / "launcher" / "engines" / "vllm.py").read_text()


def test_the_excerpt_is_what_explain_prints(folder: Path) -> None:
    (line,) = (each for each in shown("serve") if each.startswith("serve explain --config"))
    (excerpt,) = (each for each in blocks(README, "text") if each.lstrip().startswith("argument"))
    variables = {"PYTHONPATH": str(ROOT), "SERVE_HOME": str(folder), "SERVE_PORT": "8100", "PATH": os.environ["PATH"]}
    argv = [sys.executable, "-m", "launcher", *shlex.split(line)[1:]]
    done = subprocess.run(argv, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=60)
    printed = [each.rstrip() for each in done.stdout.splitlines()]
    assert [each for each in excerpt.splitlines() if each not in printed] == [], done.stderr
