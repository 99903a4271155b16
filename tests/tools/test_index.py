"""Releases found on a package index: a real one, of static files, with small wheels."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.host import wheels
from tests.tools.test_build_catalog import TOOL
from tests.tools.wheels import plain, wheel

NOTHING: Mapping[str, str] = {}
OLD, NEW = "parser.add_argument('--old')", "parser.add_argument('--new', type=int)"
VLLM = {
    "vllm/utils.py": "import argparse\nclass FlexibleArgumentParser(argparse.ArgumentParser): pass\n",
    "vllm/entrypoints/cli/serve.py": """
        from vllm.utils import FlexibleArgumentParser

        def make_arg_parser(parser):
            parser.add_argument("--seed", type=int, default=0)
            return parser

        class ServeSubcommand:
            def subparser_init(self, subparsers):
                return make_arg_parser(subparsers.add_parser("serve"))
    """,
}


class Shelf:
    """The files of an index: ``simple/NAME/`` with its page, and what PyPI's JSON says of some of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, name: str) -> Path:
        path = self.folder / "simple" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def publish(self, yanked: Mapping[str, str] = NOTHING, days: Mapping[str, str] = NOTHING) -> None:
        """Write the pages of what is there; ``yanked`` and ``days`` are by file name."""
        for place in (self.folder / "simple").iterdir():
            rows = []
            for path in sorted(place.iterdir()):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                mark = f' data-yanked="{yanked[path.name]}"' if path.name in yanked else ""
                rows.append(f'<a href="{path.name}#sha256={digest}"{mark}>{path.name}</a>')
            (place / "index.html").write_text("\n".join(row for row in rows if "index.html" not in row))
            told = {name: day for name, day in days.items() if name.startswith(place.name)}
            files = [{"filename": name, "upload_time": f"{day}T10:00:00"} for name, day in told.items()]
            (self.folder / "pypi" / place.name).mkdir(parents=True, exist_ok=True)
            (self.folder / "pypi" / place.name / "json").write_text(json.dumps({"releases": {"any": files}}))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An index with releases of every kind, and a torch."""
    made = Shelf(tmp_path / "index")
    sglang, vllm = made.place("sglang"), made.place("vllm")
    wheel(sglang, "0.5.2", plain(OLD))
    wheel(sglang, "0.5.3", plain(OLD))
    wheel(sglang, "0.5.3.post1-1", plain(OLD))
    wheel(sglang, "0.5.3.post1-2", plain(OLD, NEW))
    wheel(sglang, "0.5.4rc1", plain("parser.add_argument('--early')"))
    wheel(sglang, "0.5.4", plain(NEW), "cp312-cp312-manylinux_2_34_aarch64")
    wheel(sglang, "0.5.4.post1", plain(NEW), "cp312-cp312-manylinux_2_34_aarch64")
    wheel(sglang, "0.5.4.post1", plain(NEW), "cp312-cp312-manylinux_2_34_x86_64")
    (sglang / "sglang-0.5.5.tar.gz").write_bytes(b"no wheel")
    wheel(vllm, "0.11.0", VLLM)
    wheels.write(made.place("torch"), "torch", "2.11.0", {}, ("nvidia-cuda-runtime==13.0.96",))
    wheels.write(made.place("nvidia-cuda-runtime"), "nvidia-cuda-runtime", "13.0.96", {})
    made.publish(
        yanked={"sglang-0.5.3-py3-none-any.whl": "wrong kernels"},
        days={"sglang-0.5.3-py3-none-any.whl": "2025-10-06", "vllm-0.11.0-py3-none-any.whl": "2025-10-04"},
    )
    return made


@contextlib.contextmanager
def served(shelf: Shelf) -> Iterator[str]:
    """The index's address while it is served."""
    words = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(shelf.folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            port = server.stdout.readline().split(" port ")[1].split()[0]
            yield f"http://127.0.0.1:{port}/simple"
        finally:
            server.terminate()


def build(shelf: Shelf, index: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the tool against one index, with no other settings; the data are beside it."""
    data = shelf.folder.parent / "data"
    data.mkdir(exist_ok=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(shelf.folder.parent),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": index,
        "UV_CACHE_DIR": str(shelf.folder.parent / "cache"),
        "TMPDIR": str(data),
    }
    argv = [sys.executable, str(TOOL), "--data", str(data), *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def contents(shelf: Shelf, engine: str = "sglang") -> dict[str, Any]:
    """What the data file of an engine says."""
    found: dict[str, Any] = json.loads((shelf.folder.parent / "data" / f"{engine}.flags.json").read_text())
    return found


def test_every_release_that_is_missing_is_added(shelf: Shelf) -> None:
    with served(shelf) as index:
        done = build(shelf, index, "--missing")
    assert done.returncode == 0, done.stderr
    common = {"distribution": "sglang", "python": ">=3.10", "torch": "==2.11.0", "cuda": "13.0"}
    assert contents(shelf) == {
        "releases": {
            "0.5.3": common | {"released": "2025-10-06", "yanked": "wrong kernels"},
            "0.5.3.post1": common,
            "0.5.4": common | {"x86": False},
            "0.5.4.post1": common,
        },
        "flags": {"--new": [["0.5.3.post1", {"type": "int"}]], "--old": [["0.5.3", {}], ["0.5.4", None]]},
    }
    assert contents(shelf, "vllm")["releases"]["0.11.0"]["released"] == "2025-10-04"
    assert sorted(path.name for path in (shelf.folder.parent / "data").iterdir()) == [
        "sglang.flags.json",
        "vllm.flags.json",
    ]


def test_what_is_there_is_not_downloaded_again_but_what_the_index_says_of_it_is_renewed(shelf: Shelf) -> None:
    with served(shelf) as index:
        assert build(shelf, index, "--missing").returncode == 0
        flags = contents(shelf)["flags"]
        first = shelf.place("sglang") / "sglang-0.5.3-py3-none-any.whl"
        first.write_bytes(b"not to be read")
        shelf.publish(yanked={"sglang-0.5.3.post1-2-py3-none-any.whl": "", "sglang-0.5.3.post1-1-py3-none-any.whl": ""})
        done = build(shelf, index, "--missing")
    assert (done.returncode, done.stdout) == (0, "")
    releases = contents(shelf)["releases"]
    assert "yanked" not in releases["0.5.3"]
    assert releases["0.5.3"]["released"] == "2025-10-06"
    assert releases["0.5.3.post1"]["yanked"] == "no reason given"
    assert contents(shelf)["flags"] == flags


def test_one_release(shelf: Shelf) -> None:
    with served(shelf) as index:
        for text, version in (("sglang==0.5.3.post1", "0.5.3.post1"), ("sglang == 0.5.4rc1", "0.5.4rc1")):
            done = build(shelf, index, text)
            assert (done.returncode, done.stderr) == (0, "")
            assert version in contents(shelf)["releases"]
    assert list(contents(shelf)["releases"]) == ["0.5.3.post1", "0.5.4rc1"]
    assert contents(shelf)["flags"]["--new"] == [["0.5.3.post1", {"type": "int"}], ["0.5.4rc1", None]]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["sglang==0.5.9"], "no wheel of sglang 0.5.9; newest: 0.5.4.post1"),
        (["sglang==0.5.5"], "no wheel of sglang 0.5.5"),
        (["sglang>=0.5.3"], "name a file, or a release such as vllm==0.34.0"),
        (["requests==2.0"], "name a file, or a release such as vllm==0.34.0"),
        (["sglang==0.5.*"], "name a file, or a release such as vllm==0.34.0"),
        (["sglang==0.5.4", "absent.whl"], "absent.whl: [Errno 2]"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(shelf: Shelf, words: list[str], reason: str) -> None:
    with served(shelf) as index:
        done = build(shelf, index, *words)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((shelf.folder.parent / "data").iterdir())


def test_one_that_is_not_understood_changes_no_file(shelf: Shelf) -> None:
    with served(shelf) as index:
        assert build(shelf, index, "--missing").returncode == 0
        before = {path: path.read_bytes() for path in (shelf.folder.parent / "data").iterdir()}
        wheel(shelf.place("sglang"), "0.5.6", plain(NEW))
        wheel(shelf.place("vllm"), "0.12.0", VLLM | {"vllm/utils.py": "import absent"})
        shelf.publish()
        done = build(shelf, index, "--missing")
    assert done.returncode == 1
    assert "vllm-0.12.0-py3-none-any.whl: " in done.stderr
    assert "vllm/utils.py has no name FlexibleArgumentParser" in done.stderr
    assert {path: path.read_bytes() for path in (shelf.folder.parent / "data").iterdir()} == before


def test_a_file_that_is_not_what_the_index_describes_is_refused(shelf: Shelf) -> None:
    path = shelf.place("sglang") / "sglang-0.5.3-py3-none-any.whl"
    path.write_bytes(path.read_bytes() + b"more")
    with served(shelf) as index:
        done = build(shelf, index, "sglang==0.5.3")
    assert done.returncode == 1
    assert "is not the file that the index describes: another hash" in done.stderr


def test_an_index_that_does_not_answer(shelf: Shelf) -> None:
    done = build(shelf, "http://me:secret@127.0.0.1:9/simple", "sglang==0.5.3")
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://***@127.0.0.1:9/simple, or another index that is set: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_wheel_at_hand_asks_no_index_and_keeps_what_one_said(shelf: Shelf) -> None:
    with served(shelf) as index:
        assert build(shelf, index, "sglang==0.5.3").returncode == 0
    path = shelf.place("sglang") / "sglang-0.5.3-py3-none-any.whl"
    assert build(shelf, "http://127.0.0.1:9/simple", str(path)).returncode == 0
    known = contents(shelf)["releases"]["0.5.3"]
    assert (known["cuda"], known["released"], known["yanked"]) == ("13.0", "2025-10-06", "wrong kernels")
    wheel(path.parent, "0.5.3", plain(OLD), metadata="Name: sglang\nVersion: 0.5.3\nRequires-Dist: torch==2.9.1\n")
    assert build(shelf, "http://127.0.0.1:9/simple", str(path)).returncode == 0
    assert "cuda" not in contents(shelf)["releases"]["0.5.3"]  # it was another torch's
