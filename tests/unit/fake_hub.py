"""A Hub of one's own on this machine: repositories in memory, as the real one serves them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def fake_hub(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve repositories by their names.

    Yields
    ------
    str, list of str
        Address of the server, and the files that were fetched so far.
    """
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._serve(body=False)

        def do_GET(self) -> None:
            self._serve(body=True)

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self, body: bool) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            api = parts[:2] == ["api", "models"]
            parts = parts[2:] if api else parts
            files = repositories.get("/".join(parts[:2]))
            if files is None:
                self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            elif parts[3] not in ("main", COMMIT):
                self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"}, body)
            elif parts[2] == "revision":
                told = {"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": []}
                self._answer(200, json.dumps(told).encode(), {}, body)
            elif parts[2] == "tree":
                tree = [
                    {"type": "file", "path": name, "size": len(raw), "oid": _oid(raw)}
                    for name, raw in files.items()
                ]
                self._answer(200, json.dumps(tree).encode(), {}, body)
            else:
                name = "/".join(parts[4:])
                raw = files[name]
                if body:
                    fetched.append(name)
                facts = {"ETag": f'"{_oid(raw)}"', "X-Repo-Commit": COMMIT}
                self._answer(200, raw, facts, body)

        def _answer(self, status: int, raw: bytes, facts: Mapping[str, str], body: bool) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            for name, value in facts.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                with suppress(ConnectionError):  # the other side cancelled
                    self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", fetched
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _oid(raw: bytes) -> str:
    return hashlib.sha1(raw).hexdigest()
