"""Instances on a host that does not cooperate: a full disk, files of another user, a port that was taken."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.run.record import boot, started
from tests.cli.conftest import Program
from tests.cli.test_instances import processes
from tests.run.conftest import free_port

# Its own mounts, so that the disk that is filled is a small one and nobody else's.
ON_A_SMALL_DISK = """
mkdir -p "$SERVE_HOME/state"
mount -t tmpfs -o size=600k tmpfs "$SERVE_HOME/state"
serve() { "$PYTHON" -m launcher "$@"; }
tell() { echo "== $1"; shift; serve "$@" 2>&1; echo "-> $?"; }
tell launch launch demo --name one --port "$PORT" --detach
cat /dev/zero > "$SERVE_HOME/state/filler" 2> /dev/null
tell ps ps --json
tell second launch demo --name two --port "$OTHER" --detach
tell restart restart one
tell wait wait one
tell logs logs one --tail 1
tell smoke smoke one
tell stop stop one
tell after ps --json
rm "$SERVE_HOME/state/filler"
tell again restart one
tell end stop one
"""


@pytest.fixture
def program(serve: Program) -> Iterator[Program]:
    serve.holds_vllm()
    yield serve
    for process in processes(serve):
        process.kill()


def test_a_full_disk_refuses_what_is_new_and_harms_nothing_that_runs(program: Program) -> None:
    variables = {"PYTHON": sys.executable, "PORT": str(free_port()), "OTHER": str(free_port())}
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", ON_A_SMALL_DISK],
        env=program.environment(variables),
        cwd=program.folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = {part.partition("\n")[0]: part.partition("\n")[2] for part in done.stdout.split("== ")[1:]}
    codes = {name: int(text.rpartition("-> ")[2]) for name, text in said.items()}
    assert "Traceback" not in done.stdout + done.stderr, done.stdout
    assert codes == {
        "launch": 0, "ps": 0, "second": 1, "restart": 1, "wait": 0, "logs": 0, "smoke": 0, "stop": 0, "after": 0,
        "again": 0, "end": 0,
    }, done.stdout  # fmt: skip
    assert "No space left on device" in said["second"]
    assert "No space left on device" in said["restart"]  # and what runs was not stopped for it
    (before,), (after,) = (json.loads(said[each].rpartition("-> ")[0]) for each in ("ps", "after"))
    assert (before["state"], after["state"]) == ("serving", "stopped")  # and nothing is left of what was refused
    assert processes(program) == []


def test_an_engine_that_the_oom_killer_ended_is_told_as_that(program: Program) -> None:
    counts = program.folder / "vmstat"
    counts.write_text("oom_kill 3\n")
    # The kernel's count is read from the host's where there is none of a control group.
    script = 'mount -t tmpfs none /sys/fs/cgroup && mount --bind "$COUNTS" /proc/vmstat && exec "$@"'
    words = program.argv("launch", "demo", "--name", "one", "--port", str(free_port()))
    launch = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *words],
        env=program.environment({"COUNTS": str(counts), "FAKE_START_S": "5", "FAKE_SIGNAL": "9"}),
        cwd=program.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert launch.stderr
    while "starting the engine" not in launch.stderr.readline():
        assert launch.poll() is None
    counts.write_text("oom_kill 4\n")
    _, err = launch.communicate(timeout=60)
    assert launch.returncode == 1
    assert "the host's memory" in err


def test_a_process_of_another_user_is_told_and_not_taken_for_stopped(program: Program) -> None:
    folder = program.home / "state" / "instances" / "one"
    folder.mkdir(parents=True)
    lock = folder / "lock"
    lock.touch()
    # Its owner: another user's process if this is root's test, a process of root's otherwise.
    as_nobody = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    limited = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]  # root without its privileges
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        holder = subprocess.Popen([*as_nobody, "sleep", "600"], pass_fds=[held.fileno()])
    pid = 1 if os.geteuid() else holder.pid
    try:
        lock.write_text(f"{pid} {started(pid)} {boot()}\n")
        done = subprocess.run(
            [*limited, *program.argv("stop", "one")],
            env=program.environment(),
            cwd=program.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 1, done.stderr
        assert "one belongs to user " in done.stderr
        assert "Traceback" not in done.stderr
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.wait()


def test_who_may_not_read_the_record_sees_that_it_lives(program: Program) -> None:
    folder = program.home / "state" / "instances" / "one"
    folder.mkdir(parents=True)
    lock, record = folder / "lock", folder / "record.json"
    lock.write_text(f"{os.getpid()} {started(os.getpid())} {boot()} serving\n")
    record.touch()
    limited = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]
    record.chmod(0)
    if not os.geteuid():
        os.chown(record, 65534, 65534)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        argv = [*limited, *program.argv("ps", "--json")]
        done = subprocess.run(argv, env=program.environment(), capture_output=True, text=True, check=True, timeout=60)
    (told,) = json.loads(done.stdout)
    assert (told["state"], told["supervisor_pid"]) == ("serving", os.getpid())
    assert told["detail"] == "its files cannot be read: Permission denied"


def test_an_instance_of_another_user_is_left_to_that_user(program: Program) -> None:
    folder = program.home / "state" / "instances" / "one"
    folder.parent.mkdir(parents=True)
    if os.geteuid():
        folder.symlink_to("/usr/lib")  # of root
    else:
        folder.mkdir()
        os.chown(folder, 65534, 65534)
    before = list(folder.iterdir())
    done = program("launch", "demo", "--name", "one", "--port", str(free_port()))
    assert done.code == 2
    assert f"one belongs to user {folder.owner()}" in done.err
    assert list(folder.iterdir()) == before


def test_an_instance_of_another_user_is_listed_as_unreadable(program: Program) -> None:
    for name in ("one", "two"):
        folder = program.home / "state" / "instances" / name
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    Path(program.home / "state" / "instances" / "one").chmod(0)
    limited = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]
    if not os.geteuid():
        os.chown(program.home / "state" / "instances" / "one", 65534, 65534)
    done = subprocess.run(
        [*limited, *program.argv("ps", "--json")],
        env=program.environment(),
        cwd=program.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = {each["name"]: each["detail"] for each in json.loads(done.stdout)}
    assert told == {
        "one": "its files cannot be read: Permission denied",
        "two": "its record is missing or damaged",
    }
