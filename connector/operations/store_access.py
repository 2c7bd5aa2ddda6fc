"""Opens the store of a configuration for one operation, SQLite or PostgreSQL. Never creates a store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.config import Config
from connector.errors import StoreUnavailable, UsageError
from connector.store.dialects import SERVER_NOW, value_of
from connector.store.sqlite import database

T = TypeVar("T")

SQLITE_BUSY_MS = 5000
"""Longest wait of a command while a running service writes."""


class OpenStore(Protocol):
    """A store that one operation reads and changes in short transactions."""

    def change(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in a transaction and commits it; an exception rolls it back.

        The job may run more than once when its transaction conflicts with another one. It must be short, because writes
        of the service may wait for it.
        """
        ...

    def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a query on a snapshot of the newest commit."""
        ...


class StoreAccess(Protocol):
    """A store that may exist."""

    def exists(self) -> bool:
        """Whether there is a store. Raises `StoreUnavailable` when the server does not answer."""
        ...

    def reading(self) -> AbstractContextManager[Connection]:
        """One consistent, read-only snapshot."""
        ...

    def changing(self) -> AbstractContextManager[OpenStore]:
        """The store, open for changes."""
        ...


def store_access(config: Config) -> StoreAccess:
    """Returns access to the configured store. Raises `UsageError` when a required library is missing."""
    path = config.store.file
    if path is not None:
        return SqliteAccess(path)
    require_driver()
    from connector.operations.store_access_postgres import PostgresAccess  # an optional dependency

    return PostgresAccess(config.store.url.get_secret_value())


def require_driver() -> None:
    """Raises `UsageError` when the libraries that PostgreSQL needs are not installed."""
    if find_spec("psycopg") is None:
        raise UsageError(
            "store.url: PostgreSQL needs the Python module psycopg, which is not installed; "
            "pip install 'hireflix-connector[postgres]', or `make install` in a checkout"
        )


def store_address(config: Config) -> str:
    """Returns the path of the store, or its URL without user and password; safe to print."""
    path = config.store.file
    if path is not None:
        return str(path)
    require_driver()
    from connector.operations.store_access_postgres import public_url  # an optional dependency

    return public_url(config.store.url.get_secret_value())


def store_exists(config: Config) -> bool:
    """Whether there is a store. Raises `StoreUnavailable` when the server does not answer."""
    return store_access(config).exists()


def reading(config: Config) -> AbstractContextManager[Connection]:
    """One consistent, read-only snapshot of the store. Raises `StoreUnavailable`, `SchemaMismatch`, `UsageError`."""
    return store_access(config).reading()


def changing(config: Config) -> AbstractContextManager[OpenStore]:
    """The store, open for changes. Raises the same exceptions as `reading`."""
    return store_access(config).changing()


def now() -> int:
    """Returns epoch milliseconds from the clock of this machine."""
    return time.time_ns() // 1_000_000


def now_in(connection: Connection) -> int:
    """Returns epoch milliseconds from the clock of the PostgreSQL server, or of this machine for SQLite."""
    return value_of(connection, now() if connection.dialect.name == "sqlite" else SERVER_NOW)


class SqliteAccess:
    """A SQLite file that may exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        return database.exists(self._path)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._connected(read_only=True) as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection
            connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def changing(self) -> Iterator[OpenSqlite]:
        with self._connected(read_only=False) as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
            yield OpenSqlite(connection)

    @contextmanager
    def _connected(self, *, read_only: bool) -> Iterator[Connection]:
        if not database.exists(self._path):
            raise StoreUnavailable(
                f"the store {self._path} is missing: run `connector serve` once, it creates the store"
            )
        raw = database.connect(self._path, read_only=read_only)
        try:
            database.require_current(raw)
            with database.through_sqlalchemy(raw) as connection:
                yield connection
        except (sqlite3.Error, DBAPIError) as error:
            raise StoreUnavailable(
                f"the store {self._path} cannot be used now: {database.safe_message(error)}"
            ) from error
        finally:
            raw.close()


class OpenSqlite:
    """A SQLite store open for changes. Only one process writes at a time, including a running service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(self, job: Callable[[Connection], T]) -> T:
        return self._in_transaction("BEGIN IMMEDIATE", job)

    def read(self, query: Callable[[Connection], T]) -> T:
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
