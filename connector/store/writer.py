"""The only writer of a SQLite store: one connection, one transaction at a time, group commit.

Statements of the receiver run on the event loop, where nothing contends with them; jobs (settling, notes, leases,
tokens) and COMMIT run in one long-lived thread. While a commit is under way new requests only queue up, and when it
ends the next transaction is handed over before the finished group is answered. A thread for all of it would cost
more, because every SQLite step there has to win the interpreter lock back from the loop.

What happens when something fails:

==================================  ==================================================================
BEGIN: another process writes       tried again until `busy_limit`, the loop goes on meanwhile
BEGIN: anything else                everything that waits is refused
a statement of the group            the same events again, each under a savepoint: the bad one is refused
a job                               only its own changes are undone, its caller gets the error
COMMIT, or the file (a full disk)   rolled back; the events are refused, the jobs repeated without events
==================================  ==================================================================
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.database import cause_of, is_busy, is_trouble, through_sqlalchemy
from connector.store.ingest import Ingest
from connector.store.plan import Answer, Arrival, GroupPlan

T = TypeVar("T")
Job = Callable[[Connection], T]

GROUP_LIMIT = 512
"""Most requests in one transaction."""
GROUP_BYTES = 4 * 1024 * 1024
"""No request is added to a transaction whose bodies have this size already."""
INTAKE_BYTES = 64 * 1024 * 1024
"""Most bytes of bodies that wait."""
BUSY_RETRY = 0.005
"""Seconds until BEGIN is tried again while another process writes."""
BUSY_LIMIT = 5.0
"""Seconds after which a store that is busy with another process counts as unavailable."""

log = structlog.get_logger("connector.store")


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
    error: Exception | None = None


@dataclass(slots=True)
class _Transaction:
    """`one_by_one`: an earlier transaction with these requests failed, and one of them may be why."""

    requests: list[_Request]
    jobs: list[_Job]
    one_by_one: bool = False
    written: list[tuple[Sequence[_Request], GroupPlan]] = field(default_factory=list)
    refused: list[tuple[_Request, Exception]] = field(default_factory=list)
    is_written: bool = False
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the intake is: the size of the last group and the loop time of its commit."""

    group: int = 0
    at: float = -1.0


