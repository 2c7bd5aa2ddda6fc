"""The statements of the receiver's path, built by SQLAlchemy, compiled once and run by the driver itself.

Through SQLAlchemy an event would cost about 20 µs more, which is a third of all there is to spend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Dialect, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

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
    """What one group of events needs: two reads, three writes."""

    known: Compiled
    """Parameter: a JSON list of identities. Rows: identity, seq."""
    states: Compiled
    """Parameter: a JSON list of interview ids. Rows: id, state, version, entered."""
    add_event: Compiled
    put_interview: Compiled
    add_delivery: Compiled


def sqlite_statements() -> IngestStatements:
    """For SQLite, whose lists travel as one JSON parameter."""
    dialect = sqlite.dialect(paramstyle="qmark")
    listed = select(func.json_each(bindparam("list")).table_valued("value").c.value)
    insert = sqlite.insert(interview)
    put = insert.on_conflict_do_update(
        index_elements=[interview.c.id],
        set_={
            name: insert.excluded[name]
            for name in ("state", "version", "position_id", "position_name", "stage", "updated_at", "entered")
        },
    )
    return IngestStatements(
        known=compiled(select(event.c.identity, event.c.seq).where(event.c.identity.in_(listed)), dialect),
        states=compiled(
            select(interview.c.id, interview.c.state, interview.c.version, interview.c.entered).where(
                interview.c.id.in_(listed)
            ),
            dialect,
        ),
        add_event=compiled(event.insert().values({name: bindparam(name) for name in EVENT_COLUMNS}), dialect),
        put_interview=compiled(put.values({name: bindparam(name) for name in INTERVIEW_COLUMNS}), dialect),
        add_delivery=compiled(delivery.insert().values({name: bindparam(name) for name in DELIVERY_COLUMNS}), dialect),
    )


EVENT_COLUMNS = (
    "seq",
    "identity",
    "sha256",
    "kind",
    "name",
    "interview_id",
    "occurred_at",
    "received_at",
    "mark",
    "reason",
    "body",
)
INTERVIEW_COLUMNS = ("id", "state", "version", "position_id", "position_name", "stage", "updated_at", "entered")
DELIVERY_COLUMNS = ("sink", "key", "interview_id", "event_seq", "priority", "since")
