"""From a model reference (``demo``, a folder, a repository id) to a checkpoint: where it is, what its config says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from launcher import settings
from launcher.engines.command import Command
from launcher.engines.target import Checkpoint
from launcher.errors import FAILED, ServeError, nearest
from launcher.models import complete, demo

# As huggingface_hub's `validate_repo_id` has it: two names of letters, digits, ``-``, ``_`` and ``.``.
REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
ROPE = ("rope_scaling", "rope_parameters")
SCALED = ("su", "longrope", "yarn", "deepseek_yarn", "deepseek_llama_scaling")  # ropes whose limit is the scaled one
HUB_TIMEOUT_S = 10.0
ANYWAY = "use a local folder, or try `serve launch demo`, which needs no download"


def describe(reference: str, revision: str | None = None) -> Checkpoint:
    """What is known of a model without changing anything on the host or asking the network.

    Args:
        reference: ``demo``, a folder, or a repository id such as ``Qwen/Qwen3-0.6B`` (facts come from the Hugging Face
            cache if it is there).
        revision: a branch, tag or commit of the repository; the cache's ``main`` unless given.

    Raises:
        ServeError: a folder that is missing or holds no readable config.json; a reference that is none of the three.
    """
    if reference == demo.NAME:
        return Checkpoint(str(demo.folder()), demo.NAME, **_facts(demo.CONFIG), demo=True)
    folder = settings.expanded(reference)
    if folder.is_dir():
        return Checkpoint(str(folder.resolve()), folder.resolve().name, **_read(folder, reference))
    if folder.exists():
        raise ServeError(f"model {reference!r} is a file", fix="give the folder that holds its config.json")
    if not REPOSITORY.fullmatch(reference):
        raise _not_found(reference, folder)
    snapshot = _snapshot(reference, revision)
    known = _read(snapshot, reference) if snapshot else {}
    return Checkpoint(reference, reference, **known)


def ensure_of(command: Command) -> None:
    """As `ensure`, of what a command serves, and what drafts for that."""
    weights = "--load-format" not in command.argv
    ensure(command.checkpoint, command.revision, command.source, weights=weights)
    if command.draft:
        ensure(command.draft, None, command.source, weights=weights)


def ensure(checkpoint: Checkpoint, revision: str | None = None, source: str = "auto", *, weights: bool = True) -> None:
    """Before a launch: sees that a folder is complete; looks up what is neither that nor cached. Writes nothing.

    The engine itself downloads. One request here costs a second and turns a failure after minutes into one at once.

    Args:
        checkpoint: the model.
        revision: of its repository.
        source: where a repository is looked up, as the key says.
        weights: whether a folder has to hold them; an engine may make them up, or load them in a way of its own.

    Raises:
        ServeError: weights are missing or cut short; the hub is out of reach, has no such repository, or will not give
            it to this user.
    """
    if checkpoint.demo:
        return
    if Path(checkpoint.path).is_dir():
        if weights and (problems := complete.problems(Path(checkpoint.path), checkpoint.name)):
            raise ServeError.gather(problems)
    elif source != "modelscope":  # ModelScope is asked by the engine alone
        snapshot = _snapshot(checkpoint.path, revision)
        advice = f"serve models verify {checkpoint.path} --repair"  # the engine takes what is there for whole
        if weights and snapshot and (problems := complete.cut(snapshot, checkpoint.name, advice)):
            raise ServeError.gather(problems)
        if snapshot is None or complete.missing(snapshot):
            _look_up(checkpoint.path, revision)


def make(checkpoint: Checkpoint) -> None:
    """Before a launch: makes the demo model, if it is that.

    Raises:
        ServeError: it cannot be written.
    """
    if checkpoint.demo:
        try:
            demo.make()
        except OSError as error:
            raise ServeError(f"cannot be written: {error.strerror}", where=str(demo.folder()), code=FAILED) from None


def _not_found(reference: str, folder: Path) -> ServeError:
    if not (os.sep in reference or reference.startswith(("~", "."))):
        return ServeError(
            f"model {reference!r} is neither a folder nor a repository id",
            fix=nearest(reference, (demo.NAME, *_siblings(folder))) or "a repository id is written ORGANIZATION/NAME",
        )
    fix = nearest(folder.name, _siblings(folder)) if folder.parent.is_dir() else f"{folder.parent} does not exist"
    return ServeError(f"there is no folder {reference!r}", fix=fix or "give a folder that holds a model's config.json")


def _siblings(folder: Path) -> tuple[str, ...]:
    try:
        return tuple(sorted(entry.name for entry in folder.parent.iterdir() if entry.is_dir()))
    except OSError:
        return ()


def _beside(repository: str) -> str:
    """A mistyped folder may be written as a repository is: what lies where it would lie, as advice."""
    folder = settings.expanded(repository)
    guess = nearest(folder.name, _siblings(folder)) if folder.parent.is_dir() else ""
    return f"it is no folder in {folder.parent} either: {guess}" if guess else ""


def _elsewhere(repository: str, revision: str | None) -> str:
    """The folder of a model that is here, but not where an engine looks for that name: as advice."""
    from launcher.models import store  # noqa: PLC0415 - it imports this module

    with contextlib.suppress(ServeError):
        for each in store.find(repository, revision):
            if not (each.missing or each.part):
                return f"it is in a folder of this host: serve launch {shlex.quote(str(each.place))}"
    return ""


def _read(folder: Path, reference: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ServeError(
            f"model {reference!r} holds no config.json",
            where=str(path),
            fix="give the folder of a checkpoint in the Hugging Face format",
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ServeError(
            f"model {reference!r} has a config.json that cannot be read: {error}", where=str(path)
        ) from None
    if not isinstance(config, dict):
        raise ServeError(f"model {reference!r} has a config.json that is no JSON object", where=str(path))
    return _facts(config)


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a Checkpoint that a config.json answers; a multimodal one nests its language model's."""
    nested = [config[key] for key in ("text_config", "llm_config") if isinstance(config.get(key), dict)]
    parts = (config, *nested)
    limits = [part.get(key) for part in parts for key in ("max_position_embeddings", "n_positions")]
    limit = next((each for each in limits if isinstance(each, int) and each > 0), None)
    quantized = [
        part[key]
        for part in parts
        for key in ("quantization_config", "compression_config")
        if isinstance(part.get(key), dict) and isinstance(part[key].get("quant_method"), str)
    ]
    heads = [part.get(key) for part in parts for key in ("num_attention_heads", "n_head")]
    kind, own = config.get("model_type"), config.get("auto_map")
    architectures = config.get("architectures")
    ropes = [part[key] for part in parts for key in ROPE if isinstance(part.get(key), dict)]
    ropes += [each for rope in ropes for each in rope.values() if isinstance(each, dict)]  # one for each kind of layer
    return {
        "architectures": tuple(map(str, architectures)) if isinstance(architectures, list) else (),
        "quantization": quantized[0]["quant_method"] if quantized else None,
        "bits": _bits(quantized[0]) if quantized else None,
        # a scaled rope makes it longer, and how much is the engine's arithmetic
        "context_length": None if any(_stretches(rope, limit or 0) for rope in ropes) else limit,
        "heads": next((each for each in heads if isinstance(each, int) and each > 0), None),
        "model_type": kind if isinstance(kind, str) else None,
        "own_code": isinstance(own, dict) and bool(own),
    }


