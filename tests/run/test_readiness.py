"""When a server is taken for ready, on fake engines with hostile timing; nobody else's port is ever asked."""

from __future__ import annotations

import http.client
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import psutil
import pytest

from launcher.run.health.client import Client
from launcher.run.health.readiness import Probe
from tests.run.conftest import TESTS, Host, free_port, until

Start = Callable[..., str]


class Watched:
    """A probe of a server, and how often it said that something changed."""

    def __init__(self, base_url: str, listens: Callable[[], bool] = lambda: True, **more: float) -> None:
        self.changes = 0
        self.probe = Probe(Client(base_url, "sk-known-to-the-test"), "fake", listens, self.changed, **more)
        self.probe.start()

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def probe() -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(base_url: str, **more: object) -> Watched:
        started.append(Watched(base_url, **more))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for each in started:
        each.probe.end()


def completes(base_url: str) -> bool:
    """Asked with no code of ours: whether the server gives a token now."""
    url = urlsplit(base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    try:
        body = '{"model": "fake", "prompt": "Hello", "max_tokens": 1}'
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        return b"world" in connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()


def test_it_is_ready_when_a_completion_comes_back(engine: Start, probe: Callable[..., Watched]) -> None:
    watched = probe(engine())
    until(lambda: watched.probe.ready, "ready")
    until(lambda: watched.changes == 2, "two changes: it listens, it is ready")
    assert watched.probe.listening
    assert not watched.probe.refused


@pytest.mark.parametrize("fault", ["", "close", "empty", "zero", "wrong", "page", "error"])
def test_it_is_not_ready_before_a_completion_comes_back(
    engine: Start, probe: Callable[..., Watched], fault: str
) -> None:
    faults = {"FAKE_COMPLETIONS": fault} if fault else {}
    base_url = engine(FAKE_COMPLETIONS_S="1", FAKE_METRICS="none", **faults)
    watched = probe(base_url)
    until(lambda: "a completion: " in watched.probe.last, "an answer")
    while not watched.probe.ready:
        assert watched.probe.is_alive()
        time.sleep(0.01)
    assert completes(base_url)


@pytest.mark.parametrize("health", ["503", "flap"])
def test_health_does_not_decide(engine: Start, probe: Callable[..., Watched], health: str) -> None:
    watched = probe(engine(FAKE_HEALTH=health))
    until(lambda: watched.probe.ready, "ready")


def test_an_engine_that_ends_with_its_first_completion_is_never_ready(
    engine: Start, probe: Callable[..., Watched]
) -> None:
    watched = probe(engine(FAKE_END_AFTER_READY="3", FAKE_END_AFTER_S="0"))
    until(lambda: "a completion: " in watched.probe.last, "a completion")
    time.sleep(1)
    assert not watched.probe.ready


def test_the_process_that_takes_the_place_of_the_first_one_is_waited_for(
    engine: Start, probe: Callable[..., Watched]
) -> None:
    base_url = engine(FAKE_REPLACED="1")
    watched = probe(base_url)
    until(lambda: watched.probe.ready, "ready")
    assert completes(base_url)
    assert completes(base_url)


def test_a_request_that_nobody_answers_is_asked_again(engine: Start, probe: Callable[..., Watched]) -> None:
    watched = probe(engine(FAKE_COMPLETIONS="hang", FAKE_COMPLETIONS_S="1"), first_try_s=0.6)
    until(lambda: watched.probe.ready, "ready")


def test_a_completion_that_takes_longer_than_the_first_try_is_waited_for(
    engine: Start, probe: Callable[..., Watched]
) -> None:
    watched = probe(engine(FAKE_STEP_S="1"), first_try_s=0.3)
    until(lambda: watched.probe.ready, "ready")


def test_a_refusal_that_lasts_is_final(engine: Start, probe: Callable[..., Watched]) -> None:
    watched = probe(engine(FAKE_COMPLETIONS="refuse"))
    until(lambda: watched.probe.refused, "refused")
    assert watched.probe.last.startswith("it listens; a completion: HTTP 404: ")
    assert not watched.probe.ready


def test_a_refusal_that_passes_is_not(engine: Start, probe: Callable[..., Watched]) -> None:
    watched = probe(engine(FAKE_COMPLETIONS="refuse", FAKE_COMPLETIONS_S="2"))
    until(lambda: watched.probe.ready, "ready")
    assert not watched.probe.refused


def test_a_stranger_on_the_port_is_asked_nothing(probe: Callable[..., Watched]) -> None:
    asked: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def handle(self) -> None:
            if line := self.rfile.readline():
                asked.append(line.decode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    watched = probe(f"http://127.0.0.1:{server.server_address[1]}", listens=lambda: False)
    until(lambda: watched.probe.last == "another process listens on its port", "the stranger")
    time.sleep(0.5)
    server.shutdown()
    server.server_close()
    assert asked == []
    assert (watched.probe.listening, watched.probe.ready, watched.changes) == (False, False, 0)


def test_the_engine_is_found_when_it_comes_to_listen(host: Host, probe: Callable[..., Watched]) -> None:
    port = free_port()
    argv = [sys.executable, str(TESTS / "fake_engine.py"), "--port", str(port)]
    process = psutil.Process(host.start(argv, {"FAKE_START_S": "1"}).pid)
    watched = probe(
        f"http://127.0.0.1:{port}",
        listens=lambda: any(each.laddr.port == port for each in process.net_connections("tcp")),
    )
    assert watched.probe.last == "it does not listen yet"
    until(lambda: watched.probe.ready, "ready")


def test_nothing_changes_after_its_end(engine: Start, probe: Callable[..., Watched]) -> None:
    watched = probe(engine(FAKE_STEP_S="1"))
    until(lambda: watched.probe.listening, "a question")
    changes = watched.changes
    watched.probe.end()
    watched.probe.join(30)
    assert (watched.probe.ready, watched.changes) == (False, changes)
