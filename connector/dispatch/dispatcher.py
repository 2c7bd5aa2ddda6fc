"""All lanes of one process: started, woken, filled and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from connector.dispatch.lane import Lane, Shared
from connector.errors import StoreUnavailable
from connector.route import Routes
from connector.sink import Sink
from connector.store import fill, leases

SWEEP_SECONDS = 1.0
"""What another process did (a replay, a resume) is noticed within this time."""
STOP_SECONDS = 20.0
"""A call that is under way at a stop has this long to end."""

log = structlog.get_logger("connector.dispatch")


class Dispatcher:
    """Runs one lane per sink. `types` maps each sink to its type, `formerly` a renamed sink to its old name."""

    def __init__(
        self,
        sinks: Sequence[Sink[Any]],
        routes: Routes,
        shared: Shared,
        *,
        types: Mapping[str, str],
        formerly: Mapping[str, str],
    ) -> None:
        self.lanes = {sink.name: Lane(sink, shared) for sink in sinks}
        self._sinks = sinks
        self._routes = routes
        self._shared = shared
        self._types = types
        self._formerly = formerly
        self._tasks: list[asyncio.Task[None]] = []
        self._helpers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Takes over the sinks and starts their lanes. The caller holds the store for itself alone."""
        await self._shared.store.write(self._set_up)
        self._tasks = [asyncio.create_task(lane.run(), name=f"lane {name}") for name, lane in self.lanes.items()]
        self._helpers = [asyncio.create_task(self._sweep()), asyncio.create_task(self.fill())]

    def wake(self, names: Iterable[str]) -> None:
        """Rows were added for these sinks."""
        for name in names:
            lane = self.lanes.get(name)
            if lane is not None:
                lane.wake()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Lets calls under way end within the time, settles them, closes the sinks and gives the leases back."""
        self._stopping.set()
        for lane in self.lanes.values():
            lane.stop()
        for helper in self._helpers:
            helper.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._tasks, *self._helpers, return_exceptions=True)
        for lane in self.lanes.values():
            try:
                await lane.close()
            except Exception as error:  # noqa: BLE001 - one sink that cannot close must not keep the others open
                log.warning("sink did not close", sink=lane.name, error=type(error).__name__)

    def _set_up(self, connection: Connection) -> None:
        now = self._shared.clock.now()
        for name, formerly in self._formerly.items():
            fill.rename(connection, formerly, name)
        leases.register(connection, self._types)
        for name in self.lanes:
            leases.acquire(connection, name, self._shared.owner, now, by_force=True)
        leases.probe_all(connection, list(self.lanes))
        fill.restart(connection)

    async def fill(self) -> None:
        """Fills the state sinks that need it, a little at a time."""
        for sink in self._sinks:
            if sink.state:
                await self._fill_one(sink)

    async def _fill_one(self, sink: Sink[Any]) -> None:
        digest = self._routes.digest(sink.name)
        row = await self._shared.store.read(lambda connection: leases.row(connection, sink.name))
        if not fill.needs_filling(row, sink.destination, digest):
            return
        while await self._fill_chunk(sink.name):
            self.wake([sink.name])
            await self._shared.clock.wait(self._stopping, 0.05)
        await self._shared.store.write(lambda connection: fill.filled(connection, sink.name, sink.destination, digest))

    async def _fill_chunk(self, name: str) -> bool:
        now = self._shared.clock.now()
        try:
            return await self._shared.store.write(
                lambda connection: fill.fill_chunk(connection, name, self._routes, now)
            )
        except StoreUnavailable:
            await self._shared.clock.wait(self._stopping, SWEEP_SECONDS)
            return True

    async def _sweep(self) -> None:
        """Wakes every lane now and then: a hint may be lost, and other processes give none."""
        while not self._stopping.is_set():
            await self._shared.clock.wait(self._stopping, SWEEP_SECONDS)
            self.wake(self.lanes)
