"""Periodic tasks, which run once per installation, such as retention.

One process of an installation has the lease for them and runs them all; the others wait for the lease. The last run of
each task and the time of the next one are stored, so that neither a restart nor another process repeats a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

import structlog
from sqlalchemy import Connection
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from connector.delivery.clock import Clock
from connector.delivery.lease import LeaseKeeper, SeenLease
from connector.errors import ConnectorError, LeaseLost, StoreUnavailable
from connector.logging import place_of
from connector.store import leases, processes, schema
from connector.store.base import Store
from connector.store.leases import LEASE_SECONDS
from connector.store.processes import TaskRun

LEASE = "periodic tasks"
"""The name of the lease."""
POLL_SECONDS = 5.0
"""Interval at which a process without the lease checks whether it is free."""
RETRY_SECONDS = 60.0
"""Delay of the next run after a failed one, for tasks with a longer interval."""
STORE_RETRY_MAX_SECONDS = 15.0
"""The longest wait before the next attempt to use an unavailable store."""
STOP_SECONDS = 2.0
"""At a stop, running tasks have this time to end."""

T = TypeVar("T")
Job: TypeAlias = Callable[[Connection], T]
WriteJob: TypeAlias = Callable[[Job[Any]], Awaitable[Any]]
Counts = Mapping[str, int]
"""What a run did, for `connector status`."""

log = structlog.get_logger("connector.delivery")


@dataclass(frozen=True, slots=True)
class TaskContext:
    """One run of a task.

    `now` is its start in epoch milliseconds. `write` runs a job in a transaction that checks the lease; it raises
    `LeaseLost` and `StoreUnavailable`. `stopping` is set when the process stops.
    """

    now: int
    write: WriteJob
    stopping: asyncio.Event


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A task that runs `interval_seconds` after its last run, and at the earliest `delay_seconds` after the lease.

    `run` returns what it did, or `None` when it ended early because the process stops; it is then due at once.
    """

    name: str
    interval_seconds: float
    run: Callable[[TaskContext], Awaitable[Counts | None]]
    delay_seconds: float = 0.0


class OnRun(Protocol):
    """Gets each run after it was stored."""

    def __call__(self, run: TaskRun) -> None: ...


class PeriodicTasks:
    """Runs tasks while this process has the lease. `owner` names the process; a lease lasts `lease_seconds`."""

    def __init__(
        self,
        tasks: Sequence[PeriodicTask],
        store: Store,
        clock: Clock,
        owner: str,
        *,
        on_run: OnRun,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._tasks = tasks
        self._store = store
        self._clock = clock
        self._on_run = on_run
        self._lease = LeaseKeeper(LEASE, store, clock, owner, lease_seconds, table=schema.lease)
        self._stopping = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to wait for the lease. The store may be unavailable, now and later."""
        self._running = asyncio.create_task(self._run(), name="periodic tasks")

    async def stop(self) -> None:
        """Lets the running tasks end, cancels them after `STOP_SECONDS`, and releases the lease."""
        self._stopping.set()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=STOP_SECONDS)
            self._running.cancel()
            await asyncio.wait([self._running])
        with suppress(StoreUnavailable):
            await self._lease.release()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._retried(self._store.write, _register)
                if await self._acquire():
                    await self._hold()
            except* LeaseLost:
                log.warning("lease lost", lease=LEASE)
                self._lease.drop()
            except* StoreUnavailable:
                self._lease.drop()
            except* Exception as group:  # noqa: BLE001 - without this loop no task would ever run again
                log.warning("periodic tasks failed", error=place_of(group.exceptions[0]))
                self._lease.drop()
            await self._clock.wait(self._stopping, POLL_SECONDS)

    async def _acquire(self) -> bool:
        seen = SeenLease.of(
            await self._store.read(lambda connection: leases.row(connection, LEASE, table=schema.lease))
        )
        return not self._lease.is_taken(seen, self._clock.now()) and await self._lease.acquire(seen)

    async def _hold(self) -> None:
        """Runs every task whenever it is due, until the stop. Raises `LeaseLost`, alone or in a group."""
        held_since = self._clock.now()
        async with self._kept(), asyncio.TaskGroup() as group:
            for task in self._tasks:
                group.create_task(self._repeat(task, held_since), name=f"periodic {task.name}")

    def _kept(self) -> AbstractAsyncContextManager[None]:
        """A SQLite store has one process, so its lease needs no renewal. Renewals would write to an idle store for
        ever.
        """
        return self._lease.renewing() if self._store.shared else nullcontext()

    async def _repeat(self, task: PeriodicTask, held_since: int) -> None:
        earliest = held_since + int(task.delay_seconds * 1000)
        last = (await self._retried(self._store.read, processes.task_runs)).get(task.name)
        # the stored time is too late when the clock was set back or the interval was made shorter
        latest = held_since + int(task.interval_seconds * 1000)
        due = earliest if last is None else max(earliest, min(last.next_at, latest))
        while not await self._is_stopped_before(due):
            run = await self._run_once(task, None if last is None else last.succeeded_at)
            if run is None:
                return
            await self._retried(self._lease.write, partial(self._put, run))
            self._on_run(run)
            last, due = run, run.next_at

    def _put(self, run: TaskRun, connection: Connection) -> None:
        processes.put_run(connection, run, [task.name for task in self._tasks])

    async def _is_stopped_before(self, at: int) -> bool:
        """Waits until a time or the stop."""
        seconds = (at - self._clock.now()) / 1000
        return await self._clock.wait(self._stopping, seconds) if seconds > 0 else self._stopping.is_set()

    async def _run_once(self, task: PeriodicTask, last_success: int | None) -> TaskRun | None:
        started, error = self._clock.now(), ""
        counts: Counts | None = {}
        try:
            counts = await task.run(TaskContext(started, self._lease.write, self._stopping))
        except LeaseLost:
            raise
        except StoreUnavailable:
            error = "the store was unavailable"
        except Exception as failure:  # noqa: BLE001 - the next run may succeed, and other tasks go on
            # the message of an expected error says what to do, and contains no data of candidates
            error = str(failure) if isinstance(failure, ConnectorError) else place_of(failure)
            log.warning("periodic task failed", task=task.name, error=error)
        if counts is None:
            return None
        ended = self._clock.now()
        wait = min(RETRY_SECONDS, task.interval_seconds) if error else task.interval_seconds
        succeeded_at = last_success if error else started
        return TaskRun(task.name, started, ended, ended + int(wait * 1000), error, dict(counts), succeeded_at)

    async def _retried(self, call: Callable[[Job[T]], Awaitable[T]], job: Job[T]) -> T:
        """Calls with a job until the store is available. Raises `StoreUnavailable` at a stop."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailable),
            wait=wait_random_exponential(multiplier=1, max=STORE_RETRY_MAX_SECONDS),
            stop=lambda _: self._stopping.is_set(),
            sleep=self._sleep,
            reraise=True,
        )
        return await retrying(call, job)

    async def _sleep(self, seconds: float) -> None:
        await self._clock.wait(self._stopping, seconds)


def _register(connection: Connection) -> None:
    leases.register_lease(connection, LEASE)
