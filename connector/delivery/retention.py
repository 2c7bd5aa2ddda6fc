"""Runs retention in the background, in one process of an installation at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy import Connection

from connector.delivery.clock import Clock
from connector.errors import StoreUnavailable
from connector.logging import place_of
from connector.store import retention
from connector.store.base import Store
from connector.store.retention import Kind, Slice
from connector.store.sqlite.database import delete_copies

INTERVAL_SECONDS = 3600.0
"""Between two runs: the periods are days."""
START_SECONDS = 60.0
"""Before the first run, so that a start is not delayed."""
PAUSE_SECONDS = 0.1
"""Between two slices: ingest and lanes then have the writer for most of the time."""

log = structlog.get_logger("connector.delivery")


class Retention:
    """Deletes old data of a store. `days` are the periods, 0 keeps; `on_deleted` gets a kind and a number of rows.

    `on_run` gets the end of each run in epoch milliseconds. `timer` returns seconds. `file` is the SQLite file, whose
    copies made before migrations expire with the bodies.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        owner: str,
        days: Mapping[Kind, int],
        *,
        on_deleted: Callable[[str, int], None],
        on_run: Callable[[int], None],
        file: Path | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._days = days
        self._on_deleted = on_deleted
        self._on_run = on_run
        self._file = file
        self._timer = timer
        self._rows = retention.ROWS_FIRST
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the loop."""
        self._task = asyncio.create_task(self._loop(), name="retention")

    async def stop(self) -> None:
        """Ends the loop after the slice that runs."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def run_once(self) -> bool:
        """Deletes everything that is old enough now. Returns `False` when another process does it, or at a stop.

        Raises `StoreUnavailable`.
        """
        due = retention.cutoffs(self._days, self._clock.now())
        deleted = dict.fromkeys(due, 0)
        for kind, cutoff in due.items():
            place = retention.START
            while True:
                found = await self._store.write(partial(self._slice, kind, cutoff, place))
                if found is None:
                    return False
                done, elapsed_ms = found
                self._rows = retention.next_rows(self._rows, elapsed_ms)
                deleted[kind] += done.deleted
                self._on_deleted(str(kind), done.deleted)
                if done.next is None:
                    break
                place = done.next
                if await self._clock.wait(self._stopping, PAUSE_SECONDS):
                    return False
        if self._file is not None and Kind.BODIES in due:
            await asyncio.to_thread(delete_copies, self._file, due[Kind.BODIES])
        now = self._clock.now()
        await self._store.write(lambda connection: retention.finish(connection, self._owner, now, deleted))
        self._on_run(now)
        return True

    def _slice(
        self, kind: Kind, cutoff: int, place: retention.Place, connection: Connection
    ) -> tuple[Slice, float] | None:
        """One transaction. Returns what was deleted and the milliseconds that it took, `None` without the lease."""
        begun = self._timer()
        if not retention.hold(connection, self._owner, self._clock.now()):
            return None
        done = retention.delete_slice(connection, kind, cutoff, place, self._rows)
        return done, (self._timer() - begun) * 1000

    async def _loop(self) -> None:
        wait = START_SECONDS
        while not await self._clock.wait(self._stopping, wait):
            wait = INTERVAL_SECONDS
            try:
                await self.run_once()
            except StoreUnavailable:
                wait = START_SECONDS
            except Exception as error:  # noqa: BLE001 - the next run may succeed
                log.warning("retention failed", error=place_of(error))
