"""The writer of a store: one thread, one connection, one transaction at a time, group commit.

Requests that arrive while a transaction runs wait in a queue and share the next one. On SQLite the jobs of lanes and
commands are in the same queue, because a file has a single writer. The event loop never waits for the thread.

Failures:

=============================  =======================================================================
a conflict with a receiver     rolled back, read and planned again, up to `TRIES` times
a lost connection              once more on a new one; events that were committed are found as duplicates
a bad event                    the group is split in halves until the bad event is alone and refused
a job                          its changes are rolled back and its caller gets the exception
a full disk                    the group is refused; its jobs are repeated without the events
no transaction can be begun    all that waits is refused, and new events are, until one can be begun
=============================  =======================================================================
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection
from tenacity import (
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random,
    wait_random_exponential,
)

from connector.errors import StoreUnavailable
from connector.hireflix.payload import Reading
from connector.store.base import IngestResult, Load, Overloaded, touch
from connector.store.ingest import IncomingEvent, IngestPlan, RoutingTable, try_group, write_group

T = TypeVar("T")

GROUP_LIMIT = 512
"""Largest number of requests in one transaction."""
GROUP_BYTES = 4 * 1024 * 1024
"""A transaction takes no further request when its bodies have reached this size."""
INTAKE_BYTES = 64 * 1024 * 1024
"""Largest total size of the bodies that wait."""
TRIES = 10
"""Attempts of a transaction that conflicts with other receivers."""
REPLAN_MAX_SECONDS = 0.02
"""Upper bound of the random delay before the next attempt, so that two receivers do not conflict again."""
RECONNECT_FIRST_SECONDS = 0.25
"""Upper bound of the random delay after the first failed attempt to begin; it doubles with every attempt."""
RECONNECT_MAX_SECONDS = 5.0
"""Largest upper bound of the random delay between attempts to begin."""
REFUSALS_SECONDS = 10.0
"""Least time between two log lines about refused events with one reason, so that a full disk does not fill the log."""
CLOSE_SECONDS = 10.0
"""How long `close` waits for a transaction of a silent server."""

log = structlog.get_logger("connector.store")


class WriterConnection(Protocol):
    """What differs between the databases. Used in the thread of the writer only."""

    def begin(self) -> AbstractContextManager[Connection]:
        """Begins a transaction that is committed at the end of the block, and rolled back after an exception."""
        ...

    def may_retry(self, error: BaseException) -> bool:
        """Whether the transaction can be repeated at once: it conflicted, or its connection was lost."""
        ...

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether the store is the cause of an error, not a statement or its values."""
        ...

    def safe_message(self, error: BaseException) -> str:
        """Returns a message without personal data and secrets."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


@dataclass(slots=True)
class RefusalLog:
    """Logs refused events: the first one at once, later ones with their number. `clock` returns seconds."""

    clock: Callable[[], float] = time.monotonic
    _reason: str = ""
    _logged_at: float = 0.0
    _count: int = 0

    def add(self, count: int, reason: str) -> None:
        """Logs these refusals, or keeps their number for the next line."""
        if reason != self._reason:
            self.flush()
            self._reason, self._logged_at = reason, self.clock() - REFUSALS_SECONDS
        self._count += count
        if self.clock() - self._logged_at >= REFUSALS_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Logs the number that no line has named yet."""
        if self._count:
            log.error("events refused", count=self._count, reason=self._reason)
            self._count, self._logged_at = 0, self.clock()


@dataclass(slots=True)
class _Request:
    """An event that waits for its commit."""

    incoming: IncomingEvent
    answer: asyncio.Future[IngestResult]


@dataclass(slots=True)
class _Job:
    """A job that waits for its commit."""

    function: Callable[[Connection], Any]
    answer: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def run(self, connection: Connection) -> None:
        """Runs under a savepoint: an exception rolls back the changes of this job only."""
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            self.result, self.error = self.function(connection), None
        except Exception as error:
            with suppress(Exception):
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
                self.error = error
            if self.error is None:  # the database ended the transaction, for example because its disk is full
                raise
        connection.exec_driver_sql("RELEASE SAVEPOINT job")


