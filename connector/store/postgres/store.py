"""A PostgreSQL database as a store that processes share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Self, TypeVar

from sqlalchemy import Connection, select

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load, touch
from connector.store.dialects import insert_new
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.postgres.connection import ServerConnection
from connector.store.postgres.database import Observe, require_current, revision
from connector.store.postgres.jobs import Threads
from connector.store.schema import meta
from connector.store.writer import Writer

T = TypeVar("T")

JOB_CONNECTIONS = 4
"""Connections per process for jobs. All connections are opened on first use; a receiver has one more."""
LANE_CONNECTIONS = 3
"""Connections per process for the queries of lanes."""
QUERY_CONNECTIONS = 2
"""Connections per process for queries of operators and metrics."""


class PostgresStore:
    """A `connector.store.base.Store` that several processes share. Created by `open`."""

    shared = True
    log_bytes = 0
    """The server manages its own log."""

    def __init__(self, url: str, observe: Observe | None) -> None:
        self.instance = ""
        self._writer: Writer | None = None
        self._jobs = Threads(url, JOB_CONNECTIONS, "store-jobs", mode="write", observe=observe)
        self._lanes = Threads(url, LANE_CONNECTIONS, "store-lanes", mode="read", observe=observe)
        self._queries = Threads(url, QUERY_CONNECTIONS, "store-queries", mode="read", observe=observe)

    @classmethod
    async def open(
        cls,
        url: str,
        routing: RoutingTable,
        on_group: Callable[[IngestPlan], None],
        *,
        intake: int,
        receiver: bool = True,
        observe: Observe | None = None,
    ) -> Self:
        """Opens the store at a `postgresql://` URL. Only a receiver takes events; at most `intake` of them wait.

        `observe` learns the time of the server at the start of each transaction.

        Raises `StoreUnavailable`, `SchemaMismatch` for a schema of another version, and `UsageError` for an invalid
        URL.
        """
        store = cls(url, observe)
        try:
            store.instance = await store.write(_opened)
        except BaseException:
            await store.close()
            raise
        if receiver:
            store._writer = Writer(ServerConnection(url, observe=observe), routing, on_group, limit=intake)
        return store

    @property
    def load(self) -> Load:
        """The rate at which this process stores events."""
        return Load() if self._writer is None else self._writer.load

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit. Raises `StoreUnavailable`, here or in the future."""
        if self._writer is None:
            raise StoreUnavailable("this process takes no events: it runs no receiver")
        return self._writer.offer(reading, body)

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in its own transaction and returns its result after the commit.

        Raises the exception of the job, whose changes are then rolled back, or `StoreUnavailable`.
        """
        return await self._jobs.run(job)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a short query of a lane."""
        return await self._lanes.run(query)

    async def query(self, query: Callable[[Connection], T]) -> T:
        """Runs a query of an operator or of the metrics. It may be slow without delaying a lane."""
        return await self._queries.run(query)

    async def probe(self, now: int) -> None:
        """Writes to the store, in a receiver through the path of events. Raises `StoreUnavailable`."""
        if self._writer is not None:
            await self._writer.probe(now)
        else:
            await self.write(lambda connection: touch(connection, now))

    async def close(self) -> None:
        """Finishes queued work and closes the connections."""
        if self._writer is not None:
            await self._writer.close()
        for threads in (self._queries, self._lanes, self._jobs):
            await threads.close()


def _opened(connection: Connection) -> str:
    """Checks the schema. Returns the random name of the store, created when it is first opened."""
    require_current(revision(connection))
    rows = [{"key": "instance", "value": secrets.token_hex(4)}, {"key": "written", "value": "0"}]
    insert_new(connection, meta, rows, ["key"])
    return str(connection.execute(select(meta.c.value).where(meta.c.key == "instance")).scalar_one())
