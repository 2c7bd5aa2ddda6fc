"""HTTP as uvicorn speaks it, with bounds on what a connection may hold before it has sent a request."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose request line and headers are longer than any honest sender's, or whose request does not
    become whole in time: uvicorn itself would keep both for ever.
    """

    head_max: ClassVar[int] = 128 * 1024
    """Bytes of request line and headers that may have come before the last piece of them."""
    seconds: ClassVar[float] = 60.0
    """A request must be whole within this time, and a new connection must send one."""

    _head = 0
    _in_head = True
    _is_open = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._head > self.head_max:
            self.send_400_response("The request line and headers are too long.")
            return
        super().data_received(data)
        self._head = self._head + len(data) if self._in_head else 0
        if self._is_open:  # only then: a timer for each request would cost as much as reading its body
            self._start_deadline()

    def on_message_begin(self) -> None:
        self._in_head = self._is_open = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_open = False
        self._end_deadline()
        super().on_message_complete()

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.seconds, self.transport.close)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
