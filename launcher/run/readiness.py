"""Whether a server is ready: it listens, its health answers, and then a completion of one token really came back.

Nothing is sent, and above all no key, before the port is known to be the engine's own: another server may have taken
it while the engine loaded, and would be told the key, and would be taken for ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from launcher.run.client import Client, Reply, completed

POLL_S = 0.1
# A server that refuses (wrong key, unknown model, no completions) does not change its mind, unless it is just up.
_REFUSED_S = 5.0
_SPARE_S = 2.0  # so that a completion that never comes does not look refused at the deadline
_PASSING = frozenset({408, 425, 429})


class Probe(threading.Thread):
    """Asks in the background until the answer is yes, or until the server refuses for good.

    Attributes:
        healthy: /health answered 200 once.
        ready: a completion came back.
        refused: the server answers, but refuses the completion.
        last: the last answer in words, for the message when it never becomes ready.
    """

    def __init__(
        self,
        client: Client,
        model: str,
        deadline_s: float,
        listens: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        """Nothing is asked until `start`.

        Args:
            client: for the thread's use alone.
            model: the served name.
            deadline_s: on the monotonic clock; a completion is waited for until then, a first one may compile kernels.
            listens: whether the engine itself listens at the client's address.
            changed: called in the thread after an attribute has changed.
        """
        super().__init__(name="readiness", daemon=True)
        self.healthy = self.ready = self.refused = False
        self.last = "it does not listen yet"
        self._client, self._model, self._deadline_s = client, model, deadline_s
        self._listens, self._changed = listens, changed
        self._end = threading.Event()

    def end(self) -> None:
        """Ask no more; does not wait for an answer that is outstanding."""
        self._end.set()

    def run(self) -> None:
        """The thread."""
        refused_since_s: float | None = None
        listening = False
        while not (self.ready or self.refused or self._end.wait(POLL_S) or time.monotonic() > self._deadline_s):
            if not listening and self._client.reachable() and not (listening := self._listens()):
                self.last = "another process listens on its port"
            if not listening:
                continue
            health = self._client.health()
            if not health.ok:
                self.last = f"/health: {health}"
                continue
            if not self.healthy:
                self.healthy = True
                self.last = "/health answers; a completion does not come back"
                self._changed()
            reply = self._client.complete_one_token(
                self._model, max(0.0, self._deadline_s - time.monotonic()) + _SPARE_S
            )
            self.last = f"/health answers; a completion: {reply}"
            self.ready = completed(reply)
            if not _final(reply):
                refused_since_s = None
                continue
            refused_since_s = refused_since_s or time.monotonic()
            self.refused = time.monotonic() - refused_since_s > _REFUSED_S
        self._client.close()
        self._changed()


def _final(reply: Reply) -> bool:
    return 400 <= reply.status < 500 and reply.status not in _PASSING  # noqa: PLR2004 - HTTP's client errors
