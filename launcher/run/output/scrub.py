"""Secrets kept out of what an engine prints."""

from __future__ import annotations

import re
from collections.abc import Mapping

_TELLING_BYTES = 8


class Scrubber:
    """Replaces secrets in bytes that come in chunks, wherever they are cut.

    Only what may be the beginning of a secret is held back, so that a line without an end is passed on as it comes.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """With what stands in the place of each secret; without any, everything passes."""
        self._secrets = {secret.encode(): instead.encode() for secret, instead in secrets.items() if secret}
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)) or b"(?!)")
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can be passed on by now."""
        if not self._secrets:
            return chunk
        data, place, passed = self._held + chunk, 0, list[bytes]()
        begun = self._begun(data, 0)
        while (match := self._pattern.search(data, place)) and match.start() < begun:
            passed += [data[place : match.start()], self._secrets[match[0]]]
            place = match.end()
            if place > begun:
                begun = self._begun(data, place)
        self._held = data[begun:]
        return b"".join([*passed, data[place:begun]])

    def end(self) -> bytes:
        """What was held back, when nothing more comes; of a secret only what could be any word."""
        held, self._held = self._pattern.sub(lambda match: self._secrets[match[0]], self._held), b""
        if len(held) < _TELLING_BYTES:
            return held
        return next((instead for secret, instead in self._secrets.items() if secret.startswith(held)), held)

    def _begun(self, data: bytes, place: int) -> int:
        """Where, from a place on, what may become a secret begins; the end of the data if nowhere."""
        begun = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(place, len(data) - len(secret) + 1))
            while 0 <= at < begun and not secret.startswith(data[at:]):
                at = data.find(secret[:1], at + 1)
            begun = at if 0 <= at < begun else begun
        return begun
