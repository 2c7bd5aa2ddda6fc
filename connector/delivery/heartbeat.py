"""The heartbeat of a process. It records in the store that the process runs, and how many requests it refused."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import suppress

import structlog
from sqlalchemy import Connection

from connector import __version__
from connector.delivery.clock import Clock
from connector.errors import StoreUnavailable
from connector.logging import place_of
from connector.role import Role
from connector.store import processes
from connector.store.base import Store
from connector.store.processes import Process

STOP_SECONDS = 2.0
"""Time that a stop waits for a heartbeat that is being written."""

log = structlog.get_logger("connector.delivery")


class Heartbeat:
    """Writes the heartbeat of one process. `name` is the one in its leases."""

    def __init__(self, name: str, role: Role, store: Store, clock: Clock) -> None:
        self._name = name
        self._role = role
        self._store = store
        self._clock = clock
        self._refused: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def refused(self, reason: str) -> None:
        """Counts a refused request; the next heartbeat stores it. `reason` is a fixed term."""
        self._refused[reason] += 1

    def start(self) -> None:
        """Starts the heartbeat. The store may be unavailable, now and later."""
        self._task = asyncio.create_task(self._loop(), name="heartbeat")

    async def stop(self) -> None:
        """Stops the heartbeat, stores the last refused requests, and deletes the row of this process."""
        self._stopping.set()
        if self._task is not None:
            # a heartbeat that is being written is not cancelled: it could be committed after the process has left
            _, running = await asyncio.wait([self._task], timeout=STOP_SECONDS)
            for task in running:
                task.cancel()
        refused, now = Counter(self._refused), self._clock.now()
        with suppress(StoreUnavailable):
            await self._store.write(lambda connection: processes.deregister(connection, self._name, refused, now))

    async def _loop(self) -> None:
        started_at = self._clock.now()
        while not self._stopping.is_set():
            try:
                await self._beat(started_at)
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - the next heartbeat may succeed
                log.warning("heartbeat failed", error=place_of(error))
            await self._clock.wait(self._stopping, processes.BEAT_SECONDS)

    async def _beat(self, started_at: int) -> None:
        refused = Counter(self._refused)

        def job(connection: Connection) -> None:
            processes.beat(connection, self._process(started_at), refused, alone=not self._store.shared)

        await self._store.write(job)
        self._refused -= refused  # keep the requests that were refused during the write

    def _process(self, started_at: int) -> Process:
        return Process(
            name=self._name,
            role=self._role,
            started_at=started_at,
            seen_at=self._clock.now(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
        )
