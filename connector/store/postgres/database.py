"""Connecting to a PostgreSQL store: addresses, sessions, the schema's version."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from contextlib import suppress
from typing import Any, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from connector.errors import SchemaMismatch, StoreUnavailable, UsageError
from connector.store.base import require_revision
from connector.store.postgres.errors import safe_message

CONNECT_SECONDS = 5
LOCK_SECONDS = 5
"""How long a statement waits for another transaction, which lasts for some milliseconds."""
IDLE_SECONDS = 10
"""How long a transaction may stand still before the server ends it and its locks: less than a lease, so that a process
that was stopped in the middle of one does not keep others from taking over.
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
_LIMITS = f"""
SET LOCAL lock_timeout = '{LOCK_SECONDS}s';
SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';
SET LOCAL jit = off
"""
"""Set in each transaction, because a pooler may run the next one on another connection. Compiling would cost more than
our statements take.
"""
_DURABLE = "; SET LOCAL synchronous_commit = on"
"""Added where the database was set up with `off`: what is answered is on the disk. Stronger settings stay."""
SETTINGS = f"""
SELECT set_config('lock_timeout', '{LOCK_SECONDS}s', true),
  set_config('idle_in_transaction_session_timeout', '{IDLE_SECONDS}s', true),
  set_config('jit', 'off', true),
  set_config('synchronous_commit', CASE found WHEN 'off' THEN 'on' ELSE found END, true)
FROM current_setting('synchronous_commit') AS found
"""  # noqa: S608 - numbers of ours
"""The same as one statement that can be sent together with others; it takes the snapshot of its transaction."""
_QUESTION = "SHOW synchronous_commit"


def conninfo(url: str) -> str:
    """What libpq connects by; what the URL itself says goes before our settings. Raises `UsageError`."""
    plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        return make_conninfo("", **{**_OURS, **conninfo_to_dict(plain)})
    except psycopg.ProgrammingError:
        raise UsageError(
            "store.url is no address of a PostgreSQL database: it must be postgresql://user:password@host/name, "
            "with special characters of the password as %XX"
        ) from None


def connect(url: str, silence: float = CONNECT_SECONDS) -> psycopg.Connection[Any]:
    """A connection of the driver, in no transaction.

    A server, or a pooler before it, that lets us in and then says nothing for `silence` seconds counts as gone.
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
    """The same for the event loop, in autocommit mode."""
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
    """Ends a connection under whoever waits for an answer on it, who gets the driver's error.

    To cancel a call would not do: the driver asks the server to end it, and waits for a server that is silent.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def make_engine(url: str, size: int, *, mode: Literal["write", "read"] = "write") -> Engine:
    """An engine with at most `size` connections, opened when first wanted.

    Transactions are READ COMMITTED, or to read one snapshot that no statement can write to. Raises `UsageError`.
    """
    conninfo(url)
    reads = mode == "read"
    settings = _LIMITS

    def creator() -> psycopg.Connection[Any]:
        nonlocal settings
        connection = connect(url)
        settings = _settings(connection)
        connection.isolation_level = (
            psycopg.IsolationLevel.REPEATABLE_READ if reads else psycopg.IsolationLevel.READ_COMMITTED
        )
        connection.read_only = reads
        return connection

    engine = create_engine(
        "postgresql+psycopg://",
        creator=creator,
        pool_size=size,
        max_overflow=0,
        pool_use_lifo=True,
        hide_parameters=True,
    )
    event.listen(engine, "begin", lambda began: began.exec_driver_sql(settings))
    event.listen(engine, "handle_error", _without_values)
    return engine


def _settings(connection: psycopg.Connection[Any]) -> str:
    """What is set at the begin of each transaction; it takes no snapshot, so that a lock may be taken before one."""
    connection.autocommit = True
    row = connection.execute(_QUESTION).fetchone()
    connection.autocommit = False
    return _LIMITS + _DURABLE if row == ("off",) else _LIMITS


def _without_values(context: ExceptionContext) -> None:
    """The server's message names the values that it refuses: they may be a person's."""
    cause = context.original_exception
    if getattr(cause, "sqlstate", None) is None:  # of a connection, or of the driver itself
        return
    words = safe_message(cause)
    for error in (cause, context.sqlalchemy_exception):
        if error is not None:
            error.args = (words,)


def revision(connection: Connection) -> str | None:
    """The schema's revision, `None` in a database without one.

    Raises `SchemaMismatch` when its tables are those of something else.
    """
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        ours = connection.execute(text("SELECT coalesce(to_regclass('event'), to_regclass('delivery'))")).scalar()
        if ours is not None:
            raise SchemaMismatch("the database is one of something else: name another one ([store] url)")
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def require_current(found: str | None) -> None:
    """Raises `SchemaMismatch` unless the schema is this version's."""
    require_revision(
        found,
        to_make="run `connector migrate` once, it makes the tables",
        to_update="run `connector migrate`, it brings the store up to date",
    )


def revision_at(engine: Engine) -> str | None:
    """As `revision`, on a connection of its own. Raises `StoreUnavailable`."""
    try:
        with engine.connect() as connection:
            return revision(connection)
    except (DBAPIError, psycopg.Error) as error:
        raise StoreUnavailable(f"the store cannot be opened: {safe_message(error)}; see [store] url") from None
