"""Asking a running server: the few endpoints by which people and the supervisor judge whether it works."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CONNECT_S = 3.0
# SGLang's /health makes one token and may take 20 s over it before it answers 503 (SGLANG_HEALTH_CHECK_TIMEOUT).
HEALTH_S = 25.0
ANSWER_S = 120.0
_ASKED = re.compile(r'"(?:GET /health|GET /metrics|POST /v1/completions) HTTP')
BODY_LIMIT_BYTES = 1 << 22  # the longest answer to what is asked here has some thousand


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: the HTTP status; 0 when there was no answer.
        text: the body, or why there is none.
        seconds: from the request to the last byte.
    """

    status: int
    text: str
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return self.status == 200  # noqa: PLR2004 - HTTP's own number

    @property
    def body(self) -> Any:
        """The JSON of the body, or None."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    def __str__(self) -> str:
        said = " ".join(self.text.split())[:200]
        return f"HTTP {self.status}: {said}" if self.status else said


def asked_by_us(line: str) -> bool:
    """Whether a line of a server's access log tells of what this program asks all the time, and people seldom do."""
    return _ASKED.search(line) is not None


class Client:
    """A connection to one server; for one thread. Proxies and .netrc of the environment do not apply."""

    def __init__(self, base_url: str, key: str | None = None) -> None:
        """Nothing is sent yet.

        Args:
            base_url: such as ``http://127.0.0.1:8000``.
            key: the API key, or None.
        """
        import requests  # noqa: PLC0415 - 0.1 s that a dry run does not need

        self.base_url = base_url.rstrip("/")
        self._failure = requests.RequestException
        self._session = requests.Session()
        self._session.trust_env = False
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def reachable(self) -> bool:
        """Whether anything accepts a connection; nothing is sent."""
        url = urlsplit(self.base_url)
        try:
            socket.create_connection((url.hostname or "", url.port or 80), CONNECT_S).close()
        except OSError:
            return False
        return True

    def health(self, timeout_s: float = HEALTH_S) -> Reply:
        """GET /health."""
        return self._ask("GET", "/health", timeout_s=timeout_s)

    def health_generate(self) -> Reply:
        """GET /health_generate: SGLang's proof that its scheduler works, which its /health can be told to leave out."""
        return self._ask("GET", "/health_generate", timeout_s=HEALTH_S)

    def metrics(self, timeout_s: float) -> Reply:
        """GET /metrics, which no engine protects."""
        return self._ask("GET", "/metrics", timeout_s=timeout_s)

    def models(self) -> Reply:
        """GET /v1/models."""
        return self._ask("GET", "/v1/models")

    def complete_one_token(self, model: str, timeout_s: float = ANSWER_S) -> Reply:
        """One token of a completion: the least that proves that the engine works, not only its HTTP server."""
        return self.complete(model, "Hello", tokens=1, timeout_s=timeout_s)

    def complete(self, model: str, prompt: str, tokens: int, timeout_s: float = ANSWER_S) -> Reply:
        """POST /v1/completions."""
        request = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        return self._ask("POST", "/v1/completions", request, timeout_s)

    def chat(self, model: str, text: str, tokens: int) -> Reply:
        """POST /v1/chat/completions."""
        return self._ask("POST", "/v1/chat/completions", _conversation(model, text, tokens))

    def chat_stream(self, model: str, text: str, tokens: int) -> Reply:
        """The same as server-sent events; the reply's text is the whole stream."""
        return self._ask("POST", "/v1/chat/completions", _conversation(model, text, tokens) | {"stream": True})

    def _ask(self, method: str, path: str, request: Any = None, timeout_s: float = ANSWER_S) -> Reply:
        start_s = time.monotonic()
        deadline_s = start_s + CONNECT_S + timeout_s
        url, waits, body = self.base_url + path, (CONNECT_S, timeout_s), b""
        # neither engine wants the key for health and metrics
        headers = {} if path.startswith("/v1") else {"Authorization": None}
        try:
            # read piece by piece: a server that never ends its answer must end neither our patience nor our memory
            with self._session.request(
                method, url, json=request, headers=headers, timeout=waits, allow_redirects=False, stream=True
            ) as answer:
                for piece in answer.iter_content(None):
                    body += piece
                    if len(body) > BODY_LIMIT_BYTES or time.monotonic() > deadline_s:
                        why = f"the answer does not end ({len(body)} bytes so far)"
                        return Reply(0, f"{method} {path}: {why}", time.monotonic() - start_s)
            return Reply(answer.status_code, body.decode(errors="replace"), time.monotonic() - start_s)
        except (self._failure, ValueError) as error:  # ValueError: urllib3's, for an address that is none
            return Reply(0, f"{method} {path}: no answer ({type(error).__name__})", time.monotonic() - start_s)


def completed(reply: Reply) -> bool:
    """Whether the reply is a completion with at least one token (whose text may be empty: half a character, an end)."""
    body = reply.body
    if not reply.ok or not isinstance(body, dict) or not body.get("choices"):
        return False
    usage = body.get("usage")
    tokens = usage.get("completion_tokens", 1) if isinstance(usage, dict) else 1
    return isinstance(tokens, int) and tokens >= 1


def events(stream: str) -> tuple[str, int, bool]:
    """The text of streamed chat chunks, the number of chunks, and whether the stream came to its end."""
    lines = [line[5:].strip() for line in stream.splitlines() if line.startswith("data:")]
    ended = lines[-1:] == ["[DONE]"]
    choices = [choice for line in lines if line != "[DONE]" for choice in json.loads(line).get("choices", ())]
    return "".join(choice.get("delta", {}).get("content") or "" for choice in choices), len(choices), ended


def _conversation(model: str, text: str, tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "temperature": 0}
