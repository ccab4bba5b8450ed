"""As much of the hub's HTTP interface as loading a dataset and pushing a model use, on loopback."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DATASET = "clinic/notes"


class StandIn(BaseHTTPRequestHandler):
    """Serves one dataset from ``folder`` and takes every upload into ``uploads``."""

    protocol_version = "HTTP/1.1"
    folder: Path
    requests: list[str]
    uploads: dict[str, bytes]
    refuses_uploads = False

    def do_HEAD(self) -> None:
        self._look_up()

    def do_GET(self) -> None:
        self._look_up()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.requests.append(f"POST {self.path.partition('?')[0]}")
        if "/paths-info/" in self.path:
            wanted = json.loads(body)["paths"]
            self._json([self._entry(path) for path in self._files() if path in wanted])
        elif self.refuses_uploads:
            self._json({"error": "You don't have the rights"}, status=403)
        elif self.path == "/api/repos/create":
            self._json({"url": f"http://{self.headers['Host']}/clinic/model", "name": "clinic/model"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._json({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.uploads[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/clinic/model/commit/{COMMIT}"
            self._json({"commitUrl": url, "commitOid": COMMIT})
        else:
            self._json({"valid": True, "message": ""})

    def _look_up(self) -> None:
        path = self.path.partition("?")[0]
        self.requests.append(f"{self.command} {path}")
        name = path.partition(f"/datasets/{DATASET}/resolve/{COMMIT}/")[2]
        if name and (self.folder / name).is_file():
            self._send((self.folder / name).read_bytes(), "application/octet-stream")
        elif "/tree/" in path:
            under = path.partition(f"/tree/{COMMIT}")[2].strip("/")
            self._json(self._tree(under, deep="recursive=true" in self.path.lower()))
        elif path.startswith(f"/api/datasets/{DATASET}"):
            self._json({"id": DATASET, "sha": COMMIT, "siblings": [{"rfilename": file} for file in self._files()]})
        else:
            self._json({"error": "Entry not found"}, status=404, error="EntryNotFound")

    def _tree(self, under: str, *, deep: bool) -> list[dict[str, Any]]:
        """Entries below a folder, as the hub lists them: folders are entries too."""
        found = sorted((self.folder / under).rglob("*") if deep else (self.folder / under).glob("*"))
        names = [path.relative_to(self.folder).as_posix() for path in found]
        return [
            self._entry(name) if path.is_file() else {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
            for name, path in zip(names, found, strict=True)
        ]

    def _files(self) -> list[str]:
        return [path.relative_to(self.folder).as_posix() for path in sorted(self.folder.rglob("*")) if path.is_file()]

    def _entry(self, name: str) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": "0" * 40}

    def _json(self, value: Any, status: int = 200, error: str = "") -> None:
        self._send(json.dumps(value).encode(), "application/json", status, error)

    def _send(self, content: bytes, kind: str, status: int = 200, error: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stand_in_hub(folder: Path, *, refuses_uploads: bool = False) -> Iterator[tuple[str, type[StandIn]]]:
    """The address of a hub that serves ``folder`` as ``DATASET``, and its handler with what was asked and uploaded."""
    state = {"folder": folder, "requests": [], "uploads": {}, "refuses_uploads": refuses_uploads}
    handler = type("Handler", (StandIn,), state)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
