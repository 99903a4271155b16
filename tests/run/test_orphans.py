"""Processes that a killed supervisor left, as real processes; who they belong to is found out from /proc."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from launcher.run import orphans
from launcher.run.orphans import Orphan
from launcher.run.owners import MARKER, running
from launcher.run.record import Record, boot, started
from tests.run.conftest import until
from tests.smi import install

SAY = "os.write(1, b'%d\\n' % os.getpid())"  # at once, for several write into one pipe
WAIT = f"import os, time; {SAY}; time.sleep(300)"
# An engine: a session of its own, a child in the same session and one in another.
LEADER = f"""
import os, subprocess, sys, time
os.setsid()
{SAY}
for apart in (False, True):
    subprocess.Popen([sys.executable, "-c", {WAIT!r}], start_new_session=apart)
time.sleep(300)
"""
# What holds the lock, starts an engine and waits to be killed, as a supervisor does.
SUPERVISOR = f"""
import fcntl, os, subprocess, sys, time
lock = open(sys.argv[1] + "/lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
subprocess.Popen([sys.executable, "-c", {LEADER!r}], env={{**os.environ, {MARKER!r}: sys.argv[1] + ":run-1"}})
time.sleep(300)
"""
# A process that has overwritten its environment with a title, as setproctitle does (clobbering what it was given).
TITLED = f"""
import ctypes, os, sys, time
words = open("/proc/self/stat").read().rpartition(")")[2].split()
start, end = int(words[47]), int(words[48])  # env_start and env_end: fields 50 and 51
ctypes.memset(start, 0, end - start)
{SAY}
time.sleep(300)
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")  # no nvidia-smi but that of a test
    monkeypatch.delenv(MARKER, raising=False)
    folder = tmp_path / "home" / "state" / "instances" / "x"
    folder.mkdir(parents=True)
    runs(folder)
    return folder


def runs(folder: Path) -> None:
    """The instance has had this one run, which began with this test."""
    (folder / "runs").write_text(f"run-1 {boot()} {started(os.getpid())}\n")


class Started:
    """Processes of a test; whatever of them is left is killed at its end."""

    def __init__(self) -> None:
        self.children: list[subprocess.Popen[str]] = []
        self.pids: set[int] = set()

    def __call__(self, program: str, *words: str, lines: int = 1, **options: Any) -> list[int]:
        """Start a program; the pids that it says, a line each."""
        argv = [sys.executable, "-c", program, *words]
        options.setdefault("start_new_session", True)  # as an engine is started
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **options)
        self.children.append(child)
        assert child.stdout
        found = [int(child.stdout.readline()) for _ in range(lines)]
        self.pids.update(found)
        return found

    def end(self) -> None:
        for pid in self.pids:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        for child in self.children:
            child.kill()
            child.wait()
            assert child.stdout
            child.stdout.close()


@pytest.fixture
def start() -> Iterator[Started]:
    started = Started()
    yield started
    started.end()


def record(folder: Path, pid: int, **other: Any) -> None:
    """The record of a run whose engine has the pid."""
    known = Record(folder.name, "run-1", boot(), engine_pid=pid, engine_start=started(pid))
    (folder / "record.json").write_text(json.dumps({**dataclasses.asdict(known), **other}))


def marked(folder: Path) -> dict[str, str]:
    return {**os.environ, MARKER: f"{folder}:run-1"}


def pids(found: list[Orphan]) -> set[int]:
    return {each.pid for each in found}


def test_nobody_is_an_orphan_while_the_supervisor_lives_and_all_are_when_it_is_killed(
    state: Path, start: Started
) -> None:
    engine = start(SUPERVISOR, str(state), lines=3)
    assert orphans.find() == []
    start.children[0].kill()
    start.children[0].wait()
    found = orphans.find()
    assert pids(found) == set(engine)
    assert {each.instance for each in found} == {"x"}
    assert {each.user for each in found} == {psutil.Process().username()}
    assert all("import os" in each.command and each.command.isprintable() for each in found)
    assert orphans.reap(found) == orphans.Reaped(tuple(found), ())
    assert orphans.find() == []
    assert not any(running(pid) for pid in engine)


def test_a_process_of_another_state_folder_is_never_ours(state: Path, start: Started, tmp_path: Path) -> None:
    other = tmp_path / "other" / "state" / "instances" / "x"
    other.mkdir(parents=True)
    (pid,) = start(WAIT, env=marked(other))
    record(state, pid)
    assert orphans.find() == []


