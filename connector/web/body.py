"""Reads bodies within bounds, whoever sends them: the sender is known only once the whole body is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from litestar.types import Receive

BODY_MAX = 1024 * 1024
"""Bytes of one body."""
PARTS_MAX = 32 * 1024 * 1024
"""Bytes of all bodies that have not come whole yet."""
LENGTH_DIGITS = 19
BODY_SECONDS = 30.0
"""A body that comes in parts must be whole within this time."""


class BodyError(Exception):
    """The body did not come whole: `status` is what to answer, 0 when the sender is gone; `reason` a fixed word."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class Bodies:
    """Reads the bodies of all requests of one receiver."""

    def __init__(self, *, seconds: float = BODY_SECONDS, parts_max: int = PARTS_MAX) -> None:
        self._seconds = seconds
        self._parts_max = parts_max
        self._held = 0

    async def read(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> bytes:
        """The whole body. Raises `BodyError`."""
        _check(_declared(headers))
        message: Any = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")
            _check(len(body))
            return body
        try:
            async with asyncio.timeout(self._seconds):  # here only: it costs more than all the rest
                return await self._in_parts(message, receive)
        except TimeoutError:
            raise BodyError(408, "too slow") from None

    async def _in_parts(self, message: Any, receive: Receive) -> bytes:
        parts = bytearray()
        try:
            while message["type"] == "http.request":
                part = message.get("body", b"")
                self._held += len(part)
                parts += part
                _check(len(parts))
                if not message.get("more_body"):
                    return bytes(parts)
                if self._held > self._parts_max:
                    raise BodyError(503, "overloaded")
                message = await receive()
            raise BodyError(0, "disconnected")
        finally:
            self._held -= len(parts)


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The length that the request tells; too much when that is no number we would believe."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) <= LENGTH_DIGITS else BODY_MAX + 1
    return 0


def _check(size: int) -> None:
    if size > BODY_MAX:
        raise BodyError(413, "too large")
