"""Launches of the fake engine as people and service managers see them: signals, exit codes, messages, leftovers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from launcher.run import instances
from launcher.run.health.smoke import smoke
from tests.run.conftest import Host, until

LOGS = Path(__file__).parent.parent / "data" / "engine-logs"


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)],
    ids=str,
)
def test_a_signal_stops_a_serving_engine_and_leaves_nothing(host: Host, number: signal.Signals, status: int) -> None:
    server = host.launch().ready()
    assert host.record().exists()
    server.signal(number)
    assert server.ends() == status
    assert json.loads(host.record().read_text())["state"] == "stopped"
    assert f"{number.name}: stopping vLLM 0.32.0" in server.err
    assert "killed" not in server.err


def test_a_signal_stops_an_engine_that_still_loads(host: Host) -> None:
    server = host.launch({"FAKE_START_S": "300", "FAKE_LOG": str(LOGS / "vllm-0.24.0-qwen3-14b-fp8.log")})
    server.says("serve: starting the server")
    server.signal(signal.SIGTERM)
    assert server.ends() == 143
    assert "ready" not in server.out


def test_an_engine_that_starts_and_is_deaf_gets_a_short_grace(host: Host) -> None:
    server = host.launch({"FAKE_START_S": "300", "FAKE_IGNORE_TERM": "1", "FAKE_GRANDCHILD": "1"}).says("grandchild ")
    start_s = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.ends() == 130
    assert time.monotonic() - start_s < 14  # the grace of an engine that serves is 15 s
    assert "had to be killed: " in server.err


def test_ready_says_where_the_server_is_what_it_granted_and_how_to_ask_it(host: Host) -> None:
    server = host.launch({"FAKE_LOG": str(LOGS / "vllm-0.24.0-qwen3-14b-fp8.log")}).ready()
    first, second = server.out.splitlines()
    assert first.startswith(f"ready: {server.base_url} serves fake (random weights: its answers mean nothing), after ")
    assert first.endswith("weights 15.90 GiB, KV cache 726,464 tokens")
    answer = subprocess.run(["bash", "-c", f"{second} --silent"], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["choices"][0]["message"]["content"] == "Hello."
    for phase in ("reading the configuration", "loading weights", "compiling", "capturing CUDA graphs"):
        assert f"serve: {phase} (" in server.err
    assert "\x1b" not in server.out + server.err
    assert '"GET /health' not in server.err


def test_ready_as_json(host: Host) -> None:
    server = host.launch(json=True).says('"ready": true')
    report = json.loads(server.out)
    assert report["base_url"] == server.base_url
    assert report["seconds"] > 0
    assert report["secret"] is None


def test_a_server_that_took_the_port_meanwhile_gets_no_question_no_key_and_no_credit(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVE_API_KEY", "sk-not-for-strangers")
    server = host.launch({"FAKE_START_S": "4"}, secret={"source": "env", "variable": "VLLM_API_KEY"})
    server.says("serve: starting the engine")
    asked: list[str] = []
    with Thief(server.port, asked):
        assert server.process.wait(60) == 78
    assert host.processes() == []
    assert asked == []
    assert "ready:" not in server.out
    assert "Address already in use" in server.err


class Thief:
    """A server of somebody else's that answers everything as an engine would, and remembers what it was sent."""

    def __init__(self, port: int, asked: list[str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.requestline} {self.headers}")
                self.send_response(200)
                self.end_headers()

            do_POST = do_GET  # noqa: N815 - the name that http.server calls

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def __enter__(self) -> None:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_health_alone_is_not_ready(host: Host) -> None:
    server = host.launch({"FAKE_COMPLETIONS_S": "4"}, json=True).says("asking for a first token")
    assert server.out == ""
    server.says('"ready": true')
    assert json.loads(server.out)["seconds"] >= 4


@pytest.mark.parametrize(
    ("mode", "asked", "times", "reason"),
    [
        ("hang", "asking for a first token", 1, "it listens; a completion does not come back"),
        ("error", "asking for a first token", 1, "it listens; a completion: HTTP 500: "),
    ],
)
def test_completions_that_never_come_are_an_error(host: Host, mode: str, asked: str, times: int, reason: str) -> None:
    for patience_s in (3, 12, 48):  # a busy machine may not come as far as a completion in 3 s
        server = host.launch({"FAKE_COMPLETIONS": mode}, wait_timeout_s=patience_s)
        assert server.ends() == 1
        assert "ready:" not in server.out
        assert f"was not ready after {patience_s} s" in server.err
        if server.err.count(asked) >= times:  # who asks again has taken note of the answer before
            break
    assert reason in server.err


def test_a_refused_completion_is_an_error_before_the_time_is_over(host: Host) -> None:
    server = host.launch({"FAKE_COMPLETIONS": "refuse"}, wait_timeout_s=600)
    assert server.ends() == 78
    assert "ready:" not in server.out
    assert "does not complete a prompt: it listens; a completion: HTTP 404: " in server.err


def test_the_end_of_an_engine_that_starts_is_reported_at_once(host: Host) -> None:
    server = host.launch({"FAKE_EXIT": "3", "FAKE_GRANDCHILD": "1"}, wait_timeout_s=600)
    assert server.ends() == 1
    assert "vLLM 0.32.0 ended while starting, after" in server.err
    assert "exit status 3" in server.err
    assert "why is not known\n" in server.err
    assert "\n  RuntimeError: the fake engine was told to fail\n" in server.err
    assert f"where: {host.log()}" in server.err


def test_a_killed_engine_is_named_by_its_signal(host: Host) -> None:
    log = LOGS / "sglang-0.5.15.post1-qwen3-14b-torchao-importerror.log"
    server = host.launch({"FAKE_SIGNAL": "9", "FAKE_LOG": str(log)}, engine="sglang")
    assert server.ends() == 78
    assert "SGLang 0.32.0 ended while starting" in server.err
    assert "killed by SIGKILL" in server.err
    assert (
        "ImportError: cannot import name 'float8_dynamic_activation_float8_weight'" in server.err.partition("last")[2]
    )


def test_an_engine_that_ends_with_0_after_it_served_has_failed(host: Host) -> None:
    server = host.launch().ready()
    os.kill(json.loads(host.record().read_text())["engine_pid"], signal.SIGTERM)  # not by us: it ends with 0 then
    assert server.ends() == 1
    assert "ended after it had served for" in server.err
    assert "exit status 0, although nobody stopped it" in server.err


def test_a_second_signal_ends_the_grace(host: Host) -> None:
    server = host.launch({"FAKE_IGNORE_TERM": "1", "FAKE_GRANDCHILD": "1"}).ready()
    start_s = time.monotonic()
    server.signal(signal.SIGINT)
    server.says("SIGINT: stopping")
    server.signal(signal.SIGINT)
    assert server.ends() == 130
    assert time.monotonic() - start_s < 14  # the grace is 15 s
    assert server.err.count("(pid ") == 2
    assert "had to be killed: " in server.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_word_of_those_who_stop_servers_does_not_shorten_the_grace(host: Host, number: signal.Signals) -> None:
    server = host.launch({"FAKE_IGNORE_TERM": "1"}).ready()
    for _ in range(3):
        server.signal(number)
        server.says("stopping")
        time.sleep(0.5)
    assert server.process.poll() is None
    assert host.processes()
    server.signal(signal.SIGINT)
    assert server.ends() == 128 + number


def test_a_program_that_cannot_be_executed_is_an_error(host: Host) -> None:
    server = host.launch(python="no/such/python")
    assert server.ends() == 1
    assert "error: the engine cannot be started: No such file or directory\nwhere: no/such/python" in server.err


def test_one_name_is_launched_once(host: Host) -> None:
    first = host.launch().ready()
    key = host.home / "key"
    second = host.launch(secret={"source": "auto", "path": str(key), "variable": "VLLM_API_KEY"})
    assert second.process.wait(60) == 2
    assert not key.exists()
    assert (
        f"error: an instance named 'fake' is running\nwhere: {first.base_url}, process {first.process.pid}"
        in second.err
    )
    other = host.launch(name="other").ready()
    for server in (first, other):
        server.signal(signal.SIGTERM)
    assert first.process.wait(60) == 143
    assert other.ends() == 143


def test_a_port_in_use_is_refused_before_anything_is_written(host: Host) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = host.launch(port=other.getsockname()[1], secret={"source": "auto", "path": str(host.home / "key")})
        assert server.process.wait(60) == 1
        assert f"error: port {server.port} of 127.0.0.1 is in use by process {os.getpid()}" in server.err
    assert not host.home.exists()


def test_a_folder_that_cannot_be_written_is_an_error(host: Host) -> None:
    host.home.write_text("a file")
    server = host.launch()
    assert server.ends() == 1
    assert f"error: cannot be written: Not a directory\nwhere: {host.record().parent}" in server.err
    assert "Traceback" not in server.err


def test_a_missing_key_is_refused_before_anything_is_written(host: Host) -> None:
    server = host.launch(secret={"source": "env", "variable": "VLLM_API_KEY"})
    assert server.ends() == 2
    assert "error: there is no API key: the variable is not set\nwhere: SERVE_API_KEY" in server.err
    assert not host.home.exists()


def test_a_key_of_the_engines_own_is_refused_before_anything_is_written(host: Host) -> None:
    server = host.launch({"VLLM_API_KEY": "sk-known-to-the-test"})
    assert server.ends() == 2
    assert "error: vLLM 0.32.0 would demand the key in VLLM_API_KEY, but api_key is none" in server.err
    assert "put the key into SERVE_API_KEY" in server.err
    assert "sk-known-to-the-test" not in server.err
    assert not host.home.exists()


def test_an_empty_key_of_the_engines_own_is_none(host: Host) -> None:
    server = host.launch({"VLLM_API_KEY": ""}).ready()  # vLLM takes an empty one for none
    server.signal(signal.SIGTERM)
    assert server.ends() == 143


def test_the_record_of_a_killed_supervisor_is_not_trusted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(host.home))
    server = host.launch().ready()
    found = instances.find("fake")
    assert found is not None
    assert found.record is not None
    assert (found.supervisor, found.record.base_url) == (server.process.pid, server.base_url)
    server.process.kill()
    assert server.ends() == -9  # and the guard has ended the engine
    left = instances.look("fake")
    assert (left.state, left.detail) == ("failed", "its supervisor was killed")
    again = host.launch().ready()
    again.signal(signal.SIGTERM)
    assert again.ends() == 143


