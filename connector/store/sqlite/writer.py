"""The only writer of a SQLite store: one connection, one transaction at a time, group commit.

The statements of the receiver run on the event loop. Jobs (settling, notes, leases, rate limits) and COMMIT run in one
long-lived thread. Requests that arrive during a commit are queued. After a commit the loop hands the next transaction
to the thread and answers the finished group in its next iteration. In between it polls for input without the
interpreter lock, so that the thread can start: the disk would otherwise be idle during the answers. Running everything
in the thread would cost more, because every SQLite step there has to acquire that lock from the loop.

Failures:

==================================  ==================================================================
BEGIN: another process writes       retried until `busy_limit`; the loop continues meanwhile
BEGIN: any other reason             all waiting requests and jobs are refused
a statement of the group            the events again, each under a savepoint; the bad one is refused
a job                               its changes are rolled back, its caller gets the exception
COMMIT, or the file (a full disk)   rolled back; the events are refused, the jobs repeated without events
==================================  ==================================================================
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

from sqlalchemy import Connection

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load, Overloaded
from connector.store.ingest import IngestPlan, Intake, Request, fair_share
from connector.store.sqlite.database import is_busy, through_sqlalchemy
from connector.store.sqlite.ingest import Ingest
from connector.store.sqlite.transaction import Job, Transaction, refuse_all

T = TypeVar("T")
OnCommit = Callable[[sqlite3.Connection, int], None]
"""Called with the connection and the size in bytes of the committed bodies."""

BUSY_RETRY_SECONDS = 0.005
"""Delay before BEGIN is retried while another process writes."""
BUSY_LIMIT_SECONDS = 5.0
"""A store that another process keeps locked for this time counts as unavailable."""


class Writer:
    """Runs requests and jobs in shared transactions. Every method is called on the event loop that created it.

    `on_group` is called with the plan of each committed group, `on_commit` after each commit, in the thread of the
    commit. At most `limit` requests wait. `busy_limit` is how long BEGIN is retried while another process writes, in
    seconds.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        ingest: Ingest,
        on_group: Callable[[IngestPlan], None],
        *,
        on_commit: OnCommit = lambda _connection, _size: None,
        limit: int = 4096,
        busy_limit: float = BUSY_LIMIT_SECONDS,
    ) -> None:
        self.load = Load()
        self._raw = connection
        self._view = through_sqlalchemy(connection)
        self._ingest = ingest
        self._on_group = on_group
        self._on_commit = on_commit
        self._busy_limit = busy_limit
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(limit)
        self._retried_individually: list[Request] = []
        self._jobs: list[Job] = []
        self._repeated: list[Job] = []
        self._busy_since: float | None = None
        self._answered = 0
        self._in_flight = False
        self._closing = False
        self._closed = False
        self._loop_thread = self._user = threading.get_ident()
        self._handed: SimpleQueue[Transaction | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._commit_loop, name="store-commit", daemon=True)
        self._thread.start()

    # --- what waits

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit, or raises `StoreUnavailable`.

        Raises `Overloaded` when the queue is full.
        """
        if self._closing:
            raise Overloaded("the intake is closed")
        future = self._intake.add(reading, body)
        if not self._in_flight:
            self._begin()
        return future

    async def probe(self, work: Callable[[Connection], None]) -> None:
        """Like `run`, and raises `Overloaded` when the queue of events is full."""
        if self._closing:
            raise Overloaded("the intake is closed")
        self._intake.require_room()
        await self.run(work)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs a job in the next transaction and returns its result after the commit.

        An exception of the job is raised here after its changes were rolled back. A job may run more than once, as long
        as none of its changes was committed. Raises `StoreUnavailable` when nothing was committed.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        job = Job(work, self._loop.create_future())
        self._jobs.append(job)
        if not self._in_flight:
            self._begin()
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Finishes queued work, then closes the connection. New events are refused."""
        self._closing = True
        while self._in_flight or self._has_work():
            with suppress(StoreUnavailable):
                await self.run(_nothing)
        self._closed = True
        self._handed.put(None)
        await asyncio.to_thread(self._thread.join)
        self._view.close()
        self._raw.close()

    def _has_work(self) -> bool:
        return bool(self._intake or self._retried_individually or self._jobs or self._repeated)

    def _next(self) -> Transaction:
        if self._repeated:
            jobs, self._repeated = self._repeated, []
            return Transaction([], jobs)
        jobs, self._jobs = self._jobs, []
        if self._retried_individually:
            requests, self._retried_individually = self._retried_individually, []
            return Transaction(requests, jobs, retry_individually=True)
        return Transaction(self._intake.next_group(fair_share(len(self._intake), self._answered)), jobs)

    # --- a transaction: begun and written on the loop, committed in the thread, answered on the loop

    def _assert_owner(self) -> sqlite3.Connection:
        """The connection. Only the thread that owns it now may call this."""
        assert self._user == threading.get_ident(), "the connection belongs to another thread now"
        return self._raw

    def _begin(self) -> None:
        """Begins a transaction for the waiting requests and jobs, and hands it to the thread. Does not block."""
        if self._in_flight or not self._has_work():
            return
        self._in_flight = True
        connection = self._assert_owner()
        try:
            if connection.in_transaction:  # a rollback that failed
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._begin_failed(error)
            return
        self._busy_since = None
        transaction = self._next()
        transaction.write(connection, self._ingest)
        self._user = self._thread.ident or 0
        self._handed.put(transaction)

    def _begin_failed(self, error: sqlite3.Error) -> None:
        now = self._loop.time()
        if self._busy_since is None:
            self._busy_since = now
        if is_busy(error) and now - self._busy_since < self._busy_limit:
            self._loop.call_later(BUSY_RETRY_SECONDS, self._retry)
            return
        self._busy_since = None
        waiting = [*self._retried_individually, *self._intake.take_all()]
        jobs = [*self._repeated, *self._jobs]
        for queue in (self._retried_individually, self._repeated, self._jobs):
            queue.clear()
        self._in_flight = False
        refuse_all(waiting, jobs, error)

    def _retry(self) -> None:
        self._in_flight = False
        self._begin()

    def _commit_loop(self) -> None:
        while (transaction := self._handed.get()) is not None:
            connection = self._assert_owner()
            transaction.commit(connection, self._view)
            if transaction.error is None:
                self._on_commit(connection, transaction.size)
            self._user = self._loop_thread
            self._loop.call_soon_threadsafe(self._finished, transaction)

    def _finished(self, transaction: Transaction) -> None:
        """On the loop again: hands over the next transaction. The finished one is answered in the next iteration."""
        self._in_flight = False
        if transaction.error is not None:
            self._ingest.reset_sequence()
            self._failed(transaction, transaction.error)
            return
        if transaction.requests:
            self._answered = len(transaction.requests)
            self.load = self.load.with_group(len(transaction.requests), self._loop.time())
        self._begin()
        self._loop.call_soon(self._answer, transaction)

    def _answer(self, transaction: Transaction) -> None:
        transaction.answer()
        for _, plan in transaction.written:
            self._on_group(plan)

    def _failed(self, transaction: Transaction, error: Exception) -> None:
        """After a rollback: what may yet succeed waits for another transaction, the rest is refused."""
        requests, jobs = transaction.requests, transaction.jobs
        if requests:
            self._repeated.extend(jobs)
            jobs = []
        if transaction.may_be_split:
            self._retried_individually.extend(requests)
            requests = []
        self._begin()
        refuse_all(requests, jobs, error)


def _nothing(_: Connection) -> None:
    return
