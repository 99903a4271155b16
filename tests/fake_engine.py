"""A stand-in for an engine: a real HTTP server with vLLM's endpoints, and the faults that real engines have.

    fake_engine.py --port 8000 [--host 127.0.0.1] [--model NAME] [--config FILE] [anything else is ignored]

What it does wrong is asked for in the environment:

    FAKE_START_S=2           seconds before it listens
    FAKE_EXIT=3              ends with this status instead of listening
    FAKE_SIGNAL=9            ends by this signal instead of listening
    FAKE_COMPLETIONS=hang    never answers a completion; "error" answers 500, "refuse" 404
    FAKE_COMPLETIONS_S=2     completions answer 503 for so long after /health already answers
    FAKE_IGNORE_TERM=1       ignores SIGTERM
    FAKE_GRANDCHILD=1        leaves a process in a session of its own that ignores SIGTERM; its pid is printed
    FAKE_LOG=FILE            prints the lines of a file
    FAKE_PRINT_KEY=1         prints the API key, as SGLang does
    FAKE_FLOOD=100000        prints so many lines
    FAKE_CONTROL=1           prints escape sequences, control characters and invalid UTF-8
    FAKE_LONG=5000000        prints one line of so many characters
    FAKE_END_AFTER_READY=0   ends with this status after its first completion
    FAKE_NO_CHAT=1           has no chat template: answers chat with 400
"""

# ruff: noqa: T201 - a program that prints
from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

GRANDCHILD = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""
STARTED_S = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--config", type=Path)
    options, _ = parser.parse_known_args()
    key = os.environ.get("VLLM_API_KEY") or key_of(options.config)
    misbehave(key)
    time.sleep(float(os.environ.get("FAKE_START_S", "0")))
    if number := os.environ.get("FAKE_SIGNAL"):
        os.kill(os.getpid(), int(number))
    if status := os.environ.get("FAKE_EXIT"):
        print("RuntimeError: the fake engine was told to fail", flush=True)
        sys.exit(int(status))
    server = Server((options.host, options.port), Handler)
    server.model, server.key, server.listening_s = options.model, key, time.monotonic()
    if "FAKE_IGNORE_TERM" not in os.environ:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on {options.port}", flush=True)
    server.serve_forever(poll_interval=0.05)


def key_of(config: Path | None) -> str | None:
    """The key in an engine's own YAML, as SGLang takes it: ``api-key: "sk-..."``."""
    if config is None:
        return None
    name, _, value = config.read_text().partition(":")
    return json.loads(value) if name == "api-key" else None


def misbehave(key: str | None) -> None:
    if "FAKE_IGNORE_TERM" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "FAKE_GRANDCHILD" in os.environ:
        child = subprocess.Popen([sys.executable, "-c", GRANDCHILD], start_new_session=True)
        print(f"grandchild {child.pid}", flush=True)
    if path := os.environ.get("FAKE_LOG"):
        print(Path(path).read_text(encoding="utf-8"), end="", flush=True)
    if "FAKE_PRINT_KEY" in os.environ:
        print(f"server_args=ServerArgs(api_key={key!r}, environ={dict(os.environ)!r})", flush=True)
    for number in range(int(os.environ.get("FAKE_FLOOD", "0"))):
        print(f"flood {number:09d} {'x' * 80}")
    if "FAKE_CONTROL" in os.environ:
        raw = (
            b"\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07 \x9b2J \xff\xfe \xe2\x80\xaereversed\ttab\rbar 10%\rbar 20%\n"
        )
        sys.stdout.flush()
        sys.stdout.buffer.write(raw)
    if length := int(os.environ.get("FAKE_LONG", "0")):
        print("y" * length + (key or ""))
    sys.stdout.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    model: str
    key: str | None
    listening_s: float


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, "")
        elif not self.allowed():
            self.answer(401, {"error": "Unauthorized"})
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})
        else:
            self.answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mode = os.environ.get("FAKE_COMPLETIONS")
        waited_s = time.monotonic() - self.server.listening_s
        if not self.allowed():
            self.answer(401, {"error": "Unauthorized"})
        elif request["model"] != self.server.model or mode == "refuse":
            self.answer(404, {"error": {"message": f"The model `{request['model']}` does not exist."}})
        elif mode == "hang":
            time.sleep(600)
        elif mode == "error":
            self.answer(500, {"error": {"message": "EngineCore encountered an issue."}})
        elif waited_s < float(os.environ.get("FAKE_COMPLETIONS_S", "0")):
            self.answer(503, {"error": {"message": "still warming up"}})
        elif self.path == "/v1/completions":
            self.complete({"text": " world", "finish_reason": "length"}, request)
        elif self.path == "/v1/chat/completions":
            self.chat(request)
        else:
            self.answer(404, {"detail": "Not Found"})

    def complete(self, choice: dict[str, Any], request: dict[str, Any]) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": request["max_tokens"]}
        self.answer(200, {"model": self.server.model, "choices": [{"index": 0, **choice}], "usage": usage})
        if status := os.environ.get("FAKE_END_AFTER_READY"):
            threading.Timer(0.5, os._exit, [int(status)]).start()

    def chat(self, request: dict[str, Any]) -> None:
        if "FAKE_NO_CHAT" in os.environ:
            self.answer(400, {"error": {"message": "a chat template must be provided"}})
        elif not request.get("stream"):
            self.complete({"message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}, request)
        else:
            deltas = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo."}]
            chunks = [json.dumps({"choices": [{"index": 0, "delta": delta}]}) for delta in deltas]
            self.answer(200, "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]), "text/event-stream")

    def allowed(self) -> bool:
        return not self.server.key or self.headers.get("Authorization") == f"Bearer {self.server.key}"

    def answer(self, status: int, body: object, kind: str = "application/json") -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    main()
