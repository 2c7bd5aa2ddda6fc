"""Several workers on one store, each with a lane for the same sink, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from connector.delivery.lane import DeliveryRuntime, Lane
from connector.delivery.outcomes import Policy
from connector.hireflix.payload import read
from connector.routing import Routes
from connector.sink import Context, Result
from connector.store import leases
from connector.store.base import Store
from connector.store.ingest import RoutingTable, SinkSpec
from connector.store.schema import delivery, note, sink
from connector.store.sqlite.store import SqliteStore
from tests.delivery.rig import Meters, Scripted, WaitingClock


class SharedFile(SqliteStore):
    """A file that lanes treat as shared, so that their rules can be tested without a server."""

    shared = True


class Gate:
    """A worker's access to the store; `after_read` and `before_write` are called at these moments."""

    shared = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self.after_read: list[Callable[[], Any]] = []
        self.before_write: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, query: Any) -> Any:
        found = await self._store.read(query)
        if self.after_read:
            await self.after_read.pop(0)()
        return found

    async def write(self, job: Any) -> Any:
        if self.before_write:
            await self.before_write.pop(0)()
        return await self._store.write(job)


class Worker:
    """One process's lane for the sink `chat`."""

    def __init__(self, crew: Crew, name: str, made: Scripted) -> None:
        self.sink = made
        self.gate = Gate(crew.store)
        policy = Policy(random=lambda low, high: high)
        self.lane = Lane(made, DeliveryRuntime(self.gate, crew.clock, Meters(), name, policy))

    async def works_off(self) -> None:
        """Steps until nothing is due."""
        while (at := await self.lane.step()) is not None and at <= self.lane._clock.now():
            pass

    @property
    def keys(self) -> list[list[str]]:
        return [[each.key for each in batch.deliveries] for batch in self.sink.batches]


class Crew:
    """A store that several workers share."""

    def __init__(self, store: Store, clock: WaitingClock) -> None:
        self.store = store
        self.clock = clock

    @staticmethod
    def routing_table(kind: type[Scripted]) -> RoutingTable:
        return RoutingTable(Routes((), {"chat": kind.state}), {"chat": SinkSpec(kind.state, kind.priority)})

    async def register(self) -> None:
        await self.store.write(lambda connection: leases.register(connection, {"chat": "scripted"}))

    def worker(self, name: str, kind: type[Scripted] = Scripted) -> Worker:
        return Worker(self, name, kind("chat"))

    async def event(self, name: str = "interview.finish", interview: str = "i1", **data: Any) -> None:
        at = self.clock.advance(0.001)
        raw = json.dumps({"event": name, "data": {"id": interview, **data}, "date": at}).encode()
        await self.store.offer(read(raw, at), raw)

    async def row(self) -> Any:
        return await self.store.query(
            lambda connection: connection.execute(select(sink).where(sink.c.name == "chat")).one()
        )

    async def states(self) -> list[int]:
        return list(
            await self.store.query(
                lambda connection: connection.execute(select(delivery.c.state).order_by(delivery.c.id)).scalars().all()
            )
        )

    async def notes(self) -> dict[str, Any]:
        rows = await self.store.query(lambda connection: connection.execute(select(note)).all())
        return {row.key: json.loads(row.value) for row in rows}


def frozen_call(act: Callable[[], Any], result: Result) -> Callable[..., Any]:
    """A call during which the process is stopped while `act` runs in another. It does not notice its cancellation."""

    async def script(batch: Any, context: Context) -> Result:
        elsewhere = asyncio.create_task(act())
        while not elsewhere.done():
            try:
                await asyncio.shield(elsewhere)
            except asyncio.CancelledError:
                continue
        return result

    return script
