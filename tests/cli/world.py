"""A folder with a configuration and a filled store, for commands."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from connector.hireflix.payload import read
from connector.routing import Route, Routes
from connector.store import leases
from connector.store.ingest import IncomingEvent, IngestPlan, RoutingTable, SinkSpec, write_group
from connector.store.parsed import EVENTS
from connector.store.postgres.database import make_engine
from connector.store.schema import DeliveryState, attempt, delivery, event, event_body
from connector.store.sqlite import database
from tests.stores import make_store_file

DAY = 86_400_000
ON_BOTH = pytest.mark.parametrize("store_url", ["sqlite", "postgres"], indirect=True)
"""A test that runs on both databases; all others run on SQLite."""
NOON = 1_785_585_600_000
"""2026-08-01 12:00 UTC."""

SHEET_CONFIG = """
[store]
url = "{store}"

[hireflix]
webhook_secrets = ["hush-hush"]

[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{url}"
"""
"""A Google sheet: set `store`, `sheet` and `url`."""
CONFIG = """
[hireflix]
webhook_secrets = ["hush-hush"]

[sinks.sheet]
type = "workbook"
path = "sheet.xlsx"

[sinks.chat]
type = "console"

[sinks.graduates]
type = "console"

[[routes]]
sinks = ["sheet", "chat"]

[[routes]]
positions = ["Graduate*"]
events = ["interview.finish"]
sinks = ["graduates"]
"""
SINKS = {"sheet": True, "chat": False, "graduates": False}
ROUTES = (Route(("sheet", "chat")), Route(("graduates",), ("Graduate*",), ("interview.finish",)))


def body(name: str = "interview.finish", number: int = 1, at: int = NOON, **data: Any) -> bytes:
    """A webhook of interview `number`; keyword arguments replace or add fields of its interview object."""
    interview = {
        "id": f"interview-{number}",
        "position": {"id": "p-1", "name": "Baker"},
        "candidate": {"name": f"Candidate {number}", "email": f"candidate{number}@example.com"},
        "status": "pending",
    }
    return json.dumps({"event": name, "data": interview | data, "date": at}).encode()


class Filled:
    """A store behind a connection in autocommit mode. Everything is written at once and without a service; `rows`
    reads it back.
    """

    def __init__(
        self, connection: Connection, sinks: Mapping[str, bool] = SINKS, routes: Iterable[Route] = ROUTES
    ) -> None:
        self.connection = connection
        self.sinks = sinks
        self.routing_table = RoutingTable(
            Routes(tuple(routes), sinks), {name: SinkSpec(state) for name, state in sinks.items()}
        )
        leases.register(connection, dict.fromkeys(sinks, "console"))

    def close(self) -> None:
        self.connection.close()

    def receive(self, *bodies: bytes, at: int = NOON) -> IngestPlan:
        """Stores what the receiver stores for these bodies, received at `at`."""
        arrivals = [IncomingEvent(read(one, at), one) for one in bodies]
        return write_group(self.connection, arrivals, self.routing_table)

    def keep(self, kind: str, content: bytes, seq: int, at: int = NOON, **values: Any) -> None:
        """Stores an event that an older version could not read."""
        reading = read(content, at)
        row = {
            "seq": seq,
            "identity": f"sha256:{reading.sha256.hex()}",
            "sha256": reading.sha256,
            "kind": kind,
            "name": "",
            "interview_id": "",
            "occurred_at": at,
            "received_at": at,
            "mark": "",
            "reason": "an older version",
        }
        self.connection.execute(insert(event).values(row | values))
        if content:
            body = {"event_seq": seq, "received_at": at, "body": content}
            self.connection.execute(insert(event_body).values(body))

    def settle(self, state: DeliveryState, *ids: int, **values: Any) -> None:
        """Writes what a lane writes for these deliveries."""
        done = {"state": int(state), "attempts": 2, "not_before": NOON + DAY, "done_at": NOON + 1000}
        self.connection.execute(update(delivery).where(delivery.c.id.in_(ids)).values(done | values))

    def settle_all(self, state: DeliveryState = DeliveryState.DELIVERED) -> None:
        self.settle(state, *(row.id for row in self.rows(delivery)))

    def try_once(self, sink: str, at: int = NOON, **values: Any) -> None:
        """A recorded attempt."""
        row = {"sink": sink, "batch": "b-1", "started_at": at, "duration_ms": 40, "outcome": "retry later"}
        self.connection.execute(insert(attempt).values(row | {"reason": "http 503", "count": 1} | values))

    def rows(self, table: Any, **where: Any) -> list[Any]:
        conditions = [table.c[name] == value for name, value in where.items()]
        chosen = EVENTS if table is event else select(table)
        return list(self.connection.execute(chosen.where(*conditions).order_by(*table.primary_key)))

    def ids(self, sink: str) -> list[int]:
        return [row.id for row in self.rows(delivery, sink=sink)]


class World(Filled):
    """A SQLite store at `file`; `raw` is the driver's connection."""

    def __init__(self, folder: Path, sinks: Mapping[str, bool] = SINKS, routes: Iterable[Route] = ROUTES) -> None:
        self.folder = folder
        self.file = make_store_file(folder / "connector.db")
        self.raw = database.connect(self.file)
        super().__init__(database.through_sqlalchemy(self.raw), sinks, routes)

    def open(self) -> None:
        """Opens the file again, after `close`."""
        self.raw = database.connect(self.file)
        self.connection = database.through_sqlalchemy(self.raw)

    def close(self) -> None:
        super().close()
        self.raw.close()


class PostgresWorld(Filled):
    """A PostgreSQL store at `url`."""

    def __init__(self, url: str, sinks: Mapping[str, bool] = SINKS, routes: Iterable[Route] = ROUTES) -> None:
        self.url = url
        self._engine = make_engine(url, 1)
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        super().__init__(connection, sinks, routes)

    def close(self) -> None:
        super().close()
        self._engine.dispose()

    def receive(self, *bodies: bytes, at: int = NOON) -> IngestPlan:
        """As on SQLite: the numbers follow those of events that `keep` added."""
        last = select(func.max(event.c.seq)).having(func.max(event.c.seq).is_not(None)).subquery()
        self.connection.execute(select(func.setval("event_seq_seq", last.c[0])))
        self.connection.exec_driver_sql("BEGIN")
        plan = super().receive(*bodies, at=at)
        self.connection.exec_driver_sql("COMMIT")
        return plan


def is_locked(file: Path) -> bool:
    """Whether another process writes now."""
    with sqlite3.connect(file, timeout=0) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False
