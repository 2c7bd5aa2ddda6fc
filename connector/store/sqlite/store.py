"""A SQLite file as a store of one process: its reader, its writer, and the checkpoints of the write-ahead log.

By default SQLite copies the log into the file inside the commit that makes the log long, and all requests wait for that
commit. Here another thread copies it, which does not delay the writer. SQLite writes to the start of the log again only
when all of it is copied and no reader uses it (SQLite, Write-Ahead Logging, "Avoiding Excessively Large WAL Files").
When the log is long, the writer therefore copies the rest itself and waits until the running reads have ended; reads
that begin meanwhile use the file only.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load
from connector.store.ingest import GroupConflict, IngestPlan, RoutingTable
from connector.store.sqlite import backup, database
from connector.store.writer import Writer

T = TypeVar("T")

READS_SECONDS = 0.1
"""How long the writer waits for running reads. Most take a few milliseconds; after a longer one it tries again."""

log = structlog.get_logger("connector.store")


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Sizes of the write-ahead log at which something is done."""

    copy_rows: int = 4_000
    """Changed rows between two checkpoints. A row changes a page of the log or more."""
    long_pages: int = 8_000
    """A log with this number of pages begins again."""
    large_bytes: int = 64 * 1024 * 1024
    """A larger log is truncated; while a reader prevents it, a warning is logged once."""


class FileConnection:
    """A `connector.store.writer.WriterConnection` to a file. Raises `StoreUnavailable`."""

    def __init__(self, path: Path, raw: sqlite3.Connection, limits: LogLimits | None = None) -> None:
        raw.execute("PRAGMA wal_autocheckpoint=0")
        self._log_path = path.with_name(f"{path.name}-wal")
        self._raw = raw
        self._view = database.through_sqlalchemy(raw)
        self._limits = limits or LogLimits()
        self._copied_rows = raw.total_changes
        self._copied_bytes = 0
        self._copier = database.connect(path)
        self._copier_thread = ThreadPoolExecutor(1, "store-checkpoint")
        self._copying: Future[None] | None = None
        self._is_long = threading.Event()
        self._is_growing = False

    @property
    def log_bytes(self) -> int:
        """The size of the log in bytes."""
        try:
            return self._log_path.stat().st_size
        except FileNotFoundError:
            return 0

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction; waits for other processes that write."""
        if self._raw.in_transaction:  # a rollback that failed
            self._raw.execute("ROLLBACK")
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            yield self._view
            self._raw.execute("COMMIT")
        except BaseException:
            if self._raw.in_transaction:
                with suppress(sqlite3.Error):  # the next BEGIN repeats the rollback
                    self._raw.execute("ROLLBACK")
            raise
        try:
            self._keep_log_short()
        except Exception as error:  # noqa: BLE001 - such as no free thread; the transaction is committed
            log.warning("store log checkpoint failed", reason=str(error))

    def may_retry(self, error: BaseException) -> bool:
        return isinstance(error, GroupConflict)

    def is_unavailable(self, error: BaseException) -> bool:
        return database.is_unavailable(error)

    def safe_message(self, error: BaseException) -> str:
        return database.safe_message(error)

    def close(self) -> None:
        """SQLite copies and deletes the log when the last connection to the file is closed."""
        self._copier_thread.shutdown()
        self._copier.close()
        self._view.close()
        self._raw.close()

    def _keep_log_short(self) -> None:
        """Called after each commit."""
        if self._copying is not None and not self._copying.done():
            return
        if self._is_long.is_set():
            self._is_long.clear()
            self._restart_log()
            return
        rows, size = self._raw.total_changes, self.log_bytes
        is_due = rows - self._copied_rows >= self._limits.copy_rows
        if is_due or size - self._copied_bytes >= self._limits.large_bytes // 4:  # few rows with large bodies
            self._copied_rows, self._copied_bytes = rows, size
            self._copying = self._copier_thread.submit(self._copy)

    def _copy(self) -> None:
        """In the thread of the checkpoints. Copies what no reader needs, without delaying the writer."""
        _, pages, _ = _checkpoint(self._copier, "PASSIVE")
        if pages >= self._limits.long_pages:
            self._is_long.set()

    def _restart_log(self) -> None:
        is_large = self.log_bytes > self._limits.large_bytes
        self._raw.execute(f"PRAGMA busy_timeout={int(READS_SECONDS * 1000)}")
        is_busy, _, _ = _checkpoint(self._raw, "TRUNCATE" if is_large else "RESTART")
        self._copied_bytes = min(self._copied_bytes, self.log_bytes)
        self._raw.execute(f"PRAGMA busy_timeout={database.BUSY_SECONDS * 1000}")
        if is_busy and is_large and not self._is_growing:
            self._is_growing = True
            log.warning("store log growing", bytes=self.log_bytes)
        elif self._is_growing and not is_busy:
            self._is_growing = False
            log.info("store log truncated", bytes=self.log_bytes)


def _checkpoint(connection: sqlite3.Connection, mode: str) -> tuple[bool, int, int]:
    """Returns whether a reader prevented the restart of the log, the pages of the log, and the copied pages."""
    try:
        busy, pages, copied = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    except sqlite3.Error as error:  # a full disk: the next commit fails as well and refuses its events
        log.warning("store log checkpoint failed", reason=database.safe_message(error))
        return True, 0, 0
    return bool(busy), int(pages), int(copied)


class Reader:
    """A read-only connection with its own thread. Each query runs on one snapshot: the newest commit."""

    def __init__(self, path: Path, name: str) -> None:
        self._raw = database.connect(path, read_only=True)
        self._connection = database.through_sqlalchemy(self._raw)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, query: Callable[[Connection], T]) -> T:
        """Runs a query. Raises `StoreUnavailable`, also after `close`."""
        try:
            running = asyncio.get_running_loop().run_in_executor(self._thread, self._look, query)
        except RuntimeError as error:  # the pool was shut down, or no thread can be started
            raise StoreUnavailable(f"the store cannot be read: {error}") from error
        try:
            return await running
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
            database.require_current(connection)
            self.instance = _instance(connection)
            backup.apply_tombstones(path, connection)
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
