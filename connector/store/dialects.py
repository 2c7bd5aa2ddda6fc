"""Statements that differ between SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeAlias

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
from sqlalchemy.exc import DBAPIError

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode

Statement: TypeAlias = tuple[str, tuple[object, ...]]
"""SQL text for the driver, and its parameters by position."""

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


def _insert(connection: Connection, table: Table) -> Any:
    """Returns an INSERT that can have ON CONFLICT, which SQLAlchemy defines for each dialect."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> None:
    """Inserts the rows. When a key exists, its other columns are updated."""
    if not rows:
        return
    insert = _insert(connection, table)
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
    insert = _insert(connection, table)
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
    insert = _insert(connection, table)
    adding = insert.on_conflict_do_nothing(index_elements=list(keys)).execution_options(preserve_rowcount=True)
    return connection.execute(adding, list(rows)).rowcount


def insert_selected(connection: Connection, table: Table, columns: Sequence[str], rows: Select[Any]) -> None:
    """Inserts the rows of a query whose key does not exist yet. The query needs a WHERE clause (SQLite, UPSERT)."""
    insert = _insert(connection, table)
    connection.execute(insert.from_select(list(columns), rows).on_conflict_do_nothing())


class Done(NamedTuple):
    """What a statement returned: its rows, or how many rows it changed."""

    rows: Sequence[Any]
    changed: int


def run_together(connection: Connection, statements: Sequence[Statement]) -> list[Done]:
    """Runs statements one after the other. They reach a PostgreSQL server in one round trip (libpq, Pipeline Mode).

    Raises the errors of the driver on PostgreSQL, `DBAPIError` when the connection was lost.
    """
    if not has_row_locks(connection):
        results = [connection.exec_driver_sql(*each) for each in statements]
        return [Done(result.all() if result.returns_rows else (), result.rowcount) for result in results]
    driver: Any = connection.connection.driver_connection
    try:
        cursors = _pipelined(driver, statements)
    except Exception as error:
        if not driver.closed:
            raise
        connection.invalidate(error)
        raise DBAPIError(None, None, error, connection_invalidated=True) from error
    return [Done(cursor.fetchall() if cursor.description else (), cursor.rowcount) for cursor in cursors]


def _pipelined(driver: Any, statements: Sequence[Statement]) -> list[Any]:
    """Returns the cursors. Raises the first error; one that left the pipeline would make psycopg log another one."""
    cursors, errors = [], []
    try:
        with driver.pipeline():
            try:
                cursors += [driver.execute(*each) for each in statements]
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
    except Exception as error:  # noqa: BLE001 - raised below
        errors.append(error)
    if errors:
        raise errors[0]
    return cursors


def listed(dialect: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Like `among`, for a statement of the driver: the value of its parameter is that of `listed_values`."""
    if dialect == "postgresql":
        return column == any_(bindparam(None, type_=postgresql.ARRAY(column.type)))
    return column.in_(select(func.json_each(bindparam(None)).table_valued("value").c.value))


def listed_values(dialect: str, values: Sequence[Any]) -> object:
    """Returns values as the parameter of `listed`."""
    return list(values) if dialect == "postgresql" else _encode(list(values)).decode()


def new_numbers(dialect: str, most: int) -> Statement:
    """Returns a query for numbers of new events, see `numbers_of`."""
    if dialect == "postgresql":
        return "SELECT nextval('event_seq_seq') FROM generate_series(1, %s)", (most,)
    return "SELECT coalesce(max(seq), 0) + 1 FROM event", ()


def numbers_of(dialect: str, rows: Sequence[Any]) -> Iterator[int]:
    """Returns the numbers in ascending order. On SQLite only one transaction at a time may use them."""
    numbers = sorted(number for (number,) in rows)
    return iter(numbers) if dialect == "postgresql" else count(*numbers)


CHANNEL = "connector_due"
"""The channel of PostgreSQL on which processes listen for sinks with new deliveries."""
SEPARATOR = ","
"""Between the names of sinks in a notification."""


NAMES_MAX = 75
"""Names of sinks in one notification. A payload is shorter than 8000 bytes (PostgreSQL, NOTIFY), and a name has at most
`connector.config.settings.SINK_NAME_MAX` characters.
"""


def notifications(sinks: Iterable[str]) -> list[Statement]:
    """Returns the statements that wake the other processes at the commit (PostgreSQL, NOTIFY)."""
    names = sorted(sinks)
    parts = (names[start : start + NAMES_MAX] for start in range(0, len(names), NAMES_MAX))
    return [("SELECT pg_notify(%s, %s)", (CHANNEL, SEPARATOR.join(part))) for part in parts]


def storable(text: str) -> str:
    """Returns the text without NUL and lone surrogates, which databases reject."""
    return _UNSTORABLE.sub("\ufffd", text)


def has_row_locks(connection: Connection) -> bool:
    """Whether the database has row locks, because other processes write at the same time."""
    return connection.dialect.name == "postgresql"
