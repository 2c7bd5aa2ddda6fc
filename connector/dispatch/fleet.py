"""One process among several that share a store: hints to the others and from them, and a sign of life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any

import structlog

from connector.dispatch.clock import Clock
from connector.dispatch.hint_queue import HintQueue
from connector.dispatch.hints import Hinter
from connector.dispatch.lane import HOT_RATE
from connector.errors import StoreUnavailable
from connector.logs import place_of
from connector.role import Role
from connector.store import presence
from connector.store.presence import Process
from connector.store.store import Store

STOP_SECONDS = 5.0
"""The library of the hints has this long to end; nothing depends on it."""


log = structlog.get_logger("connector.dispatch")


class Fleet:
    """What a process has to do with the others; `name` is the one in its leases. `on_wake` is told of each sink that it
    is to look after.
    """

    def __init__(
        self,
        url: str,
        name: str,
        role: Role,
        store: Store,
        clock: Clock,
        *,
        on_wake: Callable[[Iterable[str]], None],
    ) -> None:
        self._name = name
        self._role = role
        self._store = store
        self._clock = clock
        self._queue = HintQueue(url, name, lambda sink: on_wake([sink]))
        self._hinter = Hinter(self._queue.send, self._is_hot)
        self._tasks: list[asyncio.Task[None]] = []
        self._taking: asyncio.Task[None] | None = None

    def hint(self, sinks: Iterable[str]) -> bool:
        """Has some worker look after these sinks; returns at once whether that is likely to work."""
        self._hinter.hint(sinks)
        return not self._hinter.is_failing

    async def start(self) -> None:
        """Begins; the store may be away, now and later."""
        await self._queue.open()
        works: list[Coroutine[Any, Any, None]] = [self._hinter.run(), self._tell()]
        if self._role.works:
            self._taking = asyncio.create_task(self._queue.work())
            works.append(self._queue.sweep())
        self._tasks = [asyncio.create_task(work) for work in works]

    def take_no_more(self) -> None:
        """Leaves further hints to other workers: our lanes are about to stop."""
        if self._taking is not None:
            self._taking.cancel()

    async def stop(self) -> None:
        """Ends, and takes this process off the list."""
        tasks = self._tasks if self._taking is None else [*self._tasks, self._taking]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        await self._queue.close()
        with suppress(StoreUnavailable):
            await self._store.write(lambda connection: presence.leave(connection, self._name))

    def _is_hot(self) -> bool:
        return self._store.load.rate_at(asyncio.get_running_loop().time()) > HOT_RATE

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
