"""Events, rows and connections for the tests of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from connector.hireflix.payload import Reading, read
from connector.routing import Route, Routes
from connector.store import leases
from connector.store.dialects import insert_new
from connector.store.ingest import IncomingEvent, RoutingTable, SinkSpec
from connector.store.leases import Lease
from connector.store.schema import delivery, event, metadata
from connector.store.sqlite import database
from connector.testing import START
from tests.postgres import rolled_back

PENDING, DELIVERED, SUPERSEDED, DEAD = range(4)
WITH_BODY = "event LEFT JOIN event_body ON event_seq = seq"
"""The rows of events with body and parsed fields, in SQL."""
CREATE, FINISH, SCORE = "interview.create", "interview.finish", "interview.score-updated"


def body(name: str = FINISH, interview: str = "i1", at: int | None = START, **data: Any) -> bytes:
    """A webhook's body; `at` None leaves the date out."""
    payload: dict[str, Any] = {"event": name, "data": {"id": interview, **data}}
    return json.dumps(payload if at is None else {**payload, "date": at}).encode()


def arrival(raw: bytes | None = None, now: int = START, **of_body: Any) -> IncomingEvent:
    raw = body(**of_body) if raw is None else raw
    return IncomingEvent(read(raw, now), raw)


def reading(**of_body: Any) -> Reading:
    return arrival(**of_body).reading


def routing_table(
    routes: Sequence[Route] = (), *, priority: dict[str, int] | None = None, **sinks: bool
) -> RoutingTable:
    """Sinks by name and whether they show state; without routes each gets everything."""
    targets = {name: SinkSpec(is_state, priority or {}) for name, is_state in sinks.items()}
    return RoutingTable(Routes(routes, sinks), targets)


@cache
def _schema() -> bytes:
    """The schema as the bytes of a database, because creating it takes longer than most tests."""
    raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with closing(raw), database.through_sqlalchemy(raw) as connection:
        metadata.create_all(connection)
        return raw.serialize()


@contextmanager
def memory() -> Iterator[Connection]:
    """An empty store in memory, in autocommit mode."""
    raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    raw.deserialize(_schema())
    raw.execute("PRAGMA foreign_keys=ON")
    with closing(raw), database.through_sqlalchemy(raw) as connection:
        yield connection


KINDS = {"sqlite": memory, "postgresql": rolled_back}
"""Ways to an empty store, by the database."""


def add_events(connection: Connection, seqs: Iterable[int | None]) -> None:
    """Adds empty events with these ids, unless they exist."""
    row = {"sha256": b"", "kind": "event", "name": "", "interview_id": "", "occurred_at": START, "received_at": START}
    rows = [{"seq": seq, "identity": f"e{seq}", "mark": "", "reason": "", **row} for seq in seqs if seq is not None]
    insert_new(connection, event, rows, ["seq"])


def add(connection: Connection, key: str = "i1", **columns: Any) -> int:
    """Adds a pending delivery of the sink `chat`, and its event unless it exists. Returns the delivery's id."""
    row = {"sink": "chat", "key": key, "interview_id": key, "event_seq": 1, "priority": 100, "since": START, **columns}
    add_events(connection, [row["event_seq"]])
    return connection.execute(insert(delivery).values(row).returning(delivery.c.id)).scalar_one()


def row_of(connection: Connection, id_: int) -> Any:
    return connection.execute(select(delivery).where(delivery.c.id == id_)).one()


def lease_of(connection: Connection, name: str = "chat", owner: str = "me", now: int = START) -> Lease:
    """A valid lease of a registered sink."""
    leases.register(connection, {name: "console"})
    lease = leases.acquire(connection, name, owner, now, by_force=True)
    assert lease is not None
    return lease


def rows(path: Path, sql: str, *parameters: Any) -> list[Any]:
    """The rows that another process reads in a store file."""
    other = sqlite3.connect(path)
    try:
        return other.execute(sql, parameters).fetchall()
    finally:
        other.close()


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection writes and has not committed yet; its changes are kept."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        other.execute("COMMIT")
        other.close()
