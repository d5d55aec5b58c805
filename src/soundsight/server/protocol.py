"""HTTP as uvicorn speaks it, with limits that it lacks: how large a head is, and how long a client may take."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from soundsight.server.problems import MEDIA_TYPE, Problem

__all__ = ["Protocol"]

_HEAD_S = 20.0
_BODY_S = 40.0
"""Longer than routes wait for a body, as they tell of it: for bodies that nobody reads, as of a refused request."""
_READ_S = 30.0
"""A client that has an answer waiting and takes nothing of it for so long is not waited for."""
_MAX_HEAD_BYTES = 1 << 16


class Protocol(HttpToolsProtocol):
    """One connection. A head that is too large is answered with 400; who takes too long is not waited for."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came; its first head is awaited."""
        super().connection_made(transport)
        self._is_in_message = False
        self._is_too_large = False
        # Since the last piece of a body: a head, or what may follow a body (trailers), or its chunks' extensions.
        self._num_loose_bytes = 0
        self._reading: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(_HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        self._stop_reading()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a head or of a body; between requests, uvicorn itself counts the time."""
        if not self._is_in_message and self._timer is None:
            self._timer = self.loop.call_later(_HEAD_S, self._give_up)
        self._num_loose_bytes += len(data)
        super().data_received(data)
        if self._num_loose_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self._is_too_large = True
            self.send_400_response("")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; those after a body are nobody's business and would be kept."""
        if not self._is_in_message:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _MAX_HEAD_BYTES:
            self._is_too_large = True
            raise ValueError  # which uvicorn answers with 400
        self._is_in_message = True
        self._num_loose_bytes = 0
        self._stop_timer()
        self._timer = self.loop.call_later(_BODY_S, self._give_up)
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """A piece of the body begins."""
        self._num_loose_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._num_loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there, too; a head follows, or nothing."""
        self._is_in_message = False
        self._num_loose_bytes = 0
        self._stop_timer()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's."""
        self._stop_timer()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """The client does not take what is sent."""
        super().pause_writing()
        self._await_reading(None)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._stop_reading()

    def timeout_keep_alive_handler(self) -> None:
        """The connection is not used any more; an answer that is still not taken does not keep it open."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """What came cannot be understood; said in the form of every problem, unless an answer is under way."""
        told = "the head of the request is too large" if self._is_too_large else "this is no request in HTTP"
        if self.cycle is not None and (self.cycle.response_started or not self._is_in_message):
            if not self.cycle.response_complete:  # half an answer must not look like a whole one
                self.transport.abort()
                return
            if self._is_in_message:
                self.transport.close()
                return
        body = Problem(400, told).body()
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "x-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _give_up(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # it is we who do not read
            self._timer = self.loop.call_later(_BODY_S, self._give_up)
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        timer: Any = self._timer
        if timer is not None:
            timer.cancel()
        self._timer = None

    def _await_reading(self, before: int | None) -> None:
        """Look again and again whether the client takes something of what waits for it."""
        waiting = self.transport.get_write_buffer_size()
        if before is not None and waiting >= before:
            self.transport.abort()
        else:
            self._reading = self.loop.call_later(_READ_S, self._await_reading, waiting)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = None
