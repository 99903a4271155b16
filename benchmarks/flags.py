"""Flags: how many that we write are dead, how many that others write, and what knowing all of them costs.

    python -m benchmarks.flags

from the repository's root, in an environment that holds requirements/dev.txt. No engine and no GPU are needed; the
wheels of two peers are downloaded as the user's settings for pip and uv say. README.md beside this file says what each
number is; they are written to benchmarks/results/flags.json after each section.
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launcher
from benchmarks import peers
from launcher.config import presets
from launcher.engines import arguments, catalog
from launcher.engines.flags import Flag
from launcher.engines.release import TITLES, Release

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "flags.json"
SERVE = (sys.executable, "-m", "launcher")
NOTHING = (sys.executable, "-c", "pass")
BARS = {"dead_flags": 0, "check_s": 1.0, "data_bytes": 2_000_000, "load_s": 0.03}
RUNS = 20
COMMANDS, OLD, OLD_EVERY = 1000, Release("vllm", "0.11.0"), 20
CHECKED = Release("vllm", "0.33.0")
MODELS = ("--model", "--config")  # beside a model they name a second one, or may
VALUES = {"bool": "", "float": "0.5", "lora_module": "name=path"}
VALUES |= dict.fromkeys(("int", "human_int", "human_int_or_auto"), "4")
VALUES |= dict.fromkeys(("json", "json_object", "json_config", "json_or_str"), "'{}'")
LOAD = """
import time
from launcher.engines import catalog
from launcher.engines.release import Release
begin = time.perf_counter()
catalog.load(Release({release.engine!r}, {release.version!r}))
print(time.perf_counter() - begin)
"""


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most."""
    made = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: round(value, 4) for name, value in made.items()}


def told(*words: str) -> Any:
    """What a command of serve prints as JSON."""
    return json.loads(subprocess.run([*SERVE, *words, "--json"], cwd=ROOT, capture_output=True, check=True).stdout)


def ours() -> dict[str, Any]:
    """Every preset and example on every release: each argv read as the release's parser reads it."""
    counts: collections.Counter[str] = collections.Counter()
    faults: list[dict[str, str]] = []
    refusals: list[dict[str, Any]] = []
    for name in presets.names():
        for block in told("presets", "show", name, "--releases")["blocks"]:
            releases = [Release(block["engine"], version) for version in block["releases"]]
            counts["pairs"] += len(releases)
            if block["errors"]:
                whys = [error["what"] for error in block["errors"]]
                refusals.append({"preset": name, "releases": [str(each) for each in releases], "why": whys})
                continue
            for release in releases:
                counts["rendered"] += 1
                reading = read(block["argv"], release)
                counts["flags"] += len(reading.uses)
                for what, word in wrong(reading):
                    counts[what] += 1
                    faults.append({"preset": name, "release": str(release), what: word})
    checked = ("pairs", "rendered", "flags", "dead", "abbreviated", "values refused")
    result: dict[str, Any] = {"presets": len(presets.names()), "releases": sum(map(len, map(catalog.known, TITLES)))}
    result |= {name: counts[name] for name in checked}
    return result | {"faults": faults, "refused": refusals, "met": not faults}


def read(argv: list[str], release: Release) -> arguments.Reading:
    """A command of ours, less ``python -m MODULE`` and the ``serve`` of vLLM's own program, as the release reads it."""
    words = argv[argv.index("-m") + 2 :]
    serve = words[0] == "serve"
    return arguments.read(words[serve:], catalog.load(release), "serve" if serve else "module")


def wrong(reading: arguments.Reading) -> Iterator[tuple[str, str]]:
    """What the release's parser would refuse, or read as another flag than was written."""
    for stray in reading.strays:
        yield "dead", stray.written
    for use in reading.uses:
        if use.flag.refused:
            yield "dead", use.written
        if use.completed:
            yield "abbreviated", use.written
        if use.problem:
            yield "values refused", use.problem
    for _, why in reading.complaints:
        yield "values refused", why


def others() -> dict[str, Any]:
    """The maps of the peers, each judged on the newest release and on all since it was published."""
    with tempfile.TemporaryDirectory() as name:
        folders: dict[str, Path] = {}
        for each in peers.MAPS:
            if each.package not in folders:
                folders[each.package] = Path(name, each.package)
                peers.download(each.package, folders[each.package])
        return {"maps": [judged(each, folders[each.package]) for each in peers.MAPS]}


def judged(each: peers.Map, folder: Path) -> dict[str, Any]:
    """A map's dead flags in the newest release, in the newest when it was published, and in all since."""
    flags = sorted({pair for pair in each.read(folder) if pair[0] not in each.left_out})
    known = catalog.known(each.engine)
    since = [release for release in known if catalog.facts(release).released >= each.published]
    before = [release for release in known if catalog.facts(release).released < each.published]
    result: dict[str, Any] = {"package": each.package, "published": each.published, "engine": each.engine}
    result |= {"map": each.what, "flags": len({flag for flag, _ in flags})}
    result |= {"left_out": each.left_out, "for_some_releases_only": [pair for pair in flags if pair[1]]}
    result["newest"] = {"release": str(known[-1]), **counted(flags, [known[-1]])}
    result["when_published"] = {"release": str(before[-1]), **counted(flags, before[-1:])} if before else None
    result["since_published"] = {"releases": len(since), **counted(flags, since)}
    dead = {flag: last(flag, each.engine) for flag, release in uses(flags, since) if not alive(flag, release)}
    return result | {"dead_flags_with_their_last_release": dead}


