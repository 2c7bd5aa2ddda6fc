"""Group commit on PostgreSQL: one connection on the event loop, one group in flight, the others queue up.

What happens when something fails:

================================  ====================================================================
another receiver was faster       read and planned again, a bounded number of times
a statement, for another reason   the group in halves, down to the one bad event, which is refused
the connection was lost           once more on a new one: what had been committed turns out a duplicate
the server is gone, silent or     everything that waits is refused, and what comes until there is a
full                              connection again
================================  ====================================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
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
from connector.store.base import Answer, Load, Overloaded
from connector.store.ingest import Incoming, IngestPlan, Intake, Request, fair_share, refuse, resolve
from connector.store.postgres.database import cut
from connector.store.postgres.errors import is_overtaken, is_unavailable, safe_message
from connector.store.postgres.ingest import Ingest

TRIES = 12
"""How often a group is planned that other receivers keep overtaking."""
REPLAN_MAX_SECONDS = 0.005
"""The longest wait before a group is planned again; it is random, so that two receivers do not meet again."""
RECONNECT_FIRST_SECONDS = 0.25
RECONNECT_MAX_SECONDS = 5.0
"""The waits between attempts to connect double from the first to the longest, and are random below that."""
SILENCE_SECONDS = 15.0
"""A group that takes longer is given up: the server does not answer."""
CLOSE_SECONDS = 1.0
"""How long the end of a connection is waited for."""

log = structlog.get_logger("connector.store")


class Link:
    """One connection at a time, made by `connect`. After a failure it is made again in the background, and `is_away` is
    true until then. Belongs to the loop that made it.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]]) -> None:
        self._connect = connect
        self._connection: AsyncConnection[Any] | None = None
        self._reconnecting: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server is gone, so that nobody need wait for it."""
        return self._reconnecting is not None and not self._reconnecting.done()

    @property
    def is_broken(self) -> bool:
        """Whether there was a connection and its server, or the way to it, is gone."""
        return self._connection is not None and self._connection.closed

    async def get(self) -> AsyncConnection[Any]:
        """The connection, made if there is none. Raises the driver's error, and then connects in the background."""
        if self._connection is None or self._connection.closed:
            try:
                self._connection = await self._connect()
            except (psycopg.Error, OSError):
                self._reconnect()
                raise
        return self._connection

    def cut(self) -> None:
        """Ends the connection while a call waits for its answer, which raises the driver's error, and reconnects."""
        if self._connection is not None and not self._connection.closed:
            cut(self._connection)
        self._connection = None
        self._reconnect()

    async def drop(self) -> None:
        """Forgets a connection that no longer works, or is no longer wanted."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()

    async def close(self) -> None:
        """Ends everything."""
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.wait([self._reconnecting])
        await self.drop()

    def _reconnect(self) -> None:
        if not self.is_away:
            self._reconnecting = asyncio.create_task(self._make(), name="store reconnect")

    async def _make(self) -> None:
        retrying = AsyncRetrying(
            wait=wait_random_exponential(multiplier=RECONNECT_FIRST_SECONDS, max=RECONNECT_MAX_SECONDS),
            retry=retry_if_exception_type((psycopg.Error, OSError)),
        )
        async for attempt in retrying:
            with attempt:
                self._connection = await self._connect()


class Writer:
    """Commits events in groups; everything is called on the loop that made it.

    `connect` makes the connection, `on_group` is told the plan of each committed group, `limit` bounds the requests
    that wait, `silence` (seconds) the patience with a server that does not answer.
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

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Queues an event; the future is done after its commit, or raises `StoreUnavailable`.

        Raises `Overloaded` at once when too many wait, `StoreUnavailable` at once while the server is gone.
        """
        self._require_open()
        future = self._intake.add(reading, body)
        self._wanted.set()
        return future

    async def probe(self) -> None:
        """Returns when an empty group was committed, after the events that wait now. Raises as `offer`."""
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
        """Finishes what waits, then closes the connection. New events are refused from now on."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for an answer
            await self._failed(group, error)
            return
        self._answered = len(group)
        self.load = self.load.with_group(len(group), self._loop.time())
        self._loop.call_soon(self._on_group, plan)  # whatever comes of it, the writer goes on
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
        """Plans again while other receivers are faster, and connects once more when the connection was lost."""
        incoming = [request.incoming for request in group]
        retrying = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_random(max=REPLAN_MAX_SECONDS),
            retry=retry_if_exception(is_overtaken),
            reraise=True,
        )
        try:
            return await retrying(self._once, incoming)
        except psycopg.Error as error:
            if not await self._has_lost(error):
                raise
        return await retrying(self._once, incoming)

    async def _once(self, incoming: Sequence[Incoming]) -> IngestPlan:
        connection = await self._link.get()
        watch = self._loop.call_later(self._silence, self._link.cut)
        try:
            return await self._ingest.write(connection, incoming)
        finally:
            watch.cancel()

    async def _has_lost(self, error: psycopg.Error) -> bool:
        """Whether an error came of a connection that was lost and can be made again."""
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
        elif len(group) > 1 and not is_overtaken(error):
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                await self._write(half)
        else:
            log.error("event refused", reason=safe_message(error))
            refuse((request.answer for request in group), safe_message(error))
