"""The statements of one group of events, on the driver's connection, inside an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from connector.store.plan import Arrival, Directory, GroupPlan, Stored, plan_group
from connector.store.sqlite.statements import IngestStatements, MultiRow, portions, sqlite_statements

_encode = msgspec.json.Encoder().encode


class Ingest:
    """Reads what a group needs, plans it and writes it. Numbers events itself: it is the only writer of events."""

    def __init__(self, directory: Directory) -> None:
        self._statements: IngestStatements = sqlite_statements()
        self._directory = directory
        self._next: int | None = None

    def write(self, connection: sqlite3.Connection, arrivals: Sequence[Arrival]) -> GroupPlan:
        """Writes one group and returns its plan; the transaction stays open."""
        identities = [arrival.reading.identity for arrival in arrivals]
        known: dict[str, int] = dict(_rows(connection, self._statements.known.sql, identities))
        interviews = {arrival.reading.interview_id for arrival in arrivals if arrival.reading.interview_id}
        stored = {
            row[0]: Stored(row[1], row[2], row[3])
            for row in _rows(connection, self._statements.states.sql, sorted(interviews))
        }
        first = _first_number(connection) if self._next is None else self._next
        plan = plan_group(arrivals, known, stored, self._directory, first)
        self._put(connection, plan)
        self._next = first + len(plan.events)
        return plan

    def take_back(self) -> None:
        """The transaction was rolled back: its numbers were never given, so the store is asked for the next one."""
        self._next = None

    def _put(self, connection: sqlite3.Connection, plan: GroupPlan) -> None:
        _write(connection, self._statements.add_events, plan.events)
        _write(connection, self._statements.put_interviews, plan.interviews)
        _write(connection, self._statements.add_deliveries, plan.deliveries)


def _write(connection: sqlite3.Connection, statements: MultiRow, rows: Sequence[tuple[object, ...]]) -> None:
    start = 0
    for size in portions(len(rows)):
        values = tuple(chain.from_iterable(rows[start : start + size]))
        connection.execute(statements[size], values)
        start += size


def _rows(connection: sqlite3.Connection, sql: str, listed: Sequence[str]) -> list[tuple[Any, ...]]:
    return connection.execute(sql, (_encode(listed).decode(),)).fetchall()


def _first_number(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM event").fetchone()[0])
