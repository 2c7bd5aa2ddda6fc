"""A PostgreSQL store as commands get at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.postgres import database
from connector.store.postgres.faults import is_conflict, words_of

T = TypeVar("T")

TRIES = 50
"""How often a change is tried that others come in the way of; each of them had a transaction done meanwhile."""
SNAPSHOT = "REPEATABLE READ"
"""One commit for all of a transaction; a change of a row that somebody else changed since fails, and is repeated."""
ONE_AT_A_TIME = "LOCK TABLE meta IN SHARE UPDATE EXCLUSIVE MODE"
"""Acts of people come one after the other. This lock bars nobody but itself, and unlike a lock that is taken by a query
it comes before the snapshot, so that the next act sees what this one did (PostgreSQL, 13.3.1 and 13.4.2).
"""
LONG_LOOK = "SET LOCAL idle_in_transaction_session_timeout = '15min'"
"""A look may stand still for as long as sinks are asked meanwhile."""


class PostgresPlace:
    """A database that may hold a store."""

    def __init__(self, url: str) -> None:
        self._url = url

    def is_there(self) -> bool:
        with self._connected("read") as connection:
            return database.revision(connection) is not None

    def has_hints(self) -> bool:
        """Whether the tables of the hints are there, as the installed version wants them."""
        from connector.store.postgres import hints_schema

        with self._connected("read") as connection:
            try:
                hints_schema.require_current(connection)
            except SchemaMismatch:
                return False
            return True

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        with self._connected("read") as connection, connection.begin():
            connection.exec_driver_sql(LONG_LOOK)
            database.require_current(database.revision(connection))
            yield connection

    @contextmanager
    def changing(self) -> Iterator[OpenPostgres]:
        with self._connected("write") as connection:
            with connection.begin():
                database.require_current(database.revision(connection))
            yield OpenPostgres(connection.execution_options(isolation_level=SNAPSHOT))

    @contextmanager
    def _connected(self, mode: Literal["read", "write"]) -> Iterator[Connection]:
        engine = database.make_engine(self._url, 1, mode=mode)
        try:
            with engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreUnavailable(f"the store {shown(self._url)} cannot be used now: {words_of(error)}") from None
        finally:
            engine.dispose()


class OpenPostgres:
    """A PostgreSQL store to change beside the processes that work on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(self, job: Callable[[Connection], T]) -> T:
        for _ in range(TRIES - 1):
            try:
                return self._try(job)
            except DBAPIError as error:
                if not is_conflict(error):
                    raise
        return self._try(job)

    def _try(self, job: Callable[[Connection], T]) -> T:
        with self._connection.begin():
            self._connection.exec_driver_sql(ONE_AT_A_TIME)
            return job(self._connection)

    def look(self, query: Callable[[Connection], T]) -> T:
        with self._connection.begin():
            return query(self._connection)


def shown(url: str) -> str:
    """A store's URL for people: server and name, without user and password. Raises `UsageError` for what is none."""
    parts = conninfo_to_dict(database.conninfo(url))
    host, name = str(parts.get("host", "")), parts.get("dbname", "")
    if not host or host.startswith("/"):  # a socket of this machine
        return f"postgresql:///{name}" + (f"?host={host}" if host else "")
    port = str(parts.get("port", "")).strip(",")  # of several hosts without ports the commas are left
    return f"postgresql://{host}{f':{port}' if port else ''}/{name}"
