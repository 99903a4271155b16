"""The watch of a server, on fake engines that hang in the ways of real ones."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from launcher.run.health.client import Client
from launcher.run.health.watchdog import Watch
from tests.run.conftest import Host, until

Start = Callable[..., str]
HANG_S = 3.0
FOREVER = 1_000_000  # tokens of a request


class Watched:
    """A watch in quick time, and how often it said that something changed."""

    def __init__(self, base_url: str, engine: str = "vllm", **more: Any) -> None:
        self.changes = 0
        more |= {"period_s": 0.1, "token_every_s": 0.5}
        self.watch = Watch(engine, lambda: Client(base_url), "fake", HANG_S, self.changed, **more)
        self.watch.start()

    def changed(self) -> None:
        self.changes += 1

    def hangs(self) -> str:
        """Wait for the verdict; its reason."""
        until(lambda: self.watch.verdict.state == "hung", "a hang")
        until(lambda: self.changes == 2, "word of it")
        return self.watch.verdict.why


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(*given: Any, **more: Any) -> Watched:
        started.append(Watched(*given, **more))
        return started[-1]

    yield start
    for each in started:
        each.watch.end()


def generate(base_url: str, tokens: int = FOREVER) -> None:
    """Ask for many tokens, in the background."""
    ask = Client(base_url).complete
    threading.Thread(target=ask, args=("fake", "Hello", tokens, 600.0), daemon=True).start()


def process_of(host: Host) -> psutil.Process:
    return psutil.Process(host.children[-1].pid)


VLLM = {"FAKE_METRICS": "vllm"}
SGLANG = {"FAKE_METRICS": "sglang"}
SILENT = {"FAKE_METRICS": "none"}


def test_none_of_these_hangs(engine: Start, watch: Callable[..., Watched]) -> None:
    def watched(name: str, generates: int, **environment: str) -> Watched:
        base_url = engine(**environment)
        if generates:
            generate(base_url, generates)
        return watch(base_url, name)

    all_of_them = {
        "idle vLLM": watched("vllm", 0, **VLLM),
        "idle SGLang": watched("sglang", 0, **SGLANG),
        "idle SGLang without metrics": watched("sglang", 0, **SILENT),
        "slow vLLM": watched("vllm", FOREVER, FAKE_STEP_S="0.5", **VLLM),
        "slow SGLang": watched("sglang", FOREVER, FAKE_STEP_S="0.5", **SGLANG),
        "long prefill of vLLM": watched("vllm", 1, FAKE_PREFILL_S="8", **VLLM),
        "long prefill of SGLang": watched("sglang", 1, FAKE_PREFILL_S="8", **SGLANG),
        "refuses the token, which says nothing about the engine": watched("vllm", 0, FAKE_COMPLETIONS="refuse"),
        # a completion may wait for longer than any timeout there, and nobody can see that others go on
        "vLLM without statistics": watched("vllm", 0, FAKE_HANG="core", **SILENT),
    }
    end_s = time.monotonic() + 2 * HANG_S
    while time.monotonic() < end_s:
        hung = {
            what: each.watch.verdict.why for what, each in all_of_them.items() if each.watch.verdict.state == "hung"
        }
        assert hung == {}
        time.sleep(0.05)
    for name in ("idle vLLM", "idle SGLang"):
        last = all_of_them[name].watch.last
        assert last is not None
        assert last.tokens  # those that were asked for while nothing moved
        assert (last.waiting, all_of_them[name].changes) == (0, 0)


@pytest.mark.parametrize("name", ["vllm", "sglang"])
def test_a_core_that_stops_under_a_request_hangs_whatever_health_answers(
    engine: Start, watch: Callable[..., Watched], name: str
) -> None:
    base_url = engine(FAKE_STEP_S="0.05", FAKE_HANG="core", FAKE_HANG_S="2", FAKE_METRICS=name)
    generate(base_url)
    assert watch(base_url, name).hangs().startswith("1 requests run and 0 wait, and no token has moved for ")
    assert Client(base_url).health().ok


@pytest.mark.parametrize(("name", "metrics"), [("vllm", VLLM), ("sglang", SGLANG), ("sglang", SILENT)])
def test_a_core_that_stops_while_it_is_idle_is_found_by_asking_for_a_token(
    engine: Start, watch: Callable[..., Watched], name: str, metrics: dict[str, str]
) -> None:
    base_url = engine(FAKE_HANG="core", **metrics)
    assert watch(base_url, name).hangs().startswith("one token was asked for and has not come, and no token has ")
    assert Client(base_url).health().ok


def test_a_dead_core_hangs(engine: Start, watch: Callable[..., Watched]) -> None:
    assert watch(engine(FAKE_HANG="dead")).hangs().startswith("/health: HTTP 503")


def test_the_pulse_counts_tokens_and_seconds(engine: Start, watch: Callable[..., Watched]) -> None:
    base_url = engine(FAKE_STEP_S="0.01")
    generate(base_url)
    watched = watch(base_url)
    pulse = until(lambda: (each := watched.watch.pulse) and each.tokens_per_s > 1 and each, "tokens")
    assert pulse.tokens_per_s < 1000  # 100 where no answer is ever late, and a busy machine's are by half of a period
    assert (pulse.running, pulse.waiting) == (1, 0)
    assert abs(pulse.boottime_s - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60


def test_a_server_that_is_stopped_hangs_and_one_that_goes_on_is_well(
    host: Host, engine: Start, watch: Callable[..., Watched]
) -> None:
    watched = watch(engine())
    until(lambda: watched.watch.last, "a look")
    process_of(host).send_signal(signal.SIGSTOP)
    assert watched.hangs().startswith("neither /metrics nor /health answers, and no token has moved for ")
    process_of(host).send_signal(signal.SIGCONT)
    until(lambda: watched.watch.verdict.state == "healthy", "a healthy server")


def test_the_log_of_a_server_that_does_not_answer_tells_that_it_works(
    host: Host, engine: Start, watch: Callable[..., Watched]
) -> None:
    watched = watch(engine())
    process_of(host).send_signal(signal.SIGSTOP)
    end_s = time.monotonic() + 2 * HANG_S
    while time.monotonic() < end_s:
        watched.watch.line("INFO 11-20 13:35:09 [loggers.py:271] Engine 000: Avg prompt throughput: 4.1 tokens/s, Avg")
        assert watched.watch.verdict.state == "healthy"
        time.sleep(0.05)
    watched.hangs()


def test_a_request_that_waits_for_its_kernels_is_not_a_hang(engine: Start, watch: Callable[..., Watched]) -> None:
    compiled_s = 500.0
    base_url = engine(FAKE_STEP_S="0.05", FAKE_HANG="core", FAKE_HANG_S="1")
    generate(base_url)
    watched = watch(base_url, compiling_s=lambda: compiled_s)
    end_s = time.monotonic() + 3 * HANG_S
    while time.monotonic() < end_s:
        compiled_s += 1.0
        assert watched.watch.verdict.state == "healthy"
        time.sleep(0.05)
    watched.hangs()


def test_nothing_changes_after_its_end(host: Host, engine: Start, watch: Callable[..., Watched]) -> None:
    watched = watch(engine())
    until(lambda: watched.watch.last, "a look")
    process_of(host).send_signal(signal.SIGSTOP)
    time.sleep(0.3)  # it waits for an answer now
    watched.watch.end()
    watched.watch.join(30)
    assert not watched.watch.is_alive()
    assert (watched.watch.verdict.state, watched.changes) == ("healthy", 0)


def test_the_key_goes_only_where_it_is_asked_for() -> None:
    asked: dict[str, str | None] = {}

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked[self.path] = self.headers["Authorization"]
            self.send_error(503)

        def do_POST(self) -> None:
            self.do_GET()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    client = Client(f"http://127.0.0.1:{server.server_address[1]}", "sk-known-to-the-test")
    client.metrics(5)
    client.health()
    client.health_generate()
    client.complete_one_token("fake")
    client.close()
    server.shutdown()
    server.server_close()
    assert asked.pop("/v1/completions") == "Bearer sk-known-to-the-test"
    assert asked == {"/metrics": None, "/health": None, "/health_generate": None}
