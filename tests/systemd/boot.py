"""A real systemd of its own, for tests: `with Boot() as host: host.run("systemctl", "status")`.

    python tests/systemd/boot.py COMMAND [WORD ...]      runs one command in it

Its processes, mounts, /etc, /run, /var/lib, /var/cache and journal are its own and end with it; what else there is, the
network among it, is this machine's. Needs root, util-linux and systemd. Nothing of this machine's own boot runs: no
clean-up of /tmp, no mounts, no network configuration.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

TARGET = "tests.target"
PATIENCE_S = 30.0
UNITS = Path("/lib/systemd/system")
SYSTEMD = Path("/lib/systemd/systemd")
KEPT = ("systemd-journald",)  # of what a boot starts
OWN = ("/run", "/var/lib", "/var/cache", "/var/log")
WORDS = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts"]
GROUPS = Path("/sys/fs/cgroup")


class Boot:
    """A systemd that runs within the context."""

    def __enter__(self) -> Boot:  # noqa: PYI034 - typing.Self is of Python 3.11
        if os.geteuid():
            raise PermissionError("a systemd of its own needs root")
        if not SYSTEMD.exists():
            raise FileNotFoundError(f"there is no {SYSTEMD}: apt-get install systemd")
        self._group = f"boot-{os.getpid()}-{time.monotonic_ns()}"
        argv = [*WORDS, sys.executable, __file__, "--enter", self._group]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self._pid = self._first()
            while self.run("systemctl", "is-active", "--quiet", TARGET).returncode:
                self._wait("systemd does not come up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        subprocess.run(["unshare", "--mount", sys.executable, __file__, "--leave", self._group], check=False)

    def argv(self, *words: str) -> list[str]:
        """A command line that runs within."""
        return ["nsenter", f"--target={self._pid}", "--all", f"--wdns={Path.cwd()}", *words]

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command within; `more` are variables."""
        return subprocess.run(
            self.argv(*words), env={**os.environ, **more}, capture_output=True, text=True, check=False, timeout=300
        )

    def _first(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._end_s = time.monotonic() + PATIENCE_S
        while not (found := children.read_text().split()):
            self._wait("no process begins")
        return int(found[0])

    def _wait(self, what: str) -> None:
        if self._process.poll() is not None or time.monotonic() > self._end_s:
            raise TimeoutError(what)
        time.sleep(0.05)


def enter(name: str) -> None:
    """The first process of the new namespaces: goes into a control group of its own, which another boot cannot touch.

    Two managers in one group would both have a system.slice/NAME.service, and end each other's processes there.
    """
    mount("--make-rprivate", "/")
    mount("-t", "proc", "proc", "/proc")
    group = hierarchy() / name
    group.mkdir()
    (group / "cgroup.procs").write_text("0")
    os.execvp("unshare", ["unshare", "--cgroup", sys.executable, __file__, "--init"])  # noqa: S606 - no shell


def leave(name: str) -> None:
    """Take away what a boot that is over left of its control group."""
    mount("--make-rprivate", "/")
    end_s = time.monotonic() + PATIENCE_S
    for group in sorted((hierarchy() / name).glob("**/"), key=lambda each: len(each.parts), reverse=True):
        while time.monotonic() < end_s:  # its processes may still be ending
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def hierarchy() -> Path:
    """The control groups, mounted as this namespace sees them."""
    subprocess.run(["umount", "--recursive", GROUPS], check=False, capture_output=True)
    mount("-t", "cgroup2", "cgroup2", str(GROUPS))
    return GROUPS


def become_systemd() -> None:
    """Makes the folders that are its own, and becomes systemd."""
    etc = Path("/mnt")
    mount("-t", "tmpfs", "tmpfs", str(etc))
    shutil.copytree("/etc", etc, symlinks=True, dirs_exist_ok=True)
    units = etc / "systemd" / "system"
    shutil.rmtree(units, ignore_errors=True)
    units.mkdir(parents=True)
    (etc / "fstab").write_text("")
    (units / TARGET).write_text(
        "[Unit]\nDefaultDependencies=no\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n"
    )
    started = {each.name for each in UNITS.glob("*.wants/*")} | {"systemd-tmpfiles-clean.timer"}
    for name in started:
        if not name.startswith(KEPT) and not name.endswith(".target"):
            (units / name).symlink_to("/dev/null")
    mount("--move", str(etc), "/etc")
    for folder in (*OWN, "/lib/systemd/system-generators"):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    Path("/var/log/journal").mkdir()
    hierarchy()
    mount("--make-rshared", "/")
    words = [str(SYSTEMD), "--system", f"--unit={TARGET}", "--show-status=no", "--log-target=journal"]
    variables = {"container": "other", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    os.execve(words[0], words, variables)  # noqa: S606 - no shell


def mount(*words: str) -> None:
    """Mount, or fail with what mount says."""
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    inner: dict[str, Callable[..., None]] = {"--enter": enter, "--init": become_systemd, "--leave": leave}
    if sys.argv[1:2] and sys.argv[1] in inner:
        sys.exit(inner[sys.argv[1]](*sys.argv[2:]))
    with Boot() as host:
        sys.exit(subprocess.run(host.argv(*sys.argv[1:]), check=False).returncode)
