"""HTTP as uvicorn speaks it, with limits that it lacks: how large a request's head is, and how long it takes."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Protocol"]

_HEAD_S = 20.0
_MAX_HEAD_BYTES = 1 << 16


class Protocol(HttpToolsProtocol):
    """One connection. A head that is too large is answered with 400; one that takes too long is not waited for."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came; its first head is awaited."""
        super().connection_made(transport)
        self._is_in_message = False
        self._num_head_bytes = 0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(_HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a head or of a body; between requests, uvicorn itself counts the time."""
        if not self._is_in_message:
            self._num_head_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(_HEAD_S, self._give_up)
        super().data_received(data)
        if not self._is_in_message and self._num_head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._is_in_message = True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there, too; a head follows, or nothing."""
        self._is_in_message = False
        self._num_head_bytes = 0
        super().on_message_complete()

    def _give_up(self) -> None:
        self._timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        timer: Any = self._timer
        if timer is not None:
            timer.cancel()
        self._timer = None
