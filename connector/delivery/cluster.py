"""Wake-ups among the processes that share a PostgreSQL store.

PostgreSQL notifies every listening process when a receiver commits deliveries. A lost wake-up costs a second at most,
because the sweep of every worker finds what is due. A pooler in transaction mode passes no notifications on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from connector.store.dialects import CHANNEL, SEPARATOR
from connector.store.postgres.database import connect_async
from connector.store.postgres.errors import safe_message

GAP_SECONDS = 0.1
"""A sink is woken at most once in this time: a receiver notifies with each group, which may be hundreds a second."""
STOP_SECONDS = 2.0
"""Time that a stop waits for the connection to end."""
RECONNECT_MAX_SECONDS = 15.0
"""The longest wait before the next attempt to connect; the waits begin at a second and are random below it."""

log = structlog.get_logger("connector.delivery")


class Waker:
    """Passes wake-ups on: the first at once, those within the gap after it together at its end."""

    def __init__(self, on_wake: Callable[[Iterable[str]], None], gap: float = GAP_SECONDS) -> None:
        self._on_wake = on_wake
        self._gap = gap
        self._pending: dict[str, bool] = {}
        """Sinks within their gap, and whether another wake-up came."""

    def wake(self, sinks: Iterable[str]) -> None:
        """Returns at once."""
        for sink in sinks:
            if sink in self._pending:
                self._pending[sink] = True
            else:
                self._pass_on(sink)

    def _pass_on(self, sink: str) -> None:
        self._on_wake([sink])
        self._pending[sink] = False
        asyncio.get_running_loop().call_later(self._gap, self._end, sink)

    def _end(self, sink: str) -> None:
        if self._pending.pop(sink):
            self._pass_on(sink)


class Listener:
    """Listens on a connection of its own, and connects again when it is lost.

    `on_wake` gets the names of the sinks that have new deliveries.
    """

    def __init__(self, url: str, on_wake: Callable[[Iterable[str]], None]) -> None:
        self._url = url
        self._waker = Waker(on_wake)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to listen. The database may be unavailable, now and later."""
        self._task = asyncio.create_task(self._run(), name="wake-ups")

    async def stop(self) -> None:
        """Ends the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=STOP_SECONDS)

    async def _run(self) -> None:
        while True:
            connection = await self._connected()
            try:
                async for notification in connection.notifies():
                    self._waker.wake(notification.payload.split(SEPARATOR))
            except psycopg.Error as error:
                log.debug("wake-up connection lost", reason=safe_message(error))
            finally:
                with suppress(psycopg.Error):
                    await connection.close()

    async def _connected(self) -> AsyncConnection[Any]:
        retrying = AsyncRetrying(
            wait=wait_random_exponential(multiplier=1, max=RECONNECT_MAX_SECONDS),
            retry=retry_if_exception_type((psycopg.Error, OSError)),
            before_sleep=_log_failure,
        )
        return await retrying(self._connect)

    async def _connect(self) -> AsyncConnection[Any]:
        connection = await connect_async(self._url)
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
        except BaseException:
            await connection.close()
            raise
        return connection


def _log_failure(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number == 1 and error is not None:
        log.warning("wake-up connection failed", reason=safe_message(error))
