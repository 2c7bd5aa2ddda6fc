"""Group commit on PostgreSQL: one connection on the event loop, one group in flight; further requests are queued.

Failures:

================================  ====================================================================
a conflict with a receiver        the group is read and planned again, up to `TRIES` times
a statement, for another reason   the group is split in halves until the bad event is alone and refused
the connection was lost           once more on a new one; committed events are found as duplicates
the server is unavailable,        all waiting events are refused, and new ones until it is connected
silent or full                    again
================================  ====================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random,
    wait_random_exponential,
)

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load, Overloaded
from connector.store.ingest import Incoming, IngestPlan, Intake, Request, fair_share, refuse, resolve
from connector.store.postgres.database import cut
from connector.store.postgres.errors import is_conflict, is_unavailable, safe_message
from connector.store.postgres.ingest import Ingest

TRIES = 10
"""Attempts of a group that conflicts with other receivers."""
REPLAN_MAX_SECONDS = 0.02
"""Upper bound of the random delay before the next attempt, so that two receivers do not conflict again."""
RECONNECT_FIRST_SECONDS = 0.25
"""Upper bound of the random delay after the first failed connection; it doubles with every attempt."""
RECONNECT_MAX_SECONDS = 5.0
"""Largest upper bound of the random delay between connections."""
SILENCE_SECONDS = 15.0
"""A group without an answer of the server within this time is refused."""

log = structlog.get_logger("connector.store")


class Link:
    """Keeps one connection, opened by `connect`.

    After a failure it reconnects in the background; `is_away` is true meanwhile. Used only on the event loop that
    created it.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self._connect = connect
        self._connecting = asyncio.Lock()
        self._connection: AsyncConnection[Any] | None = None
        self._reconnecting: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server is unavailable, so that requests can be refused at once."""
        return self._reconnecting is not None and not self._reconnecting.done()

    @property
    def is_broken(self) -> bool:
        """Whether the connection was lost."""
        return self._connection is not None and self._connection.closed

    @asynccontextmanager
    async def connection(self, silence: float) -> AsyncIterator[AsyncConnection[Any]]:
        """Yields the connection, opened if needed.

        A block that takes longer than `silence` seconds loses it, so that a waiting call raises the driver's error.
        When the connection cannot be opened or was lost in this way, it is opened again in the background. Raises the
        driver's error.
        """
        try:
            connection = await self._open()
        except (psycopg.Error, OSError):
            self._reconnect()
            raise
        watch = asyncio.get_running_loop().call_later(silence, self._cut, connection)
        try:
            yield connection
        finally:
            watch.cancel()
            if connection is not self._connection:
                await connection.close()  # not before the call that waits for its socket has ended

    async def drop(self) -> None:
        """Closes the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def close(self) -> None:
        """Ends the reconnects and closes the connection."""
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait([self._reconnecting])
        await self.drop()

    async def _open(self) -> AsyncConnection[Any]:
        """Opens the connection unless it is open. Callers wait for one another, so that there is one connection."""
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connect()
            return self._connection

    def _cut(self, connection: AsyncConnection[Any]) -> None:
        cut(connection)
        self._connection = None
        self._reconnect()

    def _reconnect(self) -> None:
        if not self.is_away:
            self._reconnecting = asyncio.create_task(self._reopen(), name="store reconnect")

    async def _reopen(self) -> None:
        retrying = AsyncRetrying(
            wait=wait_random_exponential(multiplier=RECONNECT_FIRST_SECONDS, max=RECONNECT_MAX_SECONDS),
            retry=retry_if_exception_type((psycopg.Error, OSError)),
        )
        await retrying(self._open)


