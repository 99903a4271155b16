"""`smoke` against fake engines: right answers, honest failures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from launcher.run.health.smoke import Check, smoke

KEY = "sk-known-to-the-test"
Engine = Callable[..., str]


@contextmanager
def answering(body: bytes, times: int = 1) -> Iterator[str]:
    """A server that says the same to everything, so many times in one answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(times):
                    self.wfile.write(body)
            except OSError:
                pass  # the reader had enough

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def outcome(checks: list[Check]) -> dict[str, bool]:
    return {check.name: check.ok for check in checks}


def test_a_server_that_works(engine: Engine) -> None:
    checks = smoke(engine(), "fake")
    assert outcome(checks) == dict.fromkeys(("health", "models", "completion", "chat", "streaming chat"), True)
    assert [check.detail for check in checks[1:]] == [
        "fake",
        "16 tokens: 'world'",
        "16 tokens: 'Hello.'",
        "3 chunks: 'Hello.'",
    ]


def test_the_first_model_is_taken_unless_one_is_named(engine: Engine) -> None:
    assert all(outcome(smoke(engine())).values())


def test_a_wrong_key_is_refused(engine: Engine) -> None:
    url = engine(VLLM_API_KEY=KEY)
    assert outcome(smoke(url, "fake", KEY)).pop("wrong key")
    assert all(outcome(smoke(url, "fake", KEY)).values())
    without = outcome(smoke(url, "fake"))
    assert without.pop("health")
    assert set(without.values()) == {False}


def test_a_server_that_ignores_its_key_fails(engine: Engine) -> None:
    assert not outcome(smoke(engine(), "fake", KEY))["wrong key"]


def test_a_missing_chat_template_is_a_failure(engine: Engine) -> None:
    checks = smoke(engine(FAKE_NO_CHAT="1"), "fake")
    assert [check.name for check in checks if not check.ok] == ["chat", "streaming chat"]
    assert "HTTP 400" in checks[3].detail
    assert "a chat template must be provided" in checks[3].detail


def test_an_engine_that_only_looks_alive(engine: Engine) -> None:
    checks = smoke(engine(FAKE_COMPLETIONS="error"), "fake")
    assert [check.name for check in checks if check.ok] == ["health", "models"]


def test_a_model_that_is_not_served(engine: Engine) -> None:
    checks = smoke(engine(), "another")
    assert [check.name for check in checks if check.ok] == ["health"]


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    checks = smoke("http://127.0.0.1:9")
    assert outcome(checks) == {"health": False}
    assert checks[0].detail == "GET /health: no answer (ConnectionError)"


def test_a_proxy_of_the_environment_is_not_asked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert all(outcome(smoke(engine(), "fake")).values())


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": null, "choices": null}',
        b"[" * 200_000,
        b'{"choices": [null]}',
        b'{"choices": [{"message": 1}]}',
        b"1",
    ],
    ids=["nulls", "deep", "null choice", "odd message", "number"],
)
def test_answers_that_are_no_answers_are_failures(body: bytes) -> None:
    with answering(body) as url:
        checks = {check.name: check.ok for check in smoke(url)}
    assert checks.pop("health")
    assert not any(checks.values())


def test_an_answer_without_an_end_is_given_up() -> None:
    with answering(b"x" * 65536, times=10_000) as url:
        (health,) = smoke(url)
    assert "does not end" in health.detail


def test_an_address_that_is_none() -> None:
    (health,) = smoke("http://" + "a" * 300)
    assert not health.ok
