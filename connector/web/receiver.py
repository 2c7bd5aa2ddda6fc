"""The receiver: checks a webhook, stores it and acknowledges it.

It is an ASGI route of Litestar, because parsing each request for an ordinary handler costs more than all checks here.
Litestar does not apply `request_max_body_size` and the check of the method to an ASGI route, so both are done here.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeAlias

import structlog
from litestar import asgi
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from connector.errors import StoreUnavailable
from connector.hireflix import GREETING
from connector.hireflix.payload import Reading, read
from connector.hireflix.signature import HEADER, Verifier
from connector.store.base import IngestResult

BODY_BYTES = 1024 * 1024
"""Largest accepted body. A webhook of Hireflix has one or two KiB."""
CLIENT_BYTES = 4 * BODY_BYTES
"""Most bytes of incomplete bodies of one client."""
CLIENTS_BYTES = 64 * BODY_BYTES
"""Bytes of incomplete bodies of all clients. Above it each client may have only an equal share of this amount."""
STALL_SECONDS = 30.0
"""A request is ended when no byte of its body arrives for this time."""
BODY_SECONDS = 120.0
"""A request is ended when its body is incomplete after this time, even if bytes still arrive."""
STOP_SECONDS = 1.0
"""At a stop an incomplete body has this time to become complete."""
LINGER_BYTES = 2 * 1024 * 1024
"""After a refusal this much of the rest of the body is read and dropped. A connection that is closed with unread bytes
is reset, so that the sender may lose the answer, and a proxy counts the reset as a failure of the receiver (RFC 9112,
section 9.6)."""
LINGER_SECONDS = 2.0
"""The longest time for that."""
LENGTH_DIGITS = 19
"""A longer Content-Length counts as too large. Python refuses to parse more than 4,300 digits."""
IPV6_CLIENT_BITS = 64
"""A subscriber has at least a /64 network (RFC 6177), so a single IPv6 address does not identify a client."""

RETRY = (b"retry-after", b"5")
"""Seconds after which the sender should try again when the reason of the refusal is temporary."""
CLOSE = (b"connection", b"close")
JSON = (b"content-type", b"application/json")
PLAIN = (b"content-type", b"text/plain; charset=utf-8")
REFUSALS: Mapping[str, tuple[int, bytes, tuple[tuple[bytes, bytes], ...]]] = {
    "method": (405, b'{"error":"POST events here"}', ((b"allow", b"POST, GET, HEAD"), CLOSE)),
    "signature": (401, b'{"error":"the signature is missing or wrong"}', (CLOSE,)),
    "too old": (400, b'{"error":"the event is older than this receiver accepts"}', ()),
    "too large": (413, b'{"error":"the body is over 1 MiB"}', (CLOSE,)),
    "too slow": (408, b'{"error":"the body did not arrive in time"}', (CLOSE,)),
    "stopping": (408, b'{"error":"the receiver stops and the body was incomplete, try again"}', (CLOSE, RETRY)),
    "overloaded": (503, b'{"error":"too many incomplete bodies, try again"}', (CLOSE, RETRY)),
    "unavailable": (503, b'{"error":"the store accepts no events now, try again"}', (RETRY,)),
    "error": (500, b'{"error":"the receiver failed; see its log"}', ()),
}
"""Status, body and headers of each refusal. The key is the reason in metrics and logs."""

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

log = structlog.get_logger("connector.web")


class Refused(Exception):
    """The request is refused and not stored; `reason` is a key of `REFUSALS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Disconnected(Exception):
    """The sender closed the connection before the body was complete, so no answer can be sent."""


class IncomingRequest:
    """Receives the messages of one request. `complete`: its body has ended, or the sender has gone."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def __call__(self) -> Any:
        message = await self._receive()
        self.complete = message["type"] != "http.request" or not message.get("more_body")
        return message


class Bodies:
    """Reads the bodies of all requests of one receiver, and bounds their time and memory.

    The signature covers the whole body, so an unknown sender is recognised only at the end. A request is ended after
    `stall_seconds` without a byte, and after `body_seconds` in total. `client_bytes` limits the incomplete bodies of
    one client, so that a client cannot use the share of others.
    """

    def __init__(
        self,
        *,
        stall_seconds: float = STALL_SECONDS,
        body_seconds: float = BODY_SECONDS,
        stop_seconds: float = STOP_SECONDS,
        client_bytes: int = CLIENT_BYTES,
    ) -> None:
        self._stall_seconds = stall_seconds
        self._body_seconds = body_seconds
        self._stop_seconds = stop_seconds
        self._client_bytes = client_bytes
        self._held: Counter[str] = Counter()
        self._timeouts: set[asyncio.Timeout] = set()
        self._stopping = False

    @property
    def held(self) -> int:
        """Bytes of all incomplete bodies."""
        return self._held.total()

    def stop(self) -> None:
        """Answers 408 to requests whose body is not complete within `stop_seconds`, also to later ones."""
        self._stopping = True
        end = asyncio.get_running_loop().time() + self._stop_seconds
        for timeout in self._timeouts:
            when = timeout.when()
            if not timeout.expired() and when is not None and when > end:
                timeout.reschedule(end)

    async def read(self, scope: Scope, receive: IncomingRequest) -> bytes:
        """Returns the complete body. Raises `Refused` or `Disconnected`."""
        _require_size(_declared(scope["headers"]))
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._stop_seconds if self._stopping else self._stall_seconds) as timeout:
                self._timeouts.add(timeout)
                try:
                    message = await receive()
                    if message["type"] == "http.request" and not message.get("more_body"):
                        body: bytes = message.get("body", b"")
                        _require_size(len(body))
                        return body
                    return await self._in_parts(client_of(scope), message, receive, timeout, begun + self._body_seconds)
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            raise Refused("stopping" if self._stopping else "too slow") from None

    async def next_part(self, incoming: IncomingRequest, end: float) -> Any:
        """Returns the next message of a body that its handler reads itself, until `end` (seconds of the event loop) at
        the latest. Raises `Refused`.
        """
        stall = asyncio.get_running_loop().time() + (self._stop_seconds if self._stopping else self._stall_seconds)
        try:
            async with asyncio.timeout_at(min(stall, end)) as timeout:
                self._timeouts.add(timeout)
                try:
                    return await incoming()
                finally:
                    self._timeouts.discard(timeout)
        except TimeoutError:
            raise Refused("stopping" if self._stopping else "too slow") from None

    async def drop(self, incoming: IncomingRequest) -> None:
        """Reads the rest of a refused request's body and drops it, within `LINGER_BYTES` and `LINGER_SECONDS`."""
        dropped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(0 if self._stopping else LINGER_SECONDS) as timeout:
                self._timeouts.add(timeout)
                try:
                    while not incoming.complete and dropped < LINGER_BYTES:
                        message = await incoming()
                        dropped += len(message.get("body", b""))
                finally:
                    self._timeouts.discard(timeout)

    async def _in_parts(
        self, client: str, message: Any, receive: IncomingRequest, timeout: asyncio.Timeout, end: float
    ) -> bytes:
        parts = bytearray()
        loop = asyncio.get_running_loop()
        try:
            while message["type"] == "http.request":
                part = message.get("body", b"")
                self._held[client] += len(part)
                parts += part
                _require_size(len(parts))
                if not message.get("more_body"):
                    return bytes(parts)
                if not self._has_room(client):
                    raise Refused("overloaded")
                if part and not timeout.expired() and not self._stopping:
                    timeout.reschedule(min(loop.time() + self._stall_seconds, end))
                message = await receive()
            raise Disconnected
        finally:
            self._held[client] -= len(parts)
            if not self._held[client]:
                del self._held[client]

    def _has_room(self, client: str) -> bool:
        share = self._client_bytes
        if self.held > CLIENTS_BYTES:
            share = min(share, CLIENTS_BYTES // len(self._held))
        return self._held[client] <= share


def timed_bodies(bodies: Bodies) -> Callable[[ASGIApp], ASGIApp]:
    """Returns a middleware for routes whose handlers read the body. It ends a request whose body does not arrive in
    time, or not before a stop, with 408.
    """

    def wrapped(app: ASGIApp) -> ASGIApp:
        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            incoming = IncomingRequest(receive)
            end = asyncio.get_running_loop().time() + BODY_SECONDS

            async def part() -> Any:
                try:
                    return await (receive() if incoming.complete else bodies.next_part(incoming, end))
                except Refused as error:
                    detail = "the service stops" if error.reason == "stopping" else "the body did not arrive in time"
                    status, _, _ = REFUSALS[error.reason]
                    raise HTTPException(detail, status_code=status, headers={"connection": "close"}) from None

            await app(scope, part, send)

        return timed

    return wrapped


def client_of(scope: Scope) -> str:
    """Returns the client of a request: its IPv4 address or its IPv6 /64 network; "" when the address is unknown.

    When the peer is one of `trusted_proxies`, uvicorn sets the client to the last untrusted address of X-Forwarded-For.
    """
    peer = scope.get("client")
    try:
        address = ipaddress.ip_address(peer[0] if peer else "")
    except ValueError:
        return ""
    if address.version == 4:  # noqa: PLR2004 - the version of the protocol
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_CLIENT_BITS), strict=False))


def _declared(headers: Headers) -> int:
    """Returns the Content-Length, 0 without one, and more than `BODY_BYTES` when it is not a valid number."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) <= LENGTH_DIGITS else BODY_BYTES + 1
    return 0


def _require_size(size: int) -> None:
    if size > BODY_BYTES:
        raise Refused("too large")


class EventStore(Protocol):
    """The part of `connector.store.base.Store` that the receiver needs."""

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]: ...


class WebhookAnswer(NamedTuple):
    """An answer to the sender, without its content-length header."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


DUPLICATE = WebhookAnswer(202, b'{"status":"duplicate"}')
"""Some senders count only 202 as success."""


class Receiver:
    """The ASGI application at the webhook path.

    `clock` returns epoch milliseconds, used as the time of receipt. `refused` is called with the reason of every
    refusal: a key of `REFUSALS`, or "disconnected". `allow_unsigned` accepts a missing signature, never a wrong one.
    An event whose own date is more than `tolerance_ms` ago is refused; `None` accepts every date.
    """

    def __init__(
        self,
        store: EventStore,
        verifier: Verifier,
        clock: Callable[[], int],
        refused: Callable[[str], None],
        *,
        allow_unsigned: bool = False,
        tolerance_ms: int | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        self._store = store
        self._verifier = verifier
        self._clock = clock
        self._refused = refused
        self._allow_unsigned = allow_unsigned
        self._tolerance_ms = tolerance_ms
        self._bodies = bodies or Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = IncomingRequest(receive)
        try:
            reply = await self._reply(scope, incoming)
        except Disconnected:
            self._refused("disconnected")
            return
        except Refused as error:
            reply = self._refusal(error.reason)
        except StoreUnavailable:
            reply = self._refusal("unavailable")
        except Exception as error:  # noqa: BLE001 - the sender always gets an answer
            log.critical("receiver failed", error=error)
            reply = self._refusal("error")
        length = (b"content-length", b"%d" % len(reply.body))
        await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length]})
        if CLOSE in reply.headers and not incoming.complete:
            await send({"type": "http.response.body", "body": reply.body, "more_body": True})
            await self._bodies.drop(incoming)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await send({"type": "http.response.body", "body": reply.body, "more_body": False})

    async def _reply(self, scope: Scope, receive: IncomingRequest) -> WebhookAnswer:
        method = scope.get("method")
        if method in {"GET", "HEAD"}:
            return WebhookAnswer(200, GREETING, (PLAIN,))
        if method != "POST":
            raise Refused("method")
        signature = next((value for name, value in scope["headers"] if name == HEADER), None)
        if signature is None and not self._allow_unsigned:
            raise Refused("signature")  # the body need not be read
        body = await self._bodies.read(scope, receive)
        if signature is not None and not self._verifier.accepts(body, signature):
            raise Refused("signature")
        return await self._stored(body)

    async def _stored(self, body: bytes) -> WebhookAnswer:
        """Stores the event and returns the acknowledgement after the commit.

        Raises `Refused` for an event that is too old, and `StoreUnavailable`.
        """
        reading = read(body, self._clock())
        if self._tolerance_ms is not None and reading.received_at - reading.occurred_at > self._tolerance_ms:
            raise Refused("too old")
        seq, duplicate = await self._store.offer(reading, body)
        return DUPLICATE if duplicate else WebhookAnswer(202, b'{"status":"accepted","event_id":"%d"}' % seq)

    def _refusal(self, reason: str) -> WebhookAnswer:
        self._refused(reason)
        status, body, headers = REFUSALS[reason]
        return WebhookAnswer(status, body, (JSON, *headers))


def webhook_route(path: str, receiver: Receiver) -> ASGIRouteHandler:
    """Returns a Litestar route for the receiver."""

    @asgi(path, copy_scope=False)
    async def hireflix_webhook(scope: Scope, receive: Receive, send: Send) -> None:
        await receiver(scope, receive, send)

    return hireflix_webhook
