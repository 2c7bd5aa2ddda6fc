"""Retention: the size of the store over 10 periods, and how long each slice holds the writer."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

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
    rows, slices = [], list[float]()
    with tempfile.TemporaryDirectory(prefix="retention-") as folder:
        path = make_store_file(Path(folder) / "store.db")
        source = stream()
        with closing(database.connect(path)) as connection:
            for period in range(PERIODS):
                _fill(connection, source, period, events)
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
        f"a slice takes p50 {tables.number(tables.percentile(slices, 0.5))} ms, "
        f"p99 {tables.number(tables.percentile(slices, 0.99))} ms, at most {tables.number(max(slices))} ms",
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


def _retain(connection: sqlite3.Connection, now: int) -> list[float]:
    """Deletes what is old enough; returns the milliseconds of each transaction."""
    taken, rows = list[float](), retention.ROWS_FIRST
    with database.through_sqlalchemy(connection) as wrapped:
        for kind, cutoff in retention.cutoffs(DAYS, now).items():
            place: retention.RetentionPlace | None = retention.START
            while place is not None:
                begun = time.perf_counter()
                wrapped.exec_driver_sql("BEGIN IMMEDIATE")
                place = retention.delete_slice(wrapped, kind, cutoff, place, rows).next
                wrapped.exec_driver_sql("COMMIT")
                taken.append((time.perf_counter() - begun) * 1000)
                rows = retention.next_rows(rows, taken[-1])
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
