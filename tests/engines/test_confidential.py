"""What is taken for a secret: flags of every known release, flags that resemble them, variables, other's commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.engines import catalog
from launcher.engines.command import Command
from launcher.engines.confidential import SECRETS, command_line, holds_secret, is_secret_variable, may_be_secret_flag
from tests.engines.rendering import attempt, command, value_of

KEY = "sk-this-is-the-key-itself"
# Flags whose names speak of secrets and that hold none.
HARMLESS = {
    "--bucket-time-to-first-token",
    "--kt-max-deferred-experts-per-token",
    "--allow-credentials",  # CORS: whether browsers may send cookies
    "--enable-forward-pass-metrics",
    "--forward-pass-metrics-ipc-name",
    "--forward-pass-metrics-worker-id",
    "--prefill-delayer-forward-passes-buckets",
    "--prefill-delayer-max-delay-passes",
    "--ssl-keyfile",  # paths
    "--ssl-certfile",
}


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_every_flag_of_every_release_whose_name_speaks_of_a_secret_is_known(engine: str) -> None:
    names = {name for release in catalog.known(engine) for name in catalog.load(release).flags}
    speak = {name for name in names if re.search(r"key|password|passphrase|secret|credential|-token$|-pass", name)}
    assert speak - HARMLESS - SECRETS.keys() == set()
    assert SECRETS.keys() & names


def test_a_watermark_is_secret_unless_a_file_has_its_key() -> None:
    assert holds_secret("--watermark-config", ['{"key": 1}'])
    assert holds_secret("--watermark-config", ["1"], ["key"])
    assert not holds_secret("--watermark-config", ["/run/secrets/watermark.json"])
    assert holds_secret("--api-key", [KEY])
    assert not holds_secret("--seed", ["1"])


@pytest.mark.parametrize(
    "flag", [*SECRETS, "--api_key", "--apikey", "--api-kye", "--admin-api-ky", "--hf-tokn", "--token"]
)
def test_a_mistyped_flag_of_a_secret_may_be_one(flag: str) -> None:
    assert may_be_secret_flag(flag)
    assert may_be_secret_flag(f"{flag}={KEY}")


@pytest.mark.parametrize(
    "flag", ["--tokenizer", "--max-num-batched-tokens", "--served-model-name", "--kv-cache-dtype", "m"]
)
def test_other_flags_are_none(flag: str) -> None:
    assert not may_be_secret_flag(flag)


@pytest.mark.parametrize("flag", SECRETS)
@pytest.mark.parametrize("text", ["vllm@0.33.0", "sglang@0.5.23"])
def test_a_secret_that_is_given_as_a_flag_is_refused_and_not_told_back(tmp_path: Path, text: str, flag: str) -> None:
    engine = text.partition("@")[0]
    file = tmp_path / "mine.yaml"
    given = KEY if flag != "--watermark-config" else f'{{"key": "{KEY}"'
    file.write_text(json.dumps({"args": {engine: {flag: given}}}))
    places: list[Callable[[], Command]] = [
        lambda: command(text, flag, given),
        lambda: command(text, f"{flag}={given}"),
        lambda: command(text, flag, given, "surplus", "surplus"),
        lambda: command(text, assignments=(f"args.{engine}.{flag}={given}",)),
        lambda: command(text, configs=(file,)),
    ]
    for place in places:
        made, errors = attempt(place)
        assert made is None
        assert errors
        assert all(each.fix for each in errors)
        assert KEY not in "".join(f"{each.what}{each.where}{each.fix}" for each in errors)


def test_the_file_of_a_watermark_is_passed_on() -> None:
    assert (
        value_of(command("sglang@0.5.23", "--watermark-config", "/run/w.json"), "--watermark-config") == "/run/w.json"
    )


@pytest.mark.parametrize("words", [("--admin-key", KEY), (KEY, "--api-kye=x", KEY), ("org/m", KEY, "--token", KEY)])
def test_a_secret_in_a_wrong_place_is_not_told_back(words: tuple[str, ...]) -> None:
    for text in ("vllm@0.33.0", "sglang@0.5.23"):
        _, errors = attempt(lambda: command(text, *words))  # noqa: B023 - called at once
        assert errors
        assert KEY not in "".join(f"{each.what}{each.where}{each.fix}" for each in errors)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("SERVE_API_KEY", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("WANDB_APIKEY", True),
        ("db_password", True),
        ("REDIS_PASSWD", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("HF_HOME", False),
        ("KEYBOARD", False),
        ("PASSAGE", False),
    ],
)
def test_variables_are_told_by_their_names(name: str, secret: bool) -> None:
    assert is_secret_variable(name) is secret


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["vllm", "serve", "m", "--api-key", KEY, "--seed", "1"], "vllm serve m --api-key (hidden) --seed 1"),
        (["vllm", "serve", "m", "--api-key", KEY, KEY], "vllm serve m --api-key (hidden)"),
        (["vllm", "serve", f"--api-key={KEY}", "m"], "vllm serve --api-key (hidden) m"),
        (["m", f"--admin_api_key={KEY}", "--hf-token", KEY, "-q"], "m --admin_api_key (hidden) --hf-token (hidden) -q"),
        (["sh", "-c", f"VLLM_API_KEY={KEY} m --api-key {KEY}"], "sh -c VLLM_API_KEY=(hidden) m --api-key (hidden)"),
        (["vllm", "serve", "m", "--tokenizer", "t", "--enforce-eager"], "vllm serve m --tokenizer t --enforce-eager"),
        ([], ""),
    ],
)  # fmt: skip
def test_the_command_of_another_process_is_told_without_its_secrets(argv: list[str], text: str) -> None:
    assert command_line(argv) == text
