"""Connects to a PostgreSQL store: URLs, sessions, schema version."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    column,
    create_engine,
    event,
    func,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError

from connector.errors import SchemaMismatch, StoreUnavailable, UsageError
from connector.store.base import effective_revision, require_complete, require_revision
from connector.store.postgres.errors import safe_message

CONNECT_SECONDS = 5
"""How long connecting, and the first answer of the server, may take."""
LOCK_SECONDS = 5
"""How long a statement waits for the locks of another transaction, which usually takes milliseconds."""
IDLE_SECONDS = 10
"""How long a transaction may be idle before the server ends it and releases its locks. It is shorter than a lease, so
that a process that hangs inside a transaction does not prevent others from taking over.
"""

_OURS: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "hireflix-connector",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "client_encoding": "utf8",
}
_SETTINGS = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    "jit": "off",
}
"""Set in each transaction, because a pooler may run the next one on another connection. JIT compilation would take
longer than the statements.
"""
_DURABLE = {"synchronous_commit": "on"}
"""Added where the database is configured with `off`: an acknowledged event must be on disk. Stronger settings stay."""
_QUESTION = "SHOW synchronous_commit"

Observe: TypeAlias = Callable[[Callable[[], float]], object]
"""Calls a function that asks the server for its time, in epoch seconds."""


def conninfo(url: str) -> str:
    """Returns the connection string for libpq. Options of the URL override ours. Raises `UsageError`."""
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        return make_conninfo("", **{**_OURS, **conninfo_to_dict(plain)})
    except psycopg.ProgrammingError:
        raise UsageError(
            "store.url is not the address of a PostgreSQL database: it must be postgresql://user:password@host/name, "
            "with special characters of the password as %XX"
        ) from None


def connect(url: str, silence: float = CONNECT_SECONDS) -> psycopg.Connection[Any]:
    """Opens a driver connection, outside a transaction.

    A server or pooler that accepts the connection and does not answer for `silence` seconds counts as unavailable.
    Statements are not prepared: a pooler in transaction mode may run the next one on another connection (psycopg,
    "Prepared statements", PgBouncer).
    """
    connection = psycopg.connect(conninfo(url), autocommit=True, prepare_threshold=None)
    watch = threading.Timer(silence, cut, [connection])
    watch.daemon = True
    watch.start()
    try:
        connection.execute(_QUESTION)
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    finally:
        watch.cancel()
    return connection


async def connect_async(url: str, *, silence: float = CONNECT_SECONDS) -> psycopg.AsyncConnection[Any]:
    """Like `connect`, for the event loop and in autocommit mode."""
    connection = await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True, prepare_threshold=None)
    watch = asyncio.get_running_loop().call_later(silence, cut, connection)
    try:
        await connection.execute(_QUESTION)
    except BaseException:
        await connection.close()
        raise
    finally:
        watch.cancel()
    return connection


def cut(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Shuts down the socket of a connection, so that a call that waits for an answer raises the driver's error.

    Cancelling the call would not work: the driver asks the server to cancel it and waits for a silent server.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def make_engine(
    url: str, size: int, *, mode: Literal["write", "read"] = "write", observe: Observe | None = None
) -> Engine:
    """Creates an engine with at most `size` connections, opened on first use.

    READ COMMITTED for `write`; read-only transactions on one snapshot for `read`. With `observe` each transaction
    begins with a query for the time of the server; else it begins without a snapshot, so that a lock can come first.
    Raises `UsageError`.
    """
    conninfo(url)
    reads = mode == "read"
    settings: Mapping[str, str] = _SETTINGS

    def creator() -> psycopg.Connection[Any]:
        nonlocal settings
        connection = connect(url)
        settings = _settings(connection)
        connection.isolation_level = (
            psycopg.IsolationLevel.REPEATABLE_READ if reads else psycopg.IsolationLevel.READ_COMMITTED
        )
        connection.read_only = reads
        return connection

    def begin(began: Connection) -> None:
        if observe is None:
            began.exec_driver_sql(_without_snapshot(settings))
        else:
            observe(lambda: began.exec_driver_sql(_with_time(settings)).scalar_one())

    engine = create_engine(
        "postgresql+psycopg://",
        creator=creator,
        pool_size=size,
        max_overflow=0,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    event.listen(engine, "begin", begin)
    event.listen(engine, "handle_error", _without_values)
    return engine


def _settings(connection: psycopg.Connection[Any]) -> Mapping[str, str]:
    """Returns the settings of each transaction."""
    connection.autocommit = True
    row = connection.execute(_QUESTION).fetchone()
    connection.autocommit = False
    return _SETTINGS | _DURABLE if row == ("off",) else _SETTINGS


def _without_snapshot(settings: Mapping[str, str]) -> str:
    return "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())


def _with_time(settings: Mapping[str, str]) -> str:
    """Returns a statement that sets the settings and returns the time of the server."""
    calls = "".join(f", set_config('{name}', '{value}', true)" for name, value in settings.items())
    return f"SELECT date_part('epoch', clock_timestamp()){calls}"


def _without_values(context: ExceptionContext) -> None:
    """Removes the values from the server's message, because they may be personal data."""
    cause = context.original_exception
    if getattr(cause, "sqlstate", None) is None:  # raised by the driver, not by the server
        return
    words = safe_message(cause)
    for error in (cause, context.sqlalchemy_exception):
        if error is not None:
            error.args = (words,)


def revision(connection: Connection) -> str | None:
    """Returns the revision of the schema, `None` for a database without one. See `effective_revision` for a newer one.

    Raises `SchemaMismatch` when the tables belong to another program.
    """
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        ours = connection.execute(text("SELECT coalesce(to_regclass('event'), to_regclass('delivery'))")).scalar()
        if ours is not None:
            raise SchemaMismatch("the database is one of something else: name another one ([store] url)")
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is None:
        return None
    compatible = None
    if connection.execute(text("SELECT to_regclass('meta')")).scalar() is not None:
        compatible = connection.execute(text("SELECT value FROM meta WHERE key = 'compatible_from'")).scalar()
    return effective_revision(str(found), compatible)


_columns = table(
    "columns", column("table_schema"), column("table_name"), column("column_name"), schema="information_schema"
)


def require_current(connection: Connection) -> None:
    """Raises `SchemaMismatch` unless the schema is this version's."""
    require_revision(
        revision(connection),
        to_make="run `connector migrate` once, it makes the tables",
        to_update="run `connector migrate`, it brings the store up to date",
    )
    columns = select(_columns.c.table_name, _columns.c.column_name)
    here = connection.execute(columns.where(_columns.c.table_schema == func.current_schema()))
    require_complete((str(name), str(each)) for name, each in here)


def revision_at(engine: Engine) -> str | None:
    """Like `revision`, on a new connection. Raises `StoreUnavailable`."""
    try:
        with engine.connect() as connection:
            return revision(connection)
    except (DBAPIError, psycopg.Error) as error:
        raise StoreUnavailable(f"the store cannot be opened: {safe_message(error)}; see [store] url") from None
