"""A SQLite file as a store of one process."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.sqlite import database, tombstones
from connector.store.sqlite.connection import FileConnection, LogLimits
from connector.store.writer import Writer

T = TypeVar("T")


class Reader:
    """A read-only connection with its own thread. Each query runs on one snapshot: the newest commit."""

    def __init__(self, path: Path, name: str) -> None:
        self._raw = database.connect(path, read_only=True)
        self._connection = database.through_sqlalchemy(self._raw)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, query: Callable[[Connection], T]) -> T:
        """Runs a query. Raises `StoreUnavailable`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, query)
        except (sqlite3.Error, DBAPIError) as error:
            if not database.is_unavailable(error):
                raise
            raise StoreUnavailable(f"the store cannot be read: {database.safe_message(error)}") from error

    def _look(self, query: Callable[[Connection], T]) -> T:
        self._raw.execute("BEGIN")
        try:
            return query(self._connection)
        finally:
            self._raw.execute("ROLLBACK")

    def close(self) -> None:
        """Lets the running query end, then closes the connection."""
        self._thread.shutdown(wait=True)
        self._connection.close()
        self._raw.close()


class SqliteStore:
    """A `connector.store.base.Store` of one process: one writer, a reader for lanes and a reader for other queries.

    Raises `StoreUnavailable`, or `SchemaMismatch` for a schema that is not this version's.
    """

    shared = False

    def __init__(
        self,
        path: Path,
        routing: RoutingTable,
        on_group: Callable[[IngestPlan], None],
        *,
        intake: int,
        log_limits: LogLimits | None = None,
    ) -> None:
        connection = database.connect(path)
        try:
            database.require_current(database.revision(connection))
            self.instance = _instance(connection)
            tombstones.apply(path, connection)
        except BaseException:
            connection.close()
            raise
        self.path = path
        self._file = FileConnection(path, connection, log_limits)
        self._writer = Writer(self._file, routing, on_group, limit=intake)
        self._lanes = Reader(path, "store-lanes")
        self._queries = Reader(path, "store-queries")

    @property
    def load(self) -> Load:
        """The rate at which events are stored."""
        return self._writer.load

    @property
    def log_bytes(self) -> int:
        """The size of the write-ahead log beside the file."""
        return self._file.log_bytes

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit. Raises `StoreUnavailable`, here or in the future."""
        return self._writer.offer(reading, body)

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in the next transaction and returns its result after the commit.

        Raises the exception of the job, whose changes are then rolled back, or `StoreUnavailable`.
        """
        return await self._writer.run(job)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a short query of a lane."""
        return await self._lanes.run(query)

    async def query(self, query: Callable[[Connection], T]) -> T:
        """Runs a query of an operator or of the metrics. It may be slow without delaying a lane."""
        return await self._queries.run(query)

    async def probe(self, now: int) -> None:
        """Writes through the path of events. Raises `StoreUnavailable`, also when the queue of events is full."""
        await self._writer.probe(now)

    async def close(self) -> None:
        """Finishes queued work and closes the file. The writer is last, so that SQLite deletes the log."""
        for helper in (self._lanes, self._queries):
            await asyncio.to_thread(helper.close)
        await self._writer.close()


def _instance(connection: sqlite3.Connection) -> str:
    """Returns the random name of the store, created when it is first opened. Raises `StoreUnavailable`."""
    try:
        connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('written', '0')")
        connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('instance', ?)", (secrets.token_hex(4),))
        return str(connection.execute("SELECT value FROM meta WHERE key = 'instance'").fetchone()[0])
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the store takes no writes: {database.safe_message(error)}") from error