def _bits(quantized: dict[str, Any]) -> int | None:
    """The width as GPTQ and AWQ write it, or bitsandbytes."""
    if isinstance(bits := quantized.get("bits"), int):
        return bits
    return next((bits for bits in (4, 8) if quantized.get(f"load_in_{bits}bit") is True), None)


def _stretches(rope: dict[str, Any], limit: int) -> bool:
    """Whether an engine may make a context longer than its limit by a rope's factor; some limits hold it already.

    So read in vllm 0.32.0, `_get_and_verify_max_len`; other releases and SGLang begin with the original length there.
    """
    factor, original = rope.get("factor"), rope.get("original_max_position_embeddings")
    kind = rope.get("rope_type", rope.get("type"))
    if kind == "llama3" or not isinstance(factor, (int, float)):
        return False
    return kind not in SCALED or not isinstance(original, int) or original * factor > limit


def _home() -> Path:
    """Hugging Face's folder, by its documented variables: importing its own module costs more than a whole dry run."""
    home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return settings.expanded(os.path.expandvars(home))


def cache() -> Path:
    """Where Hugging Face's library keeps models, by its documented variables."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return settings.expanded(os.path.expandvars(cache)) if cache else _home() / "hub"


def _snapshot(repository: str, revision: str | None) -> Path | None:
    """The cached files of a revision, if its config.json is among them."""
    home = cache() / ("models--" + repository.replace("/", "--"))
    reference = home / "refs" / (revision or "main")
    try:
        commit = reference.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = revision or ""
    snapshot = home / "snapshots" / commit
    return snapshot if commit and (snapshot / "config.json").is_file() else None


def _token() -> str | None:
    if token := os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return token.strip()
    path = os.environ.get("HF_TOKEN_PATH")
    try:
        return (settings.expanded(path) if path else _home() / "token").read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _look_up(repository: str, revision: str | None) -> None:
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ServeError(
            f"model {repository!r} is not in the cache, and HF_HUB_OFFLINE forbids to fetch it",
            where=str(cache()),
            fix=_elsewhere(repository, revision) or _beside(repository) or f"unset HF_HUB_OFFLINE; or {ANYWAY}",
        )
    import requests  # noqa: PLC0415 - 0.1 s that a dry run need not pay

    url = f"{hub}/{repository}/resolve/{revision or 'main'}/config.json"
    headers = {"authorization": f"Bearer {token}"} if (token := _token()) else {}
    try:
        answer = requests.head(url, headers=headers, timeout=HUB_TIMEOUT_S, allow_redirects=False)
    except UnicodeError:
        raise bad_token("HF_TOKEN") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema):
        raise ServeError(f"{hub!r} is no address of a hub", where="HF_ENDPOINT", fix="write it https://NAME") from None
    except requests.RequestException as error:
        raise ServeError(
            f"model {repository!r} is not in the cache, and its hub cannot be reached: {type(error).__name__}",
            where=hub,
            fix=_elsewhere(repository, revision)
            or _beside(repository)
            or f"check the network or set HF_ENDPOINT; or {ANYWAY}",
            code=FAILED,
        ) from None
    if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's first error
        raise refusal(repository, revision, url, answer.status_code, answer.headers.get("x-error-code", ""))
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise no_hub(hub)


def no_hub(address: str) -> ServeError:
    """Something answers at a hub's address that is none."""
    return ServeError(
        "does not answer as a hub does (a proxy's page?)",
        where=address,
        fix="check the network, and HF_ENDPOINT or MODELSCOPE_ENDPOINT if one is set",
        code=FAILED,
    )