def test_a_process_that_merely_mentions_the_mark_is_not_ours(state: Path, start: Started) -> None:
    start(WAIT, env={**os.environ, f"NOT_{MARKER}": f"{state}:run", "SERVE_RUNNER": f"{state}:run"})
    start(WAIT, env={**os.environ, MARKER: f"{state.parent}:run"})
    start(WAIT, env={**os.environ, MARKER: f"{state}/../../../elsewhere:run"})
    assert orphans.find() == []


@pytest.mark.parametrize("run", ["run-2", "", "../run-1"])
def test_a_run_that_there_never_was_proves_nothing(state: Path, start: Started, run: str) -> None:
    start(WAIT, env={**os.environ, MARKER: f"{state}:{run}"})
    assert orphans.find() == []


def test_an_instance_that_is_forgotten_proves_nothing(state: Path, start: Started) -> None:
    start(WAIT, env=marked(state))
    (state / "runs").unlink()
    assert orphans.find() == []
    state.rmdir()
    assert orphans.find() == []


def test_a_process_older_than_the_run_is_not_of_it(state: Path, start: Started) -> None:
    (pid,) = start(WAIT, env=marked(state))
    (state / "runs").write_text(f"run-1 {boot()} {(started(pid) or 0) + 1}\n")
    assert orphans.find() == []
    (state / "runs").write_text(f"run-1 another-boot {started(pid)}\n")
    assert orphans.find() == []


def test_what_a_shell_starts_with_an_engines_environment_is_the_shells(state: Path, start: Started) -> None:
    # Where the tests themselves were entered from outside of a container, the shell is not to be seen: its number is 0.
    start(WAIT, env=marked(state), start_new_session=False)
    assert orphans.find() == []


def test_a_supervisor_with_the_mark_of_another_instance_is_none_of_its_orphans(state: Path, start: Started) -> None:
    (pid,) = start(WAIT, env=marked(state))
    other = state.with_name("y")
    other.mkdir()
    (other / "lock").write_text(f"{pid} {started(pid)} {boot()}\n")
    assert pids(orphans.find()) == {pid}
    with (other / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert orphans.find() == []


def test_a_state_folder_behind_a_link_is_the_same(
    state: Path, start: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pid,) = start(WAIT, env=marked(state))
    (tmp_path / "link").symlink_to(tmp_path / "home")
    (other,) = start(WAIT, env=marked(tmp_path / "link" / state.relative_to(tmp_path / "home")))
    assert pids(orphans.find()) == {pid, other}
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "link"))
    assert pids(orphans.find()) == {pid, other}


def test_a_title_over_the_environment_leaves_the_session(state: Path, start: Started) -> None:
    (pid,) = start(TITLED, env=marked(state), start_new_session=True)
    assert Path(f"/proc/{pid}/environ").read_bytes().strip(b"\0") == b""
    assert orphans.find() == []
    record(state, pid)
    assert pids(orphans.find()) == {pid}


def test_a_session_whose_leader_has_ended_still_tells(state: Path, start: Started) -> None:
    program = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {TITLED!r}]); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    start.children.append(child)
    assert child.stdout
    assert child.stdin
    pid = int(child.stdout.readline())
    start.pids.add(pid)
    record(state, child.pid)
    child.stdin.close()
    child.wait()
    assert pids(orphans.find()) == {pid}
    os.chown(state, 65534, -1)
    assert orphans.find() == []  # another user's run
    os.chown(state, os.geteuid(), -1)
    record(state, child.pid, engine_start=1 << 60)
    assert orphans.find() == []  # younger than that process: the number was given out again


@pytest.mark.parametrize(
    "other",
    [
        {"engine_start": 1},  # the number was another process's, which started before this one: it is not the leader
        {"boot": "00000000-0000-0000-0000-000000000000"},
        {"engine_start": None},
        {"engine_start": 1 << 60},
    ],
)
def test_a_reused_pid_is_not_trusted(state: Path, start: Started, other: dict[str, Any]) -> None:
    (pid,) = start(TITLED, start_new_session=True)
    record(state, pid, **other)
    assert orphans.find() == []


def test_a_session_of_a_whole_environment_without_the_mark_is_somebody_elses(state: Path, start: Started) -> None:
    (pid,) = start(WAIT, start_new_session=True)
    record(state, pid)
    assert orphans.find() == []


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "[" * 100_000, '{"name": 3}', "\0" * 10])
def test_with_a_damaged_record_the_mark_alone_decides(state: Path, start: Started, text: str) -> None:
    (pid,) = start(WAIT, env=marked(state))
    start(TITLED, start_new_session=True)
    (state / "record.json").write_text(text)
    assert pids(orphans.find()) == {pid}


