"""Real lanes on a real store, with a clock that moves to the next due time or the next arrival."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from connector.delivery.lane import DeliveryRuntime, Lane
from connector.hireflix.payload import read
from connector.routing import Routes
from connector.store import leases
from connector.store.ingest import RoutingTable, SinkSpec
from connector.store.schema import delivery, note
from connector.store.sqlite.store import SqliteStore
from connector.testing import ManualClock
from sinks.slack.sink import SlackSink
from tests.stores import make_store_file

GROUP = 7
"""Events offered at once: few enough that the intake never counts as hot, which real time decides."""


class JumpingClock(ManualClock):
    """A clock without waits, which the runner of the lanes moves."""

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        await event.wait()
        return True


@dataclass(frozen=True)
class Arrival:
    """A webhook that is received at `at` (epoch milliseconds)."""

    at: int
    payload: dict[str, Any]


class Silent:
    """Counts nothing."""

    def settled(self, *_: object) -> None: ...
    def broken(self, *_: object) -> None: ...
    def called(self, *_: object) -> None: ...


class Lanes:
    """One lane per sink; every sink gets everything. `steps` counts the searches of all lanes."""

    def __init__(self, folder: Path, clock: JumpingClock, sinks: Sequence[SlackSink]) -> None:
        self.clock = clock
        self.sinks = sinks
        self.steps = 0
        routes = Routes([], {sink.name: False for sink in sinks})
        routing_table = RoutingTable(
            routes, {sink.name: SinkSpec(state=False, priority=sink.priority) for sink in sinks}
        )
        self.store = SqliteStore(make_store_file(folder / "lanes.db"), routing_table, lambda _plan: None, intake=10_000)
        self._runtime = DeliveryRuntime(self.store, clock, Silent(), "me")
        self.lanes = [Lane(sink, self._runtime) for sink in sinks]

    async def start(self) -> None:
        await self.store.write(
            lambda connection: leases.register(connection, {sink.name: "slack" for sink in self.sinks})
        )

    async def run(self, arrivals: Sequence[Arrival] = (), *, until: int | None = None) -> None:
        """Runs until nothing is pending and all webhooks have arrived, or until a time."""
        waiting = sorted(arrivals, key=lambda one: one.at)
        while True:
            now = self.clock.now()
            due = [one for one in waiting if one.at <= now]
            waiting = waiting[len(due) :]
            for start in range(0, len(due), GROUP):
                group = due[start : start + GROUP]
                await asyncio.gather(*(self._offer(one.payload) for one in group))
            looks = [await self._settle(lane) for lane in self.lanes]
            times = [at for at in looks if at is not None] + [one.at for one in waiting[:1]]
            if not times or (until is not None and min(times) > until):
                break
            self.clock.advance(max(0, min(times) - now) / 1000)

    async def _settle(self, lane: Lane) -> int | None:
        """Steps one lane until it has nothing to do now."""
        while True:
            self.steps += 1
            at = await lane.step()
            if at is None or at > self.clock.now():
                return at

    async def _offer(self, payload: dict[str, Any]) -> None:
        raw = json.dumps(payload).encode()
        await self.store.offer(read(raw, self.clock.now()), raw)

    async def rows(self, *where: Any) -> list[Any]:
        return list(await self.store.query(lambda connection: connection.execute(select(delivery).where(*where)).all()))

    async def notes(self) -> dict[str, Any]:
        rows = await self.store.query(lambda connection: connection.execute(select(note)).all())
        return {row.key: json.loads(row.value) for row in rows}

    async def stop(self) -> None:
        for lane in self.lanes:
            await lane.close()
        await self.store.close()


def payload(name: str, number: int, at: int, *, position: int = 1, **data: Any) -> dict[str, Any]:
    """A webhook about interview `number`."""
    about = {
        "id": f"{number:024x}",
        "position": {"id": f"{position:024x}", "name": f"Position {position}"},
        "candidate": {"name": f"Candidate {number}", "email": f"c{number}@example.com"},
        "status": "pending",
        **data,
    }
    return {"event": f"interview.{name}", "data": about, "date": at}
