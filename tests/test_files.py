"""Files that are written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from launcher.files import write_whole


def test_a_new_file_is_as_open_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_whole(tmp_path / "new", "text\n")
    assert (tmp_path / "new").read_text() == "text\n"
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_mode_that_is_given_holds_whatever_the_umask(tmp_path: Path) -> None:
    code = "import os, sys; os.umask(0o077); from launcher.files import *; write_whole(Path(sys.argv[1]), '', 0o644)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_what_was_there_stays_if_it_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    code = """
import resource, signal, sys
from launcher.files import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_whole(Path(sys.argv[1]), 'x' * 2000)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr or "File too large" in done.stderr
    assert repr(str(path)) in done.stderr
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
