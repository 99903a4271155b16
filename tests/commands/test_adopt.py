"""A command as a configuration file of ours: the file gives the same command back, whatever the command is."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.commands import adopt, launches
from launcher.commands.adopt import Adopted
from launcher.commands.judge import judge
from launcher.commands.launches import COMMAND
from launcher.commands.source import Source
from launcher.config.request import Request
from launcher.engines import catalog
from launcher.engines.catalog import Catalog
from launcher.engines.meanings import BY_NAME, means
from launcher.engines.release import exactly
from launcher.engines.render import RESERVED
from launcher.errors import ServeError
from launcher.plan import plan
from tests.commands.fitting import VALUES, fitting
from tests.commands.same import flags

PROGRAMS = {"vllm": "vllm serve org/m", "sglang": "python3 -m sglang.launch_server --model-path org/m"}


def adopted(text: str, release: str) -> Adopted:
    (launch,) = launches.command(text).launches
    return adopt.adopt(Source(COMMAND, text), launch, catalog.load(exactly(release)), pinned=True)


def settings_of(text: str, release: str = "vllm@0.33.0") -> dict[str, Any]:
    """The file of a command, as YAML reads it."""
    made: dict[str, Any] = yaml.safe_load("\n".join(adopt.lines(adopted(text, release), "x")))
    return made


def left(text: str, release: str = "vllm@0.33.0") -> list[str]:
    return [each.what for each in adopted(text, release).left]


LISTENS = {"host": "0.0.0.0", "port": 8000, "allow_unauthenticated": True}


def test_flags_that_mean_a_key_become_the_key() -> None:
    text = "vllm serve org/m -tp 2 --max-model-len 32k --enforce-eager --no-enable-prefix-caching --quantization fp8"
    assert settings_of(text) == {
        "engine": "vllm@0.33.0",
        "model": "org/m",
        **LISTENS,
        "context_length": 32000,
        "prefix_cache": False,
        "cuda_graphs": "off",
        "tensor_parallel": 2,
        "args": {"vllm": {"--quantization": "fp8"}},  # weights: fp8 would be another method
    }
    text = "python3 -m sglang.launch_server --model-path org/m --tp 2 --disable-radix-cache --mem-fraction-static 0.8"
    assert settings_of(text.replace("--tp ", "--tp-size "), "sglang@0.5.23") == {
        "engine": "sglang@0.5.23",
        "model": "org/m",
        "host": "127.0.0.1",
        "port": 30000,
        "metrics": False,
        "memory_fraction": 0.8,
        "prefix_cache": False,
        "tensor_parallel": 2,
    }


def test_other_flags_are_kept_as_they_are() -> None:
    text = "vllm serve org/m --seed -1 --hf-overrides.a 1 --lora-modules a=b c=d --disable-log-stats --tokenizer yes"
    assert settings_of(text)["args"] == {
        "vllm": {
            "--seed": "-1",
            "--hf-overrides.a": 1,
            "--lora-modules": ["a=b", "c=d"],
            "--disable-log-stats": True,
            "--tokenizer": "yes",
        }
    }


def test_the_last_of_several_counts() -> None:
    text = "vllm serve org/m --seed 1 --seed 2 -tp 2 -tp 4 --hf-overrides.a 1 --hf-overrides '{}' --port 1 --port 2"
    made = settings_of(text)
    assert (made["args"]["vllm"], made["tensor_parallel"], made["port"]) == ({"--seed": 2, "--hf-overrides.a": 1}, 4, 2)
    text = "vllm serve org/m --middleware a --middleware b"
    assert settings_of(text)["args"] == {"vllm": {"--middleware": ["a", "b"]}}


def test_variables() -> None:
    text = "VLLM_USE_MODELSCOPE=False OMP_NUM_THREADS=1 E= vllm serve org/m"
    assert settings_of(text)["env"] == {"VLLM_USE_MODELSCOPE": "False", "OMP_NUM_THREADS": 1, "E": ""}


KEYS = [
    "VLLM_API_KEY=S3CR vllm serve org/m",
    "vllm serve org/m --api-key S3CR S3CR2",
    "vllm serve org/m --api-key=S3CR --hf-token S3CR --port 1",
    "HF_TOKEN=S3CR AWS_SECRET_ACCESS_KEY=S3CR db_password=S3CR MY_CREDENTIALS=S3CR vllm serve org/m",
]


@pytest.mark.parametrize("text", KEYS)
def test_a_key_never_lands_in_the_file(text: str) -> None:
    made = adopted(text, "vllm@0.33.0")
    assert "S3CR" not in "\n".join(adopt.lines(made, "x"))
    assert "S3CR" not in " ".join((*made.command.argv, *made.command.environment.values()))
    assert len(made.left) >= text.count("S3CR") - text.count("S3CR2")
    assert "S3CR" not in str([(each.what, each.fix) for each in made.left])


def test_a_key_of_sglang_never_lands_in_the_file() -> None:
    text = f"{PROGRAMS['sglang']} --api-key S3CR --admin-api-key S3CR --ssl-keyfile-password=S3CR"
    made = adopted(text, "sglang@0.5.23")
    assert "S3CR" not in "\n".join(adopt.lines(made, "x"))
    assert made.settings["api_key"] == "env"
    assert [each.what for each in made.left] == [
        "the key is not carried over",
        "--admin-api-key is not carried over",
        "--ssl-keyfile-password is not carried over",
    ]


def test_what_is_not_carried_over_is_named() -> None:
    assert left(
        "vllm serve org/m --host 127.0.0.1 --config c.yaml --uds /x --served-model-name a b --ssl-keyfile k"
    ) == [
        "--config is not passed on",
        "--uds is not passed on",
        "--served-model-name is not passed on",
        "--ssl-keyfile is not passed on",
    ]
    assert left("HF_TOKEN=a X=$Y vllm serve org/m --host 127.0.0.1") == [
        "HF_TOKEN looks like a secret and is not carried over",
        "X is known only when the command runs",
    ]
    assert left("vllm serve org/m") == ["the command serves every host that reaches 0.0.0.0, without a key"]
    assert left("vllm serve org/m --host 127.0.0.1") == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("vllm serve org/m --swap-space 4", "vLLM 0.33.0: no flag --swap-space: vLLM had it until 0.17.1"),
        ("vllm serve org/m --port $PORT", "what stands here is known only when the command runs"),
        ("vllm serve org/m $MORE", "what stands here is known only when the command runs"),
        ("vllm serve org/m ${K:+--seed 1}", "this stands there only under a condition"),
        ("vllm serve org/m --max-model-len 8x", "vLLM 0.33.0: --max-model-len: '8x' is not an integer"),
    ],
)
def test_what_cannot_be_imported_has_a_place(text: str, what: str) -> None:
    with pytest.raises(ServeError) as raised:
        adopted(text, "vllm@0.33.0")
    first = raised.value.every()[0]
    assert first.where.startswith(f"{COMMAND}:1:")
    assert first.what.startswith(what)


def test_the_origin_stays_in_its_comment() -> None:
    made = adopted("vllm serve org/m", "vllm@0.33.0")
    for origin in ("run.sh:3", "two\nport: 1.sh:1", "\x1b[31m.sh:1"):
        text = "\n".join(adopt.lines(made, origin))
        assert yaml.safe_load(text) == yaml.safe_load("\n".join(adopt.lines(made, "x")))
        assert text.replace("\n", "").isprintable()


def test_a_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    adopt.write(path, "a\n")
    with pytest.raises(ServeError, match="is there already"):
        adopt.write(path, "b\n")
    assert path.read_text() == "a\n"
    (tmp_path / "link.yaml").symlink_to(tmp_path / "none.yaml")
    with pytest.raises(ServeError, match="is there already"):
        adopt.write(tmp_path / "link.yaml", "b\n")
    with pytest.raises(ServeError, match="cannot be written: No such file"):
        adopt.write(tmp_path / "none" / "x.yaml", "b\n")
    with pytest.raises(ServeError, match="cannot be written: Not a directory"):
        adopt.write(path / "x.yaml", "b\n")


# For any command


def keyed(known: Catalog) -> st.SearchStrategy[list[str]]:
    """Flags that mean a key of ours with one of their values."""
    engine = BY_NAME[known.release.engine]
    found = [
        spelling
        for spelling, flag in known.spellings.items()
        if any(
            means(engine, known, flag, (word,) if flag.takes_value else ())
            for word in flag.choices or VALUES.get(flag.type, [""])
        )
    ]
    return fitting(known, among=found)


OURS = set(RESERVED)  # flags that serve writes itself, or leaves and names


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_any_command_comes_back(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    parts_of = functools.cache(lambda each: st.one_of(keyed(catalog.load(each)), fitting(catalog.load(each))))
    releases = [release for release in catalog.known(engine) if str(release) != "vllm@0.32.0"]  # which is a CPU's here

    @settings(max_examples=200, deadline=None, suppress_health_check=[*HealthCheck])
    @given(st.sampled_from(releases), st.data())
    def check(release: Any, data: st.DataObject) -> None:
        known = catalog.load(release)
        parts = data.draw(st.lists(parts_of(release), min_size=1, max_size=5))
        parts = [each for each in parts if each[0].partition("=")[0] not in {"--model", "--model-path"}]
        text = shlex.join([*PROGRAMS[engine].split(), *(word for each in parts for word in each)])
        (launch,) = launches.command(text).launches
        if any(each.level == "error" for each in judge(launch, known).findings):
            return
        made = adopt.adopt(Source(COMMAND, text), launch, known, pinned=True)
        file = tmp_path / "x.yaml"
        file.write_text("\n".join(adopt.lines(made, "x")) + "\n")
        command = plan(Request(configs=(file,)))
        before = flags([word.text for word in launch.words], known, launch.entry == "serve", without=OURS)
        after = [word for argument in command.arguments for word in argument.words]
        assert flags(after, known, command.program[-1] == "serve", without=OURS) == before

    check()
