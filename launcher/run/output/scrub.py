"""The API key kept out of what an engine prints."""

from __future__ import annotations

SCRUBBED = b"[api key]"
_TELLING_BYTES = 8


class Scrubber:
    """Replaces the key in bytes that come in chunks, wherever they are cut.

    Only what may be the beginning of the key is held back, so that a line without an end is passed on as it comes.
    """

    def __init__(self, key: str | None) -> None:
        """Without a key everything passes."""
        self._key = key.encode() if key else b""
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What can be passed on by now."""
        if not self._key:
            return chunk
        *scrubbed, last = (self._held + chunk).split(self._key)
        longest = min(len(last), len(self._key) - 1)
        passed = next(len(last) - held for held in range(longest, -1, -1) if last.endswith(self._key[:held]))
        self._held = last[passed:]
        return SCRUBBED.join([*scrubbed, last[:passed]])

    def end(self) -> bytes:
        """What was held back, when nothing more comes; of the key only what could be any word."""
        held, self._held = self._held, b""
        return held if len(held) < _TELLING_BYTES else SCRUBBED
