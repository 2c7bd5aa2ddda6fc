"""The statements of one group of events, on the driver's connection, inside an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from connector.store.plan import Arrival, Directory, GroupPlan, Stored, plan_group
from connector.store.statements import IngestStatements, sqlite_statements

_encode = msgspec.json.Encoder().encode


class Ingest:
    """Reads what a group needs, plans it and writes it. Numbers events itself: it is the only writer of events."""

    def __init__(self, connection: sqlite3.Connection, directory: Directory) -> None:
        self._statements: IngestStatements = sqlite_statements()
        self._directory = directory
        self._next = int(connection.execute("SELECT coalesce(max(seq), 0) + 1 FROM event").fetchone()[0])
        self._given = 0

    def write(self, connection: sqlite3.Connection, arrivals: Sequence[Arrival]) -> GroupPlan:
        """Writes one group and returns its plan; the transaction stays open."""
        self._given = 0
        identities = [arrival.reading.identity for arrival in arrivals]
        known: dict[str, int] = dict(self._rows(connection, self._statements.known.sql, identities))
        interviews = {arrival.reading.interview_id for arrival in arrivals if arrival.reading.interview_id}
        stored = {
            row[0]: Stored(row[1], row[2], row[3])
            for row in self._rows(connection, self._statements.states.sql, sorted(interviews))
        }
        plan = plan_group(arrivals, known, stored, self._directory, self._next)
        self._put(connection, plan)
        self._given = len(plan.events)
        self._next += self._given
        return plan

    def take_back(self) -> None:
        """Gives back the numbers of the last group: its transaction was rolled back."""
        self._next -= self._given
        self._given = 0

    def _rows(self, connection: sqlite3.Connection, sql: str, listed: Sequence[str]) -> list[tuple[Any, ...]]:
        return connection.execute(sql, (_encode(listed).decode(),)).fetchall()

    def _put(self, connection: sqlite3.Connection, plan: GroupPlan) -> None:
        if plan.events:
            connection.executemany(self._statements.add_event.sql, plan.events)
        if plan.interviews:
            connection.executemany(self._statements.put_interview.sql, plan.interviews)
        if plan.deliveries:
            connection.executemany(self._statements.add_delivery.sql, plan.deliveries)
