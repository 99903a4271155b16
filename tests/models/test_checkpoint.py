"""Model references, against real folders and a real hub-like server on this host."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from launcher.errors import ServeError
from launcher.models import checkpoint, demo
from tests.models.test_complete import tensors

QWEN: dict[str, Any] = {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 40960}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("SERVE_HOME", str(tmp_path / "serve"))


def write_config(folder: Path, config: object = QWEN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def cached(home: Path, repository: str, commit: str = "abc123", reference: str = "main") -> Path:
    folder = home / "hub" / ("models--" + repository.replace("/", "--"))
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / reference).write_text(commit, encoding="utf-8")
    return write_config(folder / "snapshots" / commit)


def test_demo_is_described_without_being_made(tmp_path: Path) -> None:
    found = checkpoint.describe("demo")
    assert (found.name, found.demo, found.context_length) == ("demo", True, 65536)
    assert found.architectures == ("Qwen3ForCausalLM",)
    assert not (tmp_path / "serve").exists()
    checkpoint.make(found)
    assert found.path == str(demo.folder())
    assert (Path(found.path) / "model.safetensors").is_file()


def test_folder(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "my model", QWEN | {"quantization_config": {"quant_method": "awq", "bits": 4}})
    found = checkpoint.describe(str(folder))
    assert (found.path, found.name, found.quantization, found.bits) == (str(folder), "my model", "awq", 4)
    assert found.context_length == 40960
    assert not found.demo
    checkpoint.ensure(found, weights=False)
    with pytest.raises(ServeError, match="holds no weights"):
        checkpoint.ensure(found)


def test_relative_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)
    for reference in ("./org/model", "org/model", "org/model/"):
        found = checkpoint.describe(reference)
        assert (found.path, found.name) == (str(tmp_path / "org" / "model"), "model")


def test_folder_named_demo_needs_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    assert checkpoint.describe("demo").demo
    assert not checkpoint.describe("./demo").demo


@pytest.mark.parametrize("key", ["text_config", "llm_config"])
def test_multimodal_config_nests_the_language_model(tmp_path: Path, key: str) -> None:
    inner = {"max_position_embeddings": 32768, "quantization_config": {"quant_method": "fp8"}}
    folder = write_config(tmp_path / "vl", {"architectures": ["InternVLChatModel"], key: inner})
    found = checkpoint.describe(str(folder))
    assert (found.architectures, found.context_length, found.quantization) == (("InternVLChatModel",), 32768, "fp8")


@pytest.mark.parametrize(
    "config", [{}, {"architectures": None, "max_position_embeddings": None}, {"quantization_config": {}}]
)
def test_config_that_says_little(tmp_path: Path, config: dict[str, Any]) -> None:
    found = checkpoint.describe(str(write_config(tmp_path / "model", config)))
    assert (found.architectures, found.context_length, found.quantization) == ((), None, None)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "\x00"])
def test_config_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ServeError) as caught:
        checkpoint.describe(str(tmp_path))
    assert caught.value.where == str(tmp_path / "config.json")


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"no config\.json") as caught:
        checkpoint.describe(str(tmp_path))
    assert caught.value.where == str(tmp_path / "config.json")


def test_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ServeError, match="is a file"):
        checkpoint.describe(str(tmp_path / "model.gguf"))


def test_mistyped_folder_names_its_neighbour(tmp_path: Path) -> None:
    write_config(tmp_path / "qwen3-8b")
    with pytest.raises(ServeError, match="there is no folder") as caught:
        checkpoint.describe(str(tmp_path / "qwen3-8"))
    assert "qwen3-8b" in caught.value.fix


@pytest.mark.parametrize(
    "reference", ["./nothing", "../nothing/x", "~/nothing-of-this-name", "/nothing/at/all", "a/b/c"]
)
def test_what_looks_like_a_path_is_never_looked_up(reference: str) -> None:
    with pytest.raises(ServeError, match="there is no folder"):
        checkpoint.describe(reference)


def test_mistyped_demo() -> None:
    with pytest.raises(ServeError, match="neither") as caught:
        checkpoint.describe("dmeo")
    assert "'demo'" in caught.value.fix


def test_repository_that_is_not_here() -> None:
    found = checkpoint.describe("Qwen/Qwen3-0.6B")
    assert (found.path, found.name) == ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B")
    assert (found.architectures, found.context_length) == ((), None)


def test_repository_in_the_cache(tmp_path: Path) -> None:
    cached(tmp_path / "hf", "Qwen/Qwen3-0.6B")
    assert checkpoint.describe("Qwen/Qwen3-0.6B").context_length == 40960
    assert checkpoint.describe("Qwen/Qwen3-0.6B", "abc123").context_length == 40960
    assert checkpoint.describe("Qwen/Qwen3-0.6B", "other").context_length is None


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
def test_cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    cached(tmp_path / "other", "a/b")
    monkeypatch.setenv(variable, str(tmp_path / "other" / "hub"))
    assert checkpoint.describe("a/b").architectures == ("Qwen3ForCausalLM",)


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as a model hub does; `seen` keeps the requests."""

    answers: ClassVar[dict[str, tuple[int, str]]] = {
        "/open/model/resolve/main/config.json": (307, ""),
        "/gated/model/resolve/main/config.json": (401, "GatedRepo"),
        "/closed/model/resolve/main/config.json": (403, ""),
        "/open/model/resolve/old/config.json": (404, "RevisionNotFound"),
        "/bare/model/resolve/main/config.json": (404, "RevisionNotFound"),
        "/open/data/resolve/main/config.json": (404, "EntryNotFound"),
        "/page/model/resolve/main/config.json": (200, ""),
        "/broken/model/resolve/main/config.json": (503, ""),
    }
    seen: ClassVar[list[tuple[str, str | None]]] = []

    def do_HEAD(self) -> None:
        self.seen.append((self.path, self.headers.get("authorization")))
        status, code = self.answers.get(self.path, (401, "RepoNotFound"))
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if status == 200:
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", address + "/")
    Hub.seen.clear()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def refused(reference: str, revision: str | None = None) -> ServeError:
    with pytest.raises(ServeError) as caught:
        checkpoint.ensure(checkpoint.describe(reference, revision), revision)
    return caught.value


