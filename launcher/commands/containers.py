"""What runs in a container: ``docker run [options] IMAGE [words]``, ``docker exec [options] CONTAINER words``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from launcher.commands.source import Call, Word, variables

PROGRAMS = frozenset({"docker", "podman", "nerdctl"})
# Options of `docker run`, `docker exec` and the same of podman that take no value.
_SWITCHES = frozenset({
    "detach", "disable-content-trust", "help", "init", "interactive", "no-healthcheck", "no-hosts", "oom-kill-disable",
    "privileged", "publish-all", "quiet", "read-only", "replace", "rm", "rmi", "sig-proxy", "tls-verify", "tty",
    "use-api-socket",
})  # fmt: skip
_SHORT_SWITCHES = "ditPq"
_ENGINE_IMAGE = re.compile(r"(?:.*/)?(?:vllm/vllm-openai|lmsysorg/sglang)")


def command(words: Sequence[Word]) -> Call | None:
    """The command that these words run in a container; None where they run none."""
    at = next((at for at in range(len(words)) if _runs_container(words, at)), None)
    if at is None:
        return None
    inside = words[at + 1].text == "exec"
    at += 3 if words[at + 1].text == "container" else 2
    named = next((each for each in range(at, len(words)) if _ENGINE_IMAGE.match(words[each].text)), 0)
    environment: list[tuple[str, Word]] = []
    entry: Word | None = None
    while at < len(words):
        unknown = words[at].many and not words[at].known and at < named  # options, because the image comes later
        if not words[at].text.startswith("-") and not unknown:
            break
        name, value, at = _option(words, at)
        if name in {"e", "env"} and value:
            environment += variables([value])
        elif name == "entrypoint":
            entry = value
    if at >= len(words):
        return None
    program = (entry,) if entry and entry.text else ()
    image = None if inside else words[at]
    return Call((*program, *words[at + 1 :]), tuple(environment), image, own=entry is None and not inside)


def _runs_container(words: Sequence[Word], at: int) -> bool:
    after = [word.text for word in words[at + 1 : at + 3]]
    runs = after[:1] in (["run"], ["create"], ["exec"]) or after in (["container", "run"], ["container", "create"])
    return runs and words[at].text.rpartition("/")[2] in PROGRAMS


def _option(words: Sequence[Word], at: int) -> tuple[str, Word | None, int]:
    """An option's name without dashes, its value, and the place of the word after it."""
    word = words[at]
    if word.text.startswith("--"):
        name, equals, _ = word.text[2:].partition("=")
        valued, given = name not in _SWITCHES, len(name) + 3 if equals else 0
    else:
        letters = word.text[1:].lstrip(_SHORT_SWITCHES)
        name, valued = letters[:1], bool(letters)
        given = len(word.text) - len(letters) + 1 if len(letters) > 1 else 0
    if given:
        return name, word.after(given), at + 1
    if valued and at + 1 < len(words):
        return name, words[at + 1], at + 2
    return name, None, at + 1
