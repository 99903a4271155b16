"""Layers in their order, each value with what it overrode; contradictions refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.config.keys import BY_NAME, KEYS
from launcher.config.layers import LAYERS, Origin, Setting, merge
from launcher.config.request import Request
from launcher.config.resolve import layers, resolve
from launcher.config.values import Choice, Flag, Fraction, Many, Text, Type, Whole, show
from launcher.errors import ServeError


def values_of(kind: Type) -> st.SearchStrategy[str]:
    """Texts that a type accepts."""
    if isinstance(kind, Flag):
        return st.sampled_from(["true", "false", "yes", "off"])
    if isinstance(kind, Whole):
        return st.integers(kind.least, min(kind.most, 10**6)).map(str)
    if isinstance(kind, Fraction):
        return st.floats(0.01, kind.most).map(lambda number: f"{number:.3f}")
    if isinstance(kind, Choice):
        words = st.sampled_from(kind.words)
        return st.one_of(words, values_of(kind.other)) if kind.other else words
    if isinstance(kind, Many):
        return st.lists(values_of(kind.of), min_size=1, max_size=3, unique=True).map(",".join)
    assert isinstance(kind, Text)
    return st.just({"HOST:PORT": "h:1"}.get(kind.metavar, "1x")) if not kind.pattern else st.sampled_from(samples(kind))


def samples(kind: Text) -> list[str]:
    """Texts for the patterns that the vocabulary has."""
    words = ["vllm", "auto", "sglang@0.5.23", "0.33.0", "none", "env", "file:/k", "h:1", "abc", "127.0.0.1"]
    accepted = [word for word in words if _accepts(kind, word)]
    assert accepted, kind
    return accepted


def _accepts(kind: Text, word: str) -> bool:
    try:
        kind.parse(word)
    except ValueError:
        return False
    return True


SETTINGS = st.sampled_from(KEYS).flatmap(lambda key: st.tuples(st.just(key.name), values_of(key.type)))
STACKS = st.lists(st.lists(SETTINGS, max_size=6), min_size=1, max_size=5)


@given(STACKS)
def test_the_highest_layer_that_speaks_wins_and_the_rest_is_its_history(stack: list[list[tuple[str, str]]]) -> None:
    parsed = [
        {name: Setting(text, Origin(LAYERS[depth], f"{depth}:{name}")) for name, text in layer}
        for depth, layer in enumerate(stack)
    ]
    merged = merge(parsed)
    assert merged.keys() == {name for layer in parsed for name in layer}
    for name, setting in merged.items():
        speakers = [layer[name] for layer in reversed(parsed) if name in layer]
        told = [setting, *setting.history()]
        assert [(each.value, each.origin) for each in told] == [(each.value, each.origin) for each in speakers]


@given(STACKS)
def test_merging_in_two_steps_is_merging_in_one(stack: list[list[tuple[str, str]]]) -> None:
    parsed = [{name: Setting(text, Origin("file", name)) for name, text in layer} for layer in stack]
    for cut in range(len(parsed) + 1):
        halves = merge([merge(parsed[:cut]), *parsed[cut:]])
        assert {name: s.value for name, s in halves.items()} == {name: s.value for name, s in merge(parsed).items()}


@given(SETTINGS)
def test_a_value_written_out_is_read_back(setting: tuple[str, str]) -> None:
    name, text = setting
    kind = BY_NAME[name].type
    value = kind.parse(text)
    again = kind.parse(show(value))
    assert again == pytest.approx(value) if isinstance(value, float) else again == value


@given(SETTINGS)
def test_every_layer_reads_a_text_the_same_way(setting: tuple[str, str]) -> None:
    name, text = setting
    if name == "api_key":
        return  # SERVE_API_KEY holds the key itself
    option = layers(Request(options={name: text}))[-1][name].value
    assert layers(Request(assignments=(f"{name}={text}",)))[-1][name].value == option
    assert layers(Request(variables={BY_NAME[name].variable: text}))[-2][name].value == option


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("context_length: 1000\nport: 1001\ndtype: float16\n")
    (tmp_path / "one.yaml").write_text("extends: base.yaml\ncontext_length: 2000\nport: 2001\n")
    (tmp_path / "two.yaml").write_text("context_length: 3000\n")
    return tmp_path


def test_all_five_layers(files: Path) -> None:
    request = Request(
        preset=str(files / "one.yaml"),
        configs=(files / "two.yaml",),
        variables={"SERVE_PORT": "4001"},
        options={"port": "5001"},
        assignments=("engine=vllm",),
    )
    deployment = resolve(layers(request))
    port = deployment.settings["port"]
    told = [(each.value, each.origin.layer) for each in (port, *port.history())]
    assert told == [
        (5001, "command line"),
        (4001, "environment"),
        (2001, "preset"),
        (1001, "preset"),
        (8000, "launcher"),
    ]
    assert deployment.get("context_length") == 3000
    assert deployment.settings["context_length"].origin == Origin("file", f"{files / 'two.yaml'}:1")
    assert deployment.get("dtype") == "float16"


def test_extends_in_a_circle_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("\nextends: a.yaml\n")
    with pytest.raises(ServeError, match="a -> b -> a") as caught:
        layers(Request(preset=str(tmp_path / "a.yaml")))
    assert caught.value.where == f"{tmp_path / 'b.yaml'}:2"


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ServeError) as caught:
        layers(Request(preset="balancd"))
    assert (caught.value.what, caught.value.fix) == ("'balancd' is not a preset", "did you mean 'balanced'?")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"host": "0.0.0.0"}, "without an API key"),
        ({"host": "::"}, "without an API key"),
        ({"engine": "vllm@0.33.0", "engine_version": "0.32.0"}, "engine says 0.33.0, engine_version says 0.32.0"),
        ({"speculative.steps": "3"}, "speculative.method is not"),
        ({"speculative.method": "eagle3"}, "speculative.draft_model is not"),
        ({"nodes.rank": "1"}, "is not below nodes.count 1"),
        ({"nodes.count": "2", "nodes.rank": "0"}, "needs nodes.rank and nodes.address"),
    ],
)
def test_contradictions_are_refused(options: dict[str, str], what: str) -> None:
    with pytest.raises(ServeError, match=what) as caught:
        resolve(layers(Request(options=options)))
    assert caught.value.where.startswith("--")


@pytest.mark.parametrize("options", [{"api_key": "auto"}, {"allow_unauthenticated": "true"}])
def test_other_hosts_are_served_with_a_key_or_an_explicit_word(options: dict[str, str]) -> None:
    assert resolve(layers(Request(options={"host": "0.0.0.0", **options}))).get("host") == "0.0.0.0"


def test_a_key_in_the_environment_makes_any_host_fine() -> None:
    request = Request(variables={"SERVE_API_KEY": "sk-1"}, options={"host": "0.0.0.0"})
    assert resolve(layers(request)).get("api_key") == "env"
