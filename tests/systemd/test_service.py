"""`serve service` and the units on a real systemd, with a fake engine: each test has an instance of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests import smi
from tests.systemd.conftest import HOME, Host, Service

Make = Callable[..., Service]


def test_installed_serving_and_the_same_again(host: Host, service: Make) -> None:
    one = service()
    done = one.install("--preset", "balanced", "--context-length", "4096", "--api-key", "auto")
    assert done.returncode == 0, done.stderr + host.journal(one.name)
    assert f"serves demo at http://127.0.0.1:{one.port}" in done.stdout
    told = host.show(one.name)
    assert (told["ActiveState"], told["SubState"], told["Type"], told["UnitFileState"]) == (
        "active", "running", "notify", "enabled"
    )  # fmt: skip
    assert told["StatusText"] == f"serving demo at http://127.0.0.1:{one.port}"
    assert host.run("stat", "--format=%a %U", f"/etc/serve/{one.name}.key").stdout == "600 root\n"
    assert host.run("stat", "--format=%U", f"/proc/{told['MainPID']}").stdout == "serve\n"
    again = one.install("--preset", "balanced", "--context-length", "4096", "--api-key", "auto")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "nothing to change")
    assert host.show(one.name)["MainPID"] == told["MainPID"]


def test_the_key_is_asked_for_and_told_to_nobody(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--api-key", "auto", print_key=1).returncode == 0
    key = host.read(f"/etc/serve/{one.name}.key").strip()
    url = f"http://127.0.0.1:{one.port}/v1/models"  # the network is this machine's
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=10).status_code == 200
    assert key not in host.journal(one.name)
    assert key not in host.read(f"/etc/serve/{one.name}.yaml")
    assert key not in host.run("systemctl", "show", f"serve@{one.name}").stdout
    for pid in host.processes(one.name):
        assert key not in host.run("cat", f"/proc/{pid}/cmdline").stdout
    everything = host.run("grep", "--recursive", "--files-with-matches", "--fixed-strings", key, "/etc", str(HOME))
    assert everything.stdout.split() == [f"/etc/serve/{one.name}.key"]


def test_active_means_ready_and_a_long_start_is_given_time(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--no-start", start_s=6).returncode == 0
    assert one.state == "inactive"
    one.override(TimeoutStartSec=3)  # shorter than the start
    host.run("systemctl", "start", "--no-block", f"serve@{one.name}")
    assert host.until(one.name, StatusText="starting: starting the engine")["ActiveState"] == "activating"
    assert host.until(one.name, ActiveState="active")["Result"] == "success"


def test_a_wrong_key_fails_with_its_reason_and_is_not_tried_again(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--api-key", "auto", "--no-start").returncode == 0
    host.run("sh", "-c", f"echo short > /etc/serve/{one.name}.key")
    done = host.serve("service", "start", one.name)
    assert (done.returncode, one.state) == (2, "inactive")
    assert host.run("systemctl", "start", f"serve@{one.name}").returncode == 1
    for said in (done.stderr, host.journal(one.name)):
        assert "characters" in said
        assert "short" not in said.replace("shorter", "")
    told = host.show(one.name)
    assert (told["ActiveState"], told["ExecMainStatus"], told["NRestarts"]) == ("failed", "2", "0")
    assert told["StatusText"].startswith("refused: ")


def test_what_another_start_cannot_cure_is_not_tried_again(host: Host, service: Make) -> None:
    one = service()
    done = one.install("--context-length", "8192", room=4096)
    assert done.returncode == 1
    assert "the KV cache has no room" in done.stderr
    told = host.show(one.name)
    assert (told["ActiveState"], told["ExecMainStatus"], told["NRestarts"]) == ("failed", "78", "0")
    assert told["StatusText"].startswith("failed: the KV cache has no room")


def test_a_server_that_ends_is_started_again_up_to_a_limit(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--no-start", end_after_ready=1, end_after_s=0.1).returncode == 0
    one.override(RestartSec="100ms", StartLimitBurst=3, StartLimitIntervalSec=600)
    host.run("systemctl", "start", "--no-block", f"serve@{one.name}")
    told = host.until(one.name, ActiveState="failed")
    assert told["NRestarts"] in {"2", "3"}, told["NRestarts"]
    assert host.processes(one.name) == []


def test_a_hung_engine_is_found_out_and_replaced(host: Host, service: Make) -> None:
    """By serve itself, which says why."""
    one = service()
    assert one.install("--hang-timeout", "10", "--no-start", hang="core", hang_s=4, step_s=0.1).returncode == 0
    one.override(RestartSec="100ms")
    host.run("systemctl", "start", f"serve@{one.name}")
    engine = one.engine()
    ask(one)
    host.until(one.name, NRestarts="1", ActiveState="active")
    assert one.engine() != engine
    assert "hangs: " in host.journal(one.name)


def test_the_watchdog_is_not_fed_while_no_token_can_flow(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--hang-timeout", "24", "--no-start", hang="core", hang_s=4, step_s=0.1).returncode == 0
    one.override(RestartSec="100ms", WatchdogSec=6)
    host.run("systemctl", "start", f"serve@{one.name}")
    engine = one.engine()
    ask(one)
    host.until(one.name, NRestarts="1", ActiveState="active")  # after 12 s under suspicion, and 6 more
    assert "Watchdog timeout" in host.journal(one.name)
    assert host.run("kill", "-0", str(engine)).returncode  # it went with its supervisor


def test_the_watchdog_replaces_a_supervisor_that_does_nothing(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--no-start").returncode == 0
    one.override(RestartSec="100ms", WatchdogSec=6)
    host.run("systemctl", "start", f"serve@{one.name}")
    first, engine = host.show(one.name)["MainPID"], one.engine()
    time.sleep(8)  # longer than the watchdog waits: it is fed
    assert host.show(one.name)["MainPID"] == first
    host.run("kill", "-STOP", first)
    told = host.until(one.name, NRestarts="1", ActiveState="active")
    assert told["MainPID"] != first
    assert host.run("kill", "-0", str(engine)).returncode


def test_a_stop_leaves_nothing_and_is_no_failure(host: Host, service: Make) -> None:
    one = service()
    assert one.install(grandchild=1, ignore_term=1).returncode == 0
    pids = host.processes(one.name)
    assert len(pids) >= 3
    done = host.serve("service", "stop", one.name)
    assert done.returncode == 0, done.stderr
    told = host.show(one.name)
    assert (told["ActiveState"], told["Result"]) == ("inactive", "success")
    assert not [pid for pid in pids if not host.run("kill", "-0", str(pid)).returncode]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{one.port}/health", timeout=10)


def test_a_changed_deployment_is_served_and_an_upgrade_that_fails_is_taken_back(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--engine", "vllm@0.32.0").returncode == 0
    changed = one.install("--engine", "vllm@0.32.0", "--context-length", "4096")
    assert changed.stdout.splitlines()[0] == f"changed: /etc/serve/{one.name}.yaml"
    assert "4096" in host.run("cat", f"/proc/{one.engine()}/cmdline").stdout
    assert "context_length" not in host.read(f"/etc/serve/{one.name}.yaml.previous")
    before = host.read(f"/etc/serve/{one.name}.yaml")
    failed = host.serve("service", "upgrade", one.name)  # the newest, 0.33.0, cannot be imported
    assert failed.returncode == 1
    assert "a_package_that_is_not_there" in failed.stderr
    assert f"{one.name} serves as before" in failed.stderr
    assert (host.read(f"/etc/serve/{one.name}.yaml"), one.state) == (before, "active")
    same = host.serve("service", "upgrade", one.name, "--engine", "vllm@0.32.0")
    assert (same.returncode, same.stdout) == (0, "nothing to change\n")


def test_an_upgrade_serves_with_another_release_and_goes_back_by_the_same_way(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--engine", "vllm@0.31.0", "--api-key", "auto").returncode == 0
    one.override(RestartSec=1)
    host.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", f"serve@{one.name}")
    host.until(one.name, NRestarts="1", ActiveState="active")  # that it failed once is no fault of the upgrade
    first, before = host.show(one.name)["MainPID"], "vllm@0.31.0"
    for release in ("0.32.0", "0.31.0"):
        done = host.serve("service", "upgrade", one.name, "--engine", f"vllm@{release}")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (
            0,
            f"{one.name} serves with vLLM {release}; before: {before}",
        ), done
        before = f"vllm@{release}"
        assert f"/vllm-{release}-cuda/" in host.run("cat", f"/proc/{one.engine()}/cmdline").stdout
        assert f"vllm@{release}" in host.read(f"/etc/serve/{one.name}.yaml")
    assert "vllm@0.32.0" in host.read(f"/etc/serve/{one.name}.yaml.previous")
    assert host.show(one.name)["MainPID"] != first
    missing = host.serve("service", "upgrade", one.name, "--engine", "vllm@0.30.0")
    assert (missing.returncode, one.state) == (2, "active")
    assert "vLLM 0.30.0 is not installed" in missing.stderr


def test_an_upgrade_that_is_interrupted_is_taken_back(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--engine", "vllm@0.31.0", start_s=4).returncode == 0
    before = host.read(f"/etc/serve/{one.name}.yaml")
    upgrade = f"{sys.executable} -m launcher service upgrade {one.name} --engine vllm@0.32.0"
    loads = f"[ $(systemctl show --property=ActiveState --value serve@{one.name}) = activating ]"
    done = host.run("sh", "-c", f"{upgrade} & until {loads}; do sleep 0.1; done; kill -TERM $!; wait $!")
    assert done.returncode == 143
    assert f"interrupted: {one.name} is started as before" in done.stdout
    assert host.read(f"/etc/serve/{one.name}.yaml") == before
    host.until(one.name, ActiveState="active")
    assert "/vllm-0.31.0-cuda/" in host.run("cat", f"/proc/{one.engine()}/cmdline").stdout


def test_an_upgrade_whose_reader_goes_away_is_taken_back(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--engine", "vllm@0.32.0").returncode == 0
    before = host.read(f"/etc/serve/{one.name}.yaml")
    program = f"{sys.executable} -m launcher service upgrade {one.name} --engine vllm@0.33.0"
    host.run("sh", "-c", f"{program} 2>/dev/null | head -c 1")
    host.until(one.name, ActiveState="active")
    assert host.read(f"/etc/serve/{one.name}.yaml") == before
    assert host.run("test", "-e", f"/etc/serve/{one.name}.yaml.previous").returncode != 0  # as before, too


def test_an_upgrade_that_cannot_be_written_or_has_no_key_stops_nothing(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--engine", "vllm@0.32.0", "--api-key", "auto").returncode == 0
    pid = host.show(one.name)["MainPID"]
    host.run("sh", "-c", "mount --bind /etc/serve /etc/serve && mount -o remount,bind,ro /etc/serve")
    full = host.serve("service", "upgrade", one.name, "--engine", "vllm@0.31.0")
    host.run("umount", "/etc/serve")
    host.run("mv", f"/etc/serve/{one.name}.key", "/etc/serve/aside")
    no_key = host.serve("service", "upgrade", one.name, "--engine", "vllm@0.31.0")
    host.run("mv", "/etc/serve/aside", f"/etc/serve/{one.name}.key")
    assert (full.returncode, "cannot be written" in full.stderr) == (1, True), full.stderr
    assert (no_key.returncode, f"/etc/serve/{one.name}.key: the file of the API key is missing" in no_key.stderr) == (
        2,
        True,
    )
    assert host.show(one.name)["MainPID"] == pid


def test_what_is_served_already_but_not_as_the_files_say_is_an_upgrade(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--engine", "vllm@0.31.0").returncode == 0
    host.run("sed", "-i", "s/0.31.0/0.32.0/", f"/etc/serve/{one.name}.yaml")
    done = host.serve("service", "upgrade", one.name, "--engine", "vllm@0.32.0")
    assert (done.returncode, "nothing to change" in done.stdout) == (0, False), done.stderr
    assert "/vllm-0.32.0-cuda/" in host.run("cat", f"/proc/{one.engine()}/cmdline").stdout


def test_a_file_that_was_edited_is_served_with_what_it_needs(host: Host, service: Make) -> None:
    one = service()
    assert one.install().returncode == 0
    host.run("sh", "-c", f"mkdir -p /root/models && cp -r {HOME}/data/models/demo-1 /root/models/{one.name}")
    host.run("sed", "-i", f"s|^model: .*|model: /root/models/{one.name}|", f"/etc/serve/{one.name}.yaml")
    done = host.serve("service", "restart", one.name)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0, f"changed: /etc/systemd/system/serve@{one.name}.service.d/deployment.conf"
    ), done.stderr  # fmt: skip
    assert f"/root/models/{one.name}" in host.run("cat", f"/proc/{one.engine()}/cmdline").stdout.split("\0")
    host.run("rm", "-r", f"/root/models/{one.name}")


def test_an_installation_joins_a_load_and_does_not_sit_through_crashes(host: Host, service: Make) -> None:
    one, broken = service("-loads"), service("-crashes")
    assert one.install("--no-start", start_s=6).returncode == 0
    host.run("systemctl", "start", "--no-block", f"serve@{one.name}")
    pid = host.until(one.name, ActiveState="activating")["MainPID"]
    joined = one.install(start_s=6)
    assert (joined.returncode, host.show(one.name)["MainPID"]) == (0, pid), joined.stderr
    assert broken.install().returncode == 0
    crashed = broken.install(exit=3)
    assert crashed.returncode == 1
    back = f"cp /etc/serve/{broken.name}.yaml.previous /etc/serve/{broken.name}.yaml && serve service restart"
    assert back in crashed.stderr
    assert "has failed (exit-code), and systemd starts it again" in crashed.stderr
    assert "RuntimeError: the fake engine was told to fail" in crashed.stderr
    row = next(each for each in host.serve("service", "list").stdout.splitlines() if each.startswith(broken.name))
    assert "it ended (exit-code) and is started again" in row or "starting" in row


def test_a_server_is_not_stopped_for_what_would_not_serve(host: Host, service: Make, tmp_path: Path) -> None:
    one, other = service(), service("-other")
    assert one.install().returncode == 0
    pid = host.show(one.name)["MainPID"]
    no_key = one.install("--api-key", "file:/nowhere/key")
    other.port = one.port
    same_port = other.install()
    host.run("sh", "-c", f"cd /etc/serve && cp {one.name}.yaml kept && sed -i s/^port:/prot:/ {one.name}.yaml")
    typo = host.serve("service", "restart", one.name)
    host.run("sh", "-c", f"cd /etc/serve && sed s/0.32.0/0.30.0/ kept > {one.name}.yaml")
    missing = host.serve("service", "restart", one.name)
    (hollow := tmp_path / "hollow").mkdir()
    host.run("cp", f"{HOME}/data/models/demo-1/config.json", str(hollow))
    host.run("sh", "-c", f"cd /etc/serve && sed 's|^model: .*|model: {hollow}|' kept > {one.name}.yaml")
    no_weights = host.serve("service", "restart", one.name)
    host.run("sh", "-c", f"cd /etc/serve && (cat kept; echo api_key: auto) > {one.name}.yaml")
    own_key = host.serve("service", "restart", one.name)
    host.run("sh", "-c", f"cd /etc/serve && sed 's/^port: .*/port: 80/' kept > {one.name}.yaml")
    low_port = host.serve("service", "restart", one.name)
    host.run("sh", "-c", f"echo '[' > /etc/serve/{one.name}.yaml")
    broken = host.serve("service", "upgrade", one.name)
    host.run("sh", "-c", f": > /etc/serve/{one.name}.yaml")
    empty = host.serve("service", "restart", one.name)
    for refused, word in (
        (no_key, "/nowhere/key"),
        (same_port, one.name),
        (typo, "'port'"),
        (missing, "0.30.0"),
        (no_weights, "holds no weights"),
        (own_key, "a service has its key from systemd"),
        (low_port, "port 80: a port that the service may not bind"),
        (broken, "is not YAML"),
        (empty, "names no model"),
    ):
        assert (refused.returncode, word in refused.stderr) == (2, True), refused.stderr
    host.run("mv", "/etc/serve/kept", f"/etc/serve/{one.name}.yaml")
    assert host.show(one.name)["MainPID"] == pid


def test_what_is_served_is_what_was_installed_last(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--api-key", "sk-a-key-that-was-typed").returncode == 0
    assert host.read(f"/etc/serve/{one.name}.key") == "sk-a-key-that-was-typed\n"
    same = host.serve("service", "install", one.name, "--config", f"/etc/serve/{one.name}.yaml")
    assert "nothing to change" in same.stdout, same.stdout + same.stderr
    other_key = one.install("--api-key", "sk-another-that-was-typed", "--no-start")
    assert "asks for the API key of SERVE_API_KEY from now on, not for that of /etc/serve/" in other_key.stdout
    address, header = f"http://127.0.0.1:{one.port}/v1/models", {"Authorization": "Bearer sk-another-that-was-typed"}
    assert requests.get(address, headers=header, timeout=10).status_code == 401
    assert one.install("--api-key", "sk-another-that-was-typed").returncode == 0
    assert requests.get(address, headers=header, timeout=10).status_code == 200
    assert one.install("--context-length", "4096", "--no-start").returncode == 0
    again = one.install("--context-length", "4096")
    assert again.returncode == 0, again.stderr
    assert "4096" in host.run("cat", f"/proc/{one.engine()}/cmdline").stdout
    assert requests.get(f"http://127.0.0.1:{one.port}/v1/models", timeout=10).status_code == 200


def test_its_journal_and_the_list_are_shown(host: Host, service: Make) -> None:
    one = service()
    assert one.install().returncode == 0
    assert "ready: http://" in host.serve("service", "logs", one.name).stdout
    assert "ready: http://" in host.serve("service", "logs", one.name, "--since", "10min").stdout
    assert "ready: http://" not in host.serve("service", "logs", one.name, "--since", "2099-01-01").stdout
    following = [sys.executable, "-m", "launcher", "service", "logs", one.name, "--follow", "--since", "10m"]
    assert "ready: http://" in host.run("timeout", "--signal=INT", "5", *following).stdout
    row = next(line for line in host.serve("service", "list").stdout.splitlines() if line.startswith(one.name))
    assert row.split()[1:3] == ["active", "yes"]
    told = next(each for each in json.loads(host.serve("service", "list", "--json").stdout) if each["name"] == one.name)
    assert (told["state"], told["enabled"], told["busy"]) == ("active", True, False)
    shown = host.serve("service", "status", one.name)
    assert (shown.returncode, "Active: active (running)" in shown.stdout) == (0, True)


def test_gpus_of_one_node_get_its_memory_and_processors(host: Host, service: Make, tmp_path: Path) -> None:
    one = service()
    tell = smi.install(tmp_path)
    tell(gpus=[{"pci.bus_id": f"00000000:{bus}:00.0"} for bus in ("1B", "9C")])
    for number, bus in enumerate(("1b", "9c")):  # a host of two nodes, as sysfs would show it; this one has the first
        (tmp_path / f"0000:{bus}:00.0").mkdir()
        (tmp_path / f"0000:{bus}:00.0" / "numa_node").write_text(f"{number}\n")
    words = ["demo", "--engine", "vllm@0.32.0", "--port", str(one.port), "--set", "env.CUDA_VISIBLE_DEVICES=0"]
    program = [sys.executable, "-m", "launcher", "service", "install", one.name, *words]
    within = f'mount --bind {tmp_path} /sys/bus/pci/devices && exec "$@"'
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = host.run("unshare", "--mount", "sh", "-c", within, "sh", *program, PATH=path)
    assert done.returncode == 0, done.stderr + host.journal(one.name)
    told = host.show(one.name)
    assert (told["NUMAPolicy"], told["NUMAMask"]) == ("preferred", "0")
    engine = host.run("cat", f"/proc/{one.engine()}/status").stdout
    near = Path("/sys/devices/system/node/node0/cpulist").read_text().strip()
    assert f"Cpus_allowed_list:\t{near}\n" in engine


def test_the_device_files_of_gpus_are_made_before_a_start(host: Host, service: Make, tmp_path: Path) -> None:
    one = service()
    assert one.install("--no-start").returncode == 0
    program, called = tmp_path / "nvidia-modprobe", tmp_path / "called"
    program.write_text(f'#!/bin/sh\nsystemctl is-active serve@{one.name} >>{called}\necho "$@" >>{called}\n')
    program.chmod(0o755)
    folder = "/etc/systemd/system/serve-nvidia.service.d"
    text = f"[Service]\nEnvironment=PATH={tmp_path}:/usr/bin:/bin"
    host.run("sh", "-c", f"mkdir {folder}; echo '{text}' >{folder}/path.conf; systemctl daemon-reload")
    assert host.serve("service", "start", one.name).returncode == 0
    host.run("rm", "-r", folder)
    assert called.read_text().splitlines()[:2] == ["inactive", "-u"]


def test_it_starts_with_the_host_after_the_network(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--no-start").returncode == 0
    assert "network-online.target" in host.show(one.name)["After"].split()
    host.run("systemctl", "start", "--no-block", "multi-user.target")  # what a boot starts
    host.until(one.name, ActiveState="active")
    assert host.serve("service", "disable", one.name).returncode == 0
    assert host.show(one.name)["UnitFileState"] == "disabled"
    assert host.serve("service", "enable", one.name).returncode == 0
    assert host.show(one.name)["UnitFileState"] == "enabled"


def test_a_reload_of_systemd_disturbs_nothing(host: Host, service: Make) -> None:
    one = service()
    assert one.install().returncode == 0
    before = host.show(one.name)
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "daemon-reexec")
    after = host.until(one.name, ActiveState="active")
    assert (after["MainPID"], after["StatusText"]) == (before["MainPID"], before["StatusText"])


def test_values_with_blanks_percent_signs_and_quotes_arrive(host: Host, service: Make, tmp_path: Path) -> None:
    one = service()
    text = "a b%i \"c\" 'd' $HOME \\n é"
    assert one.install("--no-start").returncode == 0
    model = tmp_path / "mo: del %i \"x\" 'y' $HOME"
    host.run("cp", "--recursive", f"{HOME}/data/models/demo-1", str(model))
    words = [
        "--engine",
        "vllm@0.32.0",
        "--port",
        str(one.port),
        "--set",
        f"env.TEXT={text}",
        "--served-name",
        text.replace("é", "e"),
    ]
    tmp_path.parent.chmod(0o755)
    tmp_path.parent.parent.chmod(0o755)
    done = host.serve("service", "install", one.name, str(model), *words)
    assert done.returncode == 0, done.stderr + host.journal(one.name)
    pid = one.engine()
    assert f"TEXT={text}" in host.run("cat", f"/proc/{pid}/environ").stdout.split("\0")
    words = host.run("cat", f"/proc/{pid}/cmdline").stdout.split("\0")
    assert str(model) in words
    assert text.replace("é", "e") in words


def test_an_eagle3_service_and_a_plain_one_side_by_side(host: Host, service: Make) -> None:
    plain, drafted = service("-a"), service("-b")
    for each, preset, gpu in ((plain, "balanced", 0), (drafted, "eagle3", 1)):
        words = ("--preset", preset, "--context-length", "4096", "--set", f"env.CUDA_VISIBLE_DEVICES={gpu}")
        done = each.install(*words)
        assert done.returncode == 0, done.stderr
        variables = host.run("cat", f"/proc/{each.engine()}/environ").stdout.split("\0")
        assert f"CUDA_VISIBLE_DEVICES={gpu}" in variables
    assert "eagle3" in host.run("cat", f"/proc/{drafted.engine()}/cmdline").stdout
    listed = host.serve("service", "list").stdout
    assert plain.name in listed
    assert drafted.name in listed
    assert host.serve("service", "stop", plain.name).returncode == 0
    assert drafted.state == "active"


def test_a_closed_umask_closes_nothing(host: Host, service: Make) -> None:
    one = service()
    host.run("rm", "--recursive", "/etc/serve")
    program = f"umask 077; exec {sys.executable} -m launcher service install {one.name} demo"
    done = host.run("sh", "-c", f"{program} --engine vllm@0.32.0 --port {one.port} --api-key auto")
    assert done.returncode == 0, done.stderr
    assert host.run("stat", "--format=%a", "/etc/serve").stdout == "755\n"


def test_uninstalled_nothing_is_left(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--api-key", "auto").returncode == 0
    done = host.serve("service", "uninstall", one.name)
    assert done.returncode == 0, done.stderr
    found = host.run("find", "/etc", str(HOME), "/var/cache", "-name", f"*{one.name}*").stdout
    assert found == ""
    assert host.serve("service", "uninstall", one.name).returncode == 2


def test_its_exposure(host: Host, service: Make) -> None:
    """The score that README states."""
    one = service()
    assert one.install("--api-key", "auto", "--no-start").returncode == 0
    said = host.run("systemd-analyze", "security", "--no-pager", f"serve@{one.name}.service").stdout
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert score, said
    assert float(score[1]) <= 1.9, said


def test_systemd_finds_no_fault_in_the_units(host: Host, service: Make) -> None:
    one = service()
    assert one.install("--no-start").returncode == 0
    said = host.run("systemd-analyze", "verify", f"serve@{one.name}.service")
    assert (said.returncode, said.stderr) == (0, "")


def test_dry_run_and_refusals_write_nothing(host: Host, service: Make) -> None:
    one = service()
    dry = one.install("--dry-run", "--api-key", "auto")
    assert dry.returncode == 0, dry.stderr
    assert f"# /etc/serve/{one.name}.yaml" in dry.stdout
    assert host.serve("service", "install").returncode == 2
    assert host.serve("service", "install", "--preset", "balanced").returncode == 2
    assert host.serve("service", "install", "a/b", "demo").returncode == 2
    assert host.serve("service", "start", "nobody").returncode == 2
    missing = one.install("--engine", "sglang@0.5.23")
    assert missing.returncode == 2
    assert f"SERVE_HOME={HOME} serve engines install sglang@0.5.23" in missing.stderr
    assert host.run("ls", "/etc/serve").stdout.count(one.name) == 0
    token = one.install("--no-start", "--set", f"env.HF_TOKEN=hf_{'x' * 20}")
    assert f"HF_TOKEN=... in /etc/serve/{one.name}.env" in token.stdout  # it stood on the command line, and was moved


def test_a_user_who_is_not_root_is_told(host: Host) -> None:
    """Whose id is nobody's, in a namespace of users."""
    done = host.run("unshare", "--user", sys.executable, "-m", "launcher", "service", "stop", "one")
    assert done.returncode == 2, done.stderr
    assert "sudo" in done.stderr


def ask(one: Service) -> None:
    """A request that is not waited for, and longer than the engine works."""
    body = {"model": "demo", "prompt": "a", "max_tokens": 1000}

    def send() -> None:
        with contextlib.suppress(requests.RequestException):
            requests.post(f"http://127.0.0.1:{one.port}/v1/completions", json=body, timeout=60)

    threading.Thread(target=send, daemon=True).start()
