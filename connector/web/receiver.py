"""The receiver: checks, stores and acknowledges a webhook, and does nothing else.

A bare ASGI function outside the framework's request pipeline: per request that pipeline costs more than all the
work done here. It counts for itself, once per group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import structlog
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading, read
from connector.hireflix.signature import HEADER, Verifier
from connector.logs import place_of
from connector.store.plan import Answer
from connector.web.body import Bodies, BodyError

RETRY = (b"retry-after", b"5")
"""Seconds after which a sender that was turned away should try again."""
CLOSE = (b"connection", b"close")
JSON = (b"content-type", b"application/json")
PLAIN = (b"content-type", b"text/plain; charset=utf-8")
HELLO = b"This is the Hireflix webhook receiver. It works; Hireflix posts its events here.\n"
REFUSALS: Mapping[str, bytes] = {
    "method": b'{"error":"POST events here"}',
    "signature": b'{"error":"the signature is missing or wrong"}',
    "too large": b'{"error":"the body is over 1 MiB"}',
    "too slow": b'{"error":"the body did not come in time"}',
    "overloaded": b'{"error":"too many bodies are under way, try again"}',
    "unavailable": b'{"error":"the store takes no events now, try again"}',
    "error": b'{"error":"the receiver failed; its log says where"}',
}
"""What is answered, by the word that the refusal is counted under."""

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

log = structlog.get_logger("connector.web")


class Intake(Protocol):
    """Where events go; see `connector.store.store.Store.offer`."""

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]: ...


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
        bodies: Bodies | None = None,
    ) -> None:
        self._intake = intake
        self._verifier = verifier
        self._clock = clock
        self._refused = refused
        self._allow_unsigned = allow_unsigned
        self._bodies = bodies or Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method")
        if method == "POST":
            await self._post(scope["headers"], receive, send)
        elif method in {"GET", "HEAD"}:
            await _send(send, 200, HELLO, PLAIN)
        else:
            await self._refuse(send, 405, "method", (b"allow", b"POST, GET, HEAD"))

    async def _post(self, headers: Headers, receive: Receive, send: Send) -> None:
        signature = next((value for name, value in headers if name == HEADER), None)
        if signature is None and not self._allow_unsigned:
            await self._refuse(send, 401, "signature")  # before the body, so that a stranger costs no memory
            return
        try:
            body = await self._bodies.read(headers, receive)
        except BodyError as error:
            await self._refuse_body(send, error)
            return
        if signature is not None and not self._verifier.accepts(body, signature):
            await self._refuse(send, 401, "signature")
            return
        try:
            seq, duplicate = await self._intake.offer(read(body, self._clock()), body)
        except StoreUnavailable:
            await self._refuse(send, 503, "unavailable", RETRY)
        except Exception as error:  # noqa: BLE001 - the sender gets an answer whatever happens, and an operator a trace
            log.critical("receiver failed", error=place_of(error))
            await self._refuse(send, 500, "error")
        else:
            await _acknowledge(send, seq, duplicate=duplicate)

    async def _refuse_body(self, send: Send, error: BodyError) -> None:
        if not error.status:  # nobody is there to be answered
            self._refused(error.reason)
            return
        more = (CLOSE, RETRY) if error.reason == "overloaded" else (CLOSE,)
        await self._refuse(send, error.status, error.reason, *more)

    async def _refuse(self, send: Send, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
        self._refused(reason)
        await _send(send, status, REFUSALS[reason], JSON, *headers)


async def _acknowledge(send: Send, seq: int, *, duplicate: bool) -> None:
    if duplicate:
        await _send(send, 200, b'{"status":"duplicate"}', JSON)
    else:
        await _send(send, 202, b'{"status":"accepted","event_id":"%d"}' % seq, JSON)


async def _send(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def route_handler(path: str, receiver: Receiver) -> ASGIRouteHandler:
    """The receiver as a Litestar handler at a path."""

    @asgi(path, copy_scope=False)
    async def hireflix_webhook(scope: Scope, receive: Receive, send: Send) -> None:
        await receiver(scope, receive, send)

    return hireflix_webhook


def in_front(app: ASGIApp, path: str, receiver: Receiver) -> ASGIApp:
    """The application with a short cut: requests for exactly `path` go to the receiver before the framework has looked
    at them, which would cost more than the receiver itself.
    """

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == path:  # the lifespan has none
            await receiver(scope, receive, send)
        else:
            await app(scope, receive, send)

    return front
