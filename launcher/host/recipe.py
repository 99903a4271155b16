"""How a release is installed on this host: which packages, from where, with which Python."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import locks, packages
from launcher.host.builds import Build
from launcher.host.locks import Lock

REACH_S = 5.0  # an index that takes longer to answer one request is as good as out of reach


@dataclass(frozen=True)
class Recipe:
    """What is asked of uv.

    Attributes:
        distribution: the package that holds the engine.
        requirement: the one line of the requirements file.
        python: the version of Python.
        origin: in words, who built the packages.
        without: packages to leave out although others ask for them.
        options: further options of `uv pip install`.
        index: an index that is asked before all others.
        lock: the exact packages, which are installed in place of a resolution.
    """

    distribution: str
    requirement: str
    python: str
    origin: str
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    index: str | None = None
    lock: Lock | None = None

    def settings(self) -> dict[str, str]:
        """The environment for uv."""
        settings = packages.settings(os.environ)
        if self.index:
            settings["UV_INDEX"] = f"{self.index} {settings.get('UV_INDEX', '')}".strip()
        return settings

    def words(self, scratch: Path) -> list[str]:
        """A requirements file and options for uv; what they name is written into a folder."""
        requirements, overrides = scratch / "requirements.txt", scratch / "overrides.txt"
        words = [str(requirements), *self.options]
        if self.lock:
            requirements.write_text(self.lock.requirements, encoding="utf-8")
            return [*words, "--no-deps", "--require-hashes"]
        requirements.write_text(self.requirement + "\n", encoding="utf-8")
        if self.without:  # a marker that never holds: in the resolution, out of the environment
            lines = "".join(f'{name} ; python_version < "3"\n' for name in self.without)
            overrides.write_text(lines, encoding="utf-8")
            words += ["--override", str(overrides)]
        return words


def of(
    release: Release,
    build: Build,
    folder: Path,
    python: str | None = None,
    given: Lock | None = None,
    *,
    resolve: bool = False,
) -> Recipe:
    """How a release is installed on this host.

    Args:
        release: of the build's engine.
        build: for one device.
        folder: where uv runs.
        python: the version of Python that was asked for.
        given: the user's own lock.
        resolve: whether to leave locks that we ship out of account.

    Raises:
        ServeError: no build is in reach, or the lock is for something else.
    """
    names = (build.distribution, *([build.third_party.distribution] if build.third_party else []))
    pythons = locks.locked_first(build.python, release, build.device, names)
    pythons = (python,) if python else packages.on_host_first(pythons, folder)
    torch = build.torch.get(release.version)
    # The user's own settings lead to the torch that is needed; whether to matching siblings of it, nobody knows.
    ours = next((each for each in pythons if torch and packages.available(f"torch=={torch}", each, folder)), None)
    chosen = ours or pythons[0]
    asked = _source(release, build, chosen, given)
    if build.device == "cpu":
        place = "torch as your uv or pip settings find it" if ours else "torch of PyTorch's CPU index"
        options = () if ours else ("--torch-backend", "cpu")
        without = build.without if ours else ()
        asked = replace(asked, origin=f"{asked.origin}, {place}", without=without, options=options)
    wanted = locks.scope(release, build.device, asked.distribution, chosen)
    if given and given.scope != wanted:
        what = f"the lock is of {given.scope}, not of {wanted}"
        raise ServeError(what, where="--lock", fix=f"serve engines lock {release}")
    return replace(asked, lock=given or (None if resolve else locks.shipped(wanted)))


def _source(release: Release, build: Build, python: str, given: Lock | None) -> Recipe:
    """Whose package holds the engine."""
    requirement = f"{build.distribution}=={release.version}"
    if build.device == "cuda":
        return Recipe(build.distribution, requirement, python, f"{build.distribution} of the package index")
    index = build.index.format(version=release.version) if build.index else None
    third = build.third_party
    locked = given.scope.distribution if given else None
    if index and (locked == build.distribution if locked else reachable(f"{index}/{build.distribution}/")):
        origin = f"{release.title} project's own CPU build"
        return Recipe(build.distribution, f"{requirement}+cpu", python, origin, index=index)
    if third and release.version in third.releases:
        hashes = " ".join(f"--hash={each}" for each in third.releases[release.version])
        origin = f"{third.distribution}, a third party's build (by {third.author}; pinned by hash)"
        return Recipe(third.distribution, f"{third.distribution}=={release.version} {hashes}", python, origin)
    known = ", ".join(third.releases) if third else "none"
    raise ServeError(
        f"no CPU build of {release.title} is in reach",
        where=index or "",
        fix=f"releases that a third party builds: {known}",
    )


def reachable(url: str) -> bool:
    """Whether an index answers for a package."""
    import requests  # noqa: PLC0415 - only an installation asks

    try:
        return requests.get(url, timeout=REACH_S).ok
    except requests.RequestException:
        return False
