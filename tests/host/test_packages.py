"""What the user set for pip counts for uv, and what they set for uv counts more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from launcher.errors import ServeError
from launcher.host import packages


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where pip's old configuration file is looked for


def settings(tmp_path: Path, **variables: str) -> dict[str, str]:
    """Without the configuration files of this host, unless a test names one."""
    base = {"PIP_CONFIG_FILE": "/dev/null", "XDG_CONFIG_HOME": str(tmp_path / "none")}
    return packages.settings(base | variables)


def test_pip_variables(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        PIP_INDEX_URL="https://mirror/simple",
        PIP_EXTRA_INDEX_URL="https://a/simple  https://b/simple",
        PIP_FIND_LINKS="/wheels one\n/wheels-two",
    )
    assert found["UV_INDEX_URL"] == "https://mirror/simple"
    assert found["UV_EXTRA_INDEX_URL"] == "https://a/simple https://b/simple"
    assert found["UV_FIND_LINKS"] == "/wheels,one,/wheels-two"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"  # pip asks every index; uv by itself only the first


def test_uv_variables_win(tmp_path: Path) -> None:
    found = settings(tmp_path, PIP_FIND_LINKS="/pip", UV_FIND_LINKS="/uv", PIP_INDEX_URL="p", UV_DEFAULT_INDEX="u")
    assert found["UV_FIND_LINKS"] == "/uv"
    assert "UV_INDEX_URL" not in found


def test_nothing_set_changes_nothing(tmp_path: Path) -> None:
    assert set(settings(tmp_path)) == {"PIP_CONFIG_FILE", "XDG_CONFIG_HOME"}


def test_pip_configuration_file(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nfind-links =\n    /one\n    /two\nindex_url = i\n[install]\nindex-url = j%20k\n[freeze]\nx=1\n"
    )
    found = packages.settings({"PIP_CONFIG_FILE": str(config), "XDG_CONFIG_HOME": str(tmp_path / "none")})
    assert (found["UV_FIND_LINKS"], found["UV_INDEX_URL"]) == ("/one,/two", "j%20k")


def test_user_configuration_file_and_variable_above_it(tmp_path: Path) -> None:
    (tmp_path / "xdg" / "pip").mkdir(parents=True)
    (tmp_path / "xdg" / "pip" / "pip.conf").write_text("[global]\nfind-links = /file\n")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert packages.settings(environment)["UV_FIND_LINKS"] == "/file"
    assert packages.settings(environment | {"PIP_FIND_LINKS": "/variable"})["UV_FIND_LINKS"] == "/variable"


def test_configuration_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_bytes(b"\xff\xfe not = ini\n")
    assert "UV_FIND_LINKS" not in packages.settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})


def test_failure_shows_the_end_and_a_way_out(tmp_path: Path) -> None:
    lines: list[str] = []
    words = ["pip", "install", "--target", str(tmp_path / "x"), "--no-index", "no-such-package-of-ours"]
    with pytest.raises(ServeError) as caught:
        packages.run(words, tmp_path, "installing it", lines.append, packages.settings({"PATH": "/usr/bin:/bin"}))
    assert "no-such-package-of-ours" in caught.value.what
    assert "UV_FIND_LINKS" in caught.value.fix
    assert any("no-such-package-of-ours" in line for line in lines)


def test_python_of_this_host_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setenv("PATH", f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin")
    assert packages.on_host_first(("3.98", own, "3.99"), tmp_path) == (own, "3.98", "3.99")


def test_no_index_of_pip_reaches_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("UV_NO_INDEX", raising=False)
    environment = packages.settings(os.environ)
    assert packages.argv(["pip", "install", "x"], environment)[1:] == ["pip", "install", "x", "--no-index"]
    assert packages.argv(["venv", "x"], environment)[1:] == ["venv", "x"]
    assert packages.argv(["pip", "list"], {"UV_NO_INDEX": "0"})[1:] == ["pip", "list"]
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    assert packages.newest("pip", "3.12", tmp_path) is None
