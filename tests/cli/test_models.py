"""`serve models` as a process, with the real clients of both hubs, against a hub with the faults of real ones."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import hub as hubs
from tests.cli.conftest import PATIENCE_S, Program, Result
from tests.hub import COMMIT, TOKEN, Fault, Hub, Repository

MB = 10**6
LARGE = random.Random(0).randbytes(30 * MB)  # noqa: S311 - content
CONFIG = b'{"architectures": ["Qwen3ForCausalLM"]}'
SMALL = {"config.json": CONFIG, "tokenizer.json": b"{}", "model-00002.safetensors": LARGE[: 2 * MB]}
FILES: dict[str, bytes | Path] = {
    **SMALL,
    "model-00001.safetensors": LARGE,
    "original/model.pth": b"x",
    "pytorch_model.bin": b"y",
}
NEEDED = {**SMALL, "model-00001.safetensors": LARGE}
BOTH = pytest.mark.parametrize("source", ["huggingface", "modelscope"])
BIG = r"(cdn/|FilePath=).*00001"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hubs.serving(Hub({"org/model": Repository(dict(FILES))})) as running:
        yield running


@pytest.fixture
def models(serve: Program, hub: Hub) -> Callable[..., Result]:
    def run(*words: str, **variables: str) -> Result:
        return serve("models", *words, environment=environment(hub, serve) | variables)

    return run


def environment(hub: Hub, serve: Program) -> dict[str, str]:
    addresses = {"HF_ENDPOINT": hub.address, "MODELSCOPE_ENDPOINT": hub.address}
    home = {"HOME": str(serve.home), "MODELSCOPE_CACHE": str(serve.home / "ms")}
    return addresses | home | {"HF_HUB_DISABLE_TELEMETRY": "1"}


@contextlib.contextmanager
def started(serve: Program, hub: Hub, *words: str) -> Iterator[subprocess.Popen[str]]:
    argv = serve.argv("models", *words)
    variables = serve.environment(environment(hub, serve))
    with subprocess.Popen(
        argv, env=variables, cwd=serve.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(happened: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def ok(result: Result) -> Any:
    assert result.code == 0, result.err
    return json.loads(result.out)


def complete(folder: str | Path) -> None:
    found = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    assert {path for path in found if not path.startswith(".cache")} == set(NEEDED)
    for path, content in NEEDED.items():
        assert (Path(folder) / path).read_bytes() == content


def unfinished(serve: Program) -> list[Path]:
    homes = (serve.home, serve.folder)
    return [path for home in homes for path in home.rglob("*") if path.name.endswith((".incomplete", ".part"))]


def partial_bytes(serve: Program) -> int:
    """Of the longest partial file; one may become whole while we look."""
    sizes = [0]
    for path in unfinished(serve):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return max(sizes)


@BOTH
def test_pull_list_where_verify_remove(serve: Program, hub: Hub, models: Callable[..., Result], source: str) -> None:
    row = ok(models("pull", "org/model", "--source", source, "--json"))[0]
    complete(row["folder"])
    size_bytes = sum(map(len, NEEDED.values()))
    assert (row["hub"], row["size_bytes"], row["fetched_bytes"]) == (source, size_bytes, size_bytes)
    assert hub.sent("") == size_bytes
    again = models("pull", "org/model", "--source", source)
    assert again.out.startswith(f"org/model is complete, nothing to fetch: {row['folder']}\n")
    assert (f"serve launch {row['folder']}\n" in again.out) == (source == "modelscope")
    assert hub.sent("") == size_bytes
    assert models("where", "org/model").out.strip() == row["folder"]
    listed = ok(models("list", "--json"))
    assert [(each["model"], each["hub"], each["missing"]) for each in listed] == [("org/model", source, [])]
    assert "all files are right" in models("verify", "org/model").out
    assert models("rm", "org/model").out.startswith("removed org/model")
    assert not Path(row["folder"]).exists()
    assert not unfinished(serve)
    assert ok(models("list", "--json")) == []
    missing = models("where", "org/model")
    assert (missing.code, "is not on this host" in missing.err) == (1, True)


def test_the_cache_is_the_one_of_huggingface_hub(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    """An engine without a network finds the model, and the client's own tools see nothing amiss."""
    folder = ok(models("pull", "org/model", "--json"))[0]["folder"]
    code = (
        "import huggingface_hub as h; print(h.snapshot_download('org/model', local_files_only=True)); "
        "c = h.scan_cache_dir(); print([str(w) for w in c.warnings], [r.repo_id for r in c.repos], "
        "[sorted(v.refs) for r in c.repos for v in r.revisions])"
    )
    variables = serve.environment(environment(hub, serve))
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [folder, "[] ['org/model'] [['main']]"]


def test_what_an_engine_fetched_is_taken_over(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    variables = serve.environment(environment(hub, serve))
    code = "import huggingface_hub as h; h.hf_hub_download('org/model', 'model-00001.safetensors')"
    subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, check=True)
    row = ok(models("pull", "org/model", "--json"))[0]
    complete(row["folder"])
    assert row["fetched_bytes"] == sum(map(len, SMALL.values()))
    assert hub.sent("00001") == len(LARGE)


