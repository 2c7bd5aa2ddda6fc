"""The receiver's connection: kept while it works, made again when it was lost, but not in a storm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import uniform
from typing import Any

import psycopg
from psycopg import AsyncConnection

from connector.store.postgres.database import cut

REST_FIRST, REST_LAST = 0.25, 5.0
"""Seconds between attempts to connect: at the first failure, and at most."""
CLOSE_SECONDS = 1.0


class Link:
    """One connection at a time, made by `connect`. Belongs to the loop that made it."""

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self._connect = connect
        self._connection: AsyncConnection[Any] | None = None
        self._loop = asyncio.get_running_loop()
        self._failures = 0
        self._rests_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether the last attempt to connect failed so shortly ago that the next one is not due."""
        return self._loop.time() < self._rests_until

    @property
    def is_broken(self) -> bool:
        """Whether there was a connection and its server, or the way to it, is gone."""
        return self._connection is not None and self._connection.closed

    async def get(self) -> AsyncConnection[Any]:
        """The connection, made if there is none. Raises the driver's error, after which the link rests."""
        if self._connection is None or self._connection.closed:
            try:
                self._connection = await self._connect()
            except (psycopg.Error, OSError):
                self._rest()
                raise
            self._failures = 0
        return self._connection

    def cut(self) -> None:
        """Ends the connection under whoever waits for an answer on it, who gets the driver's error; then it rests."""
        self._rest()
        if self._connection is not None and not self._connection.closed:
            cut(self._connection)

    def _rest(self) -> None:
        longest = min(REST_LAST, REST_FIRST * 2**self._failures)
        self._failures += 1
        # not all receivers at once when the server is back
        self._rests_until = self._loop.time() + uniform(longest / 2, longest)  # noqa: S311 - a jitter, no secret

    async def drop(self) -> None:
        """Forgets a connection that no longer works, or is no longer wanted."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