def uses(flags: list[tuple[str, str]], releases: list[Release]) -> list[tuple[str, Release]]:
    """Each flag on each release that is in the peer's own range for it."""
    return [(flag, release) for flag, gate in flags for release in releases if release.within(gate)]


def counted(flags: list[tuple[str, str]], releases: list[Release]) -> dict[str, Any]:
    """How many uses there are, and how many of them are of dead flags."""
    every = uses(flags, releases)
    dead = sum(not alive(flag, release) for flag, release in every)
    return {"uses": len(every), "dead": dead, "share": round(dead / len(every), 4)}


def alive(flag: str, release: Release) -> bool:
    """Whether a release takes a flag by this spelling, be it an alias, an opposite or one with underscores.

    A flag that the release's parser has only to refuse it is dead.
    """
    found = catalog.load(release).find(flag)
    return found is not None and not found.refused


def last(flag: str, engine: str) -> str | None:
    """The newest release of the engine that takes a flag; None where none of those that we know does."""
    releases = [release for release in catalog.history(engine, flag) if alive(flag, release)]
    return str(releases[-1]) if releases else None


def timed(words: tuple[str, ...], code: int = 0) -> float:
    """Seconds of wall time of a process, which ends with the code."""
    begin = time.perf_counter()
    done = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    assert done.returncode == code, done.stderr
    return seconds


def check() -> dict[str, Any]:
    """`serve check` on a file of a thousand commands, against an interpreter that does nothing, in alternation."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "commands.sh")
        file.write_text("".join(f"{line}\n" for line in commands()))
        words = (*SERVE, "check", str(file), "--engine", str(CHECKED))
        answer = subprocess.run([*words, "--json"], cwd=ROOT, capture_output=True, check=False).stdout
        (report,) = json.loads(answer)
        wrong_lines = sorted({error["line"] for error in report["errors"]})
        assert len(report["commands"]) == COMMANDS
        assert wrong_lines == list(range(1, COMMANDS, OLD_EVERY)), wrong_lines
        seconds: dict[str, list[float]] = {"check": [], "pass": []}
        for _ in range(RUNS):
            seconds["check"].append(timed(words, code=1))
            seconds["pass"].append(timed(NOTHING))
        size = file.stat().st_size
    check_s, pass_s = spread(seconds["check"]), spread(seconds["pass"])
    result: dict[str, Any] = {"lines": COMMANDS, "bytes": size, "lines_found_wrong": len(wrong_lines), "runs": RUNS}
    result |= {"check_s": check_s, "pass_s": pass_s, "ratio_to_pass": round(check_s["median"] / pass_s["median"], 1)}
    return result | {"met": check_s["max"] < BARS["check_s"]}


def commands() -> Iterator[str]:
    """Commands of 4 to 12 flags with values that they take; each twentieth has one more, which is long gone."""
    choose = random.Random(0)  # noqa: S311 - the same file every time
    flags = [flag for flag in catalog.load(CHECKED).flags.values() if flag.name not in MODELS]
    gone = [flag for flag in catalog.load(OLD).flags.values() if not alive(flag.name, CHECKED)]
    for number in range(COMMANDS):
        used = choose.sample(flags, choose.randint(4, 12))
        used += [choose.choice(gone)] if number % OLD_EVERY == 0 else []
        yield " ".join(["vllm serve Qwen/Qwen3-14B", *(f"{flag.name} {value(flag)}".rstrip() for flag in used)])


def value(flag: Flag) -> str:
    """Something that a flag takes, quoted."""
    return flag.choices[0] if flag.choices else VALUES.get(flag.type, "text")


def size() -> dict[str, Any]:
    """Bytes of the engines' data in the wheel, unpacked and as they are stored."""
    with tempfile.TemporaryDirectory() as name:
        words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", name]
        subprocess.run(words, cwd=ROOT, capture_output=True, check=True)
        (path,) = Path(name).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            data = [member for member in wheel.infolist() if member.filename.startswith("launcher/engines/data/")]
        result: dict[str, Any] = {"wheel_bytes": path.stat().st_size}
    unpacked, stored = sum(each.file_size for each in data), sum(each.compress_size for each in data)
    result |= {"bytes": unpacked, "in_wheel_bytes": stored, "met": unpacked < BARS["data_bytes"]}
    return result | {"files": {Path(each.filename).name: [each.file_size, each.compress_size] for each in data}}


def load() -> dict[str, Any]:
    """The catalog of the newest release of each engine, in a fresh process, imports left out."""
    result: dict[str, Any] = {"runs": RUNS}
    for engine in TITLES:
        program = LOAD.format(release=catalog.known(engine)[-1])
        words = [sys.executable, "-c", program]
        seconds = [float(subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout) for _ in range(RUNS)]
        result[f"{engine}_s"] = spread(seconds)
    return result | {"met": all(result[f"{engine}_s"]["median"] < BARS["load_s"] for engine in TITLES)}


def machine() -> dict[str, Any]:
    """What the numbers hold for."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "cpu": cpu.partition(":")[2].strip() or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "serve": launcher.__version__,
    }


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "ours": ours,
    "peers": others,
    "check": check,
    "size": size,
    "load": load,
}


def main() -> None:
    """Every section, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS), help="the others are kept")
    options = parser.parse_args()
    earlier = json.loads(options.out.read_text()) if options.out.exists() else {}
    results: dict[str, Any] = {"machine": machine(), "bars": BARS}
    if earlier.get("machine") == results["machine"]:
        results |= {name: earlier[name] for name in SECTIONS if name in earlier and name not in options.only}
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    for name in options.only:
        results[name] = {"date": today, "load_average_before": round(os.getloadavg()[0], 2)} | SECTIONS[name]()
        print(json.dumps({name: results[name]}), flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
