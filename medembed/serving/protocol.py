"""Connections that are closed where a request's head is long or long in coming, or its answer is not taken."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# a head of our clients has about 500 bytes; a proxy adds as much
MOST_HEAD_BYTES = 64 << 10


class PatientProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, whose patience ends.

    Uvicorn waits for ever for a connection's first request, for the rest of one that has begun, and for clients that do not read.
    """

    def __init__(self, *args: Any, header_s: float, answer_s: float, **settings: Any) -> None:
        """Take what uvicorn gives, and the seconds for a head to arrive and for an answer to be taken further."""
        super().__init__(*args, **settings)
        self._header_s, self._answer_s = header_s, answer_s
        self._unread: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes, self._in_body = 0, False

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        self._stop_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Write on."""
        self._stop_writing()
        super().resume_writing()

    def _stop_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def data_received(self, data: bytes) -> None:
        """Read bytes. Outside a request they belong to a head, which has to end in time."""
        cycle: Any = self.cycle  # None before the first request
        answering = cycle is not None and not cycle.response_complete
        if not answering:
            if self._timer is None:
                self._wait()
            if not self._in_body:  # of a request that was refused before its body was read: the rest of it is let go
                self._head_bytes += len(data)
        super().data_received(data)
        # a body may follow the head in the same bytes, so the size is looked at where no head has ended in them
        if self._timer is not None and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._stop_waiting()
            self.send_400_response("The head of the request is too long.")

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._stop_waiting()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request."""
        self._stop_waiting()
        self._in_body = False
        super().on_message_complete()

    def _wait(self) -> None:
        self._head_bytes = 0
        self._timer = self.loop.call_later(self._header_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()
