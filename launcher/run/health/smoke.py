"""Whether a server does its work, asked in the way of its users."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.run.health.client import Client, Reply, completed, events

_QUESTION = "Say hello."
_TOKENS = 16


@dataclass(frozen=True)
class Check:
    """One question to the server: what was asked, whether the answer was right, the answer in a few words, seconds."""

    name: str
    ok: bool
    detail: str
    seconds: float


def smoke(base_url: str, model: str | None = None, key: str | None = None) -> list[Check]:
    """Health, models, completion, chat, streaming chat, and that a wrong key is refused when there is a key.

    Args:
        base_url: such as ``http://127.0.0.1:8000``.
        model: the served name; the first that the server lists unless given.
        key: the API key, or None.
    """
    client = Client(base_url, key)
    health = client.health()
    checks = [Check("health", health.ok, "answers" if health.ok else str(health), health.seconds)]
    if not health.status:
        return checks  # nobody there: five more refused connections say nothing more
    listed = client.models()
    names = _names(listed)
    model = model or next(iter(names), "")
    checks += [
        Check("models", model in names, ", ".join(names) or str(listed), listed.seconds),
        _spoken("completion", client.complete(model, _QUESTION, _TOKENS)),
        _spoken("chat", client.chat(model, _QUESTION, _TOKENS)),
        _streamed(client.chat_stream(model, _QUESTION, _TOKENS)),
    ]
    client.close()
    if key:
        checks.append(_refused(base_url))
    return checks


def _names(reply: Reply) -> list[str]:
    body = reply.body if reply.ok else None
    try:
        return [str(model["id"]) for model in body["data"]] if body else []
    except (TypeError, KeyError):
        return []  # JSON, but not what a list of models looks like


def _spoken(name: str, reply: Reply) -> Check:
    if not completed(reply):
        return Check(name, False, str(reply), reply.seconds)
    try:
        choice = reply.body["choices"][0]
        text = str(choice.get("message", choice).get("content") or choice.get("text") or "")
        tokens = (reply.body.get("usage") or {}).get("completion_tokens")
    except (TypeError, KeyError, AttributeError):
        return Check(name, False, f"not a completion: {reply}", reply.seconds)
    return Check(name, True, f"{tokens} tokens: {_shown(text)}", reply.seconds)


def _streamed(reply: Reply) -> Check:
    name = "streaming chat"
    if not reply.ok:
        return Check(name, False, str(reply), reply.seconds)
    try:
        text, chunks, ended = events(reply.text)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Check(name, False, f"a chunk is not of a chat: {str(reply)[:120]}", reply.seconds)
    detail = f"{chunks} chunks: {_shown(text)}" + ("" if ended else "; the stream broke off")
    return Check(name, ended and chunks > 0, detail, reply.seconds)


def _refused(base_url: str) -> Check:
    client = Client(base_url, "sk-serve-not-the-key")
    reply = client.models()
    client.close()
    return Check("wrong key", reply.status in {401, 403}, f"HTTP {reply.status}", reply.seconds)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text[:60] + ("..." if len(text) > 60 else ""))  # noqa: PLR2004 - the width of a table's column
