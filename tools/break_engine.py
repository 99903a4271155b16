"""Break a real engine on purpose and keep what it says: the logs on which the rules of a diagnosis are tested.

    python tools/break_engine.py [NAME...] [--to FOLDER]

One row of `FAILURES` is one failure of the vLLM for this host's CPU, on the demo model. Each log is written to FOLDER
as ENGINE-VERSION-NAME.log, without what names this host. What is printed is how the engine ended (its exit status,
negative for a signal) and what `launcher.run.failures.diagnose` makes of it. Some rows need root: those that limit
memory or processes, fill /dev/shm or a disk, or take rights away. All of them take about 45 minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from refusing_hub import hub

from launcher.host import environments
from launcher.host.environments import Environment
from launcher.models import demo
from launcher.run.failures.diagnose import diagnose
from launcher.run.health.client import Client
from launcher.run.processes.oom import oom_kills

PATIENCE_S = 600.0
HEAD_LINES, TAIL_LINES, LINE_CHARACTERS = 12, 280, 400
GROUP = "serve-break-engine"
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))  # v1, v2


class Engine:
    """A started engine."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        """Args: process: its first; log: the file of its output; port: where it will answer."""
        self.process, self.log, self.client = process, log, Client(f"http://127.0.0.1:{port}")
        self.served = False

    def alive(self) -> bool:
        """Whether the first process runs."""
        return self.process.poll() is None

    def says(self, text: str) -> None:
        """Wait for a text in the log, or its end."""
        while self.alive() and text not in self.log.read_text(errors="replace"):
            time.sleep(0.1)

    def serves(self) -> None:
        """Wait until it answers, or its end."""
        while self.alive() and not self.served:
            self.served = self.client.health().ok
            time.sleep(0.2)

    def child(self, name: str) -> psutil.Process:
        """The descendant with this text in its title."""
        for each in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if name in " ".join([each.name(), *each.cmdline()]):
                    return each
        raise RuntimeError(f"there is no {name}")


@dataclass(frozen=True)
class Failure:
    """One way to fail.

    Attributes:
        name: of its log.
        flags: more words for the engine.
        environment: more variables for it; MODEL stands for the model's folder, HELD for what `around` gives.
        model: changes a copy of the demo model before the start.
        wrap: words before the engine's own; ``sh -c`` at their end takes the rest as its arguments.
        act: what is done to it while it runs.
        around: holds something while it runs; gets the port.
    """

    name: str
    flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    model: Callable[[Path], object] | None = None
    wrap: tuple[str, ...] = ()
    act: Callable[[Engine], object] | None = None
    around: Callable[[int], contextlib.AbstractContextManager[object]] = lambda _: contextlib.nullcontext()


def config(**values: object) -> Callable[[Path], object]:
    """Change config.json."""

    def change(model: Path) -> None:
        path = model / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def without(*names: str) -> Callable[[Path], object]:
    """Remove files."""

    def remove(model: Path) -> None:
        for name in names:
            (model / name).unlink()

    return remove


def weights(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Change the bytes of the weights."""

    def write(model: Path) -> None:
        path = model / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return write


