"""Checks that hang, fail or are killed: each is a finding, and none ends the doctor."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from launcher.doctor.examine import examine
from launcher.doctor.finding import Finding

FINE = Finding("ok", "one", "fine")


def hang() -> list[Finding]:
    time.sleep(1e6)
    return []


def fail() -> list[Finding]:
    raise ZeroDivisionError("a defect")


def leave() -> list[Finding]:
    sys.exit("gone")


def end() -> list[Finding]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def say_much() -> list[Finding]:
    return [Finding("ok", "much", "x" * 1_000_000)]


def say_no_text() -> list[Finding]:
    return [Finding("warning", "files", os.fsdecode(b"\xff.log"))]


def test_findings_come_with_the_gravest_first() -> None:
    found = [Finding(level, "two", "how it is", "what to do") for level in ("ok", "error", "warning")]
    assert examine({"one": lambda: [FINE], "two": lambda: found}) == [found[1], found[2], FINE, found[0]]


def test_a_check_that_does_not_end_is_told() -> None:
    found = examine({"slow": hang, "one": lambda: [FINE]}, timeout_s=0.5)
    assert [(each.level, each.subject) for each in found] == [("error", "slow"), ("ok", "one")]
    assert "does not end" in found[0].what
    assert os.wait()[1] == signal.SIGKILL  # which examine does not wait for


def test_a_check_that_fails_is_told_with_its_reason() -> None:
    whats = [each.what for each in examine({"a": fail, "b": leave, "c": end})]
    assert whats == [
        "the check failed: ZeroDivisionError: a defect",
        "the check failed: SystemExit: gone",
        "the check failed: it was killed",
    ]


def test_a_folder_that_may_not_be_used_is_told_with_what_to_do() -> None:
    found = examine({"disk": lambda: list(Path("/proc/self/stat/folder").iterdir())})  # type: ignore[arg-type]
    assert [(each.level, each.subject, each.what) for each in found] == [
        ("error", "disk", "/proc/self/stat/folder: Not a directory")
    ]
    assert found[0].fix == "one of the folders above it is a file: choose another folder"


def test_long_findings_and_names_that_are_no_text_arrive() -> None:
    found = examine({"much": say_much, "files": say_no_text})
    assert [(each.subject, len(each.what)) for each in found] == [("files", 5), ("much", 1_000_000)]
    assert found[0].what == "?.log"
