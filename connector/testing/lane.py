"""Runs a sink as the service does: the real lane on a temporary SQLite store, on a clock that moves instead of waiting.

async with LaneRunner(make_sink) as lane:
    await lane.add(make_event())
    await lane.run()
    assert [each.state for each in await lane.deliveries()] == ["delivered"]
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from sqlalchemy import ColumnElement, Connection, and_, create_engine, func, or_, select, text

from connector.capabilities import VERIFY
from connector.delivery.lane import DeliveryRuntime, Lane
from connector.delivery.outcomes import CallFailure, SinkResponse
from connector.errors import SinkBroken
from connector.hireflix.payload import EventKind, Reading
from connector.interview import Event
from connector.routing import Route, Routes
from connector.sink import Batch, Context, Note, Outcome, Result, Sink
from connector.store import leases, rate_limit, settle
from connector.store.base import Load
from connector.store.claim import ClaimedDelivery
from connector.store.erase import erase
from connector.store.ingest import RoutingTable, SinkSpec
from connector.store.schema import REVISION, DeliveryState, delivery, event, in_state, metadata, note
from connector.store.settle import Settlement
from connector.store.sqlite.store import SqliteStore
from connector.testing.context import ManualClock

REGULAR_SECONDS = 60
"""A verification that is due later than this is a regular one, which `run` does not wait for."""
STEPS_MAX = 10_000
"""Most steps of one `run`."""


MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
"""A folder in memory, where the system has one: the stores of tests need not survive a power failure."""


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A delivery as the store has it. `event` is the name of its event, `purpose` that of a follow-up."""

    key: str
    event: str
    purpose: str
    state: str
    reason: str
    reference: str
    attempts: int


class LaneRunner:
    """One sink, its lane and a store of their own, without routes unless some are given.

    `make_sink` is called at the start and after each `crash`. `calls` counts the calls of `deliver`, `responses` are
    what they returned or raised, and `broken` the `SinkBroken` among them.
    """

    def __init__(
        self, make_sink: Callable[[], Sink[Any]], clock: ManualClock | None = None, routes: Sequence[Route] = ()
    ) -> None:
        self.clock = clock or ManualClock()
        self.sink = make_sink()
        self.calls = 0
        self.responses: list[SinkResponse] = []
        self._make_sink = make_sink
        self._routes = routes
        self._processes = 0
        self._lane_clock = _LaneClock(self.clock)

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(dir=_memory())
        name = self.sink.name
        sinks = {
            name: self.sink.state,
            **{other: False for route in self._routes for other in route.sinks if other != name},
        }
        spec = SinkSpec(self.sink.state, dict(self.sink.priority), edits=self.sink.edits and not self.sink.state)
        table = RoutingTable(Routes(self._routes, sinks), {name: spec})
        path = make_store_file(Path(self._folder.name) / "store.db")
        self.store = _UnhurriedStore(path, table, lambda _: None, intake=100_000)
        await self.store.write(self._register)
        self._is_routed = table.routes.staying(name)
        self._lane = await self._new_lane()
        return self

    def _register(self, connection: Connection) -> None:
        """Stores the sink as the start of a service does."""
        leases.register(connection, {self.sink.name: "test"})
        if not self.sink.state:
            settle.move(connection, self.sink.name, self.sink.destination)

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._lane.close()
        finally:
            await self.store.close()
            self._folder.cleanup()

    async def add(self, *events: Event) -> None:
        """Receives events: stores them, merges them into their interviews and adds deliveries by the routes.

        The time of receipt is that of each event.
        """
        for each in events:
            await self.store.offer(_reading(each), b"{}")

    async def step(self) -> int | None:
        """Makes at most one call. Returns when the lane polls again (epoch milliseconds), or `None`."""
        self._lane_clock.task = asyncio.current_task()
        deliver = self.sink.deliver

        async def counted(batch: Batch, context: Context) -> Result:
            self.calls += 1
            return await deliver(batch, context)

        with patch.object(self.sink, "deliver", counted):
            return await self._lane.step()

    async def run(self, *, until: int | None = None, steps: int = STEPS_MAX) -> None:
        """Steps until nothing is left to do, or until a time (epoch milliseconds). Moves the clock instead of waiting.

        A regular verification is not waited for. Raises `AssertionError` after so many steps.
        """
        for _ in range(steps):
            poll_at = await self.step()
            if poll_at is None or not await self.pending():
                return
            if until is not None and poll_at > until:
                return
            self.clock.advance(max(0, poll_at - self.clock.now()) / 1000)
        last = f"; the last call failed: {self.failures[-1]}" if self.failures else ""
        raise AssertionError(f"not settled after {steps} steps: {await self.pending()}{last}")

    async def crash(self) -> None:
        """Makes a call, ends the process before the outcome is stored, and starts the next one with a new sink.

        What the sink saved with `Context.save_notes` is kept. Without a due delivery no call is made.
        """
        deliver = self.sink.deliver

        async def deliver_and_crash(batch: Batch, context: Context) -> Result:
            await deliver(batch, context)
            raise _Crash

        with suppress(_Crash), patch.object(self.sink, "deliver", deliver_and_crash):
            for _ in range(STEPS_MAX):
                poll_at = await self.step()
                if poll_at is None:
                    break
                self.clock.advance(max(0, poll_at - self.clock.now()) / 1000)
        await self._lane.close()
        self.sink = self._make_sink()
        self._lane = await self._new_lane()

    async def erase(self, interview_id: str) -> None:
        """Erases an interview in the store, and adds the delivery in which the sink erases it at the destination."""
        name, now = self.sink.name, self.clock.now()
        await self.store.write(lambda connection: erase(connection, interview_id, [name], now))

    async def block(self, bucket: str, seconds: float) -> None:
        """Blocks a bucket of a rate limit."""
        await self.store.write(lambda connection: rate_limit.block(connection, bucket, seconds, self.clock.now()))

    async def deliveries(self, *where: ColumnElement[bool]) -> list[StoredDelivery]:
        """Returns the deliveries in the order in which they were added."""
        columns = (delivery, func.coalesce(event.c.name, "").label("event"))
        query = select(*columns).outerjoin(event, event.c.seq == delivery.c.event_seq).where(*where)
        rows = await self.store.query(lambda connection: connection.execute(query.order_by(delivery.c.id)).all())
        return [
            StoredDelivery(
                row.key,
                row.event,
                row.purpose,
                DeliveryState(row.state).name.lower(),
                row.reason or "",
                row.reference or "",
                row.attempts,
            )
            for row in rows
        ]

    async def pending(self) -> list[str]:
        """Returns the keys of the deliveries that are due now or later, without regular verifications."""
        return [each.key for each in await self.deliveries(self._open())]

    async def waiting(self) -> list[str]:
        """Returns the keys of the deliveries that wait for another call to show them."""
        return [each.key for each in await self.deliveries(in_state(DeliveryState.WAITING))]

    async def dead(self) -> list[str]:
        """Returns the reasons of the dead letters."""
        return [each.reason for each in await self.deliveries(in_state(DeliveryState.DEAD))]

    async def notes(self) -> dict[str, Note]:
        """Returns the committed notes."""
        rows = await self.store.query(lambda connection: connection.execute(select(note)).all())
        return {row.key: json.loads(row.value) for row in rows}

    @property
    def broken(self) -> list[SinkBroken]:
        return [each for each in self.responses if isinstance(each, SinkBroken)]

    @property
    def failures(self) -> list[str]:
        """Reasons of the calls that raised, timed out or returned an unusable result."""
        return [each.reason for each in self.responses if isinstance(each, CallFailure)]

    @property
    def results(self) -> list[Result]:
        return [each for each in self.responses if isinstance(each, Result)]

    @property
    def outcomes(self) -> list[Outcome]:
        """All outcomes, in the order of the calls."""
        return [outcome for result in self.results for outcome in result.outcomes]

    async def _new_lane(self) -> Lane:
        self._processes += 1
        owner = f"process {self._processes}"
        name, now = self.sink.name, self.clock.now()
        await self.store.write(lambda connection: leases.acquire(connection, name, owner, now, by_force=True))
        runtime = DeliveryRuntime(self.store, self._lane_clock, _Recorder(self.responses), owner)
        return Lane(self.sink, runtime, self._is_routed)

    def _open(self) -> ColumnElement[bool]:
        soon = self.clock.now() + REGULAR_SECONDS * 1000
        return and_(in_state(DeliveryState.PENDING), or_(delivery.c.purpose != VERIFY, delivery.c.not_before <= soon))


