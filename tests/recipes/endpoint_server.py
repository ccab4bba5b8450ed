"""An OpenAI-compatible server on loopback that answers what a test tells it to."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, bytes]


def completion(content: object) -> Answer:
    """A chat completion with this content."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
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
        asked: How often each note was asked for.
        keys: Keys that were given.
        headers: Values of all headers received.
        connections: How often somebody connected, whether or not a request followed.
        most_at_once: Requests seen in flight together.
    """

    def __init__(
        self, answer: Callable[[str, int], Answer], port: int = 0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.headers: set[str] = set()
        self.connections = 0
        self.most_at_once = self._now = 0
        server, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                note = body["messages"][1]["content"].partition("Note:\n")[2]
                with lock:
                    server.requests.append(body)
                    server.keys.add(self.headers["Authorization"])
                    server.headers.update(self.headers.values())
                    server.asked[note] += 1
                    attempt = server.asked[note]
                    server._now += 1
                    server.most_at_once = max(server.most_at_once, server._now)
                try:
                    status, data = answer(note, attempt)
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    for name, value in (headers or {}).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except BrokenPipeError:
                    self.close_connection = True
                finally:
                    with lock:
                        server._now -= 1

            def log_message(self, *args: object) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True
            allow_reuse_address = True
            block_on_close = False

            def verify_request(self, *args: object) -> bool:
                server.connections += 1
                return True

            def handle_error(self, *args: object) -> None:
                pass  # clients that give up are part of the test

        self._server = Listener(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
