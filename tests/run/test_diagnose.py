"""Causes of failures: on logs of real ones, and on lines as the sources of the engines build them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.config.keys import BY_NAME
from launcher.run.failures import causes
from launcher.run.failures.causes import Sign
from launcher.run.failures.diagnose import UNKNOWN, Diagnosis, diagnose
from launcher.run.processes.oom import oom_kills
from tests.run.failures import GOOD, LOGS, READ, UNSEEN, Log, Words

FOLDER = Path(__file__).parent.parent / "data" / "engine-logs"
STAMP = "11-21 12:46:47"


def lines_of(name: str) -> list[str]:
    return (FOLDER / name).read_text(encoding="utf-8").splitlines()


def of_log(log: Log) -> Diagnosis:
    lines = lines_of(log.name)
    return diagnose(log.engine, log.version, log.status, lines, serving=log.serving, oom_killed=log.oom_killed)


def died(engine: str, message: str, within: str = "step") -> list[str]:
    """The end of a process by an exception, as each engine writes it."""
    traceback = [
        "Traceback (most recent call last):",
        f'  File "/opt/engine/lib/python3.12/site-packages/{engine}/a.py", line 7, in {within}',
        "    self.go()",
        *message.splitlines(),
    ]
    if engine == "vllm":
        prefix = f"(EngineCore pid=27) ERROR {STAMP} [core.py:1584] "
        return [prefix + line for line in ["EngineCore failed to start.", *traceback]]
    stamp = "[2026-11-21 12:46:47 TP0] "
    echo = "[2026-11-21 12:46:48] Received sigquit from a child process. It usually means the child failed."
    return [f"{stamp}Scheduler hit an exception: {traceback[0]}", *traceback[1:], "", echo]


def of_words(words: Words) -> Diagnosis:
    lines = words.text.splitlines() if words.alone else died(words.engine, words.text, words.within)
    version = words.version or {"vllm": "0.33.0", "sglang": "0.5.23"}[words.engine]
    return diagnose(words.engine, version, words.status, lines, serving=words.serving, oom_killed=words.oom_killed)


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_the_log_of_a_real_failure_gives_its_cause(log: Log) -> None:
    found = of_log(log)
    assert found.cause == log.cause, found
    assert dict(found.changes) == log.changes
    assert re.search(log.line, found.line), found.line


@pytest.mark.parametrize("name", GOOD)
def test_the_log_of_a_server_that_was_well_gives_no_cause(name: str) -> None:
    engine, version = re.match(r"(\w+)-([\d.]+(?:post\d)?)-", name.removeprefix("gpu-")).groups()  # type: ignore[union-attr]
    for serving in (False, True):
        found = diagnose(engine, version, None, lines_of(name), serving=serving)
        assert found == Diagnosis(UNKNOWN, "why is not known")


def test_every_log_of_the_folder_is_looked_at() -> None:
    assert sorted(path.name for path in FOLDER.glob("*.log")) == sorted([*(log.name for log in LOGS), *GOOD])


@pytest.mark.parametrize("words", READ, ids=lambda words: f"{words.cause}: {words.text[:60]}")
def test_words_that_were_read_in_the_sources_give_their_cause(words: Words) -> None:
    found = of_words(words)
    assert found.cause == words.cause, found
    assert dict(found.changes) == words.changes
    assert found.sure == words.sure
    assert not found.restartable or found.cause != UNKNOWN


@pytest.mark.parametrize("sign", causes.load().signs, ids=lambda sign: f"{sign.cause.id}: {sign.read or sign.measured}")
def test_every_sign_has_evidence_that_is_held_here(sign: Sign) -> None:
    found = {log.name: log.cause for log in LOGS}
    assert [found.get(name) for name in sign.measured] == [sign.cause.id] * len(sign.measured)
    if sign.measured:
        return
    assert sign.read
    mine = [words for words in READ if words.cause == sign.cause.id and sign.engine in {"", words.engine}]
    lines = [re.sub(r"^\s*\[[\d :-]+\] ", "", line) for words in mine for line in words.text.splitlines()]
    pattern = sign.error or sign.line
    if pattern:
        assert any(re.match(rf"\s*(?:[\w.]+: |Value error, )?(?:{pattern.pattern})", line) for line in lines)
    else:
        assert any(words.status == sign.exit or (sign.echoed and words.oom_killed == sign.oom) for words in mine)


def test_every_cause_has_a_real_log_or_is_listed_as_unseen() -> None:
    seen = {log.cause for log in LOGS}
    assert {sign.cause.id for sign in causes.load().signs} - seen == set(UNSEEN)


def test_changes_are_keys_with_values_that_they_take() -> None:
    found = [*map(of_log, LOGS), *map(of_words, READ)]
    for each in found:
        for key, text in each.changes.items():
            BY_NAME[key].type.parse(text)
        assert "{" not in each.title + each.advice, each
    assert any(each.changes for each in found)


def test_what_could_be_tried_without_asking_is_a_change() -> None:
    for words in READ:
        found = of_words(words)
        assert found.changes or not found.remedy, found


def test_the_first_error_of_the_process_that_died_first_counts() -> None:
    root = died("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "load_model")
    later = died("vllm", "ModuleNotFoundError: No module named 'nothing'")
    after = ["Traceback (most recent call last):", '  File "a.py", line 1, in b', "OSError: [Errno 98] Address in use"]
    assert diagnose("vllm", "0.33.0", 1, [*root, *later, *after], serving=False).cause == "oom-load"
    assert diagnose("vllm", "0.33.0", 1, [*later, *root, *after], serving=False).cause == "missing-package"
    assert diagnose("vllm", "0.33.0", 1, [*after, *root], serving=False).cause == "oom-load"
    crash = "Fatal Python error: Segmentation fault"
    unknown = died("vllm", "KeyError: 'x'")
    assert diagnose("vllm", "0.33.0", 1, [crash, *unknown], serving=False).cause == "crashed"
    assert diagnose("vllm", "0.33.0", 1, [*unknown, crash], serving=False).cause == UNKNOWN


@pytest.mark.parametrize("serving", [False, True])
def test_of_tracebacks_that_no_dying_process_announced_the_last_counts(serving: bool) -> None:
    def raised(message: str) -> list[str]:
        return ["Traceback (most recent call last):", '  File "a.py", line 1, in b', message]

    lines = [
        *raised("KeyError: 'got over'"),
        f"(APIServer pid=1) INFO {STAMP} [a.py:1] went on",
        *raised("MemoryError"),
    ]
    assert diagnose("vllm", "0.33.0", 1, lines, serving=serving).cause == "host-memory"
    assert diagnose("vllm", "0.33.0", 0, lines, serving=True).cause == UNKNOWN


def test_a_sign_holds_for_the_releases_that_show_it() -> None:
    lines = ["[2026-11-21 12:46:47] Watchdog timeout (self.watchdog_timeout=300)"]
    assert diagnose("sglang", "0.5.8", -9, lines, serving=True).cause == "hung"
    assert diagnose("sglang", "0.5.23", -9, lines, serving=True).cause == UNKNOWN


def test_of_a_chain_the_exception_behind_the_last_one_counts() -> None:
    lines = [
        "[2026-11-21 12:46:47] Scheduler hit an exception: Traceback (most recent call last):",
        '  File "/opt/engine/sglang/srt/model_executor/runner/decode_cuda_graph_runner.py", line 596, in __init__',
        "    self.capture()",
        "{error}",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        '  File "/opt/engine/sglang/srt/model_executor/model_runner.py", line 1250, in init_decode_cuda_graph',
        "    self.graph_runner = DecodeCudaGraphRunner(self)",
        "Exception: Capture cuda graph failed: {error}",
        "Possible solutions:",
        "1. set --mem-fraction-static to a smaller value (e.g., 0.8 or 0.7)",
    ]

    def cause(error: str) -> str:
        return diagnose("sglang", "0.5.23", -9, [line.format(error=error) for line in lines], serving=False).cause

    assert cause("RuntimeError: Ninja is required to load C++ extensions") == "compiler-missing"
    assert cause("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB") == "oom-capture"
    assert cause("RuntimeError: a thing that nobody knows") == UNKNOWN


def test_an_unknown_error_is_shown_and_not_guessed_at() -> None:
    lines = died("vllm", "KeyError: 'model.layers.0.qweight'", "load_weights")
    found = diagnose("vllm", "0.33.0", 1, lines, serving=False)
    assert (found.cause, found.sure, found.restartable, found.remedy) == (UNKNOWN, False, False, False)
    assert found.line == "KeyError: 'model.layers.0.qweight'"
    assert found.lines[0].endswith("in load_weights")
    assert not found.changes
    lines = died("sglang", "KeyError: 'model.layers.0.qweight'\nwith a second line", "load_weights")
    assert diagnose("sglang", "0.5.23", -9, lines, serving=False).lines[1:] == (
        "KeyError: 'model.layers.0.qweight'",
        "with a second line",
    )


def test_an_error_that_a_server_got_over_is_not_the_cause_of_its_end() -> None:
    oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    handled = [
        "(APIServer pid=1) ERROR:    Exception in ASGI application",
        "(APIServer pid=1) Traceback (most recent call last):",
        '(APIServer pid=1)   File "a.py", line 1, in execute_model',
        f"(APIServer pid=1) {oom}",
    ]
    assert diagnose("vllm", "0.33.0", 1, handled, serving=True) == Diagnosis(UNKNOWN, "why is not known")
    logged = [line.replace("EngineCore failed to start.", "a request failed") for line in died("vllm", oom)]
    for serving in (False, True):
        assert diagnose("vllm", "0.33.0", -9, [*handled, *logged], serving=serving).cause == "killed"
    fatal = died("vllm", oom, "execute_model")
    assert diagnose("vllm", "0.33.0", 1, [*handled, *logged, *fatal], serving=True).cause == "oom-run"


@pytest.mark.parametrize("words", READ, ids=lambda words: f"{words.cause}: {words.text[:60]}")
def test_a_prompt_that_reads_like_a_failure_is_none(words: Words) -> None:
    prompt = "\n".join([words.text, *died(words.engine, words.text, words.within)])
    info = f"(APIServer pid=1) INFO {STAMP} [logger.py:40] "
    lines = [
        f"{info}Received request cmpl-1: prompt: {prompt!r}, params: SamplingParams(n=1)",
        *(info + line for line in prompt.splitlines()),
        info + "Process EngineCore (PID: 7) died with exit code -4",
        info.replace("INFO", "WARNING") + words.text,
        f"[2026-11-21 12:46:47] Receive: obj=GenerateReqInput(text={prompt!r}, input_ids=None)",
        f"[2026-11-21 12:46:47] server_args=ServerArgs(model_path={prompt!r})",
        f'(APIServer pid=1) INFO:     127.0.0.1:1 - "POST /v1/{prompt!r} HTTP/1.1" 404 Not Found',
        f"Capturing: 3%|   | {words.text.splitlines()[0] if words.text else ''}",
    ]
    assert diagnose(words.engine, "0.33.0", None, lines, serving=words.serving).cause == UNKNOWN


def test_settings_are_read_where_the_engine_tells_them() -> None:
    oom = died("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.", "capture_model")
    told = f"(APIServer pid=1) INFO {STAMP} [utils.py:1] non-default args: {{'gpu_memory_utilization': 0.8}}"
    default = [(oom, "0.33.0", "0.87"), (oom, "0.11.0", "0.85")]
    for lines, version, fraction in [([told, *oom], "0.33.0", "0.75"), *default]:
        found = diagnose("vllm", version, 1, lines, serving=False)
        assert (found.cause, dict(found.changes)) == ("oom-capture", {"memory_fraction": fraction})
        assert found.remedy
    unknown = diagnose("vllm", "99.0.0", 1, oom, serving=False)
    assert (unknown.cause, dict(unknown.changes), unknown.remedy) == ("oom-capture", {}, False)


def test_a_shorter_context_is_a_remedy_only_where_the_engine_says_which() -> None:
    start = "ValueError: To serve at least one request with the model's max seq len (40960), (5.62 GiB KV cache is "
    end = "needed, which is larger than the available KV cache memory (4.1 GiB). {}Try increasing"
    said = end.format("Based on the available memory, the estimated maximum model length is 29856. ")
    found = diagnose("vllm", "0.33.0", 1, died("vllm", start + said), serving=False)
    assert (found.cause, dict(found.changes), found.remedy) == ("no-kv-room", {"context_length": "29856"}, True)
    found = diagnose("vllm", "0.33.0", 1, died("vllm", start + end.format("")), serving=False)
    assert (found.cause, dict(found.changes), found.remedy) == ("no-kv-room", {}, False)


def test_a_death_without_a_word_is_told_by_its_status() -> None:
    def cause(status: int | None, *lines: str, oom_killed: bool = False) -> tuple[str, bool]:
        found = diagnose("vllm", "0.33.0", status, lines, serving=True, oom_killed=oom_killed)
        return found.cause, found.sure

    child = f"(EngineCore pid=27) ERROR {STAMP} [multiproc_executor.py:381] Worker proc VllmWorker-0 died unexpectedly "
    assert cause(-9) == ("killed", False)
    assert cause(-9, oom_killed=True) == ("host-memory", False)
    assert cause(1, child + "(exit code: -9), shutting down executor.") == ("killed", False)
    assert cause(1, child + "(exit code: -7), shutting down executor.") == ("bus-error", False)
    assert cause(-9, child + ", shutting down executor.") == ("process-died", False)
    assert cause(1, child + ", shutting down executor.", oom_killed=True) == ("host-memory", False)
    assert cause(0) == cause(1) == cause(None) == (UNKNOWN, False)


def test_lines_of_several_processes_do_not_mix() -> None:
    one = died("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "load_model")
    two = [line.replace("EngineCore pid=27", "Worker_TP1 pid=28") for line in died("vllm", "KeyError: 'x'")]
    mixed = [line for pair in zip(two, one, strict=False) for line in pair]
    found = diagnose("vllm", "0.33.0", 1, mixed, serving=False)
    assert (found.cause, found.line) == (UNKNOWN, "KeyError: 'x'")


def test_what_is_shown_can_change_no_terminal() -> None:
    lines = died("vllm", "KeyError: '\x1b[31mred\x1b]0;title\x07\u202e" + "x" * 9000 + "'")
    found = diagnose("vllm", "0.33.0", 1, lines, serving=False)
    assert found.line.startswith("KeyError: 'red")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", found.line + "".join(found.lines))
    assert len(found.line) < 600


@pytest.mark.timeout(120)
def test_a_log_without_end_is_read_in_bounded_time_and_memory() -> None:
    noise = died("vllm", "KeyError: 'x'")

    def lines() -> Iterator[str]:
        for number in range(200_000):
            yield f"(APIServer pid=1) INFO {STAMP} [loggers.py:1] Engine 000: Running: {number} reqs, Waiting: 0 reqs"
        for _ in range(2_000):  # requests that failed
            yield from (line.replace("EngineCore failed to start.", "failed") for line in noise)
        yield "y" * 5_000_000
        yield from died("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried" + "z" * 5_000_000, "execute_model")

    found = diagnose("vllm", "0.33.0", 1, lines(), serving=True)
    assert found.cause == "oom-run"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_no_pattern_takes_long_over_a_hostile_line(engine: str) -> None:
    starts = {words.text[:40] for words in READ} | {
        "non-default args: ",
        "server_args=",
        "(A pid=1",
        "[2026-11-21 12:4",
    }
    for start in sorted(starts):
        for filler in ("a", " ", "a ", "/", "'", "\\", "0", "(", "x: "):
            hostile = start + filler * (8000 // len(filler))
            diagnose(engine, "0.5.23", 1, [hostile, *died(engine, hostile, hostile)], serving=False)


def test_the_oom_killer_is_counted_where_the_kernel_does(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (cgroup / "system.slice" / "a.service").mkdir(parents=True)
    assert oom_kills(proc, cgroup) == 0
    (proc / "vmstat").write_text("nr_free_pages 1\noom_kill 3\n")
    (proc / "self" / "cgroup").write_text("4:memory:/elsewhere\n0::/system.slice/a.service\n")
    assert oom_kills(proc, cgroup) == 3
    (cgroup / "system.slice" / "a.service" / "memory.events").write_text("low 0\noom 5\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(proc, cgroup) == 2
    assert oom_kills() >= 0
