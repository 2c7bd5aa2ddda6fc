"""The statements of one group of events, on the driver's connection, inside an open transaction.

SQLAlchemy builds the statements, they are compiled once, and the driver runs them: through SQLAlchemy an event would
cost about 20 µs more, a third of the total. A statement writes several rows, because the driver releases and reacquires
the interpreter lock for each statement that it steps.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import BindParameter, Dialect, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.dml import ValuesBase

from connector.store.ingest import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    INTERVIEW_COLUMNS,
    SUBSCRIPTION_COLUMNS,
    Incoming,
    IngestPlan,
    RoutingTable,
    hashes_of,
    plan_group,
    stored_interviews,
)
from connector.store.rollup import RECEIVED_COLUMNS
from connector.store.schema import delivery, event, interview, interview_word, rollup, subscription, tombstone
from connector.store.words import WORD_COLUMNS

SIZES = (32, 16, 8, 4, 2, 1)
"""Numbers of rows per statement. A few statements write any number of rows, so all stay prepared."""
MultiRow = Mapping[int, str]
"""SQL text by the number of rows it writes; its parameters are the columns of the first row, then of the second, …"""


@dataclass(frozen=True, slots=True)
class Compiled:
    """SQL text for the driver, and the order of its parameters."""

    sql: str
    names: tuple[str, ...]


def compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    """Compiles for a dialect with positional parameters."""
    result = statement.compile(dialect=dialect)
    names: Sequence[str] = getattr(result, "positiontup", None) or ()
    return Compiled(str(result), tuple(names))


@dataclass(frozen=True, slots=True)
class IngestStatements:
    """The statements of one group of events: four reads and four writes.

    A read has one parameter, a JSON list. The columns of a write are in the order of `connector.store.ingest`.
    """

    known: Compiled
    """Of identities; rows: identity, seq."""
    states: Compiled
    """Of interview ids; rows: id, state, version."""
    subscriptions: Compiled
    """Of interview ids; rows: sink, interview id."""
    erased: Compiled
    """Of hashes of interview ids; rows: the hash."""
    add_events: MultiRow
    put_interviews: MultiRow
    add_subscriptions: MultiRow
    """A subscription that exists stays."""
    add_deliveries: MultiRow
    add_words: Compiled
    delete_words: Compiled
    add_counts: Compiled


@cache
def sqlite_statements() -> IngestStatements:
    """Builds and compiles the statements. A list is passed as one JSON parameter."""
    dialect = sqlite.dialect(paramstyle="qmark")
    listed = select(func.json_each(bindparam("list")).table_valued("value").c.value)
    known = select(event.c.identity, event.c.seq).where(event.c.identity.in_(listed))
    states = select(interview.c.id, interview.c.state, interview.c.version).where(interview.c.id.in_(listed))
    subscriptions = select(subscription.c.sink, subscription.c.interview_id)
    put = sqlite.insert(interview)
    put = put.on_conflict_do_update(
        index_elements=[interview.c.id],
        set_={name: put.excluded[name] for name in INTERVIEW_COLUMNS if name != "id"},
    )
    return IngestStatements(
        known=compiled(known, dialect),
        states=compiled(states, dialect),
        subscriptions=compiled(subscriptions.where(subscription.c.interview_id.in_(listed)), dialect),
        erased=compiled(select(tombstone.c.interview_hash).where(tombstone.c.interview_hash.in_(listed)), dialect),
        add_events=_of_rows(event.insert(), EVENT_COLUMNS, dialect),
        put_interviews=_of_rows(put, INTERVIEW_COLUMNS, dialect),
        add_subscriptions=_of_rows(sqlite.insert(subscription).on_conflict_do_nothing(), SUBSCRIPTION_COLUMNS, dialect),
        add_deliveries=_of_rows(delivery.insert(), DELIVERY_COLUMNS, dialect),
        add_words=compiled(sqlite.insert(interview_word).on_conflict_do_nothing(), dialect),
        delete_words=compiled(_delete_words(), dialect),
        add_counts=compiled(_add_counts(), dialect),
    )


def _delete_words() -> ClauseElement:
    which = zip(WORD_COLUMNS, (interview_word.c.word, interview_word.c.interview_id), strict=True)
    return interview_word.delete().where(*(column == bindparam(name) for name, column in which))


def _add_counts() -> ClauseElement:
    adding = sqlite.insert(rollup).values({name: bindparam(name) for name in RECEIVED_COLUMNS})
    return adding.on_conflict_do_update(
        index_elements=list(rollup.primary_key), set_={"received": rollup.c.received + adding.excluded.received}
    )


def portions(count: int) -> Iterator[int]:
    """Yields as few elements of `SIZES` as possible whose sum is `count`."""
    for size in SIZES:
        times, count = divmod(count, size)
        yield from [size] * times


def _of_rows(statement: ValuesBase, columns: Sequence[str], dialect: Dialect) -> MultiRow:
    return {size: _of_size(statement, columns, size, dialect) for size in SIZES}


def _of_size(statement: ValuesBase, columns: Sequence[str], size: int, dialect: Dialect) -> str:
    rows: list[dict[str, BindParameter[object]]] = [
        {column: bindparam(f"{column}_{row}") for column in columns} for row in range(size)
    ]
    result = compiled(statement.values(rows), dialect)
    # SQLAlchemy uses the column order of the table, so the rows of a plan must have the same order
    assert result.names == tuple(f"{column}_{row}" for row in range(size) for column in columns)
    return result.sql


_encode = msgspec.json.Encoder().encode


class Ingest:
    """Reads what a group needs, plans it and writes it. Assigns event ids, as the only writer of events."""

    def __init__(self, routing: RoutingTable) -> None:
        self._statements: IngestStatements = sqlite_statements()
        self._routing = routing
        self._next: int | None = None

    def write(self, connection: sqlite3.Connection, incoming: Sequence[Incoming]) -> IngestPlan:
        """Writes one group and returns its plan; the transaction stays open."""
        identities = [each.reading.identity for each in incoming]
        known: dict[str, int] = dict(_rows(connection, self._statements.known.sql, identities))
        interviews = sorted({each.reading.interview_id for each in incoming if each.reading.interview_id})
        states = _rows(connection, self._statements.states.sql, interviews)
        subscriptions = _rows(connection, self._statements.subscriptions.sql, interviews) if states else ()
        stored = stored_interviews(states, subscriptions)
        first = _first_number(connection) if self._next is None else self._next
        hashes = hashes_of(interviews)
        erased = {hashes[row[0]] for row in _rows(connection, self._statements.erased.sql, list(hashes))}
        plan = plan_group(incoming, known, stored, self._routing, first, erased=erased)
        self._put(connection, plan)
        self._next = first + len(plan.events)
        return plan

    def reset_sequence(self) -> None:
        """Reads the next id from the store again, after a rollback of the transaction that used ids."""
        self._next = None

    def _put(self, connection: sqlite3.Connection, plan: IngestPlan) -> None:
        _write(connection, self._statements.add_events, plan.events)
        _write(connection, self._statements.put_interviews, plan.interviews)
        _write(connection, self._statements.add_subscriptions, plan.subscriptions)
        _write(connection, self._statements.add_deliveries, plan.deliveries)
        connection.executemany(self._statements.delete_words.sql, plan.old_words)
        connection.executemany(self._statements.add_words.sql, plan.words)
        connection.executemany(self._statements.add_counts.sql, plan.rollup)


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
