"""Opening a SQLite store: its file, its pragmas, its schema version."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store.schema import REVISION

PAGE_CACHE_KIB = 8192


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///…` URL."""
    return Path(make_url(url).database or "")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A driver connection in autocommit mode that never waits for a lock. Raises `StoreUnavailable`.

    Write-ahead log with `synchronous=FULL`: a commit that returned is on the disk (SQLite, PRAGMA synchronous).
    """
    try:
        connection = sqlite3.connect(
            f"file:{_quoted(path)}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5 if read_only else 0,
        )
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
        for pragma in ("synchronous=FULL", "temp_store=MEMORY", f"cache_size=-{PAGE_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the store {path.name} cannot be opened: {error}") from error
    return connection


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def through_sqlalchemy(connection: sqlite3.Connection) -> Connection:
    """The same driver connection behind SQLAlchemy; who uses it opens and ends transactions by hand."""
    # no reset: a rollback by the pool would end a transaction that somebody else has open on this connection
    engine: Engine = create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool, pool_reset_on_return=None
    )
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def revision(connection: sqlite3.Connection) -> str | None:
    """The schema's revision, `None` in an empty file. Raises `StoreUnavailable` when the file is no store."""
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    except sqlite3.DatabaseError as error:
        raise StoreUnavailable(f"the store is no SQLite database: {error}") from error
    return None if row is None else str(row[0])


def revision_of(path: Path) -> str | None:
    """As `revision`, for a file that need not exist."""
    if not path.exists():
        return None
    connection = connect(path, read_only=True)
    try:
        return revision(connection)
    finally:
        connection.close()


def require_current(found: str | None) -> None:
    """Raises `SchemaMismatch` unless the schema is this version's."""
    if found == REVISION:
        return
    if found is None:
        raise SchemaMismatch("the store is empty: start `connector serve` once, it makes the store")
    raise SchemaMismatch(
        f"the store's schema is {found}, this version works with {REVISION}: "
        "run the newest connector, or let `connector serve` bring the store up to date"
    )


def require_older(found: str) -> None:
    """Raises `SchemaMismatch` for a schema that a newer version made."""
    if found > REVISION:
        raise SchemaMismatch(
            f"the store's schema is {found}, this version knows {REVISION} at most: run the newest connector"
        )


def backup(path: Path, found: str) -> Path:
    """Copies the store beside itself before its schema changes; returns the copy."""
    copy = path.with_name(f"{path.name}.before-{REVISION}-from-{found}")
    source = connect(path)
    try:
        with sqlite3.connect(copy) as target:
            source.backup(target)
        target.close()
    finally:
        source.close()
    shutil.copymode(path, copy)
    return copy
