"""Commands written for another release or for the other engine, in the place and in the way in which they stand."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.commands import launches
from launcher.commands.judge import judge
from launcher.commands.launches import COMMAND, Launch
from launcher.commands.migrate import Rewritten, rewritten
from launcher.commands.source import Source
from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.release import exactly
from launcher.errors import ServeError
from tests.commands.fitting import fitting

FILES = Path(__file__).parent / "migrated"
SG = "python3 -m sglang.launch_server --model-path m"
HUMMING = """SGLANG_HUMMING_ONLINE_QUANT_CONFIG='{"dtype": "int8", "group_size": 128}'"""


def migrated(text: str, to: str, path: str = COMMAND) -> Rewritten:
    source = Source(path, text)
    return rewritten(source, launches.command(text) if path == COMMAND else launches.find(source), exactly(to))


def only(text: str, path: str = COMMAND) -> Launch:
    found = launches.command(text) if path == COMMAND else launches.find(Source(path, text))
    assert not found.troubles
    (launch,) = found.launches
    return launch


def words(launch: Launch) -> list[str]:
    return [word.text for word in (*launch.program, *launch.words)]


# Within one engine


@pytest.mark.parametrize(
    ("to", "before", "after"),
    [
        # removed: nothing takes its place
        ("vllm@0.33.0", "vllm serve m --swap-space 4", "vllm serve m"),
        ("vllm@0.33.0", "vllm serve m --swap-space=4 --port 1", "vllm serve m --port 1"),
        ("vllm@0.33.0", "vllm serve m --num_scheduler_steps 8 --device cuda --port 1", "vllm serve m --port 1"),
        ("vllm@0.26.0", "vllm serve m --device cuda", "vllm serve m"),  # there it would become --device-ids
        # another spelling
        ("vllm@0.33.0", "vllm serve m --cuda-graph-sizes 1 2", "vllm serve m --cudagraph-capture-sizes 1 2"),
        ("vllm@0.33.0", "vllm serve m --override-pooler-config '{}'", "vllm serve m --pooler-config '{}'"),
        ("sglang@0.5.23", f"{SG} --cuda-graph-max-bs 8", f"{SG} --cuda-graph-max-bs-decode 8"),
        ("sglang@0.5.12", f"{SG} --cuda-graph-max-bs-decode=8", f"{SG} --cuda-graph-max-bs=8"),
        # a part of a JSON value, other words, several
        ("vllm@0.33.0", "vllm serve m --eplb-window-size 9", "vllm serve m --eplb-config.window_size 9"),
        ("vllm@0.33.0", "vllm serve m --disable-mm-preprocessor-cache", "vllm serve m --mm-processor-cache-gb 0"),
        ("vllm@0.33.0", "vllm serve m --task embed -tp 2", "vllm serve m --runner pooling --convert embed -tp 2"),
        ("sglang@0.5.23", f"{SG} --disable-piecewise-cuda-graph", f"{SG} --cuda-graph-backend-prefill=disabled"),
        # another word for the same value
        ("sglang@0.5.23", f"{SG} --kv-cache-dtype fp4_e2m1", f"{SG} --kv-cache-dtype fp4_mx_block16"),
        ("vllm@0.33.0", "vllm serve m -q=auto-round", "vllm serve m -q inc"),
        # an environment variable
        (
            "vllm@0.12.0",
            "vllm serve m --attention-backend FLASHINFER --port 1",
            "VLLM_ATTENTION_BACKEND=FLASHINFER vllm serve m --port 1",
        ),
        (
            "sglang@0.5.18",
            f"{SG} --torchao-config int8wo",
            f"{HUMMING} {SG} --quantization humming",
        ),
        # abbreviations, underscores, switches with a value, a flag that is there to be refused
        ("vllm@0.33.0", "vllm serve m --max-model-le 8k", "vllm serve m --max-model-len 8k"),
        ("vllm@0.33.0", "vllm serve m --max_model_le=8k", "vllm serve m --max-model-len=8k"),
        ("vllm@0.33.0", "vllm serve m --compilation-conf.mode 3", "vllm serve m --compilation-config.mode 3"),
        ("sglang@0.5.23", f"{SG} --tp 2", f"{SG} --tp-size 2"),
        ("vllm@0.33.0", "vllm serve m --enable-chunked-prefill=True", "vllm serve m --enable-chunked-prefill"),
        ("vllm@0.33.0", "vllm serve m --no-enforce-eager=false", "vllm serve m --enforce-eager"),
        (
            "sglang@0.5.18",
            f"{SG} --enable-expert-distribution-metrics",
            f"{SG} --expert-balancedness-report-mode server_log",
        ),
        # the other engine's flag in a command of this one
        ("vllm@0.33.0", "vllm serve m --tp-size 2", "vllm serve m --tensor-parallel-size 2"),
        ("vllm@0.33.0", "vllm serve m --disable-radix-cache", "vllm serve m --no-enable-prefix-caching"),
        # nothing to do
        ("vllm@0.33.0", "vllm serve m --port 1 -O3 -tp 2 --limit_mm_per_prompt.image 2 --seed -1", None),
        ("vllm@0.33.0", "vllm serve m --disable-log-requests", None),
    ],
)  # fmt: skip
def test_for_another_release(to: str, before: str, after: str | None) -> None:
    made = migrated(before, to)
    assert made.text == (after or before)
    assert [each.what for each in made.left] == []
    assert bool(made.changes) == bool(after)


@pytest.mark.parametrize(
    ("to", "text", "left"),
    [
        ("vllm@0.33.0", "vllm serve m --nope 3 word", ["--nope is not known to any release", "word is neither a flag"]),
        ("vllm@0.33.0", "vllm serve m --max-num 3", ["--max-num may be --max-num-active-seqs, --max-num-"]),
        ("vllm@0.33.0", "vllm serve m --port http", ["--port: 'http' is not an integer"]),
        ("vllm@0.33.0", "vllm serve m --rope-scaling '{}'", ["--rope-scaling"]),
        (
            "vllm@0.11.1",
            "vllm serve m --rope-scaling '{}' --hf-overrides '{}'",
            ["--rope-scaling becomes part of a flag that is given as a whole"],
        ),
        ("vllm@0.15.0", "vllm serve m --cohere-format auto", ["no flag --cohere-format, vLLM has it from 0.27.0"]),
        ("vllm@0.33.0", "VLLM_ATTENTION_BACKEND=FLASHINFER vllm serve m", ["VLLM_ATTENTION_BACKEND is read no longer"]),
        ("vllm@0.33.0", "docker run vllm/vllm-openai:v0.11.0 m", ["the image vllm/vllm-openai:v0.11.0 holds another"]),
        ("sglang@0.5.23", f"{SG} --torchao-config int8wo", ["no flag --torchao-config, SGLang had it until 0.5.17"]),
        ("sglang@0.5.23", f"{SG} --torchao-config $T", ["--torchao-config: what takes its place depends on the value"]),
        ("vllm@0.33.0", "vllm serve m $MORE", ["what stands here is known only when the command runs"]),
        ("vllm@0.11.0", "vllm serve --model m", ["vllm serve takes the model as its first word, not by --model"]),
    ],
)  # fmt: skip
def test_what_is_left_is_named(to: str, text: str, left: list[str]) -> None:
    made = migrated(text, to)
    assert made.text == text
    assert [each.what[: len(what)] for each, what in zip(made.left, left, strict=True)] == left


def test_an_unknown_flag_comes_with_a_guess_that_says_so() -> None:
    (left,) = migrated("vllm serve m --max-model-lenn 8", "vllm@0.33.0").left
    assert left.fix == "perhaps --max-model-len, by its spelling: that is a guess"


def test_what_is_left_does_not_keep_the_rest_from_being_migrated() -> None:
    made = migrated("vllm serve m --nope --swap-space 4 'a", "vllm@0.33.0")
    assert made.text == "vllm serve m --nope 'a"
    assert [each.what for each in made.left] == ["--nope is not known to any release", "the quote ' is not closed"]


# To the other engine


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("vllm serve m", f"{SG} --host 0.0.0.0 --port 8000"),
        ("python3 -m vllm.entrypoints.openai.api_server --model m --port 1 --host h", f"{SG} --port 1 --host h"),
        ("vllm serve m --port 1 --host h --max-model-len 32k", f"{SG} --port 1 --host h --context-length 32000"),
        (
            "vllm serve m --port 1 --host h -tp 2 --gpu-memory-utilization=0.9 --seed 3",
            f"{SG} --port 1 --host h --tensor-parallel-size 2 --mem-fraction-static=0.9 --random-seed 3",
        ),
        ("vllm serve m --port 1 --host h --no-enable-prefix-caching", f"{SG} --port 1 --host h --disable-radix-cache"),
        ("vllm serve m --port 1 --host h --enable-prefix-caching", f"{SG} --port 1 --host h"),
        ("vllm serve m --port 1 --host h --kv-cache-dtype fp8", f"{SG} --port 1 --host h --kv-cache-dtype fp8_e4m3"),
        (
            "vllm serve m --port 1 --host h --enforce-eager",
            f"{SG} --port 1 --host h --cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled",
        ),
        ("vllm serve m --port 1 --host h --enable-log-requests", f"{SG} --port 1 --host h --log-requests"),
        (
            "vllm serve m --port 1 --host h --limit-mm-per-prompt '{\"image\": 2}'",
            f"{SG} --port 1 --host h --limit-mm-data-per-request '{{\"image\": 2}}'",
        ),
    ],
)  # fmt: skip
def test_from_vllm_to_sglang(before: str, after: str) -> None:
    made = migrated(before, "sglang@0.5.23")
    assert (made.text, made.left) == (after, ())


EAGLE = (
    "--speculative-algorithm EAGLE3 --speculative-draft-model-path d --speculative-num-steps 3 "
    "--speculative-eagle-topk 1 --speculative-num-draft-tokens 4"
)
EAGLE_OF_VLLM = '{"method": "eagle3", "model": "d", "num_speculative_tokens": 3}'
VLLM = "python3 -m vllm.entrypoints.cli.main serve m"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SG, f"{VLLM} --host 127.0.0.1 --port 30000"),
        ("sglang serve m --port 1 --host h", "vllm serve m --port 1 --host h"),
        ("sglang serve --port 1 --model-path=m --host h", "vllm serve m --port 1 --host h"),
        (f"{SG} --port 1 --host h --tp 2", f"{VLLM} --port 1 --host h --tensor-parallel-size 2"),
        (f"{SG} --port 1 --host h --context-length=32k", f"{VLLM} --port 1 --host h --max-model-len=32000"),
        (f"{SG} --port 1 --host h --disable-radix-cache", f"{VLLM} --port 1 --host h --no-enable-prefix-caching"),
        (f"{SG} --port 1 --host h --enable-metrics", f"{VLLM} --port 1 --host h"),
        (f"{SG} --port 1 --host h --disable-cuda-graph", f"{VLLM} --port 1 --host h --enforce-eager"),
        (f"{SG} --port 1 --host h --mem-fraction-static 0.8", f"{VLLM} --port 1 --host h --gpu-memory-utilization 0.8"),
        (
            f"{SG} --port 1 --host h --dist-init-addr a:2 --nnodes 2 --node-rank 1",
            f"{VLLM} --port 1 --host h --master-addr a --master-port 2 --nnodes 2 --node-rank 1",
        ),
        (
            f"{SG} --port 1 --host h {EAGLE}",
            f"""{VLLM} --port 1 --host h --speculative-config '{EAGLE_OF_VLLM}'""",
        ),
    ],
)  # fmt: skip
def test_from_sglang_to_vllm(before: str, after: str) -> None:
    made = migrated(before, "vllm@0.33.0")
    assert (made.text, made.left) == (after, ())


@pytest.mark.parametrize(
    ("to", "text", "left"),
    [
        ("sglang@0.5.23", "VLLM_USE_V1=1 vllm serve m", "VLLM_USE_V1 is a variable of vLLM"),
        ("vllm@0.33.0", f"SGLANG_X=1 {SG}", "SGLANG_X is a variable of SGLang"),
        ("vllm@0.33.0", f"docker run lmsysorg/sglang:v0.5.23 {SG}", "the image lmsysorg/sglang:v0.5.23 holds SGLang"),
        ("sglang@0.5.23", "docker run vllm/vllm-openai:v0.11.0 m", "the image vllm/vllm-openai:v0.11.0 holds vLLM"),
        ("vllm@0.33.0", f"{SG} --schedule-policy lpm", "--schedule-policy: scheduling: 'lpm' is none of"),
        ("sglang@0.5.23", "vllm serve m --no-such 3", "--no-such is not known to any release"),
        ("sglang@0.5.23", "vllm serve m $MORE", "what stands here is known only when the command runs"),
        ("vllm@0.33.0", f"{SG} --quantization $Q", "--quantization: what takes its place depends on the value"),
    ],
)
def test_what_the_other_engine_lacks_is_named(to: str, text: str, left: str) -> None:
    assert [each.what[: len(left)] for each in migrated(text, to).left] == [left]


# The way in which it is written


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("path", ["run.sh", "lists.yaml", "texts.yaml", "serve.service"])
def test_all_else_stays_as_it_is(path: str, ends: str) -> None:
    before, after = ((FILES / name).read_text() for name in (path, f"{path}.after"))
    made = migrated(before.replace("\n", ends), "vllm@0.33.0", path)
    assert made.text == after.replace("\n", ends)
    assert made.left == ()


def test_quotes_of_every_kind() -> None:
    text = (
        "vllm serve m '--tp-size=4' \"--guided-decoding-backend=$X\" --guided\"-decoding\"-backend=y --enable-pre'fix'"
    )
    after = (
        "vllm serve m '--tensor-parallel-size=4' \"--structured-outputs-config.backend=$X\" "
        "--structured-outputs-config.backend=y --enable-prefix-caching"
    )
    assert migrated(text, "vllm@0.33.0").text == after
    inner = "bash -c \"vllm serve 'm m' --swap-space 4 --tp-size=2\""
    assert migrated(inner, "vllm@0.33.0").text == "bash -c \"vllm serve 'm m' --tensor-parallel-size=2\""


def test_words_that_do_not_stand_together_are_left() -> None:
    text = 'A=(--swap-space)\nB=(--task)\nvllm serve m "${A[@]}" 4 "${B[@]}" embed --port 1\n'
    made = migrated(text, "vllm@0.33.0", "run.sh")
    assert made.text == text
    assert [each.what.partition(":")[0] for each in made.left] == [
        "--swap-space is to be taken out",
        "--task is to become --runner pooling --convert embed",
    ]


def test_words_that_two_commands_share_are_changed_once() -> None:
    text = 'A=(--swap-space 4 --port 1)\nvllm serve m "${A[@]}"\nvllm serve n --seed 1 "${A[@]}"\n'
    made = migrated(text, "vllm@0.33.0", "run.sh")
    assert made.text == text.replace("--swap-space 4 ", "")
    assert len(made.changes) == 1


def test_commands_of_the_other_engine_stay_beside_those_that_are_meant() -> None:
    text = f"vllm serve m --swap-space 4\n{SG} --cuda-graph-max-bs 8\n"
    made = migrated(text, "vllm@0.33.0", "run.sh")
    assert made.text == f"vllm serve m\n{SG} --cuda-graph-max-bs 8\n"
    assert [each.what for each in made.left] == [
        "a command of SGLang, beside commands of the engine that is migrated to"
    ]


@pytest.mark.parametrize(
    ("path", "text"), [("run.sh", "echo"), ("a.yaml", "port: 1\n"), (COMMAND, "ls"), ("run.py", "import os")]
)
def test_a_file_without_a_launch(path: str, text: str) -> None:
    with pytest.raises(ServeError) as raised:
        migrated(text, "vllm@0.33.0", path)
    assert raised.value.where == path
    assert raised.value.fix


def test_a_release_that_is_not_known() -> None:
    with pytest.raises(ServeError, match=r"the flags of vLLM 0\.1 are not known"):
        migrated("vllm serve m", "vllm@0.1")


# For any command


def program(engine: str) -> list[str]:
    return ["vllm", "serve", "m"] if engine == "vllm" else SG.split()


def clean(known: Catalog) -> st.SearchStrategy[list[str]]:
    """Flags that a release takes without a word, mostly such as other releases do not take."""
    return st.lists(fitting(known), min_size=1, max_size=4).map(lambda parts: [word for part in parts for word in part])


CASES: Any = {"deadline": None, "suppress_health_check": [HealthCheck.filter_too_much, HealthCheck.too_slow]}


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_any_command_for_any_release(engine: str) -> None:
    releases = catalog.known(engine)

    @settings(max_examples=200, **CASES)
    @given(st.sampled_from(releases), st.sampled_from(releases), st.data())
    def check(before: Any, after: Any, data: st.DataObject) -> None:
        given_words = data.draw(clean(catalog.load(before)))
        text = shlex.join([*program(engine), *given_words])
        if any(each.refuses for each in judge(only(text), catalog.load(before)).findings):
            return
        same = migrated(text, str(before))
        assert (same.text, same.left) == (text, ())
        made = migrated(text, str(after))
        launch = only(made.text)
        assert made.left or not any(each.refuses for each in judge(launch, catalog.load(after)).findings)
        again = migrated(made.text, str(after))
        assert again.text == made.text
        assert text.startswith(made.text[: len(text)]) or made.changes

    check()


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_any_command_for_the_other_engine(engine: str) -> None:
    other = "sglang" if engine == "vllm" else "vllm"

    @settings(max_examples=150, **CASES)
    @given(st.sampled_from(catalog.known(engine)), st.sampled_from(catalog.known(other)), st.data())
    def check(before: Any, after: Any, data: st.DataObject) -> None:
        text = shlex.join([*program(engine), *data.draw(clean(catalog.load(before)))])
        made = migrated(text, str(after))
        launch = only(made.text)
        assert launch.engine == other
        if not made.left:
            assert not any(each.refuses for each in judge(launch, catalog.load(after)).findings)
            assert migrated(made.text, str(after)).text == made.text

    check()


def in_yaml(command: str) -> str:
    return f"services:\n  x:\n    image: mine\n    command: {command}\n    ports: [1]\n"


def listed(given_words: list[str]) -> list[str]:
    return [json.dumps(word.replace("$", "$$")) for word in given_words]


def quoted(given_words: list[str]) -> str:
    return shlex.join(given_words).replace("$", "$$")


ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"})
# The forms in which people write a command, each by the name of a file.
FORMS: dict[str, Callable[[list[str]], str]] = {
    "line.sh": lambda each: f"exec {shlex.join(each)} > log\n",
    "lines.sh": lambda each: "#!/bin/bash\n" + " \\\n   ".join(map(shlex.quote, each)) + "\n",
    "array.sh": lambda each: "A=(\n  " + "\n  ".join(map(shlex.quote, each)) + '\n)\n"${A[@]}"\n',
    "block.yaml": lambda each: in_yaml("".join(f"\n      - {word}" for word in listed(each))),
    "flow.yaml": lambda each: in_yaml(f"[{', '.join(listed(each))}]"),
    "text.yaml": lambda each: in_yaml(json.dumps(quoted(each))),
    "folded.yaml": lambda each: in_yaml(f">-\n      {quoted(each)}"),
    "x.service": lambda each: (
        "[Service]\nExecStart=/usr/bin/env " + " \\\n  ".join(f'"{word.translate(ESCAPES)}"' for word in each) + "\n"
    ),
}


@pytest.mark.parametrize("to", ["vllm", "sglang"])
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_the_form_makes_no_difference(engine: str, to: str) -> None:
    def outcome(given_words: list[str], path: str, release: str) -> tuple[list[str], list[str]]:
        text = FORMS[path](given_words)
        assert words(only(text, path)) == given_words
        made = migrated(text, release, path)
        left = sorted(each.what for each in made.left)
        places = ("the image mine holds", "the environment variable ")  # which depend on the form
        return words(only(made.text, path)), [what for what in left if not what.startswith(places)]

    @settings(max_examples=40, **CASES)
    @given(st.sampled_from(catalog.known(engine)), st.sampled_from(catalog.known(to)), st.data())
    def check(before: Any, after: Any, data: st.DataObject) -> None:
        given_words = [*program(engine), *data.draw(clean(catalog.load(before)))]
        first, *others = [outcome(given_words, path, str(after)) for path in FORMS]
        assert all(other == first for other in others)

    check()
