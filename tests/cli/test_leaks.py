"""The API key through every command: in no output, in no file but its own, in no argv of any process."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from launcher.cli.app import program
from tests import fake_environment
from tests.cli.conftest import PATIENCE_S, Program, Result
from tests.run.conftest import free_port, until

HUB_TOKEN = f"hf_{secrets.token_hex(8)}"
RELEASES = {"vllm": "vllm@0.33.0", "sglang": "sglang@0.5.23"}
SERVICE = ("uninstall", "start", "restart", "stop", "enable", "disable", "upgrade", "status", "logs")
# One row a command, in words after `serve`; run as it is, and with --json where the command has that option.
# {script} holds a launch command with the key in it, {plain} one without.
WHILE_IT_SERVES: dict[str, tuple[str, ...]] = {
    "launch": ("demo", "--dry-run"),
    "explain": ("demo", "--context-length", "2k"),
    "check": ("{script}", "{config}"),
    "migrate": ("{plain}", "--to", "vllm@0.33.0"),
    "import": ("{script}",),
    "smoke": ("mine",),
    "doctor": (),
    "keys": (),
    "releases": ("sglang@0.5.23",),
    "presets list": (),
    "presets show": ("balanced",),
    "engines install": ("vllm@0.33.0", "--device", "none"),
    "engines upgrade": ("vllm", "--device", "none"),
    "engines use": ("vllm@0.33.0",),
    "engines verify": ("sglang@0.5.3",),
    "engines lock": ("vllm@0.33.0", "--device", "none"),
    "engines bundle": ("out.zip", "--device", "cuda", "--engine", "sglang"),
    "engines list": (),
    "engines remove": ("vllm@0.33.0",),
    "key new": ("mine",),
    "models pull": ("no-repository",),
    "models list": (),
    "models where": ("org/model",),
    "models verify": ("org/model",),
    "models rm": ("org/model",),
    "service install": ("mine", "demo", "--dry-run", "--user"),  # tests/systemd looks for the key on a host of its own
    **{f"service {word}": ("mine", "--user") for word in SERVICE},
    "service list": ("--user",),
    "ps": (),
    "status": ("mine",),
    "logs": ("mine", "--since", "1h"),
    "wait": ("mine",),
}
# What changes the instance, in this order.
THEN: dict[str, tuple[str, ...]] = {"restart": ("mine",), "stop": ("mine",), "rm": ("mine",)}


def commands(group: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Every command of the program by its words, and whether it has --json."""
    for name, command in group.commands.items():
        words = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            yield from commands(command, words)
        else:
            yield words, any("--json" in parameter.opts for parameter in command.params)


COMMANDS = dict(commands(typer.main.get_command(program())))


def test_every_command_has_a_row() -> None:
    assert COMMANDS.keys() == WHILE_IT_SERVES.keys() | THEN.keys(), "a row of words for the new command, please"


class Watch(threading.Thread):
    """Looks into the argv of every process until it is stopped."""

    def __init__(self, key: str) -> None:
        super().__init__(daemon=True)
        self.key, self.seen, self.looks, self.ended = key.encode(), set[bytes](), 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            self.look()

    def look(self) -> None:
        self.looks += 1
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if self.key in (argv := path.read_bytes()):
                    self.seen.add(argv)

    def end(self) -> None:
        self.ended.set()
        self.join()


class Household:
    """The program with an engine beside it, and a key that is looked for."""

    def __init__(self, serve: Program, engine: str) -> None:
        self.serve, self.engine, self.port = serve, engine, free_port()
        self.key = f"sk-{secrets.token_hex(16)}"
        self.given = serve.folder.parent / "given"  # the user's own files, which hold the key on purpose
        self.given.mkdir()
        self.files = {
            "script": self.write("launch.sh", f"vllm serve org/m --api-key {self.key} --max-model-len 4096\n"),
            "plain": self.write("plain.sh", "vllm serve org/m --max-model-len 4096\n"),
            "config": self.write("mine.yaml", f"model: org/m\nenv: {{VLLM_API_KEY: {self.key}}}\n"),
        }
        self.variables: dict[str, str] = {"FAKE_PRINT_KEY": "1", "HF_TOKEN": HUB_TOKEN, "TMPDIR": str(serve.folder)}
        self.option = "env"
        if engine == "vllm":
            serve.holds_vllm()
        else:
            self.holds_sglang()

    def holds_sglang(self) -> None:
        site = self.serve.folder / "site"
        fake_environment.package(site, "0.5.23", "sglang/launch_server.py")
        self.serve.path.append(str(site))

    def write(self, name: str, text: str) -> str:
        (self.given / name).write_text(text)
        return str(self.given / name)

    def exports_the_key(self) -> None:
        self.variables["SERVE_API_KEY"] = self.key

    def makes_a_key(self) -> None:
        assert self.run("key", "new", "mine").code == 0
        self.option = "auto"
        self.key = self.own_file.read_text().strip()

    @property
    def instance(self) -> Path:
        return self.serve.home / "state" / "instances" / "mine"

    @property
    def own_files(self) -> set[str]:
        """Where the key may lie."""
        return {"mine"} if self.option == "auto" else set()

    @property
    def own_file(self) -> Path:
        return self.serve.home / "state" / "keys" / "mine"

    def run(self, *words: str) -> Result:
        """Run a command; nothing of the key may be in what it says."""
        done = self.serve(*words, environment=self.variables)
        assert self.key not in done.out + done.err, words
        return done

    def launch(self, *more: str) -> Result:
        words = ("demo", "--name", "mine", "--port", str(self.port), "--engine", RELEASES[self.engine], "--detach")
        return self.run("launch", *words, *(more or ("--api-key", self.option)))

    def row(self, command: str, words: tuple[str, ...]) -> None:
        filled = [word.format(**self.files) for word in words]
        for more in ((), ("--json",)) if COMMANDS[command] else ((),):
            self.run(*command.split(), *filled, *more)

    def written(self) -> set[str]:
        """The files that hold the key."""
        found = set()
        for path in (*self.serve.home.rglob("*"), *self.serve.folder.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and self.key.encode() in path.read_bytes():
                    found.add(path.name)
        return found

    def open_to_others(self) -> list[Path]:
        state = self.serve.home / "state"
        return [path for path in (state, *state.rglob("*")) if path.lstat().st_mode & 0o077]

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SERVE_HOME") == str(self.serve.home):
                    found.append(process)
        return found

    def end(self) -> None:
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, PATIENCE_S)


