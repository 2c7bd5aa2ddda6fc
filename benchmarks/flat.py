"""Flat: the cost of an event, a claim and a route while the store grows; 200 sinks, 2,000 routes."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Connection

from benchmarks import tables
from benchmarks.bodies import POSITIONS, object_id, stream, update_of
from connector.delivery import batches
from connector.hireflix.payload import read
from connector.routing import Route, Routes
from connector.store import leases
from connector.store.ingest import IncomingEvent, RoutingTable, SinkSpec, write_group
from connector.store.sqlite import database
from connector.store.sqlite.store import FileConnection, SqliteStore
from tests.stores import make_store_file

SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
SINKS, ROUTES = 200, 2_000
CLIENTS = 64
EVENTS = 12_800
CLAIMED = 500
CHUNK = 5_000
STATE = "sheet"


@dataclass(slots=True)
class Cost:
    """Microseconds per event or per claim, by measurement."""

    figures: dict[str, float] = field(default_factory=dict)


async def run(*, quick: bool = False) -> None:
    """Fills one store step by step, and measures at each."""
    sizes, events = ((1_000, 3_000), 640) if quick else (SIZES, EVENTS)
    found: dict[int, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="flat-") as folder:
        path = make_store_file(Path(folder) / "store.db")
        filling = Filling(path, routing_table())
        for size in sizes:
            filling.to(size)
            found[size] = await _measure(path, filling, events)
        note = f"{path.stat().st_size / 1e9:.1f} GB in the end; {tables.disk(Path(folder))}"
    names = list(next(iter(found.values())).figures)
    rows = [[name, *(tables.number(found[size].figures[name]) for size in sizes)] for name in names]
    tables.show(
        f"Cost by the number of stored events: {SINKS} sinks, {ROUTES:,} routes, {CLIENTS} at once",
        ["", *(f"{size:,}" for size in sizes)],
        rows,
        note,
    )


def routing_table() -> RoutingTable:
    """One state sink for everything, and message sinks that share the positions."""
    chats = [f"chat_{number}" for number in range(SINKS - 1)]
    kinds = {STATE: True, **dict.fromkeys(chats, False)}
    routes = [Route((STATE,))]
    routes += [
        Route((chats[number % len(chats)],), (f"Position {number}", f"Other {number} *"))
        for number in range(ROUTES - 1)
    ]
    return RoutingTable(Routes(routes, kinds), {name: SinkSpec(is_state) for name, is_state in kinds.items()})


class Filling:
    """Fills a store with the statements of the service. All its deliveries are settled."""

    def __init__(self, path: Path, into: RoutingTable) -> None:
        self.routing_table = into
        self.size = 0
        self.known: list[str] = []
        self.number = 0
        self._path = path
        self._events = stream()

    def to(self, size: int) -> None:
        """Adds events until the store has `count`."""
        connection = database.connect(self._path)
        connection.execute("PRAGMA synchronous=OFF")  # the benchmark does not need durability
        file = FileConnection(self._path, connection)
        while self.size < size:
            tables.progress(f"{self.size:,} of {size:,} events") if self.size % 500_000 == 0 else None
            group = [self._arrival() for _ in range(min(CHUNK, size - self.size))]
            with file.begin() as transaction:
                self.size += len(write_group(transaction, group, self.routing_table).events)
                transaction.exec_driver_sql("UPDATE delivery SET state = 1, done_at = since WHERE state = 0")
        file.close()

    def _arrival(self) -> IncomingEvent:
        webhook = next(self._events)
        if webhook.event == "interview.create":
            self.known.append(webhook.interview_id)
        return IncomingEvent(read(webhook.body, NOW), webhook.body)

    def new(self, count: int) -> list[bytes]:
        """Yields invitations of new interviews."""
        made = []
        for _ in range(count):
            self.number += 1
            self.known.append(object_id(NOW // 1000 + self.number // 1000, random.Random(self.number)))
            made.append(update_of(self.known[-1], "interview.create", NOW + self.number))
        return made

    def old(self, count: int) -> list[bytes]:
        """Yields finishes of random interviews of any age."""
        chosen = random.Random(self.number).choices(self.known, k=count)
        self.number += count
        return [update_of(each, "interview.finish", NOW + self.number + place) for place, each in enumerate(chosen)]


NOW = time.time_ns() // 1_000_000


async def _measure(path: Path, filling: Filling, events: int) -> Cost:
    cost = Cost()
    store = SqliteStore(path, filling.routing_table, lambda _: None, intake=10_000)
    try:
        for name, bodies in _loads(filling, events):
            tables.progress(f"{filling.size:,} events: {name}")
            await _ingest(store, bodies, name, cost)
            filling.size += len(bodies)
        await store.write(lambda connection: leases.register(connection, {STATE: "noop", "chat_0": "noop"}))
        cost.figures["claim of 500 for a state sink, ms"] = await _claim(store, _claim_states)
        cost.figures["claim of 500 for a message sink, ms"] = await _claim(store, _claim_messages)
        await store.write(_settle_all)
        cost.figures["claims without result, ms"] = await _claim(store, _claim_states)
    finally:
        await store.close()
    cost.figures["routing, µs"] = _routing(filling.routing_table)
    return cost


def _loads(filling: Filling, events: int) -> Iterator[tuple[str, list[bytes]]]:
    yield "new interviews", filling.new(events)
    yield "any old interviews, first time", filling.old(events)
    yield "any old interviews, again", filling.old(events)


async def _ingest(store: SqliteStore, bodies: Sequence[bytes], name: str, cost: Cost) -> None:
    readings = [read(body, NOW) for body in bodies]
    pairs = iter(zip(readings, bodies, strict=True))
    waits: list[float] = []

    async def client() -> None:
        for reading, body in pairs:
            started = time.perf_counter()
            await store.offer(reading, body)
            waits.append(time.perf_counter() - started)

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    cost.figures[f"{name}: events/s"] = len(bodies) / (time.perf_counter() - started)
    cost.figures[f"{name}: CPU µs"] = (time.process_time() - cpu) / len(bodies) * 1e6
    cost.figures[f"{name}: p99 ms"] = tables.percentile(waits, 0.99) * 1000


async def _claim(store: SqliteStore, claim: Callable[[Connection], Any]) -> float:
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        await store.read(claim)
        taken.append((time.perf_counter() - started) * 1000)
    return median(taken)


def _claim_states(connection: Connection) -> Any:
    return batches.claim_states(connection, leases.row(connection, STATE), NOW + 10**9, CLAIMED)


def _claim_messages(connection: Connection) -> Any:
    return batches.claim_messages(connection, "chat_0", NOW + 10**9, CLAIMED)


def _settle_all(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE delivery SET state = 1, done_at = since WHERE state = 0")


def _routing(into: RoutingTable) -> float:
    """One decision among all routes, for positions that were seen before."""
    names = [f"Position {number % POSITIONS}" for number in range(20_000)]
    match, stage = into.routes.match, "pending"
    started = time.perf_counter()
    for name in names:
        match("interview.finish", "", name, stage, None)  # type: ignore[arg-type]
    return (time.perf_counter() - started) / len(names) * 1e6
