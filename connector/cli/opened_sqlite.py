"""A SQLite store as commands get at it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable
from connector.store.sqlite import database

T = TypeVar("T")

BUSY_MS = 5000
"""How long a command waits for the writer of a running service."""


class SqlitePlace:
    """A file that may be there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_there(self) -> bool:
        return self._path.exists()

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        with self._connected(read_only=True) as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection
            connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def changing(self) -> Iterator[OpenSqlite]:
        with self._connected(read_only=False) as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_MS}")
            yield OpenSqlite(connection)

    @contextmanager
    def _connected(self, *, read_only: bool) -> Iterator[Connection]:
        if not self._path.exists():
            raise StoreUnavailable(f"no store yet at {self._path}: start `connector serve` once, it makes the store")
        raw = database.connect(self._path, read_only=read_only)
        try:
            database.require_current(database.revision(raw))
            with database.through_sqlalchemy(raw) as connection:
                yield connection
        except (sqlite3.Error, DBAPIError) as error:
            raise StoreUnavailable(f"the store {self._path} cannot be used now: {database.words_of(error)}") from error
        finally:
            raw.close()


class OpenSqlite:
    """A SQLite store to change: one writer at a time, a running service included."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(self, job: Callable[[Connection], T]) -> T:
        return self._in_transaction("BEGIN IMMEDIATE", job)

    def look(self, query: Callable[[Connection], T]) -> T:
        return self._in_transaction("BEGIN", query)

    def _in_transaction(self, begin: str, job: Callable[[Connection], T]) -> T:
        self._connection.exec_driver_sql(begin)
        try:
            result = job(self._connection)
        except BaseException:
            self._connection.exec_driver_sql("ROLLBACK")
            raise
        self._connection.exec_driver_sql("COMMIT")
        return result
