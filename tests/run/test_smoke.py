"""`smoke` against fake engines: right answers, honest failures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from launcher.run.smoke import Check, smoke

KEY = "sk-known-to-the-test"
Engine = Callable[..., str]


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
