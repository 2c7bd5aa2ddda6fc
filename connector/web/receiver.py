"""The receiver: checks, stores and acknowledges a webhook, and does nothing else.

Outside the framework's request pipeline, which costs more per request than all the work done here: as a bare ASGI
function for whatever comes, and in two halves for `connector.web.shortcut`, which most webhooks take. It counts for
itself, once per group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

import structlog
from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

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


class Reply(NamedTuple):
    """What the sender is told; `headers` come before the length of the body."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


DUPLICATE = Reply(200, b'{"status":"duplicate"}')


class Refused(Exception):
    """A request that is not for the store, with what its sender is told; it has been counted."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Receiver:
    """Answers one request. `clock` tells receipt times, `refused` counts by a fixed word; `allow_unsigned` accepts a
    missing signature, never a wrong one.

    As an ASGI application it takes whatever comes; `take` and `reply_to` are the two halves of its work for a caller
    that has a whole body already.
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
            await _send(send, await self._post(scope["headers"], receive))
        elif method in {"GET", "HEAD"}:
            await _send(send, Reply(200, HELLO, (PLAIN,)))
        else:
            await _send(send, self._refusal(405, "method", (b"allow", b"POST, GET, HEAD")))

    def take(self, signature: bytes | None, body: bytes) -> asyncio.Future[Answer]:
        """Checks a webhook and offers it to the store; the future is for `reply_to`. Raises `Refused`."""
        if signature is None:
            self._require_unsigned()
        elif not self._verifier.accepts(body, signature):
            raise Refused(self._refusal(401, "signature"))
        try:
            return self._intake.offer(read(body, self._clock()), body)
        except Exception as error:  # noqa: BLE001 - the sender gets an answer whatever happens
            raise Refused(self._failure(error)) from None

    def reply_to(self, offered: asyncio.Future[Answer]) -> Reply:
        """What to tell the sender when the store is done with its event."""
        error = None if offered.cancelled() else offered.exception()
        if error is not None:
            return self._failure(error)
        if offered.cancelled():
            return self._refusal(503, "unavailable", RETRY)
        seq, duplicate = offered.result()
        return DUPLICATE if duplicate else Reply(202, b'{"status":"accepted","event_id":"%d"}' % seq)

    async def _post(self, headers: Headers, receive: Receive) -> Reply:
        signature = next((value for name, value in headers if name == HEADER), None)
        try:
            if signature is None:
                self._require_unsigned()  # before the body, so that a stranger costs no memory
            offered = self.take(signature, await self._bodies.read(headers, receive))
        except BodyError as error:
            return self._no_body(error)
        except Refused as refused:
            return refused.reply
        await asyncio.wait([offered])
        return self.reply_to(offered)

    def _require_unsigned(self) -> None:
        if not self._allow_unsigned:
            raise Refused(self._refusal(401, "signature"))

    def _no_body(self, error: BodyError) -> Reply:
        if not error.status:  # nobody is there to be answered
            self._refused(error.reason)
            return NOBODY
        more = (CLOSE, RETRY) if error.reason == "overloaded" else (CLOSE,)
        return self._refusal(error.status, error.reason, *more)

    def _failure(self, error: BaseException) -> Reply:
        if isinstance(error, StoreUnavailable):
            return self._refusal(503, "unavailable", RETRY)
        log.critical("receiver failed", error=place_of(error))  # for an operator, a trace
        return self._refusal(500, "error")

    def _refusal(self, status: int, reason: str, *headers: tuple[bytes, bytes]) -> Reply:
        self._refused(reason)
        return Reply(status, REFUSALS[reason], (JSON, *headers))


NOBODY = Reply(0, b"", ())
"""The sender is gone."""


async def _send(send: Send, reply: Reply) -> None:
    if reply is NOBODY:
        return
    length = (b"content-length", b"%d" % len(reply.body))
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length]})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


def route_handler(path: str, receiver: Receiver) -> ASGIRouteHandler:
    """The receiver as a Litestar handler at a path."""

    @asgi(path, copy_scope=False)
    async def hireflix_webhook(scope: Scope, receive: Receive, send: Send) -> None:
        await receiver(scope, receive, send)

    return hireflix_webhook
