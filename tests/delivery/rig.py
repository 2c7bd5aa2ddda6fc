"""A lane on a real store with a scripted sink and a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from sqlalchemy import select

from connector.capabilities import Debounce
from connector.delivery.dispatcher import Dispatcher
from connector.delivery.lane import DeliveryRuntime, Lane
from connector.delivery.outcomes import Policy, SinkResponse
from connector.hireflix.payload import read
from connector.routing import Route, Routes
from connector.sink import Batch, Context, Delivered, Delivery, Result, Sink, SinkConfig
from connector.store import leases
from connector.store.base import Store
from connector.store.claim import ClaimedDelivery
from connector.store.ingest import RoutingTable, SinkSpec
from connector.store.schema import attempt, delivery, note, sink
from connector.store.settle import Settlement
from connector.testing import ManualClock

Script = Callable[[Batch, Context], Any]


class WaitingClock(ManualClock):
    """A manual clock on which lanes can wait: `advance` ends the waits that are over."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[int, asyncio.Event]] = []

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        over = asyncio.Event()
        self._waiting.append((self.now() + round(seconds * 1000), over))
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(over.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return event.is_set()

    @property
    def waiting(self) -> int:
        return sum(not over.is_set() for _, over in self._waiting)

    def set_back(self, seconds: float) -> None:
        """Sets the machine's clock back."""
        self._at -= round(seconds * 1000)

    def advance(self, seconds: float) -> int:
        now = super().advance(seconds)
        for at, over in self._waiting:
            if at <= now:
                over.set()
        self._waiting = [(at, over) for at, over in self._waiting if at > now]
        return now


class Scripted(Sink[SinkConfig]):
    """Follows the script, then delivers everything. Records its deliveries."""

    Config = SinkConfig
    max_batch = 100
    priority: ClassVar[Mapping[str, int]] = {"interview.finish": 0}

    def __init__(self, name: str = "scripted", max_age: float | None = None) -> None:
        super().__init__(name, SinkConfig())
        self.batches: list[Batch] = []
        self.script: list[Script] = []
        self.always: Script | None = None
        self.wanted_keys: list[str] = []
        self._max_age = max_age
        self.closed = False

    @property
    def max_age(self) -> float | None:
        return self._max_age

    def note_keys(self, delivery: Delivery) -> Iterable[str]:
        return [*self.wanted_keys, f"row:{delivery.key}"]

    async def deliver(self, batch: Batch, context: Context) -> Result:
        self.batches.append(batch)
        act = self.script.pop(0) if self.script else self.always
        if act is None:
            return Result([Delivered() for _ in batch.deliveries])
        answer = act(batch, context)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def close(self) -> None:
        self.closed = True

    @property
    def called_with(self) -> list[list[str]]:
        """Per call, what was delivered: the event's name, or the key when there is none."""
        return [[one.event.name if one.event else one.key for one in batch.deliveries] for batch in self.batches]


class One(Scripted):
    max_batch = 1


class State(Scripted):
    state = True
    max_batch = 1000


class Gathering(State):
    debounce = Debounce(above=3, idle=0.5, max_wait=2.0)


class Meters:
    """Records what lanes count."""

    def __init__(self) -> None:
        self.answers: list[SinkResponse] = []
        self.calls: list[tuple[str, str]] = []
        self.broke: list[str] = []

    def settled(
        self, sink: str, works: Sequence[ClaimedDelivery], response: SinkResponse, settlement: Settlement
    ) -> None:
        self.answers.append(response)

    def broken(self, sink: str) -> None:
        self.broke.append(sink)

    def called(self, sink: str, kind: str) -> None:
        self.calls.append((sink, kind))


def routing_table_of(sinks: Sequence[Scripted], routes: Sequence[Route] = ()) -> RoutingTable:
    """Without routes every sink gets everything."""
    targets = {sink.name: SinkSpec(sink.state, sink.priority) for sink in sinks}
    return RoutingTable(Routes(routes, {sink.name: sink.state for sink in sinks}), targets)


class Rig:
    """One store, some lanes."""

    def __init__(self, store: Store, routing_table: RoutingTable, *sinks: Scripted) -> None:
        self.clock = WaitingClock()
        self.meters = Meters()
        self.sinks = sinks
        self.routes = routing_table.routes
        self.store = store
        policy = Policy(random=lambda low, high: high)
        self.runtime = DeliveryRuntime(self.store, self.clock, self.meters, "me", policy)
        self.lanes = {sink.name: Lane(sink, self.runtime) for sink in sinks}

    async def register(self) -> None:
        await self.store.write(
            lambda connection: leases.register(connection, {sink.name: "scripted" for sink in self.sinks})
        )

    @property
    def lane(self) -> Lane:
        return self.lanes[self.sinks[0].name]

    async def event(self, name: str = "interview.finish", interview: str = "i1", **data: Any) -> int:
        """Stores an event and returns its number; each is a second later than the last."""
        at = data.pop("at", None) or self.clock.now()
        body = {"event": name, "data": {"id": interview, "position": {"id": "p1", "name": "Cook"}, **data}, "date": at}
        raw = json.dumps(body).encode()
        return (await self.store.offer(read(raw, self.clock.now()), raw)).seq

    async def restarted(self) -> None:
        """New lanes on the same store, as after a crash of the process."""
        self.runtime = DeliveryRuntime(self.store, self.clock, self.meters, "next", self.runtime.policy)
        await self.store.write(
            lambda connection: [
                leases.acquire(connection, sink.name, "next", self.clock.now(), by_force=True) for sink in self.sinks
            ]
        )
        self.lanes = {sink.name: Lane(sink, self.runtime) for sink in self.sinks}

    async def rows(self) -> list[Any]:
        return list(
            await self.store.query(
                lambda connection: connection.execute(select(delivery).order_by(delivery.c.id)).all()
            )
        )

    async def states(self) -> list[int]:
        return [row.state for row in await self.rows()]

    async def sink_row(self) -> Any:
        name = self.sinks[0].name
        return await self.store.query(
            lambda connection: connection.execute(select(sink).where(sink.c.name == name)).one()
        )

    async def attempts(self) -> list[tuple[str, str, int]]:
        rows = await self.store.query(
            lambda connection: connection.execute(select(attempt).order_by(attempt.c.id)).all()
        )
        return [(row.outcome, row.reason, row.count) for row in rows]

    async def notes(self) -> dict[str, Any]:
        rows = await self.store.query(lambda connection: connection.execute(select(note)).all())
        return {row.key: json.loads(row.value) for row in rows}


def dispatcher_of(rig, *sinks, routes=None, renamed_from=None):
    routing = routes or Routes((), {sink.name: sink.state for sink in sinks})
    runtime = DeliveryRuntime(rig.store, rig.clock, rig.meters, "me", rig.runtime.policy)
    return Dispatcher(
        sinks, routing, runtime, types={sink.name: "scripted" for sink in sinks}, renamed_from=renamed_from or {}
    )


async def until(condition):
    """Runs the event loop until a condition holds, at most until the time limit of the test."""
    while not condition():  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)


async def run_until(dispatcher, clock, condition):
    """Runs the lanes until a condition holds, and moves the clock whenever all of them wait."""
    await dispatcher.start()
    while not condition():
        clock.advance(0.01)
        await asyncio.sleep(0)
    await dispatcher.stop(5)
