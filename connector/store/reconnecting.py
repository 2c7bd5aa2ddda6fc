"""A store whose database may be unavailable when a process starts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from tenacity import AsyncRetrying, retry_if_result, wait_exponential

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load, Store

T = TypeVar("T")

WAIT_FIRST_SECONDS = 1.0
"""The delay after the first failed attempt to open the store; it doubles with every attempt."""
WAIT_MAX_SECONDS = 10.0
"""The longest delay between two attempts."""

log = structlog.get_logger("connector.store")


class ReconnectingStore:
    """A `Store` whose calls raise `StoreUnavailable` until `opening` has opened the real store."""

    shared = True

    def __init__(self, opening: Callable[[], Awaitable[Store]], *, wait_first: float = WAIT_FIRST_SECONDS) -> None:
        self._opening = opening
        self._wait_first = wait_first
        self._store: Store | None = None
        self._reason = "the store is not open yet"

    @property
    def is_open(self) -> bool:
        """Whether the real store is open."""
        return self._store is not None

    async def try_open(self) -> bool:
        """Tries to open the store once; returns whether it is open. Raises `SchemaMismatch` and `UsageError`."""
        try:
            self._store = await self._opening()
        except StoreUnavailable as error:
            self._reason = str(error)
        return self.is_open

    async def open(self) -> None:
        """Opens the store and retries while its database is unavailable. Raises the exceptions of `try_open`."""
        if self.is_open:
            return
        log.warning("store unavailable", reason=self._reason)
        wait = wait_exponential(multiplier=self._wait_first, max=WAIT_MAX_SECONDS)
        await AsyncRetrying(retry=retry_if_result(lambda is_open: not is_open), wait=wait)(self.try_open)
        log.info("store available")

    @property
    def instance(self) -> str:
        return self._opened.instance

    @property
    def load(self) -> Load:
        return Load() if self._store is None else self._store.load

    @property
    def log_bytes(self) -> int:
        return 0 if self._store is None else self._store.log_bytes

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        return self._opened.offer(reading, body)

    async def write(self, job: Callable[[Connection], T]) -> T:
        return await self._opened.write(job)

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self._opened.read(query)

    async def query(self, query: Callable[[Connection], T]) -> T:
        return await self._opened.query(query)

    async def probe(self, now: int) -> None:
        await self._opened.probe(now)

    async def close(self) -> None:
        """Closes the real store, if it was opened."""
        if self._store is not None:
            await self._store.close()

    @property
    def _opened(self) -> Store:
        if self._store is None:
            raise StoreUnavailable(self._reason)
        return self._store
