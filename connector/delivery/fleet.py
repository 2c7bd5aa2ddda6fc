"""One process among several that share a store: wake-ups from the others, and its heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from connector.delivery.clock import Clock
from connector.delivery.wakeups import Listener
from connector.errors import StoreUnavailable
from connector.logging import place_of
from connector.role import Role
from connector.store import heartbeat
from connector.store.base import Store
from connector.store.heartbeat import Process

STOP_SECONDS = 2.0
"""How long the end of a connection is waited for; nothing depends on it."""

log = structlog.get_logger("connector.delivery")


class Fleet:
    """What a process has to do with the others; `name` is the one in its leases. `on_wake` gets the sinks that have new
    deliveries; a process that delivers nothing has none.
    """

    def __init__(
        self,
        url: str,
        name: str,
        role: Role,
        store: Store,
        clock: Clock,
        *,
        on_wake: Callable[[Iterable[str]], None] | None,
    ) -> None:
        self._name = name
        self._role = role
        self._store = store
        self._clock = clock
        self._listener = None if on_wake is None else Listener(url, on_wake)
        self._heartbeat: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begins; the store may be away, now and later."""
        self._heartbeat = asyncio.create_task(self._beat(), name="heartbeat")
        if self._listener is not None:
            self._listening = asyncio.create_task(self._listener.run(), name="wake-ups")

    async def stop(self) -> None:
        """Ends, and takes this process off the list."""
        self._stopping.set()
        if self._listening is not None:
            self._listening.cancel()
        tasks = [task for task in (self._heartbeat, self._listening) if task is not None]
        if tasks:
            # a heartbeat that is being written is not cancelled: it could be committed after the process has left
            _, running = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in running:
                task.cancel()
        with suppress(StoreUnavailable):
            await self._store.write(lambda connection: heartbeat.leave(connection, self._name))

    async def _beat(self) -> None:
        started_at = self._clock.now()
        while not self._stopping.is_set():
            try:
                await self._store.write(lambda connection: heartbeat.tell(connection, self._now(started_at)))
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - the next heartbeat may succeed
                log.warning("heartbeat failed", error=place_of(error))
            await self._clock.wait(self._stopping, heartbeat.TELL_SECONDS)

    def _now(self, started_at: int) -> Process:
        return Process(self._name, self._role, started_at, self._clock.now())
