"""The statements of the receiver's path, built by SQLAlchemy, compiled once and run by the driver itself.

Through SQLAlchemy an event would cost about 20 µs more, which is a third of all there is to spend. Rows are written
several at a time, because the driver gives the interpreter lock away and takes it back for each statement it steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, Dialect, bindparam, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.dml import ValuesBase

from connector.store.columns import DELIVERY_COLUMNS, EVENT_COLUMNS, INTERVIEW_COLUMNS
from connector.store.schema import delivery, event, interview

SIZES = (32, 16, 8, 4, 2, 1)
"""How many rows a statement may write, so that few statements write any number of them and the driver keeps them all
prepared.
"""
MultiRow = Mapping[int, str]
"""SQL text by the number of rows it writes; its parameters are the columns of the first row, then of the second, …"""


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

    A read takes one parameter, a JSON list. The columns of a write are in the order of `connector.store.columns`.
    """

    known: Compiled
    """Of identities; rows: identity, seq."""
    states: Compiled
    """Of interview ids; rows: id, state, version, entered."""
    add_events: MultiRow
    put_interviews: MultiRow
    add_deliveries: MultiRow


def sqlite_statements() -> IngestStatements:
    """For SQLite, whose lists travel as one JSON parameter."""
    dialect = sqlite.dialect(paramstyle="qmark")
    listed = select(func.json_each(bindparam("list")).table_valued("value").c.value)
    known = select(event.c.identity, event.c.seq).where(event.c.identity.in_(listed))
    states = select(interview.c.id, interview.c.state, interview.c.version, interview.c.entered)
    put = sqlite.insert(interview)
    put = put.on_conflict_do_update(
        index_elements=[interview.c.id],
        set_={name: put.excluded[name] for name in INTERVIEW_COLUMNS if name != "id"},
    )
    return IngestStatements(
        known=compiled(known, dialect),
        states=compiled(states.where(interview.c.id.in_(listed)), dialect),
        add_events=_of_rows(event.insert(), EVENT_COLUMNS, dialect),
        put_interviews=_of_rows(put, INTERVIEW_COLUMNS, dialect),
        add_deliveries=_of_rows(delivery.insert(), DELIVERY_COLUMNS, dialect),
    )


def portions(count: int) -> Iterator[int]:
    """Numbers of rows out of `SIZES`, as few as can be, that are so many together."""
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
    # SQLAlchemy takes the order of the table's columns; the rows of a plan must be in the same
    assert result.names == tuple(f"{column}_{row}" for row in range(size) for column in columns)
    return result.sql