@pytest.mark.parametrize("way", ["variable", "file"])
def test_the_key_reaches_the_engine_and_nothing_else(host: Host, way: str) -> None:
    path, config = host.home / "key", host.folder / "engine.yaml"
    means = {"variable": "VLLM_API_KEY"} if way == "variable" else {"config_key": "api-key", "file": str(config)}
    faults = {"FAKE_PRINT_KEY": "1", "FAKE_LONG": "5000000", "FAKE_START_S": "1"}
    server = host.launch(faults, secret={"source": "auto", "path": str(path), **means}).says("api_key=")
    if way == "file":
        assert config.read_text() == f'api-key: "{path.read_text().strip()}"\n'
        assert config.stat().st_mode & 0o777 == 0o600
    server.ready()
    assert not config.exists()
    key = path.read_text().strip()
    assert "api_key='[api key]'" in server.err
    assert f"Authorization: Bearer $(cat {path})" in server.out
    assert [check.name for check in smoke(server.base_url, "fake", key) if check.ok][-1] == "wrong key"
    spoken = subprocess.run(["bash", "-c", server.out.splitlines()[1]], capture_output=True, text=True, check=True)
    assert "Hello." in spoken.stdout
    argv = [" ".join(process.cmdline()) for process in host.processes()]
    assert len(argv) == 3  # the supervisor, its guard, the engine
    assert not [words for words in argv if key in words]
    server.signal(signal.SIGTERM)
    assert server.ends() == 143
    holders = [file for file in host.folder.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]
    assert holders == [path]