def test_hub_has_it(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    checkpoint.ensure(checkpoint.describe("open/model"))
    assert Hub.seen == [("/open/model/resolve/main/config.json", "Bearer hf_secret")]


def test_token_in_its_file(hub: str, tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_file\n", encoding="utf-8")
    checkpoint.ensure(checkpoint.describe("open/model"))
    assert Hub.seen[0][1] == "Bearer hf_file"


@pytest.mark.parametrize(
    ("reference", "revision", "says"),
    [
        ("gated/model", None, "gated"),
        ("closed/model", None, "gated"),
        ("no/model", None, "has no model"),
        ("open/model", "old", "no revision 'old'"),
        ("bare/model", None, "has no main branch"),
        ("open/data", None, "no config.json"),
        ("broken/model", None, "HTTP 503"),
    ],
)
def test_hub_refuses(hub: str, reference: str, revision: str | None, says: str) -> None:
    error = refused(reference, revision)
    assert says in error.what
    assert error.where.startswith(hub)
    assert error.fix


def test_hub_out_of_reach_names_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refused("open/model")
    assert error.where == "http://127.0.0.1:9"
    assert "serve launch demo" in error.fix
    assert error.code == 1


def test_offline_is_respected(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE" in refused("open/model").what
    assert Hub.seen == []


def test_whole_cached_model_needs_no_hub(hub: str, tmp_path: Path) -> None:  # noqa: ARG001
    snapshot = cached(tmp_path / "hf", "no/model")
    tensors(snapshot / "model.safetensors")
    checkpoint.ensure(checkpoint.describe("no/model"))
    assert Hub.seen == []


def test_a_cached_file_that_is_cut_short_is_refused(hub: str, tmp_path: Path) -> None:  # noqa: ARG001
    snapshot = cached(tmp_path / "hf", "open/model")
    tensors(snapshot / "model.safetensors", size=5000, missing=1000)
    error = refused("open/model")
    assert ("cut short" in error.what, error.fix) == (True, "serve models verify open/model --repair")
    checkpoint.ensure(checkpoint.describe("open/model"), weights=False)
    assert Hub.seen == []


@pytest.mark.parametrize(
    ("rope", "length"),
    [
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 131072),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32768}, None),
        ({"type": "yarn", "factor": 4.0}, None),
        ({"type": "linear", "factor": 4.0}, None),
        ({"full_attention": {"rope_type": "linear", "factor": 4.0}}, None),
        ({"rope_type": "default"}, 131072),
        ({"rope_type": "default", "factor": None}, 131072),
    ],
)
def test_context_of_a_scaled_rope(tmp_path: Path, rope: dict[str, Any], length: int | None) -> None:
    folder = write_config(tmp_path / "model", {"max_position_embeddings": 131072, "rope_scaling": rope})
    assert checkpoint.describe(str(folder)).context_length == length


def test_keys_of_gpt2(tmp_path: Path) -> None:
    found = checkpoint.describe(str(write_config(tmp_path / "model", {"n_positions": 1024, "n_head": 12})))
    assert (found.context_length, found.heads) == (1024, 12)


def test_any_code_of_its_own(tmp_path: Path) -> None:
    auto = {"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    assert checkpoint.describe(str(write_config(tmp_path / "model", {"auto_map": auto}))).own_code


def test_a_token_that_is_not_accepted(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("HF_TOKEN", "hf_old")
    assert "does not accept the token" in refused("no/model").what


def test_a_token_that_is_none(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("HF_TOKEN", "hf_ключ")
    assert "no token has" in refused("open/model").what


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[bad")
    assert refused("open/model").where == "HF_ENDPOINT"


def test_a_page_of_a_proxy_is_no_hub(hub: str) -> None:
    assert refused("page/model").where == hub


def test_cached_model_that_misses_a_shard_does(hub: str, tmp_path: Path) -> None:  # noqa: ARG001
    snapshot = cached(tmp_path / "hf", "open/model")
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}), encoding="utf-8")
    tensors(snapshot / "model-1.safetensors")
    checkpoint.ensure(checkpoint.describe("open/model"))
    assert len(Hub.seen) == 1
    tensors(snapshot / "model-2.safetensors")
    checkpoint.ensure(checkpoint.describe("open/model"))
    assert len(Hub.seen) == 1
