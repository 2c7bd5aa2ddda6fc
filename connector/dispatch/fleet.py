"""One process among several that share a store: wake-ups from the others, and its heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from connector.dispatch.clock import Clock
from connector.dispatch.wakeups import Listener
from connector.errors import StoreUnavailable
from connector.logs import place_of
from connector.role import Role
from connector.store import presence
from connector.store.presence import Process
from connector.store.store import Store

STOP_SECONDS = 2.0
"""How long the end of a connection is waited for; nothing depends on it."""

log = structlog.get_logger("connector.dispatch")


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
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins; the store may be away, now and later."""
        self._tasks = [asyncio.create_task(self._tell(), name="heartbeat")]
        if self._listener is not None:
            self._tasks.append(asyncio.create_task(self._listener.run(), name="wake-ups"))

    async def stop(self) -> None:
        """Ends, and takes this process off the list."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        with suppress(StoreUnavailable):
            await self._store.write(lambda connection: presence.leave(connection, self._name))

    async def _tell(self) -> None:
        started_at = self._clock.now()
        never = asyncio.Event()
        while True:
            try:
                await self._store.write(lambda connection: presence.tell(connection, self._now(started_at)))
            except StoreUnavailable:
                pass
            except Exception as error:  # noqa: BLE001 - a process that was silent once is no dead one
                log.warning("no sign of life could be given", error=place_of(error))
            await self._clock.wait(never, presence.TELL_SECONDS)

    def _now(self, started_at: int) -> Process:
        return Process(self._name, self._role, started_at, self._clock.now())
