"""serve launch --detach, ps, status, wait, restart, stop, rm: as processes, around the fake engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.conftest import Program
from tests.run.conftest import free_port, until


@pytest.fixture
def program(serve: Program) -> Iterator[Program]:
    serve.holds_vllm()
    yield serve
    for process in processes(serve):
        process.kill()


def processes(serve: Program) -> list[psutil.Process]:
    """Whatever runs with this home, but for this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("SERVE_HOME") == str(serve.home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def launch(serve: Program, *words: str, name: str = "one", port: int | None = None, **variables: str) -> Any:
    port = port or free_port()
    argv = ("launch", "demo", "--name", name, "--port", str(port), "--detach", *words)
    return serve(*argv, environment=variables)


def status(serve: Program, name: str = "one") -> dict[str, Any]:
    done = serve("status", name, "--json")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_a_life_in_the_background(program: Program) -> None:
    port = free_port()
    done = launch(program, port=port)
    assert done.code == 0, done.err
    assert f"ready: http://127.0.0.1:{port} serves demo" in done.out
    assert "it goes on in the background" in done.err
    told = status(program)
    assert (told["state"], told["model"].endswith("demo-1"), told["release"]) == ("serving", True, "vllm@0.33.0")
    assert told["base_url"] == f"http://127.0.0.1:{port}"
    (row,) = json.loads(program("ps", "--json").out)
    assert (row["name"], row["state"], row["supervisor_pid"]) == ("one", "serving", told["supervisor_pid"])
    assert program("wait", "one").out == "one: serving\n"
    assert program("smoke", "one").code == 0
    for other in (free_port(), port):  # the name comes first: another port would not help
        second = program("launch", "demo", "--name", "one", "--port", str(other))
        assert second.code == 2
        assert "an instance named 'one' is running" in second.err
    assert program("rm", "one").code == 2
    stopped = program("stop", "one")
    assert (stopped.code, stopped.out) == (0, "one is stopped\n")
    assert processes(program) == []
    assert status(program)["state"] == "stopped"
    assert program("wait", "one").code == 1
    assert program("stop", "one").code == 0
    assert program("rm", "one").out == "removed one\n"
    assert program("ps").out == "no instances; serve launch MODEL --detach starts one\n"
    assert program("status", "one").code == 2


def test_the_supervisor_belongs_to_no_terminal_and_no_folder_of_the_program(program: Program) -> None:
    assert launch(program).code == 0
    supervisor = psutil.Process(status(program)["supervisor_pid"])
    assert os.getsid(supervisor.pid) == supervisor.pid
    assert {str(Path(f"/proc/{supervisor.pid}/fd/{number}").readlink()) for number in (0, 1, 2)} == {"/dev/null"}
    assert program("stop", "one").code == 0


def test_a_failure_in_the_background_is_told_and_kept(program: Program) -> None:
    done = launch(program, FAKE_EXIT="3")
    assert done.code == 1
    assert "vLLM 0.33.0 ended while starting" in done.err
    assert "RuntimeError: the fake engine was told to fail" in done.err
    assert processes(program) == []
    told = status(program)
    assert told["state"] == "failed"
    assert told["detail"].startswith("vLLM 0.33.0 ended while starting")
    assert [event["event"] for event in told["events"]][-2:] == ["ended", "failed"]
    assert "RuntimeError: the fake engine was told to fail" in "".join(told["reason"])
    shown = program("status", "one").out
    assert "failed: vLLM 0.33.0 ended while starting" in shown
    assert "RuntimeError: the fake engine was told to fail" in shown
    assert "RuntimeError: the fake engine was told to fail" in program("wait", "one").out


def test_the_line_that_decides_is_kept_for_who_looks_later(program: Program) -> None:
    log = Path(__file__).parent.parent / "data" / "engine-logs" / "vllm-0.32.0-missing-model.log"
    assert launch(program, FAKE_LOG=str(log), FAKE_EXIT="1").code == 78
    told = status(program)
    assert told["events"][-1]["cause"] == "missing-model"
    assert "'/nonexistent/model'" in told["events"][-1]["text"]
    assert "'/nonexistent/model'" in "".join(told["reason"])


def test_a_server_that_completes_nothing_is_told_as_that(program: Program) -> None:
    done = launch(program, "--timeout", "5", FAKE_COMPLETIONS="empty")
    assert done.code == 1
    assert "vLLM 0.33.0 was not ready after 5 s; it listens; a completion: HTTP 200" in done.err
    assert done.err.count("was not ready after 5 s") == 1
    assert "it wrote nothing" not in done.err
    assert "compile" not in done.err


def test_a_waiter_that_is_interrupted_leaves_the_server_starting(program: Program) -> None:
    words = ["launch", "demo", "--name", "one", "--port", str(free_port()), "--detach"]
    waiter = subprocess.Popen(
        program.argv(*words),
        env=program.environment({"FAKE_START_S": "15"}),
        cwd=program.folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert waiter.stderr
    while "starting the engine" not in waiter.stderr.readline():
        assert waiter.poll() is None
    waiter.send_signal(signal.SIGINT)
    _, err = waiter.communicate(timeout=60)
    assert waiter.returncode == 130
    assert "one goes on starting in the background" in err
    assert "serve wait one" in err
    assert status(program)["state"] == "starting"
    assert program("wait", "one", "--timeout", "0").code == 1
    assert program("wait", "one").out == "one: serving\n"
    assert program("stop", "one").code == 0


def test_a_restart_takes_what_the_launch_was_given_and_what_changed(program: Program) -> None:
    config = program.file("context_length: 4096\n")
    port = free_port()
    assert launch(program, "--config", config, port=port, CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1").code == 0
    before = status(program)
    program.file("context_length: 2048\n")
    elsewhere = subprocess.run(
        program.argv("restart", "one"),
        env=program.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert "the command is another one now: 4096 -> 2048" in elsewhere.stderr
    after = status(program)
    assert after["base_url"] == before["base_url"]
    assert after["engine_pid"] != before["engine_pid"]
    engine = psutil.Process(after["engine_pid"])
    assert engine.environ()["HF_HUB_OFFLINE"] == "1"
    assert engine.cwd() == str(program.folder)
    program.file("context_length: nonsense\n")
    refused = program("restart", "one")
    assert refused.code == 2
    assert status(program)["engine_pid"] == after["engine_pid"]  # what cannot be launched is not stopped
    assert program("stop", "one").code == 0
    program.file("context_length: 2048\n")
    assert program("restart", "one").code == 0
    assert program("stop", "--all").out == "one is stopped\n"


def test_one_port_at_one_moment_goes_to_one(program: Program) -> None:
    port = free_port()
    words = [("launch", "demo", "--name", name, "--port", str(port), "--detach") for name in ("a", "b", "c")]
    environment = program.environment({"FAKE_START_S": "2"})
    launches = [
        subprocess.Popen(
            program.argv(*each), env=environment, cwd=program.folder, stderr=subprocess.PIPE, text=True, stdout=-3
        )
        for each in words
    ]
    errors = [each.communicate(timeout=120)[1] for each in launches]
    assert sorted(each.returncode for each in launches) == [0, 1, 1], errors
    assert sum(f"port {port} of 127.0.0.1 is in use by" in text for text in errors) == 2
    assert program("stop", "--all").code == 0


def test_a_port_is_held_while_the_engine_loads(program: Program) -> None:
    port = free_port()
    waiter = subprocess.Popen(
        program.argv("launch", "demo", "--name", "one", "--port", str(port)),
        env=program.environment({"FAKE_START_S": "5"}),
        cwd=program.folder,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    until((program.home / "state" / "instances" / "one" / "record.json").exists, "its record")
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("127.0.0.1", port))
    assert waiter.stdout
    assert waiter.stdout.readline().startswith("ready: ")
    assert program("stop", "one").code == 0
    waiter.communicate(timeout=60)
    assert waiter.returncode == 143


def test_stop_ends_a_supervisor_that_does_not_answer_and_what_it_left(program: Program) -> None:
    assert launch(program, FAKE_GRANDCHILD="1").code == 0
    os.kill(status(program)["supervisor_pid"], signal.SIGKILL)
    until(lambda: not processes(program), "the guard's work")
    told = status(program)
    assert (told["state"], told["detail"]) == ("failed", "its supervisor was killed")
    assert program("stop", "one").code == 0


def test_stop_has_a_supervisor_go_on_that_was_paused(program: Program) -> None:
    assert launch(program).code == 0
    os.kill(status(program)["supervisor_pid"], signal.SIGSTOP)
    stopped = program("stop", "one")
    assert (stopped.code, stopped.out) == (0, "one is stopped\n")
    assert processes(program) == []


def test_stopping_all_gives_each_its_grace(program: Program) -> None:
    for name in ("one", "two"):
        assert launch(program, name=name, FAKE_IGNORE_TERM="1").code == 0
    assert program("stop", "--all").code == 0
    for name in ("one", "two"):
        at = {event["event"]: datetime.fromisoformat(event["time"]) for event in status(program, name)["events"]}
        assert (at["killed"] - at["stopping"]).total_seconds() > 14  # the grace is 15 s
    assert processes(program) == []


def test_who_waits_for_a_server_that_is_stopped_is_told_that(program: Program) -> None:
    words = program.argv("launch", "demo", "--name", "one", "--port", str(free_port()), "--detach")
    waiter = subprocess.Popen(
        words, env=program.environment({"FAKE_START_S": "60"}), cwd=program.folder, stderr=subprocess.PIPE, text=True
    )
    assert waiter.stderr
    while "starting the engine" not in waiter.stderr.readline():
        assert waiter.poll() is None
    assert program("stop", "one").code == 0
    _, err = waiter.communicate(timeout=60)
    assert waiter.returncode == 143
    assert "one was stopped while it started" in err


def test_a_restart_that_would_be_refused_stops_nothing(program: Program) -> None:
    held, port = free_port(), free_port()
    file = program.file(f"model: demo\nport: {port}\n")
    done = program("launch", "--config", file, "--name", "one", "--detach")
    assert done.code == 0, done.err
    program.file(f"model: demo\nport: {held}\n")
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", held))
        stranger.listen()
        refused = program("restart", "one")
    assert refused.code == 1
    assert f"port {held} of 127.0.0.1 is in use" in refused.err
    assert status(program)["state"] == "serving"
    assert program("stop", "one").code == 0


@pytest.mark.parametrize("damage", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_damaged_lock_hides_no_other_instance(program: Program, damage: Callable[[Path], Any]) -> None:
    for name in ("one", "two"):
        (program.home / "state" / "instances" / name).mkdir(parents=True)
    damage(program.home / "state" / "instances" / "one" / "lock")
    listed = {each["name"]: each["state"] for each in json.loads(program("ps", "--json").out)}
    assert listed == {"one": "failed", "two": "failed"}
    refused = launch(program)
    assert refused.code == 1
    assert "/one/lock: is no regular file" in refused.err
    assert "remove it" in refused.err


def test_a_damaged_record_does_not_hide_who_runs(program: Program) -> None:
    assert launch(program).code == 0
    record = program.home / "state" / "instances" / "one" / "record.json"
    os.kill(status(program)["supervisor_pid"], signal.SIGSTOP)  # it would mend it
    record.write_text("{")
    told = status(program)
    assert (told["state"], told["detail"]) == ("serving", "its record is missing or damaged")
    assert "one" in program("ps").out
    refused = program("restart", "one")
    assert refused.code == 2
    assert "how one was launched is not known: its record is missing or damaged" in refused.err
    os.kill(told["supervisor_pid"], signal.SIGCONT)
    until(lambda: status(program)["detail"] == "", "a whole record")
    record.unlink()
    assert program("stop", "one").code == 0
    assert processes(program) == []


def test_a_folder_that_was_removed_does_not_hide_who_runs(program: Program) -> None:
    assert launch(program).code == 0
    before = status(program)
    shutil.rmtree(program.home / "state" / "instances" / "one")
    until(lambda: program("status", "one").code == 0 and status(program)["state"] == "serving", "its files")
    assert status(program)["supervisor_pid"] == before["supervisor_pid"]
    assert program("stop", "one").code == 0
    assert processes(program) == []


def test_the_first_line_of_ps_fits_its_rows(program: Program) -> None:
    assert launch(program).code == 0
    lines = program("ps", environment={"COLUMNS": "200"}).out.splitlines()
    assert lines[0].split()[:4] == ["name", "state", "model", "engine"]
    assert "preset" not in lines[0]  # of nobody here
    assert lines[2].split()[:4] == ["one", "serving", "demo", "vllm@0.33.0"]
    drawn = program("ps", environment={"TTY_COMPATIBLE": "1", "COLUMNS": "80"}).out
    narrow = re.sub(r"\x1b\[\d*m", "", drawn).splitlines()
    assert narrow[0].split()[:2] == ["name", "state"]
    assert {"address", "up"} <= set(narrow[0].split())
    assert len(narrow) == 3  # a line a row
    assert program("stop", "--all").code == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("stop",), "nothing to stop is named"),
        (("stop", "one", "--all"), "a name and --all"),
        (("stop", "nobody"), "there is no instance named 'nobody'"),
        (("restart", "nobody"), "there is no instance named 'nobody'"),
        (("rm", "nobody"), "there is no instance named 'nobody'"),
        (("wait", "nobody"), "there is no instance named 'nobody'"),
        (("status", "../x"), "'../x' is no name for an instance"),
    ],
)
def test_what_cannot_be_meant_is_refused(program: Program, words: tuple[str, ...], why: str) -> None:
    done = program(*words)
    assert done.code == 2
    assert why in done.err
    assert not (Path(program.home) / "state").exists()


def test_a_fix_is_tried_once_and_kept_for_the_restart(program: Program) -> None:
    done = launch(program, "--context-length", "8192", "--fix", FAKE_ROOM="4096")
    assert done.code == 0, done.err
    assert (
        "the KV cache has no room for one request of the whole context; tried once with context_length: 4096"
        in done.err
    )
    told = status(program)
    assert told["argv"][told["argv"].index("--max-model-len") + 1] == "4096"
    assert [event["event"] for event in told["events"]] == ["start", "ended", "fix", "start", "ready"]
    again = program("restart", "one", environment={"FAKE_ROOM": "4096"})
    assert again.code == 0, again.err
    assert status(program)["attempts"] == 1
    assert program("stop", "one").code == 0


def test_without_a_fix_the_change_is_a_command_to_copy(program: Program) -> None:
    done = launch(program, "--context-length", "8192", "--set", "env.HF_TOKEN=hf-secret", FAKE_ROOM="4096")
    assert done.code == 78
    assert "The KV cache has no room" in done.err or "the KV cache has no room for one request" in done.err
    assert "the estimated maximum model length is 4096" in done.err
    (copied,) = [line.strip() for line in done.err.splitlines() if line.strip().startswith("serve launch demo ")]
    assert "--context-length 4096" in copied
    assert "--name one" in copied
    assert "hf-secret" not in done.err
    assert "serve launch demo" in program("status", "one").out


def test_a_fix_replaces_what_the_engines_own_flag_said(program: Program) -> None:
    done = launch(program, "--max-model-len", "8192", "--fix", FAKE_ROOM="4096")
    assert done.code == 0, done.err
    argv = status(program)["argv"]
    assert [argv[place + 1] for place, word in enumerate(argv) if word == "--max-model-len"] == ["4096"]
    assert program("restart", "one", environment={"FAKE_ROOM": "4096"}).code == 0  # without --fix being tried again
    assert [event["event"] for event in status(program)["events"]].count("fix") == 1
    assert program("stop", "one").code == 0
