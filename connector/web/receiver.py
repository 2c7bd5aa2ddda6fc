"""The receiver: checks, stores and acknowledges a webhook, and does nothing else.

A bare ASGI function outside the framework's request pipeline: per request that pipeline costs more than all the
work done here. It counts for itself, once per group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading, read
from connector.hireflix.signature import HEADER, Verifier
from connector.store.plan import Answer

BODY_MAX = 1024 * 1024
"""Bytes of a request's body."""
RETRY_AFTER = b"5"
"""Seconds after which a sender that was turned away should try again."""

JSON = (b"content-type", b"application/json")
PLAIN = (b"content-type", b"text/plain; charset=utf-8")
HELLO = b"This is the Hireflix webhook receiver. It works; Hireflix posts its events here.\n"


class Intake(Protocol):
    """Where events go; see `connector.store.store.SqliteStore.offer`."""

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]: ...


class _BodyError(Exception):
    """The body did not come whole; `status` is 413, or 0 when the sender is gone."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Receiver:
    """Answers one request. `clock` tells receipt times, `refused` counts by a fixed word; `allow_unsigned` accepts a
    missing signature, never a wrong one.
    """

    def __init__(
        self,
        intake: Intake,
        verifier: Verifier,
        clock: Callable[[], int],
        refused: Callable[[str], None],
        *,
        allow_unsigned: bool = False,
    ) -> None:
        self._intake = intake
        self._verifier = verifier
        self._clock = clock
        self._refused = refused
        self._allow_unsigned = allow_unsigned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        if method == "POST":
            await self._post(scope, receive, send)
        elif method in {"GET", "HEAD"}:
            await _send(send, 200, b"" if method == "HEAD" else HELLO, (PLAIN,))
        else:
            self._refused("method")
            await _send(send, 405, b'{"error":"POST events here"}', (JSON, (b"allow", b"POST, GET")))

    async def _post(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = scope["headers"]
        try:
            body = await _body(headers, receive)
        except _BodyError as error:
            self._refused("too large" if error.status else "disconnected")
            if error.status:
                await _send(send, 413, b'{"error":"the body is over 1 MiB"}', (JSON, (b"connection", b"close")))
            return
        if not self._is_signed(headers, body):
            self._refused("signature")
            await _send(send, 401, b'{"error":"the signature is missing or wrong"}', (JSON,))
            return
        try:
            seq, duplicate = await self._intake.offer(read(body, self._clock()), body)
        except StoreUnavailable:
            self._refused("unavailable")
            busy = (JSON, (b"retry-after", RETRY_AFTER))
            await _send(send, 503, b'{"error":"the store takes no events now, try again"}', busy)
            return
        if duplicate:
            await _send(send, 200, b'{"status":"duplicate"}', (JSON,))
        else:
            await _send(send, 202, b'{"status":"accepted","event_id":"%d"}' % seq, (JSON,))

    def _is_signed(self, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        for name, value in headers:
            if name == HEADER:
                return self._verifier.accepts(body, value)
        return self._allow_unsigned


async def _body(headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes:
    for name, value in headers:
        if name == b"content-length" and (not value.isdigit() or int(value) > BODY_MAX):
            raise _BodyError(413)
    message: Any = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return _bounded(message.get("body", b""))
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            raise _BodyError(0)
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_MAX:
            raise _BodyError(413)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _bounded(body: bytes) -> bytes:
    if len(body) > BODY_MAX:
        raise _BodyError(413)
    return body


async def _send(send: Send, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def route_handler(path: str, receiver: Receiver) -> ASGIRouteHandler:
    """The receiver as a Litestar handler at a path."""

    @asgi(path, copy_scope=False)
    async def hireflix_webhook(scope: Scope, receive: Receive, send: Send) -> None:
        await receiver(scope, receive, send)

    return hireflix_webhook
