"""Opens a PostgreSQL store for one operation. Needs the extra `postgres`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from connector.errors import StoreUnavailable
from connector.store.postgres import database
from connector.store.postgres.errors import is_conflict, safe_message

T = TypeVar("T")

CHANGE_TRIES = 50
"""Attempts of a change that conflicts with other transactions. After each conflict another one was committed."""
ISOLATION = "REPEATABLE READ"
"""All statements of a transaction see one snapshot. A change of a row that another transaction changed since then
fails, and the job is repeated.
"""
LOCK_OPERATIONS = "LOCK TABLE meta IN SHARE UPDATE EXCLUSIVE MODE"
"""Operations that change the store run one after the other. This lock conflicts only with itself. Unlike a lock that a
query takes, it is taken before the snapshot, so that an operation sees what the one before it did (PostgreSQL, 13.3.1
and 13.4.2).
"""
CONFLICT_RETRY = Retrying(stop=stop_after_attempt(CHANGE_TRIES), retry=retry_if_exception(is_conflict), reraise=True)
"""Repeats at once: the other transaction has ended, and an operator waits."""


class PostgresAccess:
    """A database that may hold a store."""

    def __init__(self, url: str) -> None:
        self._url = url

    def exists(self) -> bool:
        with self._connected("read") as connection:
            return database.revision(connection) is not None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._connected("read") as connection, connection.begin():
            database.require_current(connection)
            yield connection

    @contextmanager
    def changing(self) -> Iterator[OpenPostgres]:
        with self._connected("write") as connection:
            with connection.begin():
                database.require_current(connection)
            yield OpenPostgres(connection.execution_options(isolation_level=ISOLATION))

    @contextmanager
    def _connected(self, mode: Literal["read", "write"]) -> Iterator[Connection]:
        engine = database.make_engine(self._url, 1, mode=mode)
        try:
            with engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise StoreUnavailable(
                f"the store {public_url(self._url)} cannot be used now: {safe_message(error)}"
            ) from None
        finally:
            engine.dispose()


class OpenPostgres:
    """A PostgreSQL store open for changes while other processes use it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def change(self, job: Callable[[Connection], T]) -> T:
        result: T = CONFLICT_RETRY(self._try, job)
        return result

    def _try(self, job: Callable[[Connection], T]) -> T:
        with self._connection.begin():
            self._connection.exec_driver_sql(LOCK_OPERATIONS)
            return job(self._connection)

    def read(self, query: Callable[[Connection], T]) -> T:
        with self._connection.begin():
            return query(self._connection)


def public_url(url: str) -> str:
    """Returns a PostgreSQL URL without user and password. Raises `UsageError` when the URL is invalid."""
    parts = conninfo_to_dict(database.conninfo(url))
    host, name = str(parts.get("host", "")), parts.get("dbname", "")
    if not host or host.startswith("/"):  # a Unix socket
        return f"postgresql:///{name}" + (f"?host={host}" if host else "")
    port = str(parts.get("port", "")).strip(",")  # several hosts without ports leave the commas
    return f"postgresql://{host}{f':{port}' if port else ''}/{name}"
