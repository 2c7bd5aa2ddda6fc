"""Hints between processes through Procrastinate: one job per sink, which wakes a lane and is gone.

Of that library only what is sound for this is used: `queueing_lock` keeps one waiting job per sink, LISTEN and NOTIFY
bring it to a worker at once. Its locks, retries and schedule are not: order, leases and times stand in our rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import DeleteJobCondition, Status
from psycopg_pool import AsyncConnectionPool

from connector.logs import place_of
from connector.store.postgres.database import conninfo

QUEUE = "connector"
TASK = "connector.wake"
CONNECTIONS = 3
"""At most so many per process, beside the one that listens."""
POOL_SECONDS = 3.0
"""How long anything here waits for a connection."""
CONCURRENCY = 4
HEARTBEAT, STALLED = 10.0, 30.0
"""Seconds between signs of life of a worker, and without one after which its jobs are stalled."""
REST_FIRST, REST_LAST = 1.0, 15.0
"""Seconds before the worker is started again: after the first failure, and at most."""
STOP_SECONDS = 2.0

log = structlog.get_logger("connector.dispatch")


class HintQueue:
    """The hints of one store. `on_wake` is told the name of each sink that this process is to look after."""

    def __init__(self, url: str, name: str, on_wake: Callable[[str], None]) -> None:
        self._name = name
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            conninfo(url),
            kwargs={"prepare_threshold": None},
            min_size=0,
            max_size=CONNECTIONS,
            timeout=POOL_SECONDS,
            open=False,
            check=AsyncConnectionPool.check_connection,
            name="hints",
        )
        self._app = App(connector=PsycopgConnector())

        @self._app.task(name=TASK, queue=QUEUE, retry=False)
        async def wake(sink: str) -> None:
            on_wake(sink)

        self._wake = wake

    async def open(self) -> None:
        """Gets ready; connects when there is something to do."""
        await self._pool.open(wait=False)
        await self._app.open_async(self._pool)

    async def close(self) -> None:
        """Lets the connections go."""
        await self._pool.close(timeout=STOP_SECONDS)

    async def send(self, sink: str) -> bool:
        """Leaves a hint; `False` when one waits already. Raises the library's errors."""
        try:
            await self._wake.configure(queueing_lock=f"wake:{sink}").defer_async(sink=sink)
        except AlreadyEnqueued:
            return False
        return True

    async def work(self) -> None:
        """Takes hints until cancelled; begins anew, after a pause, whenever the library gives up."""
        rest = REST_FIRST
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._run_worker()
            except Exception as error:  # noqa: BLE001 - without hints the sweep does the work, so go on for ever
                if _is_being_cancelled():  # the library failed while it ended, which hides that it was told to
                    return
                log.debug("the worker of the hints ended", error=place_of(error))
            if asyncio.get_running_loop().time() - started > REST_LAST:
                rest = REST_FIRST
            await asyncio.sleep(rest)
            rest = min(2 * rest, REST_LAST)

    async def _run_worker(self) -> None:
        await self._app.run_worker_async(
            queues=[QUEUE],
            name=self._name,
            concurrency=CONCURRENCY,
            shutdown_graceful_timeout=STOP_SECONDS,
            delete_jobs=DeleteJobCondition.ALWAYS,
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT,
            stalled_worker_timeout=STALLED,
        )

    async def sweep(self) -> None:
        """Deletes, every now and then until cancelled, the jobs of workers that died: nobody else would."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            with suppress(Exception):  # the database may be away; the next round comes
                await self.clear_stalled()

    async def clear_stalled(self, seconds: float = STALLED) -> int:
        """Deletes the jobs of workers without a sign of life for so long, and returns how many there were.

        They are not tried again: that would break on a new hint of the same sink, and the new hint is as good.
        """
        jobs = await self._app.job_manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=seconds)
        count = 0
        for job in jobs:
            await self._app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)
            count += 1
        return count


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
