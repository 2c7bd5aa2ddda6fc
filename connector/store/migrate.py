"""Brings a store's schema to this version; run as `python -m connector.store.migrate` with the URL on standard input.

Alembic is imported here only and lives in a process of its own: it would cost the service 10 MB for ever.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import SQLAlchemyError

from connector.store.migrate_apart import SCRIPTS

MIGRATING = 0x48697265
"""The number of the lock that a migration holds; any that nobody else uses."""


def alembic_config(scripts: Path = SCRIPTS) -> Config:
    """Alembic's settings without a file."""
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(url: str, scripts: Path = SCRIPTS, to: str = "head") -> None:
    """Upgrades the store at a SQLAlchemy URL, in this process. Each migration of a SQLite store is applied whole or
    not at all, on PostgreSQL all of them are.
    """
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                _alone(connection)
            config = alembic_config(scripts)
            config.attributes["connection"] = connection
            command.upgrade(config, to)
            connection.commit()
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    if url.startswith("postgresql"):
        from connector.store.postgres.database import make_engine

        return make_engine(url, 1)
    engine = create_engine(url, hide_parameters=True)
    _with_transactions(engine)
    return engine


def _alone(connection: Connection) -> None:
    """Waits until nobody else migrates this database. The lock ends with the transaction, which holds all migrations: a
    pooler in transaction mode would give a lock of the session to somebody else.
    """
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    connection.execute(select(func.pg_advisory_xact_lock(MIGRATING)))


def _with_transactions(engine: Engine) -> None:
    """The driver opens none before it changes a schema (Python, sqlite3, transaction control), so we do."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def main() -> None:
    """The child process: reads the URL, tells a failure in one line."""
    scripts = Path(sys.argv[1]) if len(sys.argv) > 1 else SCRIPTS
    try:
        migrate(sys.stdin.read(), scripts)
    except SQLAlchemyError as error:
        sys.exit(f"{getattr(error, 'orig', None) or error}")
    except CommandError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
