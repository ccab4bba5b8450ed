"""An OpenAI-compatible server on loopback that answers what a test tells it to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes]
# what a test may answer, too: with headers of its own; ("drip", SECONDS) or ("flood", BYTES); None for a cut connection
Anything = Answer | tuple[int, bytes, dict[str, str]] | tuple[str, float] | None


def completion(content: object, finish_reason: str = "stop") -> Answer:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return 200, json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    ).encode()


def good(note: str) -> Answer:
    """One pair whose passage is the note's first sentence."""
    sentence = note.partition(".")[0] + "."
    item = {"query": "fever treatment", "query_type": "keyword", "passage": sentence, "relevance_score": 4}
    return completion(json.dumps({"pairs": [item]}))


class Server:
    """An OpenAI-compatible server that answers what it is told to.

    Attributes:
        requests: Bodies received.
        last: The latest of them.
        asked: How often each note was asked for.
        keys: Keys that were given.
        headers: Values of all headers received.
        connections: How often somebody connected, whether or not a request followed.
        flooded: Bytes written by floods.
        most_at_once: Requests seen in flight together.
    """

    def __init__(
        self, answer: Callable[[str, int], Anything], port: int = 0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.answer, self.own_headers = answer, dict(headers or {})
        self.requests: list[dict[str, Any]] = []
        self.last: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.headers: set[str] = set()
        self.connections = self.flooded = 0
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        self._listener = _Listener(("127.0.0.1", port), type("Handler", (_Handler,), {"told": self}))
        self._listener.told = self
        self.port = self._listener.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def begin(self, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[str, int]:
        """Count a request; returns its note and which time it is asked for."""
        note = body["messages"][1]["content"].partition("Note:\n")[2]
        with self._lock:
            self.requests.append(body)
            self.last = body
            self.keys.add(headers["Authorization"])
            self.headers.update(headers.values())
            self.asked[note] += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            return note, self.asked[note]

    def end(self) -> None:
        """Count a request that is answered."""
        with self._lock:
            self._now -= 1

    def stop(self) -> None:
        """Listen no longer."""
        self._listener.shutdown()
        self._listener.server_close()


class _Listener(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    told: Server

    def verify_request(self, *_: object) -> bool:
        self.told.connections += 1
        return True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that give up are part of the test."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    told: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        note, attempt = self.told.begin(body, self.headers)  # type: ignore[arg-type]
        try:
            self._reply(self.told.answer(note, attempt))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.told.end()

    def _reply(self, answered: Any) -> None:
        if answered is None:  # cut the connection
            self.close_connection = True
            return
        if isinstance(answered[0], str):
            self._stream(*answered)
            return
        status, data, *own = answered
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (self.told.own_headers | (own[0] if own else {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, kind: str, amount: float) -> None:
        """Drip a byte each so many seconds, or flood with so many bytes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        self.close_connection = True
        if kind == "drip":
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(amount)
        part = b" " * (1 << 16)
        while self.told.flooded < amount:
            self.wfile.write(part)
            self.told.flooded += len(part)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
