"""Writes the flag catalogs of engine releases, read from the releases' wheels.

    python tools/build_catalog.py vllm==0.34.0    one release, from the package index
    python tools/build_catalog.py --missing       every release on the index that is not in the data yet
    python tools/build_catalog.py FILE.whl ...    wheels, as downloaded; asks no index

A wheel is downloaded into a temporary folder, read there, and deleted; the index is the one of the user's settings for
uv or pip. Nothing of the wheel is imported and neither torch nor a GPU is needed: ``catalog.interpret`` evaluates the
source that builds the parser, and ``launcher/engines/probe.py`` asks the parser that comes out, as it asks a real one.
Whatever cannot be read stops the program with file:line, and no file is changed. So does a flag that stands in the
source in plain words and is not in the parser (``catalog.literals``), and a statement that was not run and may change
what the parser was built from (``catalog.effects``).

The data, ``ENGINE.flags.json``: ``releases`` says of each release its ``distribution``, the versions of ``python`` and
``torch`` that it requires, the ``cuda`` that this torch is built for, the day it was ``released``, and why it was
``yanked`` or that it is not for ``x86``, where that is so; ``--missing`` renews what the index says of all of them.
``flags`` gives, one line a flag, its changes in order of release, ``[release, changed fields]``, where null for a field
removes it and null for all fields removes the flag. A release that changes nothing adds no line, so a diff shows what
an engine changed. Fields of a flag, each left out when empty:

``aliases``, ``negations``  further spellings, with the same meaning and with the opposite one
``type``        of a value; left out: str. ``optional``: it takes ``None``
``nargs``       as argparse has it
``choices``     ``advisory``: argparse does not enforce them
``default``     as text
``repeats``     each use adds to those before
``refused``     the parser ends with an error at any use of the flag; what it says to do instead
``deprecated``  ``successor``: what the engine names in its place
``entry``       ``serve``: only the engine's ``serve`` command has it, its module (``python -m``) does not
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the checkout's own package

from catalog.index import FIRST, Index, Published, cuda
from catalog.read import flags_of
from catalog.source import UnreadableError, Wheel
from catalog.store import Store
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

DATA = Path(__file__).resolve().parents[1] / "launcher" / "engines" / "data"
Stores = dict[str, Store]


def read(stores: Stores, path: Path | str) -> None:
    """Put the release of a wheel into its engine's store; what only the index knows of it stays.

    Raises:
        UnreadableError: the wheel is not understood.
    """
    with contextlib.closing(Wheel(path)) as wheel:
        store, version, flags = stores[wheel.engine], wheel.version, flags_of(wheel)
        before, pins = store.facts.get(version, {}), wheel.pins()
    if before.get("torch") != pins.get("torch"):
        before.pop("cuda", None)
    store.flags[version], store.facts[version] = flags, before | pins
    print(f"{store.engine} {version}: {len(flags)} flags", flush=True)


def publish(stores: Stores, index: Index, release: Published, *, again: bool) -> None:
    """Put a release of the index into its engine's store; its wheel is read if the store lacks it, or again.

    Raises:
        UnreadableError: the wheel cannot be had, or is not understood.
    """
    store = stores[release.engine]
    if again or release.version not in store.flags:
        with index.wheel(release) as path:
            read(stores, path)
    facts = {name: value for name, value in store.facts[release.version].items() if name not in ("yanked", "x86")}
    if "cuda" not in facts and (found := cuda(facts.get("torch", ""))):
        facts["cuda"] = found
    store.facts[release.version] = facts | release.facts


def wanted(index: Index, text: str) -> Published:
    """The release that ``vllm==0.34.0`` names.

    Raises:
        UnreadableError: it is no exact release of an engine, or the index has no wheel of it.
    """
    try:
        requirement = Requirement(text)
        (exact,) = requirement.specifier
        version = str(Version(exact.version)) if exact.operator == "==" else ""
    except (InvalidRequirement, ValueError):
        version = ""
    if not version or requirement.name not in FIRST:
        raise UnreadableError(f"{text}: name a file, or a release such as vllm==0.34.0")
    releases = index.releases(requirement.name)
    if version not in releases:
        raise UnreadableError(f"the index has no wheel of {requirement.name} {version}; newest: {list(releases)[-1]}")
    return releases[version]


def missing(index: Index) -> list[Published]:
    """Every release on the index that we read: the first and all since, less pre-releases."""
    releases = [release for engine in FIRST for release in index.releases(engine).values()]
    return [
        release
        for release in releases
        if Version(release.version) >= Version(FIRST[release.engine]) and not Version(release.version).is_prerelease
    ]


def main() -> int:
    """Read the arguments and do it; whatever cannot be read ends it with status 1, and no file is changed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help="where the data files are")
    options.add_argument("--missing", action="store_true", help="add every release on the index that is not there yet")
    options.add_argument("releases", nargs="*", metavar="RELEASE", help="vllm==VERSION, sglang==VERSION or a .whl file")
    given = options.parse_args()
    if not (given.releases or given.missing):
        options.error("name a release, a wheel, or --missing")
    stores = {engine: Store.load(engine, given.data) for engine in FIRST}
    try:
        index = Index()
        for each in given.releases:
            if each.endswith(".whl"):
                read(stores, each)
            else:
                publish(stores, index, wanted(index, each), again=True)
        for release in missing(index) if given.missing else ():
            publish(stores, index, release, again=False)
    except UnreadableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for store in stores.values():
        store.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