def bad_token(variable: str) -> ServeError:
    """A token that no request can carry."""
    return ServeError("the token holds characters that no token has", where=variable, fix="copy it once more")


def refusal(repository: str, revision: str | None, url: str, status: int, code: str) -> ServeError:
    """The hub's answer in words; `code` is its X-Error-Code header, which huggingface_hub's errors are made from."""
    if status == 401 and _token():  # noqa: PLR2004
        return ServeError(
            f"the hub does not accept the token that is set, for model {repository!r} (HTTP {status})",
            where=url,
            fix="set HF_TOKEN to a valid token of yours, or unset it (and: hf auth logout)",
        )
    if code == "GatedRepo" or status == 403:  # noqa: PLR2004
        return ServeError(
            f"model {repository!r} is gated: its owner must let you in (HTTP {status})",
            where=url,
            fix="accept its terms on the model's page, then set HF_TOKEN to a token of yours",
        )
    if code == "RevisionNotFound":
        what, fix = f"revision {revision!r}", "leave out the revision for main"
        if not revision:
            what, fix = "main branch", "name one of its revisions"
        return ServeError(f"model {repository!r} has no {what}", where=url, fix=fix)
    if code == "EntryNotFound":
        return ServeError(
            f"model {repository!r} holds no config.json",
            where=url,
            fix="choose a checkpoint in the Hugging Face format",
        )
    if status in (401, 404):
        return ServeError(
            f"the hub has no model {repository!r} that is open to you (HTTP {status})",
            where=url,
            fix=_beside(repository) or "check the spelling; a private model needs a token of yours in HF_TOKEN",
        )
    return ServeError(
        f"the hub refused model {repository!r}: HTTP {status}",
        where=url,
        fix=f"try again later; or {ANYWAY}",
        code=FAILED,
    )
