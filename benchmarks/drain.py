"""Drain: the connector's own time for 10,000 pending deliveries of a state sink, from claim to settle."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import tables
from benchmarks.bodies import stream
from benchmarks.plugin.noop_sinks import NoopConfig, NoopState
from benchmarks.postgres import server, store_on
from connector.delivery.clock import SystemClock
from connector.delivery.lane import DeliveryRuntime, Lane
from connector.hireflix.payload import read
from connector.routing import Routes
from connector.store import leases
from connector.store.base import Store
from connector.store.ingest import RoutingTable, SinkSpec
from connector.store.postgres.store import PostgresStore
from connector.store.sqlite.store import SqliteStore
from connector.store.status import sinks
from tests.stores import make_store_file

SINK = "sheet"
BATCHES = (10_000, 500)


class Wide(NoopState):
    """A sink with the batch size of a sheet."""

    max_batch = BATCHES[0]


class Narrow(NoopState):
    """A sink with the default batch size."""

    max_batch = BATCHES[1]


class _Uncounted:
    """A meter that counts nothing."""

    def settled(self, *_: Any) -> None:
        """Not counted."""

    def broken(self, sink: str) -> None:
        """Not counted."""

    def called(self, sink: str, kind: str) -> None:
        """Not counted."""


async def run(*, quick: bool = False) -> None:
    """Measures and prints."""
    count, rounds = (500, 1) if quick else (10_000, 3)
    routing_table = RoutingTable(Routes((), {SINK: True}), {SINK: SinkSpec(state=True)})
    rows = []
    with tempfile.TemporaryDirectory(prefix="drain-") as folder, server() as running:
        for batch, sink in zip(BATCHES, (Wide, Narrow), strict=True):
            for name in ("SQLite", "PostgreSQL"):
                tables.progress(f"{name}, batches of {batch:,}")
                taken = []
                for index in range(rounds):
                    store = await _opened(name, routing_table, Path(folder) / f"{batch}-{index}.db", running)
                    try:
                        taken.append(await _drained(store, sink(SINK, NoopConfig()), count))
                    finally:
                        await store.close()
                rows.append(_row(f"{name}, batches of {batch:,}", taken))
    tables.show(
        f"{count:,} pending deliveries of a state sink that agrees at once ({rounds} rounds)",
        ("", "seconds", "CPU seconds of ours", "deliveries/s"),
        rows,
        "goal: below 1 s of our own time",
    )


async def _opened(name: str, routing_table: RoutingTable, path: Path, running: Any) -> Store:
    if name == "SQLite":
        return SqliteStore(make_store_file(path), routing_table, lambda _: None, intake=100_000)
    url = await store_on(running, f"drain_{path.stem.replace('-', '_')}")
    return await PostgresStore.open(url, routing_table, lambda _: None, intake=100_000)


async def _drained(store: Store, sink: NoopState, count: int) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds of this process, and how many there were."""
    clock = SystemClock()
    await store.write(lambda connection: leases.register(connection, {SINK: "noop"}))
    bodies = [each.body for each in islice(stream(updates=False), count)]
    await asyncio.gather(*(store.offer(read(body, clock.now()), body) for body in bodies))
    lane = Lane(sink, DeliveryRuntime(store, clock, _Uncounted(), "benchmark"))
    started, cpu = time.perf_counter(), time.process_time()
    running = asyncio.create_task(lane.run())
    while await store.query(lambda connection: sinks(connection, clock.now(), [SINK])[0].pending):
        lane.wake()
        await asyncio.sleep(0.01)
    seconds, ours = time.perf_counter() - started, time.process_time() - cpu
    lane.stop()
    await running
    return seconds, ours, count


def _row(name: str, taken: Sequence[tuple[float, float, int]]) -> Sequence[str]:
    return (
        name,
        tables.span([seconds for seconds, _, _ in taken]),
        tables.span([ours for _, ours, _ in taken]),
        tables.number(median(count / seconds for seconds, _, count in taken)),
    )
