"""Whether a server is ready: it listens, and completions of one token really came back.

Nothing is sent, and above all no key, before the port is known to be the engine's own: another server may have taken
it while the engine loaded, and would be told the key, and would be taken for ready. /health is not asked: what users
want are completions, SGLang's /health takes a second over its answer (0.5.23, entrypoints/http_server.py), and vLLM's
tells of the API server alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from launcher.run.health.client import Client, Reply, completed

POLL_S = 0.1
_AGAIN_S = 0.05  # between the completion that may make it ready and the one that does
# A first completion may compile kernels for minutes, and the next one waits for the same kernels; but one that was
# taken by a listener that is about to end would be waited for in vain. The next waits twice as long.
FIRST_TRY_S = 30.0
# A server that refuses (wrong key, unknown model, no completions) does not change its mind, unless it is just up.
_REFUSED_S = 5.0
_PASSING = frozenset({408, 425, 429})


class Probe(threading.Thread):
    """Asks in the background until the answer is yes, or until the server refuses for good.

    Attributes:
        listening: the engine itself listens, and is asked for a completion.
        ready: two completions came back, over two connections: an engine that ends with its first one, or whose first
            process gives way to another, is not ready.
        refused: the server answers, but refuses the completion.
        last: the last answer in words, for the message when it never becomes ready.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        listens: Callable[[], bool],
        changed: Callable[[], None],
        first_try_s: float = FIRST_TRY_S,
    ) -> None:
        """Nothing is asked until `start`.

        Args:
            client: for the thread's use alone.
            model: the served name.
            listens: whether the engine itself listens at the client's address.
            changed: called in the thread after another attribute than `last` has changed.
            first_try_s: seconds that the first completion may take.
        """
        super().__init__(name="readiness", daemon=True)
        self.listening = self.ready = self.refused = False
        self.last = "it does not listen yet"
        self._client, self._model = client, model
        self._listens, self._changed = listens, changed
        self._known = False
        self._refused_since_s: float | None = None
        self._try_s = first_try_s
        self._end = threading.Event()

    def end(self) -> None:
        """Ask no more. An answer that is outstanding is not waited for, and changes nothing any more."""
        self._end.set()

    def run(self) -> None:
        """The thread."""
        while not (self.ready or self.refused or self._end.wait(POLL_S)):
            if self._finds() and self._answers():
                self._known = False
                again = not self._end.wait(_AGAIN_S) and self._finds() and self._answers()
                self.ready = again and not self._end.is_set()
        self._client.close()
        if not self._end.is_set():
            self._changed()

    def _finds(self) -> bool:
        """Whether the engine itself listens, as far as we know: looked up anew after a request without an answer."""
        if self._known:
            return True
        if not self._client.reachable():
            return False
        if not self._listens():
            self.last = "another process listens on its port"
            return False
        self._known = True
        if not self.listening and not self._end.is_set():
            self.listening = True
            self.last = "it listens; a completion does not come back"
            self._changed()
        return True

    def _answers(self) -> bool:
        """Whether a completion comes back, over a connection of its own."""
        self._client.close()
        reply = self._client.complete_one_token(self._model, self._try_s)
        self.last = f"it listens; a completion: {reply}"
        if not reply.status:
            self._known = False
            if reply.seconds >= self._try_s:
                self._try_s *= 2
        if not _final(reply):
            self._refused_since_s = None
        elif self._refused_since_s is None:
            self._refused_since_s = time.monotonic()
        else:
            self.refused = time.monotonic() - self._refused_since_s > _REFUSED_S
        return completed(reply)


def _final(reply: Reply) -> bool:
    return 400 <= reply.status < 500 and reply.status not in _PASSING  # noqa: PLR2004 - HTTP's client errors
