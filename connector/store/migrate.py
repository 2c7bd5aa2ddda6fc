"""Brings a store's schema to this version.

Alembic runs in a child process, `python -m connector.store.migrate` with the URL on standard input, so that the service
never loads it: Alembic would keep 10 MB of memory until the service ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import SQLAlchemyError

from connector.errors import StoreUnavailable
from connector.store.base import require_older
from connector.store.schema import REVISION
from connector.store.sqlite import database as sqlite_database

SCRIPTS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x48697265
"""The number of the advisory lock that a migration holds: an arbitrary one."""


# --- in the service


async def prepare_sqlite(path: Path, newest: str = REVISION, scripts: Path = SCRIPTS) -> Path | None:
    """Creates the store at a path, or updates its schema after copying the file. The caller holds the store's lock.

    Returns the path of the copy, if one was made. Raises `StoreUnavailable` and `SchemaMismatch`.
    """
    found = sqlite_database.revision_of(path)
    if found == newest:
        return None
    copy = None
    if found is None:
        sqlite_database.make_empty(path)
    else:
        require_older(found, newest)
        copy = await asyncio.to_thread(sqlite_database.backup, path, found, newest)
    await migrate_in_child(URL.create("sqlite", database=str(path)).render_as_string(hide_password=False), scripts)
    return copy


async def migrate_postgres(url: str, newest: str = REVISION, scripts: Path = SCRIPTS) -> str | None:
    """Updates the schema of the store at a `postgresql://` URL; returns the revision that it had before.

    Changes nothing when the schema is current. Two migrations that run at the same time follow each other. Raises
    `StoreUnavailable`, `SchemaMismatch` for a newer schema or the tables of another program, and `UsageError` for an
    invalid URL.
    """
    found = await asyncio.to_thread(_postgres_revision, url)
    if found is not None:
        require_older(found, newest)
    if found != newest:
        await migrate_in_child(url, scripts)
    return found


def _postgres_revision(url: str) -> str | None:
    from connector.store.postgres.database import make_engine, revision_at

    engine = make_engine(url, 1, mode="read")
    try:
        return revision_at(engine)
    finally:
        engine.dispose()


async def migrate_in_child(url: str, scripts: Path = SCRIPTS) -> None:
    """Upgrades the store at a SQLAlchemy URL to the newest revision.

    Raises `StoreUnavailable` with the last line that the child process wrote to standard error.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # a folder `connector` where the service was started is not imported instead of this package
            "-m",
            "connector.store.migrate",
            str(scripts),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise StoreUnavailable(
            f"the store's schema could not be brought up to date: the process for it could not be started "
            f"({error.strerror}); check that {sys.executable} can be executed, and whether memory or processes are "
            "limited"
        ) from error
    _, errors = await child.communicate(url.encode())
    if child.returncode != 0:
        lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
        raise StoreUnavailable(f"the store's schema could not be brought up to date: {lines[-1]}")


# --- in the child process


def main() -> None:
    """Reads the URL and migrates; a failure ends the process with one line on standard error."""
    from alembic.util import CommandError

    scripts = Path(sys.argv[1]) if len(sys.argv) > 1 else SCRIPTS
    try:
        migrate(sys.stdin.read(), scripts)
    except SQLAlchemyError as error:
        sys.exit(f"{getattr(error, 'orig', None) or error}")
    except CommandError as error:
        sys.exit(str(error))


def migrate(url: str, scripts: Path = SCRIPTS, to: str = "head") -> None:
    """Upgrades the store at a SQLAlchemy URL, in this process.

    On SQLite each migration is one transaction, on PostgreSQL all of them together are one.
    """
    from alembic import command

    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                _lock_migrations(connection)
            config = alembic_config(scripts)
            config.attributes["connection"] = connection
            command.upgrade(config, to)
            connection.commit()
    finally:
        engine.dispose()


def alembic_config(scripts: Path = SCRIPTS) -> Any:
    """Alembic's `Config`, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _engine(url: str) -> Engine:
    if url.startswith("postgresql"):
        from connector.store.postgres.database import make_engine

        return make_engine(url, 1)
    engine = create_engine(url, hide_parameters=True)
    _begin_explicitly(engine)
    return engine


def _lock_migrations(connection: Connection) -> None:
    """Waits until no other process migrates this database.

    The lock ends with the transaction, which holds all migrations. A lock of the session would not do: a pooler in
    transaction mode gives the session to other clients.
    """
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def _begin_explicitly(engine: Engine) -> None:
    """The driver begins no transaction before it changes a schema (Python, sqlite3, transaction control)."""

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


if __name__ == "__main__":
    main()