@dataclass(slots=True)
class _Group:
    """What shares a transaction."""

    requests: list[_Request] = field(default_factory=list)
    jobs: list[_Job] = field(default_factory=list)
    size: int = 0

    def add(self, item: _Request | _Job) -> None:
        if isinstance(item, _Job):
            self.jobs.append(item)
        else:
            self.requests.append(item)
            self.size += len(item.incoming.body)


class Writer:
    """Commits events in groups, and jobs with them. Every method is called on the event loop that created it.

    `on_group` is called with the plan of each committed group. At most `limit` requests wait for their commit.
    """

    def __init__(
        self,
        connection: WriterConnection,
        routing: RoutingTable,
        on_group: Callable[[IngestPlan], None],
        *,
        limit: int = 4096,
    ) -> None:
        self.load = Load()
        self._connection = connection
        self._routing = routing
        self._on_group = on_group
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Request | _Job | None] = SimpleQueue()
        self._waiting = 0
        self._waiting_bytes = 0
        self._away: str | None = None
        self._has_begun = False
        self._closing = threading.Event()
        self._refusals = RefusalLog()
        self._retrying = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_random(max=REPLAN_MAX_SECONDS),
            retry=retry_if_exception(connection.may_retry),
            reraise=True,
        )
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    # --- on the event loop

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]:
        """Queues an event. The future resolves after the commit, or raises `StoreUnavailable`.

        Raises `Overloaded` when the queue is full, and `StoreUnavailable` while the store is unavailable.
        """
        self._require_room()
        request = _Request(IncomingEvent(reading, body), self._loop.create_future())
        self._waiting += 1
        self._waiting_bytes += len(body)
        self._queue.put(request)
        return request.answer

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs a job in the next transaction and returns its result after the commit.

        An exception of the job is raised here after its changes were rolled back. A job may run more than once, as long
        as none of its changes was committed. Raises `StoreUnavailable` when nothing was committed.
        """
        if self._closing.is_set():
            raise StoreUnavailable("the store is closed")
        self._require_available()
        job = _Job(work, self._loop.create_future())
        self._queue.put(job)
        result: T = await job.answer
        return result

    async def probe(self, now: int) -> None:
        """Writes and takes back an event, and stores the time. Raises the exceptions of `offer`."""
        self._require_room()
        try:
            await self.run(lambda connection: self._probe(connection, now))
        except StoreUnavailable:
            raise
        except Exception as error:
            raise self._unavailable(error) from error

    def _probe(self, connection: Connection, now: int) -> None:
        try_group(connection, self._routing, now)
        touch(connection, now)

    async def close(self) -> None:
        """Finishes queued work, then closes the connection. New events and jobs are refused."""
        if not self._closing.is_set():
            self._closing.set()
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    def _require_room(self) -> None:
        if self._closing.is_set():
            raise Overloaded("the intake is closed")
        self._require_available()
        if self._waiting >= self._limit or self._waiting_bytes > INTAKE_BYTES:
            raise Overloaded("the intake is full")

    def _require_available(self) -> None:
        if self._away is not None:
            raise StoreUnavailable(f"the store takes no writes: {self._away}")

    def _committed(self, group: _Group, plan: IngestPlan | None) -> None:
        for job in group.jobs:
            if not job.answer.done():
                self._resolve(job)
        if plan is None:
            return
        self._forget(group.requests)
        self.load = self.load.with_group(len(group.requests), self._loop.time())
        for request, answer in zip(group.requests, plan.answers, strict=True):
            if not request.answer.done():
                request.answer.set_result(answer)
        self._on_group(plan)

    def _resolve(self, job: _Job) -> None:
        if job.error is None:
            job.answer.set_result(job.result)
        elif self._connection.is_unavailable(job.error):
            job.answer.set_exception(self._unavailable(job.error))
        else:
            job.answer.set_exception(job.error)

    def _refused(self, group: _Group, error: Exception) -> None:
        self._forget(group.requests)
        answers: list[asyncio.Future[Any]] = [request.answer for request in group.requests]
        for answer in (*answers, *(job.answer for job in group.jobs)):
            if not answer.done():
                answer.set_exception(self._unavailable(error))

    def _forget(self, requests: Sequence[_Request]) -> None:
        self._waiting -= len(requests)
        self._waiting_bytes -= sum(len(request.incoming.body) for request in requests)

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"the store takes no writes: {self._connection.safe_message(error)}")

    # --- in the thread

    def _run(self) -> None:
        while (group := self._next()) is not None:
            self._write(group)
        self._refusals.flush()
        self._connection.close()

    def _next(self) -> _Group | None:
        """Waits for work. Returns what shares the next transaction, `None` at the end."""
        item = self._queue.get()
        if item is None:
            return None
        group = _Group()
        while item is not None:
            group.add(item)
            if len(group.requests) >= GROUP_LIMIT or group.size >= GROUP_BYTES:
                return group
            try:
                item = self._queue.get_nowait()
            except Empty:
                return group
        self._queue.put(None)
        return group

    def _write(self, group: _Group) -> None:
        """Commits a group and answers it. What cannot be committed is refused."""
        try:
            plan = self._retrying(self._transact, group)
        except Exception as error:  # noqa: BLE001 - the requests wait for an answer
            self._failed(group, error)
            return
        if group.requests:
            self._refusals.flush()
        self._loop.call_soon_threadsafe(self._committed, group, plan)

    def _transact(self, group: _Group) -> IngestPlan | None:
        plan = None
        self._has_begun = False
        with self._connection.begin() as connection:
            self._has_begun = True
            if group.requests:
                plan = write_group(connection, [request.incoming for request in group.requests], self._routing)
            for job in group.jobs:
                job.run(connection)
        return plan

    def _failed(self, group: _Group, error: Exception) -> None:
        requests, jobs = group.requests, group.jobs
        is_away = not self._has_begun and self._connection.is_unavailable(error)
        if is_away:
            self._away = self._connection.safe_message(error)
        if not requests or is_away:
            self._refuse(group, error)
        elif len(requests) == 1 or self._connection.is_unavailable(error) or self._connection.may_retry(error):
            self._refuse(_Group(requests), error)
        else:
            middle = len(requests) // 2
            for half in (requests[:middle], requests[middle:]):
                self._write(_Group(half))
        if is_away:
            self._wait_until_available(error)
        elif requests and jobs:
            self._write(_Group([], jobs))

    def _refuse(self, group: _Group, error: Exception) -> None:
        if group.requests:
            self._refusals.add(len(group.requests), self._connection.safe_message(error))
        self._loop.call_soon_threadsafe(self._refused, group, error)

    def _wait_until_available(self, error: Exception) -> None:
        """Refuses what waits, and lets new work in when a transaction can be begun or the writer is closed."""
        retrying = Retrying(
            stop=stop_when_event_set(self._closing),
            wait=wait_random_exponential(multiplier=RECONNECT_FIRST_SECONDS, max=RECONNECT_MAX_SECONDS),
            sleep=sleep_using_event(self._closing),
            reraise=True,
        )
        with suppress(Exception):  # closed meanwhile
            retrying(self._try_begin, error)
        self._away = None

    def _try_begin(self, error: Exception) -> None:
        waiting = _Group()
        with suppress(Empty):
            while (item := self._queue.get_nowait()) is not None:
                waiting.add(item)
            self._queue.put(None)
        if waiting.requests or waiting.jobs:
            self._refuse(waiting, error)
        with self._connection.begin():
            pass
