"""A stand-in for an engine: a real HTTP server with vLLM's endpoints, and the faults that real engines have.

    fake_engine.py --port 8000 [--host 127.0.0.1] [--model NAME] [--config FILE] [anything else is ignored]

What it does wrong is asked for in the environment:

    FAKE_START_S=2           seconds before it listens
    FAKE_EXIT=3              ends with this status instead of listening
    FAKE_ROOM=4096           has no room for a longer context: says so as vLLM does, and ends with status 1
    FAKE_SIGNAL=9            ends by this signal instead of listening
    FAKE_COMPLETIONS=hang    never answers a completion; "error" answers 500, "refuse" 404, "close" nothing, and with
                             status 200 "empty" no choice, "zero" no token, "wrong" an error, "page" a page
    FAKE_COMPLETIONS_S=2     only for so long after it listens; 503 if the line above does not say what
    FAKE_HEALTH=503          /health answers so; "flap": every other time
    FAKE_STEP_S=0.1          seconds that a token takes; FAKE_PREFILL_S those before a request's first one
    FAKE_METRICS=sglang      /metrics in SGLang's format, not in vLLM's; "none": there is none
    FAKE_HANG=core           the engine core stops, with what it works on, and takes nothing more; "api": nothing is
                             answered any more; "dead": /health answers 503, completions 500
    FAKE_HANG_S=2            so many seconds after it listens; 0 unless given
    FAKE_IGNORE_TERM=1       ignores SIGTERM
    FAKE_GRANDCHILD=1        leaves a process in a session of its own that ignores SIGTERM; its pid is printed
    FAKE_LOG=FILE            prints the lines of a file
    FAKE_PRINT_KEY=1         prints the API key, as SGLang does
    FAKE_FLOOD=100000        prints so many lines
    FAKE_CONTROL=1           prints escape sequences, control characters and invalid UTF-8
    FAKE_LONG=5000000        prints one line of so many characters
    FAKE_END_AFTER_READY=0   ends with this status after its first completion, FAKE_END_AFTER_S (0.5) seconds later
    FAKE_REPLACED=2          becomes another process with its first completion, which listens so many seconds later
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
# vllm 0.33.0, v1/core/kv_cache_planning.py:78
NO_ROOM = (
    "To serve at least one request with the model's max seq len ({asked}), (0.31 GiB KV cache is needed, which is "
    "larger than the available KV cache memory (0.06 GiB). Based on the available memory, the estimated maximum model "
    "length is {room}. Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the "
    "engine."
)
STARTED_S = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="fake")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--max-model-len", type=int, default=0)
    options, _ = parser.parse_known_args()
    key = os.environ.get("VLLM_API_KEY") or key_of(options.config)
    misbehave(key)
    time.sleep(float(os.environ.get("FAKE_START_S", "0")))
    if number := os.environ.get("FAKE_SIGNAL"):
        os.kill(os.getpid(), int(number))
    if options.max_model_len > int(os.environ.get("FAKE_ROOM", options.max_model_len)):
        raise ValueError(NO_ROOM.format(asked=options.max_model_len, room=os.environ["FAKE_ROOM"]))
    if status := os.environ.get("FAKE_EXIT"):
        print("RuntimeError: the fake engine was told to fail", flush=True)
        sys.exit(int(status))
    server = Server((options.host, options.port), Handler)
    server.model, server.key, server.listening_s, server.core = options.model, key, time.monotonic(), Core()
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


class Core:
    """What works on requests, and counts as the engines do."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.prompt_tokens = self.tokens = 0
        self.since_s = time.monotonic()

    @property
    def fault(self) -> str:
        after_s = float(os.environ.get("FAKE_HANG_S", "0"))
        return os.environ.get("FAKE_HANG", "") if time.monotonic() - self.since_s >= after_s else ""

    def work(self, tokens: int) -> None:
        """Take a request, and return when it has its tokens."""
        self.step(0.0)
        self.count(running=1)
        for _ in range(10):  # a long prompt goes through in pieces
            self.step(float(os.environ.get("FAKE_PREFILL_S", "0")) / 10)
            self.count(prompt_tokens=1)
        for _ in range(tokens):
            self.step(float(os.environ.get("FAKE_STEP_S", "0")))
            self.count(tokens=1)
        self.count(running=-1)

    def step(self, seconds: float) -> None:
        time.sleep(seconds)
        while self.fault == "core":
            time.sleep(0.05)

    def count(self, **more: int) -> None:
        with self.lock:
            for name, number in more.items():
                setattr(self, name, getattr(self, name) + number)

    def metrics(self) -> str:
        if os.environ.get("FAKE_METRICS") == "sglang":
            labels = 'engine_type="unified",model_name="fake",moe_ep_rank="0",pp_rank="0",tp_rank="0"'
            return (
                f"sglang:num_running_reqs{{{labels}}} {self.running}.0\n"
                f"sglang:num_queue_reqs{{{labels}}} 0.0\n"
                f'sglang:realtime_tokens_total{{{labels},mode="prefill_compute"}} {self.prompt_tokens}.0\n'
                f'sglang:realtime_tokens_total{{{labels},mode="decode"}} {self.tokens}.0\n'
            )
        labels = 'engine="0",model_name="fake"'
        return (
            f"vllm:num_requests_running{{{labels}}} {self.running}.0\n"
            f"vllm:num_requests_waiting{{{labels}}} 0.0\n"
            f"vllm:kv_cache_usage_perc{{{labels}}} {self.prompt_tokens % 1000 / 1000}\n"
            f"vllm:generation_tokens_total{{{labels}}} {self.tokens}.0\n"
        )


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    model: str
    key: str | None
    listening_s: float
    health_asked = 0
    core: Core


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.server.core.fault == "api":
            time.sleep(600)
        if self.path == "/health":
            self.answer(self.health(), "")
        elif self.path == "/health_generate":
            self.server.core.work(1)
            self.answer(200, "")
        elif self.path == "/metrics" and os.environ.get("FAKE_METRICS") != "none":
            self.answer(200, self.server.core.metrics(), "text/plain")
        elif not self.allowed():
            self.answer(401, {"error": "Unauthorized"})
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})
        else:
            self.answer(404, {"detail": "Not Found"})

    def health(self) -> int:
        said = os.environ.get("FAKE_HEALTH", "200")
        self.server.health_asked += 1
        if self.server.core.fault == "dead" or (said == "flap" and self.server.health_asked % 2):
            return 503
        return 200 if said == "flap" else int(said)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            self.answer(401, {"error": "Unauthorized"})
        elif request["model"] != self.server.model:
            self.answer(404, {"error": {"message": f"The model `{request['model']}` does not exist."}})
        elif fault := self.fault():
            self.fail(fault)
        elif self.path == "/v1/completions":
            self.complete({"text": " world", "finish_reason": "length"}, request)
        elif self.path == "/v1/chat/completions":
            self.chat(request)
        else:
            self.answer(404, {"detail": "Not Found"})

    def fault(self) -> str:
        fault = os.environ.get("FAKE_COMPLETIONS", "")
        until_s = float(os.environ.get("FAKE_COMPLETIONS_S", "inf" if fault else "0"))
        if time.monotonic() - self.server.listening_s < until_s:
            return fault or "warming"
        return {"api": "hang", "dead": "error"}.get(self.server.core.fault, "")

    def fail(self, fault: str) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 0}
        if fault == "hang":
            time.sleep(600)
        elif fault == "close":
            self.close_connection = True
        elif fault == "refuse":
            self.answer(404, {"error": {"message": "The model does not exist."}})
        elif fault == "empty":
            self.answer(200, {"choices": [], "usage": usage})
        elif fault == "zero":
            self.answer(200, {"choices": [{"index": 0, "text": "", "finish_reason": "abort"}], "usage": usage})
        elif fault == "wrong":
            self.answer(200, {"error": {"message": "EngineCore encountered an issue."}})
        elif fault == "page":
            self.answer(200, "<html>starting</html>", "text/html")
        elif fault == "error":
            self.answer(500, {"error": {"message": "EngineCore encountered an issue."}})
        else:
            self.answer(503, {"error": {"message": "still warming up"}})

    def complete(self, choice: dict[str, Any], request: dict[str, Any]) -> None:
        self.server.core.work(request["max_tokens"])
        usage = {"prompt_tokens": 1, "completion_tokens": request["max_tokens"]}
        self.answer(200, {"model": self.server.model, "choices": [{"index": 0, **choice}], "usage": usage})
        if status := os.environ.get("FAKE_END_AFTER_READY"):
            threading.Timer(float(os.environ.get("FAKE_END_AFTER_S", "0.5")), os._exit, [int(status)]).start()
        if start_s := os.environ.pop("FAKE_REPLACED", ""):
            os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"FAKE_START_S": start_s})  # noqa: S606

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