@pytest.fixture(params=["vllm", "sglang"])
def household(serve: Program, request: pytest.FixtureRequest) -> Iterator[Household]:
    household = Household(serve, request.param)
    yield household
    household.end()


@pytest.fixture
def prepared(household: Household) -> Household:
    """With vLLM, which takes it from a variable, the user's key; with SGLang, which takes it from a file, our own."""
    household.exports_the_key() if household.engine == "vllm" else household.makes_a_key()
    return household


@pytest.fixture
def watch(prepared: Household) -> Iterator[Watch]:
    watch = Watch(prepared.key)
    watch.start()
    yield watch
    watch.end()
    assert watch.looks > 10
    assert watch.seen == set()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("watch")
def test_no_command_shows_or_writes_the_key(prepared: Household) -> None:
    assert prepared.launch().code == 0
    with ThreadPoolExecutor(4) as several:
        list(several.map(prepared.row, *zip(*WHILE_IT_SERVES.items(), strict=True)))
    log = (prepared.instance / "engine.log").read_text()
    assert "server_args=ServerArgs(api_key='[api key]'" in log
    assert "'HF_TOKEN': '[HF_TOKEN]'" in log
    assert HUB_TOKEN not in log
    assert prepared.written() == prepared.own_files
    assert prepared.open_to_others() == []
    for command, words in THEN.items():
        prepared.row(command, words)
        assert prepared.written() == prepared.own_files


@pytest.mark.usefixtures("watch")
@pytest.mark.parametrize("fault", [{"FAKE_EXIT": "3"}, {"FAKE_LONG": "3000000", "FAKE_SIGNAL": "11"}])
def test_an_engine_that_fails_leaves_nothing_of_the_key(prepared: Household, fault: dict[str, str]) -> None:
    prepared.variables |= fault
    failed = prepared.launch()
    assert failed.code == 1
    for command in (("status", "mine", "--json"), ("logs", "mine"), ("ps",)):
        assert prepared.run(*command).code == 0
    assert prepared.written() == prepared.own_files


@pytest.mark.usefixtures("watch")
def test_a_killed_supervisor_leaves_nothing_of_the_key_to_the_next_launch(prepared: Household) -> None:
    prepared.variables["FAKE_START_S"] = "60"
    log, lock = prepared.instance / "engine.log", prepared.instance / "lock"
    with ThreadPoolExecutor(1) as beside:
        launched = beside.submit(prepared.launch)
        until(lambda: log.exists() and "server_args" in log.read_text(), "an engine that loads")
        psutil.Process(int(lock.read_text().split()[0])).kill()
        assert launched.result().code == 1
    until(lambda: not prepared.processes(), "the end of the engine")
    assert prepared.written() == prepared.own_files | ({"engine.yaml"} if prepared.engine == "sglang" else set())
    assert prepared.open_to_others() == []
    prepared.variables |= {"FAKE_EXIT": "3", "FAKE_START_S": "0"}
    assert prepared.launch("--api-key", "none" if prepared.engine == "sglang" else "env").code == 1
    assert prepared.written() == prepared.own_files


def test_a_key_that_was_typed_is_in_no_argv_of_a_server(household: Household) -> None:
    typed = household.launch("--api-key", household.key)
    assert typed.code == 0, typed.err
    assert "it was moved there, and serve was started again without it" in typed.err
    watch = Watch(household.key)
    watch.look()
    assert watch.seen == set()
    assert {process.name() for process in household.processes()} != set()
    assert household.written() == set()
    for command in ("smoke", "restart"):  # it was never written down: who asks has to say it
        refused = household.serve(command, "mine")
        assert (refused.code, "SERVE_API_KEY" in refused.err) == (2, True)
    asked = household.serve("smoke", "mine", environment={"SERVE_API_KEY": household.key})
    assert asked.code == 0, asked.out
