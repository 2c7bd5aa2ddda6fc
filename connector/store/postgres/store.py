"""A PostgreSQL database as a store of many processes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Self, TypeVar

from sqlalchemy import Connection, select, update

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import Answer, Load
from connector.store.dialects import insert_new
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.postgres.database import connect_async, require_current, revision
from connector.store.postgres.ingest import Ingest
from connector.store.postgres.jobs import Threads
from connector.store.postgres.writer import Writer
from connector.store.schema import meta

T = TypeVar("T")

JOB_CONNECTIONS, LANE_CONNECTIONS, QUERY_CONNECTIONS = 4, 3, 2
"""At most so many per process, beside the receiver's one; they are opened when first wanted."""


class PostgresStore:
    """A `connector.store.base.Store` that other processes share; `open` makes it."""

    shared = True
    log_bytes = 0
    """The server looks after its log."""

    def __init__(self, url: str) -> None:
        self.instance = ""
        self._writer: Writer | None = None
        self._jobs = Threads(url, JOB_CONNECTIONS, "store-jobs", mode="write")
        self._lanes = Threads(url, LANE_CONNECTIONS, "store-lanes", mode="read")
        self._queries = Threads(url, QUERY_CONNECTIONS, "store-queries", mode="read")

    @classmethod
    async def open(
        cls,
        url: str,
        routing: RoutingTable,
        on_group: Callable[[IngestPlan], None],
        *,
        intake: int,
        receiver: bool = True,
    ) -> Self:
        """Opens the store at a `postgresql://` URL. Only a receiver takes events; `intake` of them may wait.

        Raises `StoreUnavailable`, `SchemaMismatch` for a schema that is not this version's, and `UsageError` for a
        URL that is none.
        """
        store = cls(url)
        try:
            store.instance = await store.write(_opened)
        except BaseException:
            await store.close()
            raise
        if receiver:
            store._writer = Writer(lambda: connect_async(url), Ingest(routing), on_group, limit=intake)
        return store

    @property
    def load(self) -> Load:
        """How busy the intake of this process is."""
        return Load() if self._writer is None else self._writer.load

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Takes an event; the future is done after its commit. Raises `StoreUnavailable`, at once or there."""
        if self._writer is None:
            raise StoreUnavailable("this process takes no events: it runs no receiver")
        return self._writer.offer(reading, body)

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in a transaction of its own; returns after the commit. Raises what the job raises, its changes
        undone, or `StoreUnavailable`.
        """
        return await self._jobs.run(job)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a query for a lane."""
        return await self._lanes.run(query)

    async def query(self, query: Callable[[Connection], T]) -> T:
        """Runs a query for people and metrics, which may take long without holding up a lane."""
        return await self._queries.run(query)

    async def probe(self, now: int) -> None:
        """Writes something, in a receiver the way events are written. Raises `StoreUnavailable`."""
        if self._writer is not None:
            await self._writer.probe()
        await self.write(lambda connection: _touch(connection, now))

    async def close(self) -> None:
        """Finishes what waits and closes the connections."""
        if self._writer is not None:
            await self._writer.close()
        for threads in (self._queries, self._lanes, self._jobs):
            await threads.close()


def _opened(connection: Connection) -> str:
    """Looks at the schema and returns the store's name for itself, made when it is first opened."""
    require_current(revision(connection))
    rows = [{"key": "instance", "value": secrets.token_hex(4)}, {"key": "written", "value": "0"}]
    insert_new(connection, meta, rows, ["key"])
    return str(connection.execute(select(meta.c.value).where(meta.c.key == "instance")).scalar_one())


def _touch(connection: Connection, now: int) -> None:
    connection.execute(update(meta).where(meta.c.key == "written").values(value=str(now)))