class Writer:
    """Commits events in groups. Every method is called on the event loop that created it.

    `connect` opens the connection. `on_group` is called with the plan of each committed group. At most `limit` requests
    wait. A group is refused when the server does not answer for `silence` seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[AsyncConnection[Any]]],
        ingest: Ingest,
        on_group: Callable[[IngestPlan], None],
        *,
        limit: int = 4096,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        self.load = Load()
        self._silence = silence
        self._link = Link(connect)
        self._ingest = ingest
        self._on_group = on_group
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(limit)
        self._probes: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._answered = 0
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="store ingest")

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit, or raises `StoreUnavailable`.

        Raises `Overloaded` when the queue is full, and `StoreUnavailable` while the server is unavailable.
        """
        self._require_open()
        future = self._intake.add(reading, body)
        self._wanted.set()
        return future

    async def probe(self) -> None:
        """Commits an empty group after the waiting events. Raises the exceptions of `offer`."""
        self._require_open()
        self._intake.require_room()
        future: asyncio.Future[None] = self._loop.create_future()
        self._probes.append(future)
        self._wanted.set()
        await future

    def _require_open(self) -> None:
        if self._closing:
            raise Overloaded("the intake is closed")
        if self._link.is_away:
            raise StoreUnavailable("the store takes no writes: its server is gone")

    async def close(self) -> None:
        """Finishes queued work, then closes the connection. New events are refused."""
        self._closing = True
        self._wanted.set()
        await self._task
        await self._link.close()

    async def _run(self) -> None:
        while self._intake or self._probes or not self._closing:
            await self._wanted.wait()
            self._wanted.clear()
            while self._intake:
                await self._write(self._intake.next_group(fair_share(len(self._intake), self._answered)))
            if self._probes:
                await self._answer_probes()
            if self._closing:
                self._wanted.set()

    async def _write(self, group: Sequence[Request]) -> None:
        """Commits a group and answers it, or refuses it."""
        try:
            plan = await self._committed(group)
        except Exception as error:  # noqa: BLE001 - the requests wait for an answer
            await self._failed(group, error)
            return
        self._answered = len(group)
        self.load = self.load.with_group(len(group), self._loop.time())
        self._loop.call_soon(self._on_group, plan)  # an exception in it does not stop the writer
        resolve(group, plan.answers)

    async def _answer_probes(self) -> None:
        probes, self._probes = self._probes, []
        try:
            await self._committed([])
        except Exception as error:  # noqa: BLE001 - as in `_write`
            if is_unavailable(error):
                await self._link.drop()
            refuse(probes, safe_message(error))
            return
        for probe in probes:
            if not probe.done():
                probe.set_result(None)

    async def _committed(self, group: Sequence[Request]) -> IngestPlan:
        """Commits a group: plans it again after conflicts, and reconnects once when the connection was lost."""
        incoming = [request.incoming for request in group]
        retrying = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_random(max=REPLAN_MAX_SECONDS),
            retry=retry_if_exception(is_conflict),
            reraise=True,
        )
        try:
            return await retrying(self._once, incoming)
        except psycopg.Error as error:
            if not await self._has_lost(error):
                raise
        return await retrying(self._once, incoming)

    async def _once(self, incoming: Sequence[Incoming]) -> IngestPlan:
        async with self._link.connection(self._silence) as connection:
            return await self._ingest.write(connection, incoming)

    async def _has_lost(self, error: psycopg.Error) -> bool:
        """Whether the cause of an error is a lost connection that can be opened again."""
        if self._link.is_away or not is_unavailable(error):
            return False
        is_lost = self._link.is_broken
        await self._link.drop()
        return is_lost

    async def _failed(self, group: Sequence[Request], error: Exception) -> None:
        if is_unavailable(error):
            await self._link.drop()
            waiting = [*group, *self._intake.take_all()]
            reason = safe_message(error)
            log.error("events refused", count=len(waiting), reason=reason)
            refuse((request.answer for request in waiting), reason)
        elif len(group) > 1 and not is_conflict(error):
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                await self._write(half)
        else:
            log.error("event refused", reason=safe_message(error))
            refuse((request.answer for request in group), safe_message(error))
