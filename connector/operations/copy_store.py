"""Copies a SQLite store into a PostgreSQL store in one transaction, and compares all rows of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import BigInteger, Connection, Table, func, select
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable, UsageError
from connector.operations.store_access_postgres import public_url
from connector.store.postgres import database as postgres
from connector.store.postgres.errors import safe_message
from connector.store.schema import lease, meta, metadata, process, sink
from connector.store.sqlite import database as sqlite
from connector.store.sqlite.database import StoreLock

CHUNK = 1000
"""Rows in memory at a time, and rows between two reports of the progress."""
SUM_BITS = 128
"""Bits of the checksum of a table; enough that two different tables never have the same one by chance."""
CLEARED: Mapping[str, Mapping[str, object]] = {
    table.name: {"lease_owner": None, "lease_until": 0} for table in (sink, lease)
}
"""Values of the copy by table and column. Leases are not copied, because the lanes of the old store have stopped."""

COPIED = tuple(table for table in metadata.sorted_tables if table is not process)
"""The tables, parents first. The processes of the old store have stopped, so their heartbeats are not copied."""

Row: TypeAlias = tuple[Any, ...]
CopyProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a table, the finished steps and all steps. Each row has two steps: it is copied and compared."""

_encode = msgspec.msgpack.Encoder().encode


class TableReport(msgspec.Struct, frozen=True):
    """Row count and checksum of a table in the source and in the copy."""

    table: str
    rows: int
    checksum: str
    copied_rows: int
    copied_checksum: str

    @property
    def equal(self) -> bool:
        """Whether both sides have the same rows."""
        return (self.rows, self.checksum) == (self.copied_rows, self.copied_checksum)


@dataclass(slots=True)
class Tally:
    """The number of rows and the sum of their hashes, which does not depend on their order."""

    rows: int = 0
    sum: int = 0

    def add(self, row: Row) -> None:
        """Adds a row."""
        digest = sha256(_encode(row)).digest()
        self.rows += 1
        self.sum = (self.sum + int.from_bytes(digest[: SUM_BITS // 8], "big")) % (1 << SUM_BITS)

    @property
    def checksum(self) -> str:
        return f"{self.sum:032x}"


def copy_store(source: Path, target: str, progress: CopyProgress) -> list[TableReport]:
    """Copies a SQLite store into an empty PostgreSQL store.

    Copies everything except leases and heartbeats; ids do not change. It is one transaction. It ends at the first table
    whose report is not equal, and is rolled back then. Raises `UsageError` when a service runs on the source or the
    target is not empty, `SchemaMismatch` when the target is not migrated, `StoreUnavailable` when it does not answer.
    """
    with StoreLock(source), _source(source) as old, _target(target) as new:
        postgres.require_current(new)
        _claim(new, public_url(target))
        reports = []
        for table in COPIED:
            reports.append(_copy_table(old, new, table, progress))
            if not reports[-1].equal:  # rows of later tables may refer to what is missing
                break
        if all(report.equal for report in reports):
            _set_sequences(old, new)
            new.commit()
            _analyze(new)
        else:
            new.rollback()
    return reports


@contextmanager
def _source(path: Path) -> Iterator[Connection]:
    with closing(sqlite.connect(path, read_only=True)) as raw:
        sqlite.require_current(raw)
        with sqlite.through_sqlalchemy(raw) as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection


@contextmanager
def _target(url: str) -> Iterator[Connection]:
    engine = postgres.make_engine(url, 1)
    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        raise StoreUnavailable(f"the store {public_url(url)} cannot be used now: {safe_message(error)}") from None
    finally:
        engine.dispose()


def _claim(new: Connection, place: str) -> None:
    """Locks all tables against other writers until the end. Raises `UsageError` when the store is not empty."""
    tables = metadata.sorted_tables
    new.exec_driver_sql(f"LOCK TABLE {', '.join(table.name for table in tables)} IN SHARE ROW EXCLUSIVE MODE")
    full = [table.name for table in tables if table is not meta and new.execute(select(table).limit(1)).first()]
    if full:
        raise UsageError(
            f"{place} is not empty ({', '.join(sorted(full))}); "
            "use another database, or empty this one, and run `connector migrate` on it"
        )


def _copy_table(old: Connection, new: Connection, table: Table, progress: CopyProgress) -> TableReport:
    """Copies a table, then reads the copy."""
    total = 2 * old.execute(select(func.count()).select_from(table)).scalar_one()
    before, after, steps = Tally(), Tally(), count(1)

    def added(tally: Tally, row: Row) -> None:
        tally.add(row)
        if (done := next(steps)) % CHUNK == 0 or done == total:
            progress(table.name, done, total)

    with _copying(new, table) as copy:
        for row in _rows_to_be(old, table):
            copy.write_row(row)
            added(before, row)
    for row in _rows(new, table):
        added(after, row)
    return TableReport(str(table.name), before.rows, before.checksum, after.rows, after.checksum)


@contextmanager
def _copying(new: Connection, table: Table) -> Iterator[psycopg.Copy]:
    """Opens a COPY into a table; first deletes the rows that a migration wrote."""
    driver = new.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    if table is meta:
        new.execute(meta.delete())
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        yield copy


def _rows(connection: Connection, table: Table) -> Iterator[Row]:
    """Yields all rows of a table, read in chunks."""
    for part in connection.execute(select(table), execution_options={"yield_per": CHUNK}).partitions():
        yield from map(tuple, part)


def _rows_to_be(old: Connection, table: Table) -> Iterator[Row]:
    """Yields the rows of a table in the form of the copy."""
    cleared = CLEARED.get(table.name, {})
    for row in _rows(old, table):
        values = zip(table.columns, row, strict=True)
        yield tuple(cleared[column.name] if column.name in cleared else _storable(value) for column, value in values)


def _storable(value: object) -> object:
    """Replaces NUL, which PostgreSQL cannot store in text (PostgreSQL, 8.3)."""
    return value.replace("\0", "\ufffd") if type(value) is str and "\0" in value else value


def _set_sequences(old: Connection, new: Connection) -> None:
    """Sets the sequences, so that a new id is greater than all ids that were ever used."""
    given = {name: seq for name, seq in old.exec_driver_sql("SELECT name, seq FROM sqlite_sequence")}  # noqa: C416 - mypy does not accept rows as pairs
    for table in metadata.sorted_tables:
        [key, *others] = table.primary_key
        if others or not isinstance(key.type, BigInteger):
            continue
        last = max(old.execute(select(func.max(key))).scalar() or 0, given.get(table.name, 0))
        if last:
            new.execute(select(func.setval(func.pg_get_serial_sequence(table.name, key.name), last)))


def _analyze(new: Connection) -> None:
    """Updates the statistics of the tables, so that the server does not plan queries for empty tables."""
    for table in metadata.sorted_tables:
        new.exec_driver_sql(f"ANALYZE {table.name}")
    new.commit()
