"""A PostgreSQL database as a store that processes share: its writer, and the threads that run jobs and queries."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Literal, Self, TypeVar

import psycopg
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load
from connector.store.dialects import insert_new
from connector.store.ingest import IngestPlan, RoutingTable
from connector.store.postgres import errors
from connector.store.postgres.database import Observe, cut, make_engine, require_current
from connector.store.postgres.errors import is_conflict, is_contention, is_unavailable, safe_message
from connector.store.schema import meta
from connector.store.writer import Writer

T = TypeVar("T")

SILENCE_SECONDS = 15.0
"""A transaction without an answer of the server within this time loses its connection."""
TRIES = 6
"""Attempts of a job that conflicts with other transactions."""
WAIT_FIRST_SECONDS = 0.01
"""Upper bound of the random delay after the first attempt; it doubles with every attempt."""
WAIT_MAX_SECONDS = 1.0
"""Largest upper bound of the random delay."""
JOB_CONNECTIONS = 4
"""Connections per process for jobs. All connections are opened on first use; a receiver has one more."""
LANE_CONNECTIONS = 3
"""Connections per process for the queries of lanes."""
QUERY_CONNECTIONS = 2
"""Connections per process for queries of operators and metrics."""


class ServerConnection:
    """A `connector.store.writer.WriterConnection` to a server. It connects at the first transaction, and again after
    the connection was lost, also when the server is silent for `silence` seconds.
    """

    def __init__(self, url: str, silence: float = SILENCE_SECONDS, *, observe: Observe | None = None) -> None:
        self._engine = make_engine(url, 1, observe=observe)
        self._silence = silence

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction on the connection of this writer."""
        with self._engine.connect() as connection:
            watch = threading.Timer(self._silence, cut, [connection.connection.driver_connection])
            watch.daemon = True
            watch.start()
            try:
                with connection.begin():
                    yield connection
            finally:
                watch.cancel()

    def may_retry(self, error: BaseException) -> bool:
        is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
        return is_lost or errors.is_conflict(error)

    def is_unavailable(self, error: BaseException) -> bool:
        return errors.is_unavailable(error)

    def safe_message(self, error: BaseException) -> str:
        return errors.safe_message(error)

    def close(self) -> None:
        self._engine.dispose()


def run_job(engine: Engine, job: Callable[[Connection], T], *, failure: str = "the store takes no writes") -> T:
    """Runs a job in a transaction and returns after its commit.

    It is repeated after a deadlock or a conflict, which rolled back its changes, and once when its connection was lost
    before the commit. Raises the exception of the job after a rollback, or `StoreUnavailable` with a text that begins
    with `failure`. When the connection is lost during the commit, it is unknown whether the job was committed.
    """
    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=WAIT_FIRST_SECONDS, max=WAIT_MAX_SECONDS),
        retry=retry_if_exception(is_conflict),
        reraise=True,
    )
    try:
        result: T = retrying(_once, engine, job)
    except (DBAPIError, psycopg.Error) as error:
        if is_unavailable(error):
            raise StoreUnavailable(f"{failure}: {safe_message(error)}") from None
        if is_contention(error):
            raise StoreUnavailable(f"{failure}: it conflicts with other transactions ({safe_message(error)})") from None
        raise
    return result


def _once(engine: Engine, job: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        try:
            result = job(connection)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        else:
            connection.commit()
            return result
    with engine.begin() as connection:  # the server was restarted while the first connection was idle
        return job(connection)


class Threads:
    """One thread per connection, so that jobs wait in the queue of the pool and never for a connection."""

    def __init__(
        self, url: str, size: int, name: str, *, mode: Literal["write", "read"], observe: Observe | None = None
    ) -> None:
        self.engine = make_engine(url, size, mode=mode, observe=observe)
        self._failure = "the store takes no writes" if mode == "write" else "the store cannot be read"
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, job: Callable[[Connection], T]) -> T:
        """Like `run_job`, in one of the threads. After `close` it raises `StoreUnavailable`."""
        work = partial(run_job, self.engine, job, failure=self._failure)
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RuntimeError as error:  # the pool was shut down, or no thread can be started
            raise StoreUnavailable(f"{self._failure}: {error}") from error
        return await running

    async def close(self) -> None:
        """Finishes queued jobs, then closes the connections."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        self.engine.dispose()


class PostgresStore:
    """A `connector.store.base.Store` that several processes share. Created by `open`."""

    shared = True
    log_bytes = 0
    """The server manages its own log."""

    def __init__(
        self,
        url: str,
        routing: RoutingTable,
        on_group: Callable[[IngestPlan], None],
        intake: int,
        observe: Observe | None,
    ) -> None:
        self.instance = ""
        self._jobs = Threads(url, JOB_CONNECTIONS, "store-jobs", mode="write", observe=observe)
        self._lanes = Threads(url, LANE_CONNECTIONS, "store-lanes", mode="read", observe=observe)
        self._queries = Threads(url, QUERY_CONNECTIONS, "store-queries", mode="read", observe=observe)
        self._writer = Writer(ServerConnection(url, observe=observe), routing, on_group, limit=intake)

    @classmethod
    async def open(
        cls,
        url: str,
        routing: RoutingTable,
        on_group: Callable[[IngestPlan], None],
        *,
        intake: int,
        observe: Observe | None = None,
    ) -> Self:
        """Opens the store at a `postgresql://` URL. At most `intake` events wait.

        `observe` learns the time of the server at the start of each transaction.

        Raises `StoreUnavailable`, `SchemaMismatch` for a schema of another version, and `UsageError` for an invalid
        URL.
        """
        store = cls(url, routing, on_group, intake, observe)
        try:
            store.instance = await store.write(_opened)
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def load(self) -> Load:
        """The rate at which this process stores events."""
        return self._writer.load

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit. Raises `StoreUnavailable`, here or in the future."""
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
        """Writes to the store through the path of events. Raises `StoreUnavailable`."""
        await self._writer.probe(now)

    async def close(self) -> None:
        """Finishes queued work and closes the connections."""
        await self._writer.close()
        for threads in (self._queries, self._lanes, self._jobs):
            await threads.close()


def _opened(connection: Connection) -> str:
    """Checks the schema. Returns the random name of the store, created when it is first opened."""
    require_current(connection)
    rows = [{"key": "instance", "value": secrets.token_hex(4)}, {"key": "written", "value": "0"}]
    insert_new(connection, meta, rows, ["key"])
    return str(connection.execute(select(meta.c.value).where(meta.c.key == "instance")).scalar_one())
