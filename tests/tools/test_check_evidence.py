"""The check of evidence, run as its users run it, on small wheels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "check_evidence.py"

CACHE = "\n".join(["# a file", *([""] * 8), "swap_space: float = 4", *([""] * 8), 'getenv("VLLM_SWAP")', ""])
PARSER = 'parser.add_argument("--new-name", "-O")\n\n\n\n\nuse --old_name.part\n'


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name, members in {
        "vllm-0.17.1-1-cp38-abi3-any.whl": {"vllm/config/cache.py": CACHE, "vllm/args.py": PARSER},
        "sglang-0.5.9-py3-none-any.whl": {"sglang/args.py": 'field = A("--mem-fraction")\n'},
        "sglang-0.5.9.post1-py3-none-any.whl": {},
    }.items():
        with zipfile.ZipFile(folder / name, "w") as wheel:
            for path, text in members.items():
                wheel.writestr(path, text)
    return folder


def check(wheels: Path, text: str) -> tuple[int, str]:
    file = wheels.parent / "rows.yaml"
    file.write_text(dedent(text))
    argv = [sys.executable, str(TOOL), "--wheels", str(wheels), str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "row",
    [
        '{nothing: gone, evidence: "vllm 0.17.1 vllm/config/cache.py:10"}',
        '{nothing: gone, evidence: "vllm 0.17.1 vllm/config/cache.py:13"}',
        '{flag: --new-name, evidence: ["vllm 0.17.1 vllm/args.py:1", "vllm 0.17.1 vllm/config/cache.py:7"]}',
        '{words: "--x 1 --old-name.part=2", evidence: "vllm 0.17.1 vllm/args.py:6"}',
        '{values: {1: "--new-name yes"}, evidence: "vllm 0.17.1 vllm/args.py:1"}',
        '{environment: "VLLM_SWAP={}", evidence: "vllm 0.17.1 vllm/config/cache.py:19"}',
        '{nothing: "see --new-name", evidence: "vllm 0.17.1 vllm/args.py:1"}',
        '{nothing: it is a `float` now, evidence: "vllm 0.17.1 vllm/config/cache.py:10"}',
        '[{flag: -O, evidence: "vllm 0.17.1 vllm/args.py:2"}, {nothing: -O, evidence: "vllm 0.17.1 vllm/args.py:1"}]',
        '{nothing: gone, evidence: "vllm 0.17.1 vllm/config/cache.py:2 # a  file"}',
        '{4: {value: old_name, evidence: "vllm 0.17.1 vllm/args.py:6"}}',
        '{4: {value: 5, evidence: "vllm 0.17.1 vllm/config/cache.py:10"}}',
    ],
)
def test_a_row_holds_where_one_of_its_words_stands_near_the_line(wheels: Path, row: str) -> None:
    assert check(wheels, f"flags: {{vllm: {{--swap-space: {row}}}}}")[0] == 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{nothing: x, evidence: "vllm 0.17.1 vllm/config/cache.py:14"}', "none of swap-space within 3 lines"),
        ('{nothing: x, evidence: "vllm 0.17.1 vllm/config/cache.py:6"}', "none of swap-space within 3 lines"),
        ('{nothing: x, evidence: "vllm 0.17.1 vllm/config/cache.py:2000"}', "none of swap-space"),
        ('{nothing: x, evidence: "vllm 0.17.1 vllm/config/none.py:1"}', "the wheel has no such file"),
        ('{nothing: x, evidence: "vllm 0.17 vllm/config/cache.py:10"}', "no wheel of vllm-0.17"),
        ('{nothing: x, evidence: "0.17.1 vllm/config/cache.py:10"}', "is not RELEASE PATH:LINE"),
        ("{nothing: x, evidence: I know it}", "is not RELEASE PATH:LINE"),
        ('{nothing: x, evidence: "vllm 0.17.1 vllm/config/cache.py:10 swap = 4"}', "that text is not within 3 lines"),
        ("{nothing: x}", "rows.yaml: --swap-space: no evidence"),
        ("{flag: --new-name, evidence: []}", "rows.yaml: --swap-space: no evidence"),
        ('{flag: --new, evidence: "vllm 0.17.1 vllm/args.py:1"}', "none of new, swap-space"),
        ('{flag: --name, evidence: "vllm 0.17.1 vllm/args.py:1"}', "none of name, swap-space"),
    ],
)
def test_an_entry_that_does_not_hold_is_named(wheels: Path, row: str, said: str) -> None:
    code, output = check(wheels, f"flags: {{vllm: {{--swap-space: {row}}}}}")
    assert (code, "1 of them do not hold" in output) == (1, True)
    assert said in output


def test_rows_that_compare_engines_and_rows_of_variables_are_checked_too(wheels: Path) -> None:
    code, output = check(
        wheels,
        """
        rows:
          - {vllm: --new-name, sglang: --mem-fraction, values: {a: b},
             evidence: ["vllm 0.17.1 vllm/args.py:1", "sglang 0.5.9 sglang/args.py:1"]}
          - {sglang: --other, nothing: it has none, evidence: "sglang 0.5.9 sglang/args.py:1"}
        variables:
          vllm:
            VLLM_SWAP: {until: "0.17.1", nothing: x, evidence: "vllm 0.17.1 vllm/config/cache.py:19"}
            VLLM_NONE: {until: "0.17.1", nothing: x, evidence: "vllm 0.17.1 vllm/config/cache.py:19"}
        """,
    )
    assert (code, output.count("\n")) == (1, 3), output
    assert "rows.yaml: --other: sglang 0.5.9 sglang/args.py:1: none of other" in output
    assert "rows.yaml: VLLM_NONE: vllm 0.17.1 vllm/config/cache.py:19: none of VLLM_NONE" in output
    assert "5 entries of evidence, 2 of them do not hold" in output


def test_a_file_that_is_not_there_is_said(wheels: Path) -> None:
    argv = [sys.executable, str(TOOL), "--wheels", str(wheels), str(wheels / "none.yaml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "no such file" in done.stderr
