"""The statements of the receiver's path, built by SQLAlchemy, compiled once and run by the driver itself.

Through SQLAlchemy an event would cost about 20 µs more, which is a third of all there is to spend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Dialect, Table, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

from connector.store.columns import DELIVERY_COLUMNS, EVENT_COLUMNS, INTERVIEW_COLUMNS
from connector.store.schema import delivery, event, interview


@dataclass(frozen=True, slots=True)
class Compiled:
    """SQL text for the driver and the order in which it wants its parameters."""

    sql: str
    names: tuple[str, ...]


def compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    """Compiles for a dialect with positional parameters."""
    result = statement.compile(dialect=dialect)
    names: Sequence[str] = getattr(result, "positiontup", None) or ()
    return Compiled(str(result), tuple(names))


@dataclass(frozen=True, slots=True)
class IngestStatements:
    """What one group of events needs: two reads, three writes.

    A read takes one parameter, a JSON list. The parameters of a write are its columns, in the order named above.
    """

    known: Compiled
    """Of identities; rows: identity, seq."""
    states: Compiled
    """Of interview ids; rows: id, state, version, entered."""
    add_event: Compiled
    put_interview: Compiled
    add_delivery: Compiled


def sqlite_statements() -> IngestStatements:
    """For SQLite, whose lists travel as one JSON parameter."""
    dialect = sqlite.dialect(paramstyle="qmark")
    listed = select(func.json_each(bindparam("list")).table_valued("value").c.value)
    known = select(event.c.identity, event.c.seq).where(event.c.identity.in_(listed))
    states = select(interview.c.id, interview.c.state, interview.c.version, interview.c.entered)
    insert = sqlite.insert(interview).values(_parameters(INTERVIEW_COLUMNS))
    put = insert.on_conflict_do_update(
        index_elements=[interview.c.id],
        set_={name: insert.excluded[name] for name in INTERVIEW_COLUMNS if name != "id"},
    )
    return IngestStatements(
        known=compiled(known, dialect),
        states=compiled(states.where(interview.c.id.in_(listed)), dialect),
        add_event=_adding(event, EVENT_COLUMNS, dialect),
        put_interview=_ordered(compiled(put, dialect), INTERVIEW_COLUMNS),
        add_delivery=_adding(delivery, DELIVERY_COLUMNS, dialect),
    )


def _parameters(columns: Sequence[str]) -> dict[str, object]:
    return {name: bindparam(name) for name in columns}


def _adding(table: Table, columns: Sequence[str], dialect: Dialect) -> Compiled:
    return _ordered(compiled(table.insert().values(_parameters(columns)), dialect), columns)


def _ordered(statement: Compiled, columns: Sequence[str]) -> Compiled:
    # SQLAlchemy takes the order of the table's columns; the rows of a plan must be in the same
    assert statement.names == tuple(columns)
    return statement
