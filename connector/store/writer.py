"""The only writer of a SQLite store: one connection, one transaction at a time, group commit.

Statements of the receiver run on the event loop, where nothing contends with them; jobs (settling, notes, leases,
tokens) and COMMIT run in one long-lived thread. While a commit is under way new requests only queue up, and when it
ends the next transaction is handed over before the finished group is answered. A thread for all of it would cost
more, because every SQLite step there has to win the interpreter lock back from the loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.database import through_sqlalchemy
from connector.store.ingest import Ingest
from connector.store.plan import Answer, Arrival, GroupPlan

T = TypeVar("T")
Job = Callable[[Connection], T]

GROUP_LIMIT = 512
"""Most requests in one transaction."""
BUSY_RETRY = 0.005
"""Seconds until BEGIN is tried again while another process writes."""
BUSY_LIMIT = 5.0
"""Seconds after which a store that is busy with another process counts as unavailable."""


class Overloaded(StoreUnavailable):
    """More requests wait than the intake takes."""


@dataclass(slots=True)
class _Request:
    arrival: Arrival
    answer: asyncio.Future[Answer]


@dataclass(slots=True)
class _Job:
    work: Job[Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Transaction:
    requests: list[_Request]
    jobs: list[_Job]
    plan: GroupPlan | None = None
    error: sqlite3.Error | None = None


@dataclass(slots=True)
class Load:
    """How busy the intake is: the size of the last group and the loop time of its commit."""

    group: int = 0
    at: float = field(default=-1.0)


class Writer:
    """Runs requests and jobs in shared transactions; everything is called on the loop that made it.

    `on_group` is told the plan of each committed group. `limit` bounds the requests that wait.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        ingest: Ingest,
        on_group: Callable[[GroupPlan], None],
        *,
        limit: int = 4096,
    ) -> None:
        self.load = Load()
        self._raw = connection
        self._connection = through_sqlalchemy(connection)
        self._ingest = ingest
        self._on_group = on_group
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._requests: deque[_Request] = deque()
        self._alone: deque[list[_Request]] = deque()
        self._jobs: list[_Job] = []
        self._busy_since: float | None = None
        self._in_flight = False
        self._closing = False
        self._handed: SimpleQueue[_Transaction | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._commit_loop, name="store-commit", daemon=True)
        self._thread.start()

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Queues an event; the future is done after its commit, or raises `StoreUnavailable`.

        Raises `Overloaded` at once when too many wait.
        """
        if len(self._requests) >= self._limit or self._closing:
            raise Overloaded("the intake is full")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._requests.append(_Request(Arrival(reading, body), future))
        if not self._in_flight:
            self._begin()
        return future

    async def run(self, work: Job[T]) -> T:
        """Runs a job in the next transaction and returns its result after the commit.

        What the job raises is raised here, and its own changes are undone. Raises `StoreUnavailable` when the store
        took nothing.
        """
        job = _Job(work, self._loop.create_future())
        self._jobs.append(job)
        if not self._in_flight:
            self._begin()
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Finishes what waits, then closes the connection."""
        self._closing = True
        while self._in_flight or self._requests or self._alone or self._jobs:
            await self.run(_nothing)
        self._handed.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()
        self._raw.close()

    def _begin(self) -> None:
        """Opens a transaction for everything that waits and hands it to the thread; on the loop, never waits."""
        if self._in_flight or not (self._requests or self._alone or self._jobs):
            return
        self._in_flight = True
        try:
            self._raw.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._begin_failed(error)
            return
        self._busy_since = None
        transaction = _Transaction(self._next_group(), self._jobs)
        self._jobs = []
        if transaction.requests:
            try:
                transaction.plan = self._ingest.write(self._raw, [request.arrival for request in transaction.requests])
            except sqlite3.Error as error:
                transaction.error = error
        self._handed.put(transaction)

    def _next_group(self) -> list[_Request]:
        if self._alone:
            return self._alone.popleft()
        return [self._requests.popleft() for _ in range(min(GROUP_LIMIT, len(self._requests)))]

    def _begin_failed(self, error: sqlite3.Error) -> None:
        now = self._loop.time()
        self._busy_since = self._busy_since if self._busy_since is not None else now
        if _is_busy(error) and now - self._busy_since < BUSY_LIMIT:
            self._loop.call_later(BUSY_RETRY, self._retry)
            return
        self._busy_since = None
        waiting, self._requests = list(self._requests), deque()
        waiting.extend(request for group in self._alone for request in group)
        self._alone.clear()
        jobs, self._jobs = self._jobs, []
        self._in_flight = False
        failure = _unavailable(error)
        for request in waiting:
            _fail(request.answer, failure)
        for job in jobs:
            _fail(job.done, failure)

    def _retry(self) -> None:
        self._in_flight = False
        self._begin()

    def _commit_loop(self) -> None:
        while (transaction := self._handed.get()) is not None:
            if transaction.error is None:
                try:
                    self._run_jobs(transaction.jobs)
                    self._raw.execute("COMMIT")
                except sqlite3.Error as error:
                    transaction.error = error
            if transaction.error is not None:
                _roll_back(self._raw)
            self._loop.call_soon_threadsafe(self._finished, transaction)

    def _run_jobs(self, jobs: list[_Job]) -> None:
        for job in jobs:
            self._raw.execute("SAVEPOINT job")
            try:
                job.result, job.error = job.work(self._connection), None
            except Exception as error:
                job.error = error
                if not self._raw.in_transaction:
                    raise sqlite3.OperationalError("the transaction was ended by the failure of a job") from error
                self._raw.execute("ROLLBACK TO job")
            self._raw.execute("RELEASE job")

    def _finished(self, transaction: _Transaction) -> None:
        """Back on the loop: the next transaction goes first, then the finished one is answered."""
        self._in_flight = False
        if transaction.error is not None:
            self._undo(transaction)
            self._begin()
            return
        if transaction.requests:
            self.load = Load(len(transaction.requests), self._loop.time())
        self._begin()
        if transaction.plan is not None:
            for request, answer in zip(transaction.requests, transaction.plan.answers, strict=True):
                if not request.answer.done():
                    request.answer.set_result(answer)
            self._on_group(transaction.plan)
        for job in transaction.jobs:
            _settle(job)

    def _undo(self, transaction: _Transaction) -> None:
        """After a rollback: event numbers go back, a group is tried one by one, jobs are repeated alone."""
        assert transaction.error is not None
        if transaction.plan is not None:
            self._ingest.take_back()
        failure = _unavailable(transaction.error)
        requests, jobs = transaction.requests, transaction.jobs
        if len(requests) > 1 and transaction.plan is None:
            self._alone.extend([request] for request in requests)
        else:
            for request in requests:
                _fail(request.answer, failure)
        if requests:
            self._jobs = jobs + self._jobs
            return
        for job in jobs:
            _fail(job.done, failure)


def _nothing(_: Connection) -> None:
    return


def _settle(job: _Job) -> None:
    if job.done.done():
        return
    if isinstance(job.error, sqlite3.Error | DBAPIError):
        job.done.set_exception(StoreUnavailable(f"the store takes no writes: {type(job.error).__name__}"))
    elif job.error is not None:
        job.done.set_exception(job.error)
    else:
        job.done.set_result(job.result)


def _fail(future: asyncio.Future[Any], error: StoreUnavailable) -> None:
    if not future.done():
        future.set_exception(error)


def _unavailable(error: sqlite3.Error) -> StoreUnavailable:
    return StoreUnavailable(f"the store takes no writes: {error}")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:  # SQLite has rolled back by itself (full disk, I/O error)
        return
