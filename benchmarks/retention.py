"""Retention: the size of the store over 10 periods, and how long each slice holds the writer.

The time of a slice is measured twice: by the clock, and as processor time, which other programs on the machine hardly
change. The clock includes the commit, and so the disk.
"""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from benchmarks import tables
from benchmarks.bodies import Webhook, stream
from connector.hireflix.payload import read
from connector.routing import Route, Routes
from connector.store import retention
from connector.store.ingest import IncomingEvent, RoutingTable, SinkSpec, write_group
from connector.store.retention import DAY_MS, RetentionKind
from connector.store.sqlite import database
from tests.stores import make_store_file

PERIODS = 10
PERIOD_DAYS = 90
EVENTS = 10_000
"""Per period."""
CHUNK = 1_000
DAYS = {RetentionKind.BODIES: 90, RetentionKind.DELIVERIES: 30, RetentionKind.ATTEMPTS: 30}
EVENT_BYTES = 150
"""Most bytes that an event may keep after its body was deleted."""
START_MS = 1_700_000_000_000


async def run(*, quick: bool = False) -> None:
    """Adds the events of each period, applies retention at its end, and measures."""
    events = 500 if quick else EVENTS
    rows, slices = [], list[_Slice]()
    with tempfile.TemporaryDirectory(prefix="retention-") as folder:
        path = make_store_file(Path(folder) / "store.db")
        source = stream()
        with closing(database.connect(path)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint=0")  # a service copies the log beside its writer
            for period in range(PERIODS):
                _fill(connection, source, period, events)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                before = _used(connection)
                taken = _retain(connection, START_MS + (period + 1) * PERIOD_DAYS * DAY_MS)
                slices += taken
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                interviews = connection.execute("SELECT count(*) FROM interview").fetchone()[0]
                sizes = map(_mb, (before, _used(connection), _of_events(connection), path.stat().st_size))
                rows.append([period + 1, f"{(period + 1) * events:,}", f"{interviews:,}", *sizes, len(taken)])
            slices += _retain(connection, START_MS + (PERIODS + 1) * PERIOD_DAYS * DAY_MS)
            kept = _bytes_of_rows(connection, "event") / (PERIODS * events)
        note = tables.disk(Path(folder))
    tables.show(
        f"Retention over {PERIODS} periods of {PERIOD_DAYS} days, {events:,} events each, two sinks",
        ["period", "events", "interviews", "used MB before", "used MB after", "of events", "file MB", "slices"],
        rows,
        f"a slice takes {_spread([each.processor_ms for each in slices])} of processor time, "
        f"{_spread([each.clock_ms for each in slices])} by the clock with its commit; the limit is "
        f"{retention.SLICE_MS:.0f} ms",
        f"an event whose body was deleted keeps a row of {kept:.0f} bytes on average, without indexes; "
        f"the limit is {EVENT_BYTES}",
        note,
    )


def _fill(connection: sqlite3.Connection, source: Iterator[Webhook], period: int, events: int) -> None:
    """Adds events that are received evenly over a period and delivered at once."""
    kinds = {"sheet": True, "chat": False}
    specs = {name: SinkSpec(is_state) for name, is_state in kinds.items()}
    table = RoutingTable(Routes((Route(("sheet", "chat")),), kinds), specs)
    step = PERIOD_DAYS * DAY_MS // events
    for first in range(0, events, CHUNK):
        group = []
        for number in range(first, min(events, first + CHUNK)):
            body = next(source).body
            group.append(IncomingEvent(read(body, START_MS + period * PERIOD_DAYS * DAY_MS + number * step), body))
        with database.through_sqlalchemy(connection) as wrapped:
            wrapped.exec_driver_sql("BEGIN IMMEDIATE")
            write_group(wrapped, group, table)
            wrapped.exec_driver_sql("UPDATE delivery SET state = 1, done_at = since WHERE state = 0")
            wrapped.exec_driver_sql("COMMIT")


class _Slice(NamedTuple):
    """The milliseconds of one transaction, by the clock and of the processor."""

    clock_ms: float
    processor_ms: float


def _spread(values: list[float]) -> str:
    half, most = tables.number(tables.percentile(values, 0.5)), tables.number(max(values))
    return f"{half} ms (p50), {tables.number(tables.percentile(values, 0.99))} ms (p99) and at most {most} ms"


def _retain(connection: sqlite3.Connection, now: int) -> list[_Slice]:
    """Deletes what is old enough; returns the times of each transaction."""
    taken = list[_Slice]()
    gc.collect()
    gc.freeze()  # as a service does after its start; else the collector reads the webhooks of the benchmark
    with database.through_sqlalchemy(connection) as wrapped:
        for kind, cutoff in retention.cutoffs(DAYS, now).items():
            place: retention.RetentionPlace | None = retention.START
            rows = retention.ROWS_FIRST
            while place is not None:
                clock, processor = time.perf_counter(), time.thread_time()
                wrapped.exec_driver_sql("BEGIN IMMEDIATE")
                place = retention.delete_slice(wrapped, kind, cutoff, place, rows).next
                elapsed_ms = (time.perf_counter() - clock) * 1000
                wrapped.exec_driver_sql("COMMIT")
                taken.append(_Slice((time.perf_counter() - clock) * 1000, (time.thread_time() - processor) * 1000))
                rows = retention.next_rows(rows, elapsed_ms)
    return taken


def _bytes_of_rows(connection: sqlite3.Connection, table: str) -> int:
    """Returns the bytes of all rows of a table, without indexes and unused space (SQLite, the dbstat virtual table)."""
    return int(connection.execute("SELECT sum(payload) FROM dbstat WHERE name = ?", (table,)).fetchone()[0])


def _of_events(connection: sqlite3.Connection) -> int:
    """Returns the bytes of all pages of the tables of events and their indexes; the rest are interviews, which stay."""
    sizes = "SELECT sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) WHERE tbl_name LIKE 'event%'"
    return int(connection.execute(sizes).fetchone()[0])


def _used(connection: sqlite3.Connection) -> int:
    """Returns the bytes of the pages in use; SQLite uses free pages again."""
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size * (pages - free))


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"