def test_the_variable_of_the_key_stops_at_the_launcher(host: Host) -> None:
    secret = {"source": "env", "variable": "VLLM_API_KEY"}
    server = host.launch({"SERVE_API_KEY": "sk-known-to-the-test"}, secret=secret).ready()
    assert '-H "Authorization: Bearer $SERVE_API_KEY"' in server.out
    engine = psutil.Process(json.loads(host.record().read_text())["engine_pid"]).environ()
    assert engine["VLLM_API_KEY"] == "sk-known-to-the-test"
    assert "SERVE_API_KEY" not in engine
    server.signal(signal.SIGTERM)
    assert server.ends() == 143


def test_the_log_is_complete_whatever_the_engine_writes(host: Host) -> None:
    server = host.launch({"FAKE_FLOOD": "50000", "FAKE_CONTROL": "1", "FAKE_LONG": "3000000"}).ready()
    server.signal(signal.SIGTERM)
    assert server.ends() == 143
    log = host.log().read_bytes()
    assert log.count(b"\nflood ") == 50_000
    assert b"\x1b[31mred" in log
    assert b"\n" + b"y" * 3_000_000 + b"\n" in log
    assert host.log().stat().st_mode & 0o777 == 0o600
    shown = server.err.count("flood 0")
    assert shown == 50_000 or " came " in server.err  # too fast for who shows it: then it is said
    assert "\nred bell \ufffd2J \ufffd\ufffd reversed\ttab\nbar 10%\nbar 20%\n" in server.err
    assert max(map(len, server.err.splitlines())) < 20_000


def test_a_supervisor_is_small_and_sleeps_while_its_engine_serves(host: Host) -> None:
    server = host.launch().ready()
    supervisor = psutil.Process(server.process.pid)

    def spent_s(wall_s: float) -> float:
        before = supervisor.cpu_times()
        time.sleep(wall_s)
        after = supervisor.cpu_times()
        return after.user + after.system - before.user - before.system

    assert any(spent_s(3) <= 0.03 for _ in range(4))  # on a busy machine the end of the start may come late
    assert supervisor.memory_info().rss < 60e6
    server.signal(signal.SIGTERM)
    assert server.ends() == 143


