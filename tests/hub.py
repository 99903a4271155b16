"""A model hub on the loopback: what the clients of Hugging Face and ModelScope ask for, and the faults of real hubs.

As a program it serves the folders of a folder (`FOLDER/org/name/...`) and prints its address:

    python -m tests.hub FOLDER [--rate BYTES] [--fault '{"kind": "drop", "times": 20}']...
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".bin", ".gguf", ".pth", ".onnx")  # kept by LFS: known by sha256, sent by the CDN
TOKEN = "hf_letmein"  # noqa: S105 - a test's
BLOCK_BYTES = 2**18
PACE = 47  # SO_MAX_PACING_RATE of Linux, for which Python has no name


@dataclass
class Fault:
    """What goes wrong, with which requests, how often.

    `kind` is ``drop`` (the connection breaks after `after_bytes`), ``status`` (an answer with `status`, `headers` and
    `body`, and Retry-After where `retry_after` is given), ``slow`` (`rate` bytes a second), ``alter``
    (one byte is another) or ``whole`` (Range is not honoured).
    """

    kind: str
    path: str = r"/(cdn|repo\b)"
    times: int = 1
    after_bytes: int = 2**20
    status: int = 503
    retry_after: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "{}"
    rate: int = 2**20


@dataclass
class Repository:
    """Files of a repository, and who may have them: everyone, who has the token (gated), or no one who has not."""

    files: dict[str, bytes | Path]
    access: str = "open"  # gated, private
    chunked: bool = False  # says that Xet has its large files
    claimed_bytes: int | None = None  # says that its large files have that size
    commit: str = COMMIT


@dataclass(frozen=True)
class Seen:
    """A request, and how many bytes of a file went out."""

    method: str
    path: str
    authorization: str | None
    range: str | None
    sent_bytes: int


@dataclass
class Hub:
    """The state of a running hub: tests change it while it runs."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    address: str = ""
    rate: int = 0  # bytes a second of each connection, held by the kernel; 0 is no limit
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, path: str) -> Fault | None:
        """The next one that is due for a request."""
        with self.lock:
            for each in self.faults:
                if each.times > 0 and re.search(each.path, path):
                    each.times -= 1
                    return each
        return None

    def sent(self, path: str) -> int:
        """How many bytes of the files went out whose address holds a text."""
        with self.lock:
            return sum(each.sent_bytes for each in self.seen if path in each.path)