class Writer:
    """Runs requests and jobs in shared transactions; everything is called on the loop that made it.

    `on_group` is told the plan of each committed group. `limit` bounds the requests that wait, `busy_limit` (seconds
    of the loop's time) the patience with another process that writes.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        ingest: Ingest,
        on_group: Callable[[GroupPlan], None],
        *,
        limit: int = 4096,
        busy_limit: float = BUSY_LIMIT,
    ) -> None:
        self.load = Load()
        self._raw = connection
        self._connection = through_sqlalchemy(connection)
        self._ingest = ingest
        self._on_group = on_group
        self._limit = limit
        self._busy_limit = busy_limit
        self._loop = asyncio.get_running_loop()
        self._requests: deque[_Request] = deque()
        self._waiting_bytes = 0
        self._one_by_one: list[_Request] = []
        self._jobs: list[_Job] = []
        self._repeated: list[_Job] = []
        self._busy_since: float | None = None
        self._in_flight = False
        self._closing = False
        self._closed = False
        self._loop_thread = self._user = threading.get_ident()
        self._handed: SimpleQueue[_Transaction | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._commit_loop, name="store-commit", daemon=True)
        self._thread.start()

    # --- what waits

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[Answer]:
        """Queues an event; the future is done after its commit, or raises `StoreUnavailable`.

        Raises `Overloaded` at once when too many wait.
        """
        if self._closing or len(self._requests) >= self._limit or self._waiting_bytes > INTAKE_BYTES:
            raise Overloaded("the intake is full")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._requests.append(_Request(Arrival(reading, body), future))
        self._waiting_bytes += len(body)
        if not self._in_flight:
            self._begin()
        return future

    async def run(self, work: Job[T]) -> T:
        """Runs a job in the next transaction and returns its result after the commit.

        What the job raises is raised here, and its own changes are undone. A job may run more than once, as long as
        none of its changes was committed. Raises `StoreUnavailable` when the store took nothing.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        job = _Job(work, self._loop.create_future())
        self._jobs.append(job)
        if not self._in_flight:
            self._begin()
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Finishes what waits, then closes the connection. New events are refused from now on."""
        self._closing = True
        while self._in_flight or self._has_work():
            with suppress(StoreUnavailable):
                await self.run(_nothing)
        self._closed = True
        self._handed.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()
        self._raw.close()

    def _has_work(self) -> bool:
        return bool(self._requests or self._one_by_one or self._jobs or self._repeated)

    def _next(self) -> _Transaction:
        if self._repeated:
            jobs, self._repeated = self._repeated, []
            return _Transaction([], jobs)
        jobs, self._jobs = self._jobs, []
        if self._one_by_one:
            requests, self._one_by_one = self._one_by_one, []
            return _Transaction(requests, jobs, one_by_one=True)
        return _Transaction(self._next_group(), jobs)

    def _next_group(self) -> list[_Request]:
        group: list[_Request] = []
        size = 0
        while self._requests and len(group) < GROUP_LIMIT and size < GROUP_BYTES:
            request = self._requests.popleft()
            size += len(request.arrival.body)
            group.append(request)
        self._waiting_bytes -= size
        return group

    # --- a transaction: begun and written on the loop, committed in the thread, answered on the loop

    def _own(self) -> sqlite3.Connection:
        """The connection, for the thread whose turn it is."""
        assert self._user == threading.get_ident(), "the connection belongs to another thread now"
        return self._raw

    def _begin(self) -> None:
        """Opens a transaction for everything that waits and hands it to the thread; never waits."""
        if self._in_flight or not self._has_work():
            return
        self._in_flight = True
        try:
            self._own().execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._begin_failed(error)
            return
        self._busy_since = None
        transaction = self._next()
        try:
            self._write(transaction)
            transaction.is_written = True
        except Exception as error:  # noqa: BLE001 - whatever it is, the transaction is rolled back and the writer goes on
            transaction.error = error
        self._user = self._thread.ident or 0
        self._handed.put(transaction)

    def _begin_failed(self, error: sqlite3.Error) -> None:
        now = self._loop.time()
        if self._busy_since is None:
            self._busy_since = now
        if is_busy(error) and now - self._busy_since < self._busy_limit:
            self._loop.call_later(BUSY_RETRY, self._retry)
            return
        self._busy_since = None
        waiting = [*self._one_by_one, *self._requests]
        jobs = [*self._repeated, *self._jobs]
        for queue in (self._one_by_one, self._requests, self._repeated, self._jobs):
            queue.clear()
        self._waiting_bytes = 0
        self._in_flight = False
        _refuse(waiting, jobs, error)

    def _retry(self) -> None:
        self._in_flight = False
        self._begin()

    def _write(self, transaction: _Transaction) -> None:
        requests = transaction.requests
        if transaction.one_by_one:
            for request in requests:
                self._write_alone(transaction, request)
        elif requests:
            plan = self._ingest.write(self._own(), [request.arrival for request in requests])
            transaction.written.append((requests, plan))

    def _write_alone(self, transaction: _Transaction, request: _Request) -> None:
        connection = self._own()
        connection.execute("SAVEPOINT request")
        try:
            plan = self._ingest.write(connection, [request.arrival])
        except Exception as error:
            if is_trouble(error) or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO request")
            transaction.refused.append((request, error))
        else:
            transaction.written.append(([request], plan))
        connection.execute("RELEASE request")

    def _commit_loop(self) -> None:
        while (transaction := self._handed.get()) is not None:
            self._commit(transaction)
            self._user = self._loop_thread
            self._loop.call_soon_threadsafe(self._finished, transaction)

    def _commit(self, transaction: _Transaction) -> None:
        connection = self._own()
        if transaction.error is None:
            try:
                self._run_jobs(connection, transaction.jobs)
                connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - as in `_begin`
                transaction.error = error
        if transaction.error is not None and connection.in_transaction:
            with suppress(sqlite3.Error):  # it may have ended by itself
                connection.execute("ROLLBACK")

    def _run_jobs(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            connection.execute("SAVEPOINT job")
            try:
                job.result, job.error = job.work(self._connection), None
            except Exception as error:
                if not connection.in_transaction:  # it took the whole transaction with it (full disk, I/O error)
                    raise
                job.error = error
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")

    def _finished(self, transaction: _Transaction) -> None:
        """Back on the loop: the next transaction goes first, then the finished one is answered."""
        self._in_flight = False
        if transaction.error is not None:
            self._ingest.take_back()
            self._begin_again(transaction, transaction.error)
            return
        if transaction.requests:
            self.load = Load(len(transaction.requests), self._loop.time())
        self._begin()
        self._answer(transaction)

    def _begin_again(self, transaction: _Transaction, error: Exception) -> None:
        """After a rollback: a group whose statement failed is tried one by one, jobs are repeated without events."""
        requests, jobs = transaction.requests, transaction.jobs
        if not requests:
            self._begin()
            _refuse((), jobs, error)
            return
        self._repeated.extend(jobs)
        refused: list[_Request] = []
        if transaction.is_written or transaction.one_by_one or is_trouble(error):
            refused = requests
        else:
            self._one_by_one.extend(requests)
        self._begin()
        _refuse(refused, (), error)

    def _answer(self, transaction: _Transaction) -> None:
        for requests, plan in transaction.written:
            for request, answer in zip(requests, plan.answers, strict=True):
                if not request.answer.done():
                    request.answer.set_result(answer)
        for request, error in transaction.refused:
            log.error("event refused by the store", reason=_words(error))
            _refuse([request], (), error)
        for job in transaction.jobs:
            _settle(job)
        for _, plan in transaction.written:
            self._on_group(plan)


def _nothing(_: Connection) -> None:
    return


def _settle(job: _Job) -> None:
    if job.done.done():
        return
    if job.error is None:
        job.done.set_result(job.result)
    elif is_trouble(job.error):
        job.done.set_exception(_unavailable(job.error))
    else:
        job.done.set_exception(job.error)


def _refuse(requests: Sequence[_Request], jobs: Sequence[_Job], error: Exception) -> None:
    for future in (*(request.answer for request in requests), *(job.done for job in jobs)):
        if not future.done():
            future.set_exception(_unavailable(error))


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the store takes no writes: {_words(error)}")


def _words(error: Exception) -> str:
    """What may be told of an error: the driver's words hold no values, others may."""
    cause = cause_of(error)
    return str(cause) if isinstance(cause, sqlite3.Error) else type(cause).__name__