def test_a_reader_that_leaves_does_not_end_the_server(host: Host) -> None:
    reader, writer = os.pipe()
    server = host.launch(output=writer)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    log = host.log()
    while not log.exists() or b"POST /v1/completions" not in log.read_bytes():
        assert server.process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    server.signal(signal.SIGTERM)
    assert server.ends() == 143


def engine_of(host: Host) -> int:
    """The pid of the engine that serves, as the record says."""
    record = json.loads(host.record().read_text())
    return int(record["engine_pid"]) if record["state"] == "serving" else 0


def test_an_engine_that_is_killed_is_started_again_and_all_of_it_is_told(host: Host) -> None:
    server = host.launch(restart="on-failure").ready()
    first = until(lambda: engine_of(host), "a record")
    os.kill(first, signal.SIGKILL)
    second = until(lambda: engine_of(host) not in {0, first} and engine_of(host), "a second engine")
    assert "started again in " in server.err
    assert "restart 1 of at most 5 within the hour" in server.err
    until(lambda: server.out.count("ready: ") == 2, "its report")
    assert json.loads(host.record().read_text())["attempts"] == 2
    events = [json.loads(line)["event"] for line in host.record().with_name("events.jsonl").read_text().splitlines()]
    assert events == ["start", "ready", "ended", "restart", "start", "ready"]
    server.signal(signal.SIGTERM)
    assert server.ends() == 143
    assert not psutil.pid_exists(second)


def test_a_failure_of_the_configuration_is_not_started_again(host: Host) -> None:
    log = LOGS / "vllm-0.32.0-bad-value.log"
    server = host.launch({"FAKE_LOG": str(log), "FAKE_EXIT": "2"}, restart="on-failure")
    assert server.ends() == 78
    assert "not started again: another start cannot cure that" in server.err
    assert json.loads(host.record().read_text())["state"] == "failed"


def test_a_run_that_is_stopped_between_two_starts_ends(host: Host) -> None:
    server = host.launch(restart="on-failure").ready()
    os.kill(until(lambda: engine_of(host), "a record"), signal.SIGKILL)
    server.says("started again in ")
    server.signal(signal.SIGTERM)
    assert server.ends() == 143
    assert json.loads(host.record().read_text())["state"] == "stopped"


@pytest.mark.parametrize("way", ["core", "api"])
def test_a_server_that_hangs_is_ended_and_a_busy_one_is_not(host: Host, way: str) -> None:
    server = host.launch({"FAKE_HANG": way, "FAKE_HANG_S": "4", "FAKE_STEP_S": "0.05"}, hang_timeout_s=10).ready()
    request = {"model": "fake", "prompt": "x", "max_tokens": 4000, "temperature": 0}
    asking = threading.Thread(
        target=lambda: subprocess.run(
            ["curl", "--silent", "--max-time", "40", f"{server.base_url}/v1/completions", "-d", json.dumps(request)],
            check=False,
            capture_output=True,
        )
    )
    asking.start()
    assert server.ends() == 1
    asking.join()
    assert "vLLM 0.32.0 hangs: " in server.err
    assert "no token has moved for " in server.err
    events = [json.loads(line)["event"] for line in host.record().with_name("events.jsonl").read_text().splitlines()]
    assert events[:3] == ["start", "ready", "hung"]


def test_a_load_that_shows_nothing_is_given_up_and_one_that_goes_on_is_not(host: Host) -> None:
    server = host.launch({"FAKE_START_S": "600"}, stall_timeout_s=4, wait_timeout_s=None)
    assert server.ends() == 1
    assert "has made no progress for " in server.err
    assert "the last was " in server.err


def test_a_supervisor_that_is_killed_takes_its_engine_along(host: Host) -> None:
    server = host.launch({"FAKE_GRANDCHILD": "1", "FAKE_IGNORE_TERM": "1"}).ready()
    server.process.kill()
    assert server.ends() == -9


def test_a_guard_that_is_killed_ends_the_run(host: Host) -> None:
    server = host.launch({"FAKE_GRANDCHILD": "1"}).ready()
    engine = psutil.Process(until(lambda: engine_of(host), "a record"))
    engine.parent().kill()  # type: ignore[union-attr]
    assert server.ends() == 1
    assert "the guard of vLLM 0.32.0 was killed" in server.err
    assert "stopping vLLM 0.32.0; at once" in server.err  # nobody is served any more
