"""The data on how engines are installed is complete and agrees with itself."""

from __future__ import annotations

import re

import pytest
from packaging.version import Version

from launcher.engines import catalog
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import builds

ALL = [build for devices in builds.load().values() for build in devices.values()]
NAMES = [f"{build.engine}-{build.device}" for build in ALL]


@pytest.mark.parametrize("build", ALL, ids=NAMES)
def test_default_is_a_release_whose_flags_we_know(build: builds.Build) -> None:
    assert Release(build.engine, build.default) in catalog.known(build.engine)


@pytest.mark.parametrize("build", ALL, ids=NAMES)
def test_fields(build: builds.Build) -> None:
    assert build.room_gb > 1
    assert all(re.fullmatch(r"3\.\d+", each) for each in build.python)
    assert build.module.split(".")[0] == build.engine


@pytest.mark.parametrize("build", [build for build in ALL if build.third_party], ids=lambda build: build.engine)
def test_third_party_builds_are_pinned_by_hash_and_torch(build: builds.Build) -> None:
    assert build.third_party
    assert build.default in build.third_party.releases
    for version, hashes in build.third_party.releases.items():
        assert Version(version)
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes)
        assert build.torch[version].endswith("+cpu")


def test_device_that_an_engine_has_no_packages_for() -> None:
    with pytest.raises(ServeError, match="SGLang has no packages for --device cpu") as caught:
        builds.of("sglang", "cpu")
    assert "vllm" in caught.value.fix
