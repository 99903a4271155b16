"""Load, read from what real servers gave at /metrics, and from texts that nobody gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.run.health.metrics import Load, read, tells_of_tokens

DATA = Path(__file__).parent.parent / "data"
VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a}b,c=\\"d e"} 3.0
vllm:num_requests_running{engine="1",model_name="a}b,c=\\"d e"} 4.0
vllm:num_requests_waiting{engine="0",model_name="demo"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="demo",reason="capacity"} 50.0
vllm:engine_sleep_state{engine="0",model_name="demo",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="0",model_name="demo",sleep_state="discard_all"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="demo"} 0.25
vllm:generation_tokens_total{engine="0",model_name="demo"} 1.5e+06
vllm:generation_tokens_created{engine="0",model_name="demo"} 1.7e+09
vllm:generation_tokens_total{engine="1",model_name="demo"} 7.0 1732190000000
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="demo"} 9.0
vllm:iteration_tokens_total_count{engine="0",model_name="demo"} 12.0
"""
RANK = 'engine_type="unified",model_name="demo",moe_ep_rank="0",pp_rank="0",tp_rank'
SGLANG = f"""\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{{dp_rank="0",{RANK}="0",priority=""}} 3.0
sglang:num_running_reqs{{dp_rank="0",{RANK}="0",priority="7"}} 2.0
sglang:num_running_reqs{{dp_rank="0",{RANK}="1",priority=""}} 3.0
sglang:num_running_reqs{{dp_rank="1",{RANK}="2",priority=""}} 4.0
sglang:num_queue_reqs{{dp_rank="0",{RANK}="0",priority=""}} 5.0
sglang:num_grammar_queue_reqs{{dp_rank="0",{RANK}="0"}} 6.0
sglang:generation_tokens_total{{is_streaming="true",model_name="demo"}} 10.0
sglang:generation_tokens_total{{is_streaming="false",model_name="demo"}} 20.0
"""
REALTIME = f"""\
sglang:realtime_tokens_total{{dp_rank="0",{RANK}="0",mode="prefill_compute"}} 1000.0
sglang:realtime_tokens_total{{dp_rank="0",{RANK}="0",mode="decode"}} 100.0
sglang:realtime_tokens_total{{dp_rank="0",{RANK}="1",mode="decode"}} 100.0
sglang:realtime_tokens_total{{dp_rank="1",{RANK}="2",mode="decode"}} 200.0
"""


def spoiled(end: str) -> str:
    """All of the above with another end of each line than labels and value."""
    return "\n".join(line.rpartition("} ")[0] + end for line in (VLLM + SGLANG + REALTIME).splitlines())


def test_vllm_adds_its_replicas() -> None:
    assert read("vllm", VLLM) == Load(1_500_007, 7, 1, (1_500_007.0, 12.0, 0.25))


def test_sglang_says_a_number_once_for_every_rank() -> None:
    assert read("sglang", SGLANG) == Load(30, 7, 5, ())
    assert read("sglang", SGLANG + REALTIME) == Load(300, 7, 5, (1300.0,))


def test_one_step_of_a_prefill_shows_in_the_work_and_in_nothing_else() -> None:
    vllm = read("vllm", VLLM), read("vllm", VLLM.replace(" 0.25", " 0.26"))
    sglang = read("sglang", REALTIME), read("sglang", REALTIME.replace(" 1000.0", " 9000.0"))
    for before, after in (vllm, sglang):
        assert before.work != after.work
        assert (before.tokens, before.requests) == (after.tokens, after.requests)


def test_a_sleeping_engine_is_seen() -> None:
    asleep = VLLM.replace('sleep_state="awake"} 1.0', 'sleep_state="awake"} 0.0')
    assert [read("vllm", text).asleep for text in (VLLM, asleep, "")] == [False, True, False]


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n{}} 3",
        "<html>Not Found</html>",
        '{"detail": "Not Found"}',
        VLLM.replace("vllm:", "xllm:"),
        spoiled("} many"),
        spoiled("} NaN"),
        spoiled("} +Inf"),
        spoiled(""),
        spoiled("}"),
        "vllm:generation_tokens_total{" * 10_000,
        "\udcff\x00" * 1000,
    ],
)
def test_a_text_that_is_none_says_nothing(engine: str, text: str) -> None:
    load = read(engine, text)
    assert load == Load()
    assert load.requests == 0


@pytest.mark.parametrize("sample", sorted((DATA / "metrics").glob("*.txt")), ids=lambda sample: sample.stem)
def test_what_real_servers_gave(sample: Path) -> None:
    load = read("sglang" if "sglang" in sample.name else "vllm", sample.read_text(encoding="utf-8"))
    assert load.tokens is not None
    assert load.running is not None
    assert load.waiting is not None
    assert load.work
    assert not load.asleep


def test_a_long_prefill_of_a_real_server_is_work() -> None:
    names = ("vllm-0.32.0-cpu-prefill.txt", "vllm-0.32.0-cpu-prefill-later.txt")  # less the buckets of histograms
    before, after = (read("vllm", (DATA / "metrics" / name).read_text(encoding="utf-8")) for name in names)
    assert before.tokens == after.tokens
    assert before.work != after.work


@pytest.mark.parametrize(
    ("engine", "line", "tells"),
    [
        ("vllm", "Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 12.3 tokens/s", True),
        ("vllm", "Engine 000: Avg prompt throughput: 120.3 tokens/s, Avg generation throughput: 0.0 tokens/s", True),
        ("vllm", "Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 0.0 tokens/s", False),
        ("vllm", '127.0.0.1:43672 - "GET /metrics HTTP/1.1" 200 OK', False),
        ("sglang", "[2026-11-20 13:12:03] Decode batch, #running-req: 1, #full token: 65, gen throughput", True),
        ("sglang", "[2026-11-20 13:12:01 TP0] Prefill batch, #new-seq: 1, #new-token: 512, #cached-token: 0", True),
        ("sglang", "[2026-11-20 13:12:01] Capture target prefill CUDA graph begin.", False),
    ],
)
def test_lines_that_tell_of_tokens(engine: str, line: str, tells: bool) -> None:
    assert tells_of_tokens(engine, line) is tells