def test_a_lock_that_is_none_does_not_prove_that_nobody_lives(state: Path, start: Started) -> None:
    (pid,) = start(WAIT, env=marked(state))
    (state / "record.json").mkdir()
    assert pids(orphans.find()) == {pid}
    (state / "lock").symlink_to("/nowhere/at/all")
    assert orphans.find() == []


def test_where_it_cannot_be_known_whether_a_supervisor_lives_nobody_is_an_orphan(start: Started) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders let nobody else in
        home, state = Path(name), Path(name, "state", "instances", "x")
        state.mkdir(parents=True)
        home.chmod(0o755)
        runs(state)
        os.chown(state, 65534, 65534)
        (state / "lock").touch(mode=0o600)
        program = f"import os; os.setuid(65534); {SAY}; os.execv('/bin/sleep', ['sleep', '300'])"
        (pid,) = start(program, env=marked(state))
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "a process of nobody")
        ask = f"""
import os, psutil
from launcher.run import orphans
os.setuid(65534)
print([each.pid for each in orphans.find()])
os.kill({pid}, 0)
"""
        environment = {**os.environ, "SERVE_HOME": name}
        done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=False)
        assert done.stdout == "[]\n", done.stderr
        (state / "lock").chmod(0o644)
        done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=False)
        assert done.stdout == f"[{pid}]\n"


def test_whoever_holds_the_name_itself_finds_what_was_left_under_it(state: Path, start: Started) -> None:
    (pid,) = start(WAIT, env=marked(state))
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert orphans.find() == []
        assert pids(orphans.find("x")) == {pid}


def test_this_process_and_those_above_it_are_spared(state: Path) -> None:
    program = "from launcher.run import orphans; print([each.pid for each in orphans.find()])"
    shell = f"exec 3>&1; {sys.executable} -c '{program}' >&3; true"
    found = subprocess.run(["/bin/sh", "-c", shell], env=marked(state), capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_process_that_sees_other_files_there_is_not_ours(state: Path, start: Started) -> None:
    hidden = f"mount -t tmpfs none {state.parent} && exec {shlex.join([sys.executable, '-c', WAIT])}"
    argv = ["import os, sys; os.execvp('unshare', ['unshare', '-rm', 'sh', '-c', sys.argv[1]])", hidden]
    start(*argv, env=marked(state))
    assert orphans.find() == []


def test_reaping_trusts_no_reused_pid(state: Path, start: Started) -> None:
    (pid,) = start(WAIT, env=marked(state))
    (found,) = orphans.find()
    earlier = Orphan(found.pid, found.start - 1, found.instance, found.user, found.command)
    assert orphans.reap([earlier]) == orphans.Reaped((earlier,), ())
    assert pids(orphans.find()) == {pid}
    assert orphans.reap([found]).ended == (found,)
    assert orphans.find() == []
    assert orphans.reap([found]).ended == (found,)  # gone already


def test_what_may_not_be_ended_is_told() -> None:
    theirs = Orphan(1, started(1) or 0, "x", "root", "init")
    program = f"""
import os
from launcher.run.orphans import Orphan, reap
if os.geteuid() == 0:
    os.setuid(65534)
print([why for _, why in reap([{theirs!r}]).left])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == '["it is root\'s, and this user may not end it"]\n'


def test_commands_are_told_without_secrets_and_control_characters(state: Path, start: Started) -> None:
    start(WAIT, "--api-key", "sk-secret", "--hf-token=hf_secret", "\x1b]0;title\x07x\ny", env=marked(state))
    (found,) = orphans.find()
    assert found.command.endswith("--api-key (hidden) --hf-token (hidden) xy")


def test_who_holds_gpu_memory_is_told_with_whose_it_is(state: Path, start: Started, tmp_path: Path) -> None:
    (ours,), (foreign,) = start(WAIT, env=marked(state)), start(WAIT)
    apps = [(ours, 3000), (ours, 500), (foreign, 2000), (4_000_000, "[N/A]")]
    install(tmp_path)(apps=[{"pid": pid, "used_memory": used, "kept": True} for pid, used in apps])
    (orphan,) = orphans.find()
    assert orphan.gpu_bytes == 3500 << 20
    held = orphans.holders()
    assert [(each.pid, each.used_bytes, each.instance) for each in held] == [
        (ours, 3000 << 20, "x"),
        (ours, 500 << 20, "x"),
        (foreign, 2000 << 20, None),
        (4_000_000, None, None),
    ]
    assert held[2].user == psutil.Process().username()
    assert "import os" in held[2].command
    assert (held[3].user, held[3].command) == ("", "")


def test_without_a_gpu_nobody_holds_its_memory(state: Path, start: Started) -> None:
    start(WAIT, env=marked(state))
    assert orphans.holders() == []
    assert orphans.find()[0].gpu_bytes is None
