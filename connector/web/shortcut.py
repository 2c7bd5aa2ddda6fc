"""The short way of a webhook: from the HTTP parser to the receiver and back, past the framework.

A webhook nearly always comes whole, in one piece of data. Then there is nothing to wait for but the store, and the
request needs neither a task nor the calls of ASGI, which cost as much as all the work for the event. Whatever is not
plain (another path or method, a body in parts, a pipelined request, a connection to be closed) goes the usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from connector.hireflix.signature import HEADER
from connector.web.protocol import BoundedProtocol
from connector.web.receiver import Receiver, Refused, Reply

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Hook(NamedTuple):
    """The exact path of the webhook, as it stands in a request line, and who takes what comes there."""

    path: bytes
    receiver: Receiver


class _Ignored:
    """Stands for the event that tells a waiting application of news: nobody waits."""

    def set(self) -> None:
        """Nothing to tell."""


_IGNORED = _Ignored()


class _Exchange:
    """A request on the short way, as far as the protocol asks about requests."""

    __slots__ = ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self) -> None:
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False
        self.message_event = _IGNORED


class ShortcutProtocol(BoundedProtocol):
    """HTTP for one connection, with a short way for the webhook. Without a hook it has none."""

    _coming: _Exchange | None = None

    def __init__(self, *arguments: Any, hook: Hook | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hook = hook

    def on_headers_complete(self) -> None:
        self._unset_keepalive_if_required()  # set by an answer to what stood before it in the same data
        if self._is_plain():
            self._in_head = False
            self._coming = _Exchange()
            self.cycle = self._coming  # type: ignore[assignment]  # it has what the protocol asks of one
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        exchange, self._coming = self._coming, None
        if exchange is not None:
            self._take(exchange)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._coming is not None and not self.transport.is_closing():
            self._go_the_usual_way(self._coming)

    def _is_plain(self) -> bool:
        parser = self.parser
        before: RequestResponseCycle | None = self.cycle
        return (
            self._hook is not None
            and self.url == self._hook.path
            and parser.get_method() == b"POST"
            and (before is None or before.response_complete)
            and not self.flow.write_paused
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
        )

    def _go_the_usual_way(self, exchange: _Exchange) -> None:
        """The rest of the body is still to come."""
        self._coming = None
        self.cycle = None  # type: ignore[assignment]  # as before the first request of a connection
        super().on_headers_complete()
        if exchange.body:
            super().on_body(bytes(exchange.body))

    def _take(self, exchange: _Exchange) -> None:
        assert self._hook is not None
        signature = next((value for name, value in self.headers if name == HEADER), None)
        try:
            offered = self._hook.receiver.take(signature, bytes(exchange.body))
        except Refused as refused:
            self._answer(exchange, refused.reply)
        else:
            offered.add_done_callback(lambda done: self._done(exchange, done))

    def _done(self, exchange: _Exchange, offered: asyncio.Future[Any]) -> None:
        assert self._hook is not None
        self._answer(exchange, self._hook.receiver.reply_to(offered))

    def _answer(self, exchange: _Exchange, reply: Reply) -> None:
        exchange.response_complete = True
        if not exchange.disconnected:
            self.transport.write(_response(reply, self.server_state.default_headers, keep_alive=exchange.keep_alive))
            if not exchange.keep_alive:
                self.transport.close()
        self.on_response_complete()


def _response(reply: Reply, defaults: Sequence[tuple[bytes, bytes]], *, keep_alive: bool) -> bytes:
    headers = b"".join([b"%b: %b\r\n" % header for header in (*defaults, *reply.headers)])
    close = b"" if keep_alive else b"connection: close\r\n"
    return b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
        STATUS_LINES[reply.status],
        headers,
        close,
        len(reply.body),
        reply.body,
    )