def sha256(content: bytes | Path) -> str:
    """Of a file's content."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    known = content.with_name(content.name + ".sha256")  # of large files it would take long at every start
    if not known.exists():
        with content.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        known.write_text(digest.hexdigest())
    return known.read_text()


def size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def read(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def git_sha1(content: bytes | Path) -> str:
    """Git's name of a content; of a large one, that of the pointer that stands for it."""
    pointer = sha256(content).encode() if isinstance(content, Path) else content
    return hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def setup(self) -> None:
        super().setup()
        if self.hub.rate:
            self.connection.setsockopt(socket.SOL_SOCKET, PACE, self.hub.rate)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self._sent_bytes = 0
        try:
            if (fault := self.hub.fault(self.path)) and fault.kind == "status":
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                self._answer(fault.status, fault.body.encode(), headers | fault.headers)
            else:
                self._route(fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.hub.lock:
                self.hub.seen.append(
                    Seen(
                        self.command,
                        unquote(self.path),
                        self.headers.get("Authorization"),
                        self.headers.get("Range"),
                        self._sent_bytes,
                    )
                )

    def _route(self, fault: Fault | None) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|auth-check)(?:/([^/]+))?.*)?", path):
            self._about(match[1], match[2], match[3])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(match[1], match[2], match[3], fault)
        elif match := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            if self.headers.get("Authorization"):
                self._answer(400, {"error": "two ways to sign in"})
            else:
                self._send(self.hub.repositories[match[1]].files[match[2]], {}, fault)
        elif match := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo(/files)?", path):
            self._modelscope(match[1], query, fault, lists=bool(match[2]))
        elif path == "/api/v1/repos/internalAccelerationInfo":
            self._answer(200, {"Data": {"InternalRegionQueryAddress": ""}})
        else:
            self._answer(404, {"error": "no such page"})

    def _open(self, name: str, *, to_read: bool) -> Repository | None:
        """The repository, or an answer that refuses it in the way of Hugging Face."""
        repository = self.hub.repositories.get(name)
        signed_in = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.access == "private" and not signed_in):
            status = 404 if signed_in else 401
            self._answer(status, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        elif repository.access == "gated" and to_read and not signed_in:
            self._answer(401, {"error": "Access to it is restricted."}, {"X-Error-Code": "GatedRepo"})
        else:
            return repository
        return None

    def _about(self, name: str, what: str | None, revision: str | None) -> None:
        if (repository := self._open(name, to_read=what == "auth-check")) is None:
            return
        if revision not in (None, "main", repository.commit):
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        elif what == "tree":
            self._answer(200, [_entry(path, content, repository) for path, content in repository.files.items()])
        elif what == "auth-check":
            self._answer(200, {})
        else:
            gated = "manual" if repository.access == "gated" else False
            self._answer(200, {"id": name, "sha": repository.commit, "gated": gated, "siblings": [], "tags": []})

    def _resolve(self, name: str, revision: str, path: str, fault: Fault | None) -> None:
        if (repository := self._open(name, to_read=True)) is None:
            return
        content = repository.files.get(path)
        if revision not in ("main", repository.commit):
            self._answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
        elif content is None:
            self._answer(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repository.commit})
        elif path.endswith(LARGE):
            host = f"http://localhost:{urlsplit(self.hub.address).port}"  # another host than 127.0.0.1
            linked = {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(size(content))}
            place = {"Location": f"{host}/cdn/{name}/{quote(path)}?signature=x", "X-Repo-Commit": repository.commit}
            self._answer(302, {}, linked | place)
        else:
            etag = {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": repository.commit}
            self._send(content, etag, fault)

    def _modelscope(self, name: str, query: dict[str, list[str]], fault: Fault | None, *, lists: bool) -> None:
        repository = self.hub.repositories.get(name)
        signed_in = f"Bearer {TOKEN}" == self.headers.get("Authorization")
        if repository is None or query.get("Revision", ["master"])[0] not in ("master", repository.commit):
            self._answer(404, {"Code": 10010205001, "Message": "not found"})
        elif repository.access != "open" and not signed_in:
            self._answer(403, {"Code": 10010205002, "Message": "no permission"})
        elif lists:
            files = [
                {"Path": path, "Size": size(content), "Sha256": sha256(content), "Type": "blob", "Revision": COMMIT}
                for path, content in repository.files.items()
            ]
            self._answer(200, {"Code": 200, "Data": {"Files": files}})
        else:
            self._send(repository.files[query["FilePath"][0]], {}, fault)

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _send(self, content: bytes | Path, headers: dict[str, str], fault: Fault | None) -> None:
        kind, total, first = fault.kind if fault else "", size(content), 0
        if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) and kind != "whole":
            first = int(match[1])
            headers = headers | {"Content-Range": f"bytes {first}-{total - 1}/{total}"}
        self.send_response(206 if first else 200)
        for name, text in {**headers, "Content-Length": str(total - first)}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "HEAD":
            return
        if not kind and isinstance(content, Path):
            self.wfile.flush()
            with content.open("rb") as file:
                self._sent_bytes = self.connection.sendfile(file, first)
            return
        data = read(content)[first:]
        if fault and kind == "alter":
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        end = min(len(data), fault.after_bytes) if fault and kind == "drop" else len(data)
        step = max(1, fault.rate // 20) if fault and kind == "slow" else BLOCK_BYTES
        for start in range(0, end, step):
            self._sent_bytes += self.wfile.write(data[start : min(start + step, end)])
            if kind == "slow":
                time.sleep(0.05)
        if kind == "drop":
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


def _entry(path: str, content: bytes | Path, repository: Repository) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": size(content), "oid": git_sha1(content)}
    if path.endswith(LARGE):
        entry["size"] = repository.claimed_bytes or size(content)
        entry["lfs"] = {"oid": sha256(content), "size": entry["size"], "pointerSize": 134}
        if repository.chunked:
            entry["xetHash"] = sha256(content)
    return entry


class Server(ThreadingHTTPServer):
    """Threads that do not outlive it; clients that go away are no news."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Within, the hub answers at its address."""
    handler = type("OfHub", (Handler,), {"hub": hub})
    with Server(("127.0.0.1", 0), handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


def of_folder(folder: Path) -> dict[str, Repository]:
    """Repositories of a folder, two levels below it."""
    found = {}
    for home in sorted(each for each in folder.glob("*/*") if each.is_dir()):
        files = {each.relative_to(home).as_posix(): each for each in sorted(home.rglob("*")) if each.is_file()}
        texts = {path: each if path.endswith(LARGE) else each.read_bytes() for path, each in files.items()}
        content = {path: each for path, each in texts.items() if not path.endswith(".sha256")}
        found[home.relative_to(folder).as_posix()] = Repository(content)
    return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fault", type=json.loads, action="append", default=[], help="the fields of a Fault, as JSON")
    parser.add_argument("--rate", type=int, default=0, help="bytes a second of each connection")
    given = parser.parse_args()
    faults = [Fault(**each) for each in given.fault]
    with serving(Hub(of_folder(given.folder), faults, rate=given.rate)) as hub:
        print(hub.address, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
