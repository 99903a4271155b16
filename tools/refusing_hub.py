"""A model hub on the loopback that refuses as the real one does, by the statuses and headers that its client reads."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def hub(status: int, code: str = "", *, lists: str = "") -> Callable[[int], contextlib.AbstractContextManager[object]]:
    """A hub that refuses each file; within, its address is given.

    Args:
        status: of its answers.
        code: by which the real hub tells why.
        lists: a file that it says to be in the repository all the same; it knows of no repository where this is empty.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = bool(lists) and self.path.startswith("/api/")
            about = {"id": "org/model", "sha": "0" * 40, "siblings": [{"rfilename": lists}]}
            files = [{"type": "file", "path": lists, "size": 2, "oid": "0" * 40}]
            body = json.dumps(files if "/tree/" in self.path else about).encode() if told else b""
            self.send_response(200 if told else status)
            self.send_header("Content-Length", str(len(body)))
            if code and not told:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            self.wfile.write(body if self.command == "GET" else b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    @contextlib.contextmanager
    def serve(_: int) -> Iterator[object]:
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    return serve
