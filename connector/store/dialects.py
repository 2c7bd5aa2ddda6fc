"""Statements that differ between SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    any_,
    bindparam,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from connector.store.schema import event

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode

Now: TypeAlias = int | ColumnElement[int]
"""The present time in a statement, in epoch milliseconds: a value, or the clock of the database."""
SERVER_NOW: ColumnElement[int] = cast(func.extract("epoch", func.statement_timestamp()) * 1000, BigInteger)
"""The clock of a PostgreSQL server at the start of the statement, so that it is the same for all rows. A SQLite file
has one process, and uses its clock.
"""


def value_of(connection: Connection, now: Now) -> int:
    """Returns the present time as a number: reads the clock of the database where `now` is that."""
    return now if isinstance(now, int) else int(connection.execute(select(now)).scalar_one())


def among(connection: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Returns `column IN values` with a single parameter for any number of values."""
    if connection.dialect.name == "postgresql":
        return column == any_(literal(list(values), postgresql.ARRAY(column.type)))
    return column.in_(
        select(func.json_each(bindparam(None, _encode(list(values)).decode())).table_valued("value").c.value)
    )


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    """Inserts the rows. When a key exists, its other columns are updated."""
    if not rows:
        return
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    changed = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=changed), list(rows))


def add_up(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    keys: Sequence[str],
    newest: Sequence[str] = (),
) -> None:
    """Inserts rows of counts. When a key exists, the counts are added to its row and the columns `newest` replaced."""
    if not rows:
        return
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    changed = {
        name: insert.excluded[name] if name in newest else table.c[name] + insert.excluded[name]
        for name in rows[0]
        if name not in keys
    }
    connection.execute(insert.on_conflict_do_update(index_elements=list(keys), set_=changed), list(rows))


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> int:
    """Inserts the rows whose key does not exist yet; returns their number."""
    if not rows:
        return 0
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    adding = insert.on_conflict_do_nothing(index_elements=list(keys)).execution_options(preserve_rowcount=True)
    return connection.execute(adding, list(rows)).rowcount


def insert_selected(connection: Connection, table: Table, columns: Sequence[str], rows: Select[Any]) -> None:
    """Inserts the rows of a query whose key does not exist yet. The query needs a WHERE clause (SQLite, UPSERT)."""
    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    connection.execute(insert.from_select(list(columns), rows).on_conflict_do_nothing())


def new_event_numbers(connection: Connection, count: int) -> Sequence[int]:
    """Returns numbers for new events, in ascending order. On SQLite only one transaction at a time may use them."""
    if connection.dialect.name == "postgresql":
        return sorted(connection.execute(_NEXT_NUMBERS, {"count": count}).scalars())
    last: int = connection.execute(_LAST_NUMBER).scalar_one()
    return range(last + 1, last + 1 + count)


_NEXT_NUMBERS = select(func.nextval("event_seq_seq")).select_from(func.generate_series(1, bindparam("count")))
_LAST_NUMBER = select(func.coalesce(func.max(event.c.seq), 0))


def storable(text: str) -> str:
    """Returns the text without NUL and lone surrogates, which databases reject."""
    return _UNSTORABLE.sub("\ufffd", text)


def has_row_locks(connection: Connection) -> bool:
    """Whether the database has row locks, because other processes write at the same time."""
    return connection.dialect.name == "postgresql"
