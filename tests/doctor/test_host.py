"""Disks, limits, memory and shared memory, each made too small for real."""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import resource
import shlex
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from launcher.doctor import folders, limits, memory, shared_memory
from launcher.doctor.finding import Finding
from launcher.run.record import Record, boot
from launcher.settings import private_folder
from tests.doctor.conftest import ASK, PATIENCE_S, ROOT, SHELL, Host

GIB = 1 << 30
LONG_AGO_S = 1_000_000_000
GROUPS = "mount -t tmpfs none /sys/fs/cgroup; mkdir -p /sys/fs/cgroup/memory"


def limited(*words: str) -> list[Finding]:
    """What is found of the limits by a process that prlimit has set some for."""
    argv = ["prlimit", "--nproc=4096:4096", "--core=0", *words, sys.executable, "-c", ASK, "limits.check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return [Finding(**each) for each in json.loads(done.stdout)]


def test_limits_that_suffice() -> None:
    """The engines raise the soft limit of open files by themselves; the hard one is this host's, maybe for good."""
    (found,) = limited("--nofile=1024:")
    enough = resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= limits.FILES
    assert (found.level, found.subject) == (("ok", "limits") if enough else ("warning", "open files"))


@pytest.mark.parametrize(
    ("word", "subject", "level", "said", "fix"),
    [
        ("--nofile=1024:10000", "open files", "warning", "at most 10000 files", "prlimit --pid $$ --nofile=65535"),
        ("--nproc=1000:4096", "processes", "warning", "1000 processes and threads", "--ulimit nproc=-1"),
        (f"--as={16 * GIB}", "address space", "error", "limited to 16 GiB", "ulimit -v unlimited"),
    ],
)
def test_limits_that_are_too_low(word: str, subject: str, level: str, said: str, fix: str) -> None:
    found = {each.subject: each for each in limited(word)}
    assert set(found) - {"open files"} == {subject} - {"open files"}
    assert found[subject].level == level
    assert said in found[subject].what
    assert fix in found[subject].fix


def test_core_files_without_end_and_locked_memory_with_rdma(host: Host) -> None:
    made = "echo '/var/crash/core.%p' >/mnt/pattern; mount --bind /mnt/pattern /proc/sys/kernel/core_pattern"
    rdma = "mount -t tmpfs none /sys/class; mkdir -p /sys/class/infiniband/mlx5_0"
    unlimited = f"mount -t tmpfs none /mnt; {made}; {rdma}; ulimit -l 64; prlimit --pid $$ --core=unlimited"
    found = {each.subject: each for each in host.ask("limits.check", unlimited)}
    assert "/var/crash/core.%p" in found["core files"].what
    assert found["core files"].fix.startswith("ulimit -c 0")
    assert "64 KiB" in found["locked memory"].what
    assert "LimitMEMLOCK=infinity" in found["locked memory"].fix


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_control_group_that_limits_memory(host: Host, file: str) -> None:
    (found,) = host.ask("memory.check", f"{GROUPS}; echo {2 * GIB} >/sys/fs/cgroup/{file}")
    place = Path("/sys/fs/cgroup", file).parent
    assert (found.level, f"limits it to 2.0 GiB ({place})" in found.what) == ("warning", True)
    assert "docker run --memory=8G" in found.fix


@pytest.mark.parametrize("value", ["max", str(1 << 62)])
def test_a_control_group_without_a_limit(host: Host, value: str) -> None:
    (found,) = host.ask("memory.check", f"{GROUPS}; echo {value} >/sys/fs/cgroup/memory.max")
    assert "control group" not in found.what


def test_memory_that_others_have(host: Host) -> None:
    facts = "echo 'MemTotal: 33554432 kB' >/mnt/facts; echo 'MemAvailable: 4194304 kB' >>/mnt/facts"
    mounts = f"{GROUPS}; mount -t tmpfs none /mnt; {facts}; mount --bind /mnt/facts /proc/meminfo"
    (found,) = host.ask("memory.check", mounts)
    assert (found.level, found.what) == ("warning", "4.0 of 32.0 GiB are available")


def test_memory_of_this_host() -> None:
    (found,) = memory.check()
    assert f"of {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB:.1f} GiB are available" in found.what


def test_shared_memory_as_docker_gives_it(host: Host) -> None:
    (found,) = host.ask("shared_memory.check", "mount -t tmpfs -o size=64m none /dev/shm")
    assert (found.level, found.subject) == ("warning", str(shared_memory.SHM))
    assert "64 of 64 MiB are free; 1,024 MiB are needed" in found.what
    assert "--shm-size=8g" in found.fix


def test_shared_memory_that_suffices(host: Host) -> None:
    (found,) = host.ask("shared_memory.check", "mount -t tmpfs -o size=2g none /dev/shm")
    assert (found.level, found.fix) == ("ok", "")


def test_shared_memory_that_is_missing_or_closed(host: Host) -> None:
    (found,) = host.ask("shared_memory.check", "mount -t tmpfs none /dev; ln -s /proc/self/fd /dev/fd; echo >/dev/null")
    assert (found.level, "No such file" in found.what) == ("error", True)
    (found,) = host.ask("shared_memory.check", "mount -t tmpfs -o ro none /dev/shm")
    assert (found.level, found.what) == ("error", "this user may not write there")


def test_files_of_killed_engines_are_named_with_their_size(host: Host) -> None:
    made = (
        "head -c 3145728 /dev/zero | tr '\\0' x >psm_1; echo x >sem.mp-2; echo x >other; touch -d @1 *; echo x >psm_3"
    )
    _, stale = host.ask("shared_memory.check", f"mount -t tmpfs none /dev/shm; cd /dev/shm; {made}")
    assert stale.level == "warning"
    assert stale.what.startswith("files that may have been left by engines: 2, of root, 3.0 MiB, ")
    assert stale.fix == "if nobody needs them: rm /dev/shm/psm_1 /dev/shm/sem.mp-2"


def test_many_files_are_told_in_sum(host: Host) -> None:
    made = "for i in $(seq 10 79); do >psm_$i; done; touch -d '2 hours ago' *; touch -d '30 minutes ago' psm_10"
    _, stale = host.ask("shared_memory.check", f"mount -t tmpfs none /dev/shm; cd /dev/shm; {made}")
    assert "engines: 70, of root, 0.0 MiB, 0.5 to 2.0 hours old;" in stale.what
    assert "rm /dev/shm/psm_10 /dev/shm/psm_11 /dev/shm/psm_12; 67 more: ls -lt /dev/shm;" in stale.fix


def test_a_file_that_a_process_has_open_or_mapped_is_in_use() -> None:
    path = shared_memory.SHM / f"psm_{os.getpid()}_test"
    path.write_bytes(bytes(mmap.PAGESIZE))
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    try:
        assert path in shared_memory.left_behind()
        with path.open("r+b") as file:
            assert path not in shared_memory.left_behind()
            mapped = mmap.mmap(file.fileno(), 0)
        assert path not in shared_memory.left_behind()
        mapped.close()
        assert path in shared_memory.left_behind()
    finally:
        path.unlink()


def test_a_queue_of_python_is_known_by_its_name() -> None:
    made = SharedMemory(create=True, size=16)
    path = shared_memory.SHM / made.name
    made.close()
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    try:
        assert path in shared_memory.left_behind()
    finally:
        made.unlink()


def full(host: Host, size: str) -> str:
    """Commands that put a disk of a size where serve keeps everything."""
    return f"mount -t tmpfs -o size={size} none {host.home}"


def test_disks_with_room(host: Host) -> None:
    found = {each.subject: each for each in host.ask("folders.disk", full(host, "64g"))}
    assert {each.level for each in found.values()} == {"ok"}
    assert set(found) == {"data", "state", "models"}
    assert str(host.state) in found["state"].what


def test_a_disk_with_little_room(host: Host) -> None:
    found = {each.subject: each for each in host.ask("folders.disk", full(host, "1g"))}
    assert [found[each].level for each in ("data", "state", "models")] == ["warning", "ok", "warning"]
    assert "an engine's environment takes 4 GB" in found["data"].what
    assert "the default model takes 2 GB" in found["models"].what
    assert "HF_HOME" in found["models"].fix
    host.gpus()
    found = {each.subject: each for each in host.ask("folders.disk", full(host, "20g"))}
    assert "the default model takes 30 GB" in found["models"].what


def test_a_full_disk(host: Host) -> None:
    fill = f"head -c 1048576 /dev/zero >{host.home}/x || true"
    found = host.ask("folders.disk", f"{full(host, '1m')}; {fill}")
    assert [each.level for each in found] == ["error"] * 3
    assert "0.0 GB are free" in found[0].what


def test_a_disk_without_room_for_files_or_that_is_read_only_or_anothers(host: Host) -> None:
    (found, *_) = host.ask("folders.disk", full(host, "64g,nr_inodes=1"))
    assert (found.level, "no further file" in found.what) == ("error", True)
    (found, *_) = host.ask("folders.disk", full(host, "64g,ro"))
    assert (found.level, "cannot be written" in found.what) == ("error", True)


@pytest.mark.usefixtures("host")
def test_a_folder_that_this_user_may_not_write() -> None:
    program = """
import os
from launcher.doctor import folders
folders.disk()  # what is imported on the way may be in folders that only this user may enter
if os.geteuid() == 0:
    os.setuid(65534)
print(folders.disk()[0].what)
print(folders.disk()[0].fix)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SERVE_HOME": "/nobody-made-this"}
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    what, fix = done.stdout.splitlines()
    assert what == "this user may not write to /"
    assert fix.startswith("sudo install -d -o $USER /nobody-made-this/data; or ")


def test_secrets_that_others_may_read(host: Host) -> None:
    (key,), (config,) = ([host.state / name] for name in ("keys/x", "instances/x/engine.yaml"))
    elsewhere = host.home / "my key"
    record = Record("x", "run", boot(), key_source="file", key_path=str(elsewhere))
    for path in (key, config, elsewhere, host.state / "instances" / "x" / "engine.log"):
        private_folder(path.parent)
        path.touch(mode=0o600)
    (config.parent / "record.json").write_text(json.dumps(dataclasses.asdict(record)))
    (config.parent / "record.json").chmod(0o600)
    (found,) = folders.modes()
    assert found.level == "ok"
    for path in (key, config, elsewhere):
        path.chmod(0o640)
        (found,) = folders.modes()
        assert (found.level, found.fix) == ("error", f"chmod go-rwx {shlex.quote(str(path))}")
        subprocess.run(["/bin/sh", "-c", found.fix], check=True, env={"PATH": SHELL})
    (config.parent / "engine.log").chmod(0o604)
    config.parent.chmod(0o711)
    (found,) = folders.modes()
    assert found.level == "warning"
    assert found.what.endswith(f": {config.parent} {config.parent}/engine.log")
    subprocess.run(["/bin/sh", "-c", found.fix], check=True, env={"PATH": SHELL})
    assert folders.modes()[0].level == "ok"


def test_engines_that_others_may_change(host: Host) -> None:
    environment = host.data / "engines" / "vllm-0.33.0-cpu"
    inside = [environment / "bin", environment / "lib" / "python3.12" / "site-packages"]
    places = [host.data, host.data / "engines", environment, *inside]
    for path in inside:
        path.mkdir(parents=True)
    for path in places:
        path.chmod(0o755)
    assert [each.level for each in folders.modes()] == ["ok"]
    for path in places:
        for mode in (0o775, 0o757):
            path.chmod(mode)
            (found,) = folders.modes()
            assert (found.level, found.subject, found.fix) == ("warning", "data", f"chmod -R go-w {path}")
            subprocess.run(["/bin/sh", "-c", found.fix], check=True, env={"PATH": SHELL})
            assert folders.modes()[0].level == "ok"
    for path in places[1:]:
        path.chmod(0o777)
    assert folders.modes()[0].fix == f"chmod -R go-w {host.data}/engines"
    host.data.chmod(0o700)
    assert folders.modes()[0].level == "ok"  # nobody comes that far


@pytest.mark.usefixtures("host")
def test_nothing_is_kept_yet() -> None:
    assert [each.level for each in folders.modes()] == ["ok"]