def test_to_a_folder(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    for source in ("huggingface", "modelscope"):
        folder = serve.folder / f"it's {source}"
        row = ok(models("pull", "org/model", "--source", source, "--to", str(folder), "--json"))[0]
        assert row["folder"] == str(folder)
        complete(folder)
        (folder / "mine.txt").write_text("kept")
        assert models("verify", str(folder)).code == 0
        assert models("rm", str(folder)).code == 0
        assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert hub.sent("") == 2 * sum(map(len, NEEDED.values()))


def test_include(models: Callable[..., Result]) -> None:
    row = ok(models("pull", "org/model", "--include", "*.json", "--include", "original/*", "--json"))[0]
    assert row["files"] == 3
    nothing = models("pull", "org/model", "--include", "*.onnx")
    assert (nothing.code, "no file of the repository is named '*.onnx'" in nothing.err) == (2, True)


def test_a_part_is_no_whole_until_all_is_pulled(hub: Hub, models: Callable[..., Result]) -> None:
    some = models("pull", "org/model", "--include", "*.json")
    assert some.out.startswith("org/model: the 2 files asked for are there, "), some.out
    assert " part " in models("list").out
    where = models("where", "org/model")
    assert (where.code, (Path(where.out.strip()) / "config.json").is_file()) == (0, True)
    models("pull", "org/model", "--include", "tokenizer*")
    (Path(where.out.strip()) / "config.json").unlink()
    mend = f"serve models verify {where.out.strip()} --repair"
    assert mend in models("where", "org/model").err  # that brings the part alone
    assert models(*shlex.split(mend)[2:]).code == 0
    assert ok(models("list", "--json"))[0]["part"]
    hub.faults = [Fault("status", "", times=10**6, status=503)]
    assert models("pull", "org/model").code == 1  # a part is not what is good enough
    hub.faults.clear()
    assert models("pull", "org/model").out.startswith("org/model is complete, ")
    models("pull", "org/model", "--include", "*.json")
    row = ok(models("list", "--json"))[0]
    assert (row["part"], row["missing"]) == (False, [])


FAULTS = {
    "dropped": [Fault("drop", BIG, after_bytes=12 * MB), Fault("drop", BIG, after_bytes=0)],
    "busy, and down": [
        Fault("status", r"tree|files", status=503, retry_after="1"),
        Fault("status", BIG, status=429, retry_after="1"),
        Fault("status", BIG, times=2, status=503, retry_after="1"),
    ],
    "altered": [Fault("alter", BIG), Fault("alter", "tokenizer")],
    "slow": [Fault("slow", BIG, rate=20 * MB)],
    "begun anew": [Fault("drop", BIG, after_bytes=12 * MB), Fault("whole", BIG)],
    "all at once": [
        Fault("drop", BIG, after_bytes=12 * MB),
        Fault("status", BIG, status=503),
        Fault("drop", "00002", after_bytes=MB),
        Fault("alter", BIG),
    ],
}


@BOTH
@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_faults(hub: Hub, models: Callable[..., Result], source: str, faults: list[Fault]) -> None:
    hub.faults = [Fault(**vars(each)) for each in faults]
    row = ok(models("pull", "org/model", "--source", source, "--json"))[0]
    complete(row["folder"])
    assert [each.times for each in hub.faults] == [0] * len(faults)


@BOTH
def test_a_file_that_is_always_wrong_never_takes_its_place(
    serve: Program, hub: Hub, models: Callable[..., Result], source: str
) -> None:
    hub.faults = [Fault("alter", BIG, times=100)]
    result = models("pull", "org/model", "--source", source)
    assert result.code == 1
    assert "model-00001.safetensors of org/model is altered" in result.err
    assert "another mirror" in result.err
    assert not unfinished(serve)
    assert models("where", "org/model").code == 1
    assert ok(models("list", "--json"))[0]["missing"] == ["model-00001.safetensors"]


def test_a_hub_that_stays_down(hub: Hub, models: Callable[..., Result]) -> None:
    ok(models("pull", "org/model", "--json"))
    hub.faults = [Fault("status", "", times=10**6, status=503)]
    known = models("pull", "org/model")
    assert (known.code, "what was pulled before is complete" in known.err) == (0, True)
    result = models("pull", "org/other")
    assert (result.code, "HTTP 503, 3 times in a row" in result.err) == (1, True)
    assert models("pull", "org/other", HF_HUB_OFFLINE="1").err.count("HF_HUB_OFFLINE") == 2
    nobody = models("pull", "org/other", HF_ENDPOINT="http://127.0.0.1:9")
    assert (nobody.code, "ConnectError" in nobody.err) == (1, True)


@BOTH
def test_who_may_have_it(hub: Hub, models: Callable[..., Result], source: str) -> None:
    hub.repositories["org/gated"] = Repository(dict(FILES), access="gated")
    hub.repositories["org/private"] = Repository(dict(FILES), access="private")
    for name in ("org/gated", "org/private", "org/nothing"):
        result = models("pull", name, "--source", source)
        assert (result.code, result.err.count("\n"), name in result.err) == (2, 3, True), result.err
    assert ("gated" in models("pull", "org/gated").err) is True
    variables = {"HF_TOKEN": TOKEN, "MODELSCOPE_API_TOKEN": TOKEN}
    complete(ok(models("pull", "org/gated", "--source", source, "--json", **variables))[0]["folder"])
    assert all(each.authorization is None for each in hub.seen if each.path.startswith("/cdn"))
    wrong = models("pull", "org/model", "--revision", "v9", "--source", source)
    assert (wrong.code, "'v9'" in wrong.err) == (2, True)
    assert hub.sent("") == sum(map(len, NEEDED.values()))


@BOTH
@pytest.mark.parametrize("code", ["EntryNotFound", "RevisionNotFound"])
@pytest.mark.parametrize("name", ["tokenizer", "00001"])
def test_a_file_that_is_listed_and_not_handed_out_is_named(
    hub: Hub, models: Callable[..., Result], source: str, code: str, name: str
) -> None:
    told = {"X-Error-Code": code}
    hub.faults = [Fault("status", f"(resolve|FilePath=).*{name}", times=10**6, status=404, headers=told)]
    result = models("pull", "org/model", "--source", source)
    path = next(path for path in NEEDED if name in path)
    assert f"the hub tells of {path} of model 'org/model' and does not hand it out (HTTP 404)" in result.err
    assert (result.code, "config.json" in result.err, "revision" in result.err) == (1, False, False), result.err


def test_a_repository_that_does_not_list_its_files(hub: Hub, models: Callable[..., Result]) -> None:
    hub.faults = [Fault("status", "/tree/", times=9, status=404, headers={"X-Error-Code": "RevisionNotFound"})]
    result = models("pull", "org/model")
    assert (result.code, "'org/model' and does not list its files" in result.err) == (1, True), result.err


def test_revision(models: Callable[..., Result]) -> None:
    row = ok(models("pull", "org/model", "--revision", COMMIT, "--json"))[0]
    assert (row["commit"], Path(row["folder"]).name) == (COMMIT, COMMIT)
    assert models("where", "org/model", "--revision", COMMIT).code == 0
    for command in ("where", "verify", "rm"):
        other = models(command, "org/model", "--revision", "v9")
        assert (other.code, "is not on this host at revision 'v9'" in other.err) == (1, True)
        other = models(command, "org/model", "--source", "modelscope")
        assert (other.code, "is not on this host from ModelScope" in other.err) == (1, True)
        assert f"there is {COMMIT} of Hugging Face" in other.err
        unknown = models(command, "org/model", "--source", "foo")
        assert (unknown.code, "--source: 'foo' is no hub" in unknown.err) == (2, True)


def test_no_room(hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/model"].claimed_bytes = 10**16
    result = models("pull", "org/model")
    assert (result.code, "20000000.0 GB are still to be fetched" in result.err) == (1, True)
    assert hub.sent("") == 0


def test_the_other_hub_only_when_asked(hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/private"] = Repository(dict(FILES), access="private")
    variables = {"MODELSCOPE_API_TOKEN": TOKEN}
    assert models("pull", "org/private", **variables).code == 2
    result = models("pull", "org/private", "--source", "auto", "--json", **variables)
    assert (ok(result)[0]["hub"], result.err) == ("modelscope", "")  # and no bar of either client
    hub.faults = [Fault("status", "^/(api/models/|org/)", times=10**6, status=503)]  # Hugging Face alone
    assert ok(models("pull", "org/model", "--source", "auto", "--json"))[0]["hub"] == "modelscope"
    hub.faults.clear()
    assert models("rm", "org/model").code == 0
    ok(models("pull", "org/model", "--json"))
    hub.faults = [Fault("status", "^/(api/models/|org/)", times=10**6, status=503)]
    hub.seen.clear()
    row = ok(models("pull", "org/model", "--source", "auto", "--json"))[0]
    assert (row["hub"], hub.sent("")) == ("huggingface", 0)  # what was pulled before is complete
    hub.faults.clear()
    neither = models("pull", "org/nothing", "--source", "auto")
    assert (neither.code, "the hub has no model" in neither.err, "ModelScope has no" in neither.err) == (2, True, True)


def test_a_preset_brings_its_draft(hub: Hub, models: Callable[..., Result]) -> None:
    pair = ["Qwen/Qwen3-VL-8B-Instruct", "taobao-mnn/Qwen3-VL-8B-Instruct-Eagle3"]
    hub.repositories |= {name: Repository(dict(SMALL)) for name in pair}
    assert [row["model"] for row in ok(models("pull", "--preset", "eagle3", "--json"))] == pair
    assert models("pull", "--preset", "eagle3", "--to", "here").code == 2
    assert "names no model" in models("pull", "--preset", "balanced").err


@BOTH
@pytest.mark.parametrize("to", [False, True])
def test_a_killed_pull_is_gone_on_with(
    serve: Program, hub: Hub, models: Callable[..., Result], source: str, to: bool
) -> None:
    hub.faults = [Fault("slow", BIG, rate=15 * MB)]
    words = ["pull", "org/model", "--source", source, *(["--to", "here"] if to else [])]
    with started(serve, hub, *words) as process:
        until(lambda: partial_bytes(serve) >= 10 * MB)
        process.send_signal(signal.SIGKILL)
    kept = partial_bytes(serve)
    where = models("where", "org/model")
    assert (where.code, "not complete" in where.err) == (1, True)
    row = ok(models(*words, "--json"))[0]
    complete(row["folder"])
    assert f"bytes={kept}-" in [each.range for each in hub.seen]
    assert row["fetched_bytes"] <= len(LARGE) - kept
    assert not unfinished(serve)


@BOTH
def test_two_pulls_share_the_work(serve: Program, hub: Hub, source: str) -> None:
    hub.faults = [Fault("slow", BIG, rate=3 * MB)]
    words = ("pull", "org/model", "--source", source)
    with started(serve, hub, *words) as first:
        until(lambda: unfinished(serve))
        with started(serve, hub, *words) as second:
            said = second.communicate(timeout=PATIENCE_S)
            assert (second.returncode, "waiting for it" in said[1]) == (0, True), said
            assert "nothing to fetch" in said[0]
        first.communicate(timeout=PATIENCE_S)
        assert first.returncode == 0
    assert hub.sent("") == sum(map(len, NEEDED.values()))


def test_who_waits_goes_on_when_the_other_is_killed(serve: Program, hub: Hub) -> None:
    hub.faults = [Fault("slow", BIG, rate=4 * MB)]
    with started(serve, hub, "pull", "org/model") as first:
        until(lambda: unfinished(serve))
        with started(serve, hub, "pull", "org/model", "--json") as second:
            assert second.stderr is not None
            time.sleep(3)  # it waits, or has yet to begin: both must end well
            first.kill()
            out, err = second.communicate(timeout=PATIENCE_S)
            assert second.returncode == 0, err
            complete(json.loads(out)[0]["folder"])


def test_ctrl_c_ends_at_once(serve: Program, hub: Hub) -> None:
    hub.faults = [Fault("slow", BIG, rate=2 * MB)]
    with started(serve, hub, "pull", "org/model") as process:
        until(lambda: unfinished(serve))
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, "Traceback" in err) == (130, False), err
        assert time.monotonic() - begin < 5


@BOTH
def test_verify_finds_and_repairs(hub: Hub, models: Callable[..., Result], source: str) -> None:
    folder = Path(ok(models("pull", "org/model", "--source", source, "--json"))[0]["folder"])
    large, second, config = (
        folder / name for name in ("model-00001.safetensors", "model-00002.safetensors", "config.json")
    )
    with large.open("r+b") as file:
        file.seek(len(LARGE) // 2)
        file.write(b"????")
    os.truncate(second, 12)
    config.unlink()
    found = models("verify", "org/model")
    assert found.code == 1
    assert "model-00001.safetensors is altered" in found.out
    assert "model-00002.safetensors has 12 of 2,000,000 bytes" in found.out
    assert "config.json is missing" in found.out
    assert "serve models verify org/model --repair" in found.err
    hub.seen.clear()
    assert models("verify", "org/model", "--repair").code == 0
    complete(folder)
    assert (hub.sent("00001"), hub.sent("00002")) == (len(LARGE), 2 * MB)
    assert not hub.sent("tokenizer")
    assert models("verify", "org/model").code == 0


def test_a_pull_mends_what_has_the_wrong_size(hub: Hub, models: Callable[..., Result]) -> None:
    folder = Path(ok(models("pull", "org/model", "--json"))[0]["folder"])
    os.truncate(folder / "model-00001.safetensors", 12)
    hub.seen.clear()
    complete(ok(models("pull", "org/model", "--json"))[0]["folder"])
    assert hub.sent("") == len(LARGE)


BROKEN = {
    "redirects without end": Fault("status", BIG, times=10**6, status=302, headers={"Location": "?again"}),
    "no gzip": Fault("status", BIG, times=10**6, status=200, headers={"Content-Encoding": "gzip"}),
    "an address that is none": Fault("status", BIG, times=10**6, status=302, headers={"Location": "http://[bad"}),
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN.keys())
def test_what_no_client_expects_ends_with_an_error(serve: Program, hub: Hub, fault: Fault) -> None:
    hub.faults = [Fault(**vars(fault))]
    code = "import launcher.models.persist as p; p.LONGEST_WAIT_S = 0; from launcher.cli.app import main; main()"
    words = [sys.executable, "-c", code, "models", "pull", "org/model"]
    variables = serve.environment(environment(hub, serve))
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    said = "model-00001.safetensors of org/model: " in done.stderr
    assert (done.returncode, said, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_a_file_beyond_what_plain_http_brings_is_told(
    serve: Program, hub: Hub, models: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import huggingface_hub.constants as c; c.MAX_HTTP_DOWNLOAD_SIZE = 10**7\n"
    )
    result = models("pull", "org/model", PYTHONPATH=os.pathsep.join([str(tmp_path), *serve.path]))
    assert (result.code, "00001.safetensors of org/model cannot be fetched" in result.err) == (1, True), result.err
    assert hub.sent("00001") == 0


def test_a_full_disk_is_told_with_its_file(serve: Program, hub: Hub) -> None:
    """A limit of the size of files ends a write as a full disk does."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**7, 10**7)); "
        "from launcher.cli.app import main; main()"
    )
    words = [sys.executable, "-c", code, "models", "pull", "org/model"]
    variables = serve.environment(environment(hub, serve))
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, "model-00001.safetensors: File too large" in done.stderr) == (1, True), done.stderr


def test_a_full_disk_below_our_own_folder_is_told_with_its_file(serve: Program, hub: Hub) -> None:
    (serve.home / "data").mkdir()
    script = 'mount -t tmpfs -o size=4k t "$SERVE_HOME/data"; echo x > "$SERVE_HOME/data/filler"; exec "$@"'
    words = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        *serve.argv("models", "pull", "org/model"),
    ]
    variables = serve.environment(environment(hub, serve))
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    told = done.stderr.splitlines()[-2:]
    assert (done.returncode, ".json: No space left on device" in told[0]) == (1, True), done.stderr
    assert told[0].startswith(f"serve: {serve.home}/data/models/pulled/")
    assert told[1] == "  -> free some space there, or let SERVE_HOME name another folder on a disk that has some"


def test_a_folder_of_another_user_is_told_with_its_owner(serve: Program, hub: Hub) -> None:
    folder = serve.folder / "theirs"
    folder.mkdir()
    if not os.geteuid():
        os.chown(folder, 65534, 65534)
    folder.chmod(0o555)
    limited = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]  # root without its privileges
    words = [*limited, *serve.argv("models", "pull", "org/model", "--to", str(folder / "new"))]
    variables = serve.environment(environment(hub, serve))
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    told = done.stderr.splitlines()[-1]
    assert (done.returncode, f"may not use it: {folder} belongs to {folder.owner()}" in told) == (2, True), done.stderr


@pytest.mark.parametrize("words", [("--to", "here"), ("--source", "modelscope")])
def test_a_file_of_the_same_size_that_was_uploaded_anew_is_fetched(
    hub: Hub, models: Callable[..., Result], words: tuple[str, ...]
) -> None:
    pull = ("pull", "org/model", *words, "--json")
    folder = Path(ok(models(*pull))[0]["folder"])
    hub.repositories["org/model"].files["model-00002.safetensors"] = LARGE[2 * MB : 4 * MB]
    hub.repositories["org/model"].commit = "d" * 40
    hub.seen.clear()
    assert ok(models(*pull))[0]["fetched_bytes"] == 2 * MB == hub.sent("")
    assert (folder / "model-00002.safetensors").read_bytes() == LARGE[2 * MB : 4 * MB]
    assert ok(models(*pull))[0]["fetched_bytes"] == 0


def test_a_removal_leaves_models_whose_commit_is_named_the_same(hub: Hub, models: Callable[..., Result]) -> None:
    others = [f"org/other{number}" for number in range(6)]
    hub.repositories |= {name: Repository({"config.json": CONFIG, "model.bin": b"w"}) for name in others}
    for name in (*others, "org/model"):
        ok(models("pull", name, "--json"))
    assert models("rm", "org/model").code == 0
    left = ok(models("list", "--json"))
    assert [(row["model"], row["missing"]) for row in left] == [(name, []) for name in others]


@BOTH
def test_one_folder_by_two_names(serve: Program, hub: Hub, models: Callable[..., Result], source: str) -> None:
    (serve.folder / "here").mkdir()
    (serve.folder / "link").symlink_to("here")
    hub.faults = [Fault("slow", BIG, rate=4 * MB)]
    with started(serve, hub, "pull", "org/model", "--source", source, "--to", "link") as first:
        until(lambda: unfinished(serve))
        second = models("pull", "org/model", "--source", source, "--to", "here")
        assert (second.code, "waiting for it" in second.err) == (0, True), second.err
        assert first.wait(PATIENCE_S) == 0
    complete(serve.folder / "here")
    assert hub.sent("") == sum(map(len, NEEDED.values()))
    assert models("where", "link").out.strip() == str(serve.folder / "here")


def test_files_of_one_content_in_a_folder(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/model"].files |= {f"model-0000{number}.safetensors": LARGE[: 4 * MB] for number in range(6)}
    ok(models("pull", "org/model", "--to", "here", "--json"))
    for number in range(6):
        assert (serve.folder / "here" / f"model-0000{number}.safetensors").read_bytes() == LARGE[: 4 * MB]
    assert hub.sent("") >= 24 * MB
    assert not unfinished(serve)


@BOTH
def test_a_folder_with_files_of_others_is_refused(
    serve: Program, hub: Hub, models: Callable[..., Result], source: str
) -> None:
    (serve.folder / "mine").mkdir()
    config = serve.folder / "mine" / "config.json"
    config.write_text("precious")
    refused = models("pull", "org/model", "--source", source, "--to", "mine")
    assert (refused.code, "files that are not of org/model, such as config.json" in refused.err) == (2, True)
    assert config.read_text() == "precious"
    hub.repositories["org/other"] = Repository({"other.bin": b"w"})
    ok(models("pull", "org/model", "--source", source, "--to", "here", "--json"))
    refused = models("pull", "org/other", "--source", source, "--to", "here")
    assert (refused.code, "two models do not fit one folder" in refused.err) == (2, True), refused.err
    complete(serve.folder / "here")


def test_a_folder_that_the_client_filled_is_taken_over(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    code = "import huggingface_hub as h; h.snapshot_download('org/model', local_dir='here', allow_patterns='model*')"
    variables = serve.environment(environment(hub, serve))
    subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, check=True, cwd=serve.folder)
    hub.seen.clear()
    row = ok(models("pull", "org/model", "--to", "here", "--json"))[0]
    assert (row["fetched_bytes"], hub.sent("00001")) == (len(CONFIG) + 2, 0)


def test_some_files_pulled_again_take_none_away(models: Callable[..., Result]) -> None:
    ok(models("pull", "org/model", "--json"))
    ok(models("pull", "org/model", "--include", "*.json", "--json"))
    whole = ok(models("list", "--json"))[0]
    assert whole["size_bytes"] == sum(map(len, NEEDED.values()))


@BOTH
@pytest.mark.parametrize("to", [False, True])
def test_a_repair_that_fails_takes_nothing_and_follows_no_link(
    serve: Program, hub: Hub, models: Callable[..., Result], source: str, to: bool
) -> None:
    words = ("pull", "org/model", "--source", source, *(("--to", "here") if to else ()), "--json")
    folder = Path(ok(models(*words))[0]["folder"])
    config, tokenizer = folder / "config.json", folder / "tokenizer.json"
    tokenizer.resolve().write_bytes(b"[]")
    if to:
        elsewhere = serve.folder / "elsewhere.json"
        config.rename(elsewhere)
        elsewhere.write_bytes(b"x" * len(CONFIG))
        config.symlink_to(elsewhere)
    gone = {"X-Error-Code": "EntryNotFound"}
    hub.faults = [Fault("status", "(resolve|FilePath=).*tokenizer", times=10**6, status=404, headers=gone)]
    assert models("verify", "org/model", "--repair").code != 0
    assert tokenizer.read_bytes() == b"[]"
    hub.faults.clear()
    assert models("verify", "org/model", "--repair").code == 0
    complete(folder)
    assert not to or elsewhere.read_bytes() == b"x" * len(CONFIG)


def test_a_pull_that_was_killed_before_its_first_file_is_seen_and_removed(
    serve: Program, hub: Hub, models: Callable[..., Result]
) -> None:
    shards = {f"model-1000{number}.safetensors": LARGE[number : 2 * MB + number] for number in range(9)}
    hub.repositories["org/model"] = Repository({"config.json": CONFIG, **shards})
    hub.faults = [Fault("slow", "cdn", times=100, rate=MB // 10)]
    with started(serve, hub, "pull", "org/model") as process:
        until(lambda: len(unfinished(serve)) >= 8)
        process.kill()
    assert len(ok(models("list", "--json"))[0]["missing"]) == 10
    assert models("rm", "org/model").code == 0
    assert not unfinished(serve)
    assert not list(serve.folder.glob("hub/hub/models--*"))


def test_a_repository_without_files_is_refused(hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/empty"] = Repository({})
    refused = models("pull", "org/empty")
    assert (refused.code, "holds no files" in refused.err) == (2, True)


ODD = {
    "a page": Fault("status", "", times=10**6, status=200, body="<html>Sign in</html>"),
    "an object": Fault("status", "", times=10**6, status=200),
    "a list": Fault("status", "", times=10**6, status=200, body="[]"),
    "a circle": Fault("status", "", times=10**6, status=302, headers={"Location": "?again"}),
}


@BOTH
@pytest.mark.parametrize("fault", ODD.values(), ids=ODD.keys())
def test_what_does_not_answer_as_a_hub(hub: Hub, models: Callable[..., Result], source: str, fault: Fault) -> None:
    hub.faults = [Fault(**vars(fault))]
    result = models("pull", "org/model", "--source", source)
    if fault.body == "{}" and source == "modelscope" and fault.status == 200:  # its client reads that as no files
        assert (result.code, "holds no files" in result.err) == (2, True), result.err
    else:
        assert (result.code, f"{hub.address}: does not answer as a hub does" in result.err) == (1, True), result.err


WAITS = {
    "an hour": ("huggingface", "/tree/", "3600", "60 minutes"),
    "of a file": ("huggingface", BIG, "3600", "60 minutes"),
    "an age": ("huggingface", BIG, "9" * 400, "16,666,667 minutes"),
    # its client waits for a file a minute at most, whatever it is told
    "ModelScope": ("modelscope", "/repo/files", "9" * 20, "360 minutes"),
}


@pytest.mark.parametrize(("source", "path", "asked", "told"), WAITS.values(), ids=WAITS.keys())
def test_a_hub_that_wants_to_be_left_in_peace(
    hub: Hub, models: Callable[..., Result], source: str, path: str, asked: str, told: str
) -> None:
    hub.faults = [Fault("status", path, times=10**6, status=429, retry_after=asked)]
    result = models("pull", "org/model", "--source", source)
    assert (result.code, f"asks to be left in peace for {told}" in result.err) == (1, True), result.err


@BOTH
@pytest.mark.parametrize("size", [None, -5, "5", 10**400, True], ids=lambda size: str(size)[:5])
def test_sizes_that_are_none(hub: Hub, models: Callable[..., Result], source: str, size: object) -> None:
    entry = {"type": "file", "path": "config.json", "size": size, "oid": "0" * 40}
    listed = {"Path": "config.json", "Size": size, "Type": "blob", "Revision": COMMIT}
    if source == "huggingface":
        hub.faults = [Fault("status", "/tree/", times=9, status=200, body=json.dumps([entry]))]
    else:
        body = json.dumps({"Code": 200, "Data": {"Files": [listed]}})
        hub.faults = [Fault("status", "/repo/files", times=9, status=200, body=body)]
    result = models("pull", "org/model", "--source", source)
    assert (result.code, result.err.splitlines()[-2].startswith(f"serve: {hub.address}: ")) == (1, True), result.err


@BOTH
def test_tokens_that_are_none(models: Callable[..., Result], source: str) -> None:
    name = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}[source]
    assert "no token has" in models("pull", "org/model", "--source", source, **{name: "hf_ключ"}).err


def test_a_token_that_is_not_accepted_is_told(hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/private"] = Repository(dict(FILES), access="private")
    assert "does not accept the token" in models("pull", "org/private", HF_TOKEN="hf_old").err  # noqa: S106
    assert "does not accept" not in models("pull", "org/nothing", HF_TOKEN=TOKEN).err


def test_damaged_records_are_passed_over(serve: Program, models: Callable[..., Result]) -> None:
    folder = ok(models("pull", "org/model", "--json"))[0]["folder"]
    record = next(serve.home.rglob("pulled/*.json"))
    right = json.loads(record.read_text())
    wrong = [
        [],
        right | {"name": 5},
        right | {"place": 5},
        right | {"hub": "x"},
        right | {"files": [right["files"][0] | {"path": "../../x"}]},
        right | {"files": [right["files"][0] | {"size_bytes": "5"}]},
    ]
    for each in wrong:
        record.write_text(json.dumps(each))
        listed = ok(models("list", "--json"))
        assert [(row["folder"], row["pulled"]) for row in listed] == [(folder, False)]


def test_an_index_that_lists_more_than_the_hub_has(hub: Hub, models: Callable[..., Result]) -> None:
    index = {"weight_map": {"a": "model-00001.safetensors", "b": "model-00003.safetensors"}}
    hub.repositories["org/model"].files["model.safetensors.index.json"] = json.dumps(index).encode()
    result = models("pull", "org/model")
    assert (result.code, "lacks model-00003.safetensors" in result.err) == (1, True), result.err
    assert "is all that the hub has" in result.out


def test_both_models_of_a_preset_are_looked_at_first(hub: Hub, models: Callable[..., Result]) -> None:
    model, draft = "Qwen/Qwen3-VL-8B-Instruct", "taobao-mnn/Qwen3-VL-8B-Instruct-Eagle3"
    hub.repositories |= {model: Repository(dict(SMALL)), draft: Repository(dict(SMALL), access="gated")}
    result = models("pull", "--preset", "eagle3")
    assert (result.code, f"{draft!r} is gated" in result.err, hub.sent("")) == (2, True, 0), result.err
    hub.repositories[draft] = Repository(dict(SMALL), claimed_bytes=10**16)
    result = models("pull", "--preset", "eagle3")
    assert (result.code, "are still to be fetched" in result.err, hub.sent("")) == (1, True, 0), result.err


def test_a_removal_asks_which_copy(serve: Program, models: Callable[..., Result]) -> None:
    ok(models("pull", "org/model", "--json"))
    ok(models("pull", "org/model", "--to", "here", "--json"))
    refused = models("rm", "org/model")
    assert (refused.code, "means 2 copies" in refused.err, str(serve.folder / "here") in refused.err) == (2, True, True)
    assert len(ok(models("list", "--json"))) == 2
    assert models("rm", "here").code == 0
    assert models("rm", "org/model").code == 0


SERVED = {
    "its name": ("org/model",),
    "its draft model": ("/other", "--speculative-config", '{"method": "eagle3", "model": "org/model"}'),
    "an option's value": ("/other", "--speculative-draft-model-path=org/model"),
    "its folder": ("{folder}",),
    "a file of it": ("{folder}/config.json",),
    "others": ("org/model2", "/x/org/model", "{folder}2", "an-org/model"),
}


@pytest.mark.parametrize(("case", "argv"), SERVED.items(), ids=SERVED.keys())
def test_what_an_instance_serves_is_not_removed(
    serve: Program, hub: Hub, models: Callable[..., Result], case: str, argv: tuple[str, ...]
) -> None:
    folder = ok(models("pull", "org/model", "--json"))[0]["folder"]
    words = tuple(word.replace("{folder}", folder) for word in argv)
    code = (
        "import time; from launcher.run import instances; from launcher.run.record import Record\n"
        "with instances.claim('mine') as claim: "
        f"claim.record(Record('mine', state='serving', model={words[0]!r}, argv=('vllm', 'serve', *{words!r}))); "
        "print(1, flush=True); time.sleep(100)"
    )
    variables = serve.environment(environment(hub, serve))
    with subprocess.Popen([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        result = models("rm", "org/model")
        process.kill()
    if case == "others":
        assert result.code == 0, result.err
    else:
        assert (result.code, "instance 'mine' serves org/model" in result.err) == (1, True), result.err


@BOTH
@pytest.mark.parametrize("to", [False, True])
def test_what_another_user_has_is_not_half_removed(
    serve: Program, hub: Hub, models: Callable[..., Result], source: str, to: bool
) -> None:
    words = ("pull", "org/model", "--source", source, *(("--to", "here") if to else ()), "--json")
    folder = Path(ok(models(*words))[0]["folder"])
    closed = folder if to or source == "modelscope" else folder.parent.parent / "blobs"
    closed.chmod(0o555)
    if not os.geteuid():
        os.chown(closed, 65534, 65534)
    limited = [] if os.geteuid() else ["setpriv", "--bounding-set=-all"]  # root without its privileges
    argv = [*limited, *serve.argv("models", "rm", "org/model")]
    variables = serve.environment(environment(hub, serve))
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    first, second = done.stderr.splitlines()
    assert (done.returncode, first) == (2, f"serve: {closed}: Permission denied")
    assert f"may not use it: {closed} belongs to {closed.owner()}" in second
    complete(folder)
    closed.chmod(0o755)
    assert models("rm", "org/model").code == 0
    assert not (folder / "config.json").exists()


def test_where_is_the_current_revision(hub: Hub, models: Callable[..., Result]) -> None:
    for commit in ("e" * 40, "a" * 40, "c" * 40):
        hub.repositories["org/model"].commit = commit
        ok(models("pull", "org/model", "--json"))
        assert Path(models("where", "org/model").out.strip()).name == commit
        assert Path(models("where", "org/model", "--revision", "main").out.strip()).name == commit


def test_advice_for_a_folder_names_it(serve: Program, models: Callable[..., Result]) -> None:
    ok(models("pull", "org/model", "--to", "my folder", "--json"))
    (serve.folder / "my folder" / "config.json").unlink()
    assert f"serve models pull org/model --to '{serve.folder / 'my folder'}'" in models("where", "my folder").err
    assert "serve models verify 'my folder' --repair" in models("verify", "my folder").err
    (serve.folder / "other").mkdir()
    assert "see: serve models list" in models("where", "./other").err
    assert "--to: names no folder" in models("pull", "org/model", "--to", "").err


def test_a_launch_by_name_names_the_folder_of_a_pull(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    serve.holds_vllm()
    ok(models("pull", "org/model", "--to", "my folder", "--json"))
    away = environment(hub, serve) | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        refused = serve("launch", "org/model", environment=away | more)
        assert f"serve launch '{serve.folder / 'my folder'}'" in refused.err, refused.err


def test_verify_of_what_nobody_wrote_down(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    variables = serve.environment(environment(hub, serve))
    code = "import huggingface_hub as h; print(h.snapshot_download('org/model', ignore_patterns=['original/*']))"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert [row["pulled"] for row in ok(models("list", "--json"))] == [False]
    assert models("verify", "org/model").code == 0
    os.truncate(folder / "model-00001.safetensors", 12)
    assert models("verify", "org/model").code == 1


def test_what_xet_offers_goes_through_the_client(hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/model"].chunked = True
    hub.faults = [Fault("alter", BIG), Fault("drop", BIG, after_bytes=12 * MB)]
    complete(ok(models("pull", "org/model", "--json"))[0]["folder"])


def test_paths_that_lead_elsewhere_are_refused(serve: Program, hub: Hub, models: Callable[..., Result]) -> None:
    hub.repositories["org/model"].files["../../../../evil.json"] = b"{}"
    for source in ("huggingface", "modelscope"):
        result = models("pull", "org/model", "--source", source)
        assert (result.code, "no repository can hold" in result.err) == (1, True)
    assert not list(serve.home.rglob("evil*"))


@pytest.mark.parametrize("reference", ["", "x", "a/b/c", "../x", "a b/c", "a/b\nc", "demo", "-", "a/..", "\x1b[31m/x"])
def test_references_that_are_none(models: Callable[..., Result], reference: str) -> None:
    result = models("pull", "--", reference)
    assert (result.code, "Traceback" in result.err) == (2, False), result.err
    assert "\x1b" not in result.err


def test_without_modelscope(serve: Program) -> None:
    fix = f"{sys.executable} -m uv pip install --python {sys.executable} modelscope-hub"
    code = "import sys; sys.modules['modelscope_hub'] = None; from launcher.cli.app import main; main()"
    words = [sys.executable, "-c", code, "models", "pull", "a/b", "--source", "modelscope"]
    done = subprocess.run(words, env=serve.environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, f"-> {fix}\n" in done.stderr) == (1, True), done.stderr


def test_a_terminal_gets_a_bar(serve: Program, hub: Hub) -> None:
    hub.faults = [Fault("slow", BIG, rate=15 * MB)]
    ours, theirs = pty.openpty()
    variables = serve.environment(environment(hub, serve) | {"TERM": "xterm"})
    argv = serve.argv("models", "pull", "org/model")
    with subprocess.Popen(argv, env=variables, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # a terminal whose last writer has gone
            while block := os.read(ours, 4096):
                said += block
        os.close(ours)
        assert process.wait(PATIENCE_S) == 0
    for text in (b"org/model", b"/32.0 MB", b"MB/s", b"0:00:0"):
        assert text in said