def one_of_two_shards(model: Path) -> None:
    """An index that names two files, of which one is there."""
    there, missing = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    (model / "model.safetensors").rename(model / there)
    index = {"metadata": {}, "weight_map": {"model.norm.weight": there, "lm_head.weight": missing}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


def own_code(model: Path) -> None:
    """A checkpoint whose configuration comes with it, as Python code."""
    config(model_type="own", auto_map={"AutoConfig": "configuration_own.OwnConfig"})(model)
    code = "from transformers import Qwen3Config\n\n\nclass OwnConfig(Qwen3Config):\n    model_type = 'own'\n"
    (model / "configuration_own.py").write_text(code)


def broken_package(model: Path) -> None:
    """A package of the engine's that wants one that is not there; a row's PYTHONPATH finds it in the model's folder."""
    (model / "uvloop.py").write_text("import a_package_that_is_not_there\n")


def wants(library: str) -> Callable[[Path], object]:
    """The same of one that wants a library; a host that has it does not fail."""

    def write(model: Path) -> None:
        (model / "uvloop.py").write_text(f"import ctypes\n\nctypes.CDLL({library!r})\n")

    return write


def starting(number: signal.Signals) -> Callable[[Engine], object]:
    """Send a signal to the first process while it still imports."""

    def send(engine: Engine) -> None:
        engine.says("DeprecationWarning")
        engine.process.send_signal(number)

    return send


def loading(name: str, number: signal.Signals) -> Callable[[Engine], object]:
    """Send a signal to the first process (no name) or a child while the model loads."""

    def send(engine: Engine) -> None:
        engine.says("Initializing a V1 LLM engine")
        (engine.child(name) if name else engine.process).send_signal(number)

    return send


def serving(name: str, number: signal.Signals) -> Callable[[Engine], object]:
    """The same once it serves."""

    def send(engine: Engine) -> None:
        engine.serves()
        (engine.child(name) if name else engine.process).send_signal(number)

    return send


def hostile_requests(engine: Engine) -> None:
    """Requests whose texts read like failures, and wrong ones; then an end of which no line tells."""
    engine.serves()
    words = 'Traceback (most recent call last):\n  File "a.py", line 1\ntorch.OutOfMemoryError: CUDA out of memory.'
    for model, prompt in (("demo", words), (words, "x"), ("demo", words * 400)):
        engine.client.complete(model, prompt, tokens=4)
    engine.process.kill()


@contextlib.contextmanager
def port_taken(port: int) -> Iterator[object]:
    """Hold the port."""
    with socket.create_server(("127.0.0.1", port)) as held:
        yield held


def memory_limit(size_bytes: int) -> Callable[[Engine], object]:
    """Put it under a limit of memory, at which the kernel's OOM killer comes."""

    def limit(engine: Engine) -> None:
        group = next(each for each in CGROUPS if (each / "cgroup.procs").exists()) / GROUP
        group.mkdir(exist_ok=True)
        names = ("memory.limit_in_bytes", "memory.max")
        next(group / name for name in names if (group / name).exists()).write_text(str(size_bytes))
        (group / "cgroup.procs").write_text(str(engine.process.pid))

    return limit


EAGER = ("--enforce-eager",)
COMPILED = ("--no-enforce-eager",)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
UNPRIVILEGED = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")  # root, but no more
NO_LOW_PORTS = ("setpriv", "--inh-caps=-all", "--bounding-set=-net_bind_service")
OTHER_USER = ("setpriv", "--reuid=54321", "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--clear-groups")
REPOSITORY = ("--model", "org/model")
HUB = {"HF_ENDPOINT": "HELD"}
MOUNTING = ("unshare", "--mount", "sh", "-c")  # a file system of its own, gone with it
FULL_SHM = 'mount -t tmpfs -o size=4k none /dev/shm && exec "$@"'
FULL_HOME = 'mkdir -p "$HOME" && mount -t tmpfs -o size=64k none "$HOME" && exec "$@"'
CORE = "EngineCore"
FP8 = {"quant_method": "fp8"}

FAILURES = (
    Failure("good", act=serving("", signal.SIGTERM)),
    Failure("unknown-flag", ("--no-such-flag", "1")),
    Failure("bad-value", ("--max-num-seqs", "many")),
    Failure("bad-json", ("--speculative-config", "{eagle3}")),
    Failure("bad-choice", ("--load-format", "floppy")),
    Failure("conflicting-values", ("--max-num-batched-tokens", "4", "--max-num-seqs", "16")),
    Failure("unknown-quantization", ("--quantization", "int3")),
    Failure("missing-chat-template", ("--chat-template", "/nonexistent/template.jinja")),
    Failure("missing-model", ("--model", "/nonexistent/model")),
    Failure("unreachable-hub", ("--model", "no-such-organisation/no-such-model")),
    Failure("offline-hub", ("--model", "no-such-organisation/no-such-model"), {"HF_HUB_OFFLINE": "1"}),
    Failure("gated-hub", REPOSITORY, HUB, around=hub(401, "GatedRepo", lists="config.json")),
    Failure("missing-repository", REPOSITORY, HUB, around=hub(404, "RepoNotFound")),
    Failure("unauthorized-repository", REPOSITORY, HUB, around=hub(401, "RepoNotFound")),
    Failure("empty-repository", REPOSITORY, HUB, around=hub(404, "EntryNotFound", lists="README.md")),
    Failure("busy-hub", REPOSITORY, HUB, around=hub(429)),
    Failure("missing-config", model=without("config.json")),
    Failure("damaged-config", model=lambda model: (model / "config.json").write_text('{"architectures": [')),
    Failure("missing-tokenizer", model=without("tokenizer.json", "tokenizer_config.json")),
    Failure("unknown-architecture", model=config(architectures=["NoSuchForCausalLM"])),
    Failure("unknown-model-type", model=config(model_type="no_such")),
    Failure("own-code", model=own_code),
    Failure("context-too-long", ("--max-model-len", "200000")),
    Failure("no-kv-room", ("--max-model-len", "4194304"), model=config(max_position_embeddings=4 << 20)),
    Failure("kv-larger-than-memory", environment={"VLLM_CPU_KVCACHE_SPACE": "4000"}),
    Failure("cgroup-limit", act=memory_limit(900 << 20)),
    Failure("port-taken", around=port_taken),
    Failure("unreadable-config", model=lambda model: (model / "config.json").chmod(0), wrap=UNPRIVILEGED),
    Failure("unreadable-weights", model=lambda model: (model / "model.safetensors").chmod(0), wrap=UNPRIVILEGED),
    Failure("truncated-weights", model=weights(lambda data: data[: len(data) // 2])),
    Failure("damaged-header", model=weights(lambda data: data[:8] + bytes(200) + data[208:])),
    Failure("lfs-pointer", model=weights(lambda _: POINTER)),
    Failure("missing-weights", model=without("model.safetensors")),
    Failure("missing-shard", model=one_of_two_shards),
    Failure("wrong-shapes", model=config(hidden_size=512)),
    Failure("tensor-parallel-3", ("--tensor-parallel-size", "3")),
    Failure("fp8-per-tensor", ("--quantization", "fp8_per_tensor")),
    Failure("quantization-mismatch", ("--quantization", "gptq"), model=config(quantization_config=FP8)),
    Failure("bad-attention-backend", ("--attention-backend", "FLASHINFER")),
    Failure("bitsandbytes", ("--quantization", "bitsandbytes")),
    Failure("missing-package", model=broken_package, environment={"PYTHONPATH": "MODEL"}),
    Failure("no-compiler", COMPILED, {"CXX": "/nonexistent/c++"}),
    Failure("missing-library", model=wants("liba_library_that_is_not_there.so.1"), environment={"PYTHONPATH": "MODEL"}),
    Failure("missing-driver", model=wants("libcuda.so.1"), environment={"PYTHONPATH": "MODEL"}),
    Failure("other-cuda", model=wants("libcudart.so.9.0"), environment={"PYTHONPATH": "MODEL"}),
    Failure("privileged-port", ("--port", "80"), wrap=NO_LOW_PORTS),
    Failure("nproc-16", wrap=(*OTHER_USER, "prlimit", "--nproc=16:16")),
    Failure("nofile-64", wrap=("prlimit", "--nofile=64:64")),
    Failure("full-shm", wrap=(*MOUNTING, FULL_SHM, "sh")),
    Failure("full-disk", COMPILED, wrap=(*MOUNTING, FULL_HOME, "sh")),
    Failure("killed-core-loading", act=loading(CORE, signal.SIGKILL)),
    Failure("killed-api-loading", act=loading("", signal.SIGKILL)),
    Failure("terminated-starting", act=starting(signal.SIGTERM)),
    Failure("illegal-instruction-starting", act=starting(signal.SIGILL)),
    Failure("bus-error-starting", act=starting(signal.SIGBUS)),
    Failure("segfault-starting", act=starting(signal.SIGSEGV)),
    Failure("killed-core-serving", act=serving(CORE, signal.SIGKILL)),
    Failure("killed-api-serving", act=serving("", signal.SIGKILL)),
    Failure("segfault-core-serving", act=serving(CORE, signal.SIGSEGV)),
    Failure("hostile-requests", ("--enable-log-requests",), act=hostile_requests),
)  # fmt: skip


def perform(failure: Failure, python: str, folder: Path) -> tuple[int, Engine]:
    """Run one to its end, within a scratch folder; how it ended.

    Raises:
        subprocess.TimeoutExpired: it did not end.
    """
    model, log = folder / "demo", folder / "log"
    shutil.copytree(demo.make(), model)
    if failure.model:
        failure.model(model)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *EAGER]
    words += ["--max-model-len", "2048", "--served-model-name", "demo", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output, failure.around(port) as held:
        names = {"MODEL": str(model), "HELD": str(held)}
        own = {name: names.get(value, value) for name, value in failure.environment.items()}
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HOME": str(folder / "home"), **own}
        process = subprocess.Popen(
            [*failure.wrap, *words, *failure.flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        engine = Engine(process, log, port)
        try:
            if failure.act:
                failure.act(engine)
            return process.wait(PATIENCE_S), engine
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left in its session, and remove its limit."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(each.pid) == process.pid:
                each.kill()
    process.wait()
    for root in CGROUPS:
        with contextlib.suppress(OSError):  # most rows have none
            (root / GROUP).rmdir()


def neutral(text: str, environment: Environment, folder: Path) -> str:
    """The log without what names this host, without its middle and the ends of its longest lines."""
    names = {
        str(folder / "demo"): "/models/demo",
        str(folder / "home"): "/home/serve",
        str(folder): "/tmp/serve",  # noqa: S108 - a name in a text
        str(Path(environment.python).parent.parent): "/opt/engine",
        sys.base_prefix: "/opt/python",
        str(Path.home()): "/home/serve",
        socket.gethostname(): "host",
    }
    for name, other in names.items():
        text = text.replace(name, other)
    text = re.sub(r"/home/serve/\.pyenv/versions/[\d.]+", "/opt/python", text)
    text = re.sub(r"(tcp://|connect_ip=)[\d.]+", r"\g<1>192.0.2.2", text)
    lines = [
        line for line in text.split("\n") if not re.search(r"^ {12,}\[|(?:^|\] ) {4,}[ ~^]+$", line)
    ]  # usage, marks
    lines = [line if len(line) <= LINE_CHARACTERS else line[:LINE_CHARACTERS] + " ..." for line in lines]
    if len(lines) > HEAD_LINES + TAIL_LINES:
        lines = [*lines[:HEAD_LINES], "...", *lines[-TAIL_LINES:]]
    return "\n".join(lines)


def main() -> None:
    """Perform the failures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--to", type=Path, default=Path("engine-logs"), metavar="FOLDER")
    options = parser.parse_args()
    found = [each for each in environments.installed() if each.release.engine == "vllm" and each.device == "cpu"]
    if not found:
        sys.exit("no vLLM for the CPU is installed: serve engines install vllm --device cpu")
    release = found[0].release
    options.to.mkdir(parents=True, exist_ok=True)
    for failure in FAILURES:
        if options.names and failure.name not in options.names:
            continue
        with tempfile.TemporaryDirectory(prefix="break-engine-") as scratch:
            before, started_s = oom_kills(), time.monotonic()
            try:
                status, engine = perform(failure, found[0].python, Path(scratch))
            except (subprocess.TimeoutExpired, RuntimeError, psutil.Error) as error:
                print(f"{failure.name}: {error}", flush=True)
                continue
            text = neutral(engine.log.read_text(errors="replace"), found[0], Path(scratch))
        (options.to / f"{release.engine}-{release.version}-{failure.name}.log").write_text(text)
        oom = oom_kills() > before
        told = diagnose("vllm", release.version, status, text.splitlines(), serving=engine.served, oom_killed=oom)
        took_s = time.monotonic() - started_s
        print(f"{failure.name}: exit status {status}, {took_s:.0f} s, {told.cause}: {told.line}", flush=True)


if __name__ == "__main__":
    main()