class _Crash(BaseException):
    """Simulates the end of the process."""


class _LaneClock:
    """The clock of the lane. A wait in the `task` of the lane moves it on; a helper of a call waits for its end."""

    def __init__(self, clock: ManualClock) -> None:
        self.task: asyncio.Task[Any] | None = None
        self._clock = clock

    def now(self) -> int:
        return self._clock.now()

    def in_sql(self) -> int:
        return self._clock.now()

    async def wait(self, wake: asyncio.Event, seconds: float) -> bool:
        if asyncio.current_task() is not self.task:
            return await wake.wait()
        if not wake.is_set():
            self._clock.advance(max(0.0, seconds))
        return wake.is_set()


class _UnhurriedStore(SqliteStore):
    """A store without load, so that lanes do not pause for the receiver: in a test the rate of events in real time has
    no meaning.
    """

    @property
    def load(self) -> Load:
        return Load()


class _Recorder:
    """Records the responses of a sink."""

    def __init__(self, responses: list[SinkResponse]) -> None:
        self._responses = responses

    def settled(
        self, _sink: str, _works: Sequence[ClaimedDelivery], response: SinkResponse, _settlement: Settlement
    ) -> None:
        self._responses.append(response)

    def broken(self, sink: str) -> None: ...

    def called(self, sink: str, kind: str) -> None: ...


def _reading(each: Event) -> Reading:
    """Returns the reading that the receiver would make of the event."""
    return Reading(
        EventKind.EVENT,
        each.id,
        sha256(each.id.encode()).digest(),
        each.name,
        each.interview_id,
        each.occurred_at,
        each.received_at,
        "",
        dict(each.fields),
        len(each.fields),
        "",
    )


def make_store_file(path: Path) -> Path:
    """Makes an empty store of this version, without Alembic: a test holds that the migrations make the same schema."""
    path.write_bytes(_empty_store())
    path.chmod(0o600)
    return path


@cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        path = Path(folder) / "empty.db"
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})
        engine.dispose()
        return path.read_bytes()


def _memory() -> Path | None:
    return MEMORY if os.access(MEMORY, os.W_OK) else None
