"""Opens a SQLite store: file, lock, pragmas, schema version, and the meaning of the driver's errors."""

from __future__ import annotations

import fcntl
import glob
import os
import sqlite3
import threading
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from connector.errors import NewerDocument, SchemaMismatch, StoreUnavailable, UsageError
from connector.secretsfile import hand_over
from connector.store.base import cause_of, effective_revision, require_complete, require_revision
from connector.store.schema import REVISION

PAGE_CACHE_KIB = 8192
"""The page cache of each connection."""
CACHED_STATEMENTS = 1024
"""Prepared statements that a connection keeps: a group of events has one text per table and number of rows."""
BUSY_SECONDS = 5
"""How long opening and writing wait for another process that writes; longer, and the store counts as unavailable."""

_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_ADVICE = {
    sqlite3.SQLITE_READONLY: "the file and its folder must both be writable by the user that runs this",
    sqlite3.SQLITE_CANTOPEN: "the file and its folder must both be readable by the user that runs this",
    sqlite3.SQLITE_FULL: "make room on that disk",
    sqlite3.SQLITE_BUSY: "another program writes to it; try again",
    sqlite3.SQLITE_NOTADB: "name another file",
    sqlite3.SQLITE_CORRUPT: "put a backup back",
}
_ALL_COLUMNS = "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"
_OTHER_TABLES = (
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name NOT IN ('alembic_version', 'sqlite_sequence')"
)
_COMPATIBLE = "SELECT value FROM meta WHERE key = 'compatible_from'"


def exists(path: Path) -> bool:
    """Whether there is a file. Raises `StoreUnavailable` when this user may not look into its folder."""
    try:
        return path.exists()
    except OSError as error:
        raise StoreUnavailable(
            f"the store {path} cannot be opened: {error.strerror} "
            "(run this as the user of the service); see [store] url"
        ) from error


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A driver connection in autocommit mode to a file that exists. Raises `StoreUnavailable`.

    Write-ahead log with `synchronous=FULL`: a commit that returned is on the disk (SQLite, PRAGMA synchronous).
    """
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_SECONDS,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            _set_up(connection, read_only=read_only)
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the store {path} cannot be opened: {safe_message(error)}; see [store] url") from error
    return connection


def _set_up(connection: sqlite3.Connection, *, read_only: bool) -> None:
    if not read_only:
        connection.execute("PRAGMA journal_mode=WAL")
        # deleted values are overwritten where that costs no further writes (SQLite, PRAGMA secure_delete)
        connection.execute("PRAGMA secure_delete=FAST")
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "temp_store=MEMORY", f"cache_size=-{PAGE_CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")


def through_sqlalchemy(connection: sqlite3.Connection) -> Connection:
    """Wraps a driver connection in SQLAlchemy. The caller begins and ends transactions explicitly.

    No transaction may be open: SQLAlchemy ends it when it initializes a connection. Closing the wrapper leaves the
    driver connection and its transaction unchanged.
    """
    _to_wrap.connection = connection
    try:
        return _engine().connect()
    finally:
        del _to_wrap.connection


class _Borrowed:
    """A driver connection that SQLAlchemy uses and does not close."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.cursor = connection.cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        """Leaves the connection open."""


_to_wrap = threading.local()
"""The driver connection for `_engine`, whose creator takes no arguments."""


@cache
def _engine() -> Engine:
    """One engine for all connections, so that they share its compiled statements."""
    return create_engine(
        "sqlite://",
        creator=lambda: _Borrowed(_to_wrap.connection),
        poolclass=NullPool,
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
    )


def safe_message(error: BaseException) -> str:
    """Returns a message without personal data, and what to do. Only SQLite's own messages contain no values."""
    if isinstance(error, NewerDocument):
        return str(error)
    cause = cause_of(error)
    if not isinstance(cause, sqlite3.Error):
        return type(cause).__name__
    advice = _ADVICE.get(_code(cause))
    return f"{cause} ({advice})" if advice else str(cause)


def is_unavailable(error: BaseException) -> bool:
    """Whether the store is the cause of an error (disk, lock, file), not a statement or its values."""
    return _code(error) in _UNAVAILABLE


def _code(error: BaseException) -> int:
    """The primary result code (SQLite, Result and Error Codes), 0 without one."""
    code: int = getattr(cause_of(error), "sqlite_errorcode", 0)
    return code & 0xFF


def revision(connection: sqlite3.Connection) -> str | None:
    """Returns the revision of the schema, `None` for an empty file. See `effective_revision` for a newer one.

    Raises `StoreUnavailable` when the file is not a SQLite database, `SchemaMismatch` when it is of another program.
    """
    try:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = tables and connection.execute("SELECT version_num FROM alembic_version").fetchone()
        has_meta = row and connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone()
        compatible = has_meta and connection.execute(_COMPATIBLE).fetchone()
        is_foreign = row is None and connection.execute(_OTHER_TABLES).fetchone() is not None
    except sqlite3.DatabaseError as error:
        raise StoreUnavailable(f"the store cannot be read: {safe_message(error)}; see [store] url") from error
    if is_foreign:
        raise SchemaMismatch("the file is a database of something else: name another one ([store] url)")
    return None if row is None else effective_revision(str(row[0]), compatible and compatible[0])


def revision_of(path: Path) -> str | None:
    """Like `revision`, for a file that may not exist."""
    if not exists(path):
        return None
    with closing(connect(path, read_only=True)) as connection:
        return revision(connection)


def require_current(connection: sqlite3.Connection) -> None:
    """Raises `SchemaMismatch` unless the schema is this version's, and the exceptions of `revision`."""
    require_revision(
        revision(connection),
        to_make="start `connector serve` once, it makes the store",
        to_update="start `connector serve` once, it brings the store up to date",
    )
    require_complete(connection.execute(_ALL_COLUMNS))


def make_empty(path: Path) -> None:
    """Creates an empty file that only its owner can read. Raises `StoreUnavailable`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            make_file(path)
    except OSError as error:
        raise StoreUnavailable(f"the store {path} cannot be made: {error.strerror}; see [store] url") from error


def make_file(path: Path) -> None:
    """Creates an empty file that only its owner can read. Raises `OSError`."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    try:
        hand_over(descriptor, path.parent)
    finally:
        os.close(descriptor)


def backup(path: Path, found: str, newest: str = REVISION) -> Path:
    """Copies the store to a file beside it before its schema changes; returns the path. Raises `StoreUnavailable`."""
    copy = path.with_name(f"{path.name}.before-{newest}-from-{found}")
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        with closing(connect(path, read_only=True)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            copy.unlink()
        raise StoreUnavailable(f"the store could not be copied before its schema changes: {error}") from error
    return copy


def compact(connection: sqlite3.Connection) -> bool:
    """Writes the file without free pages and empties the log, so that no deleted value stays in either.

    Other connections cannot write meanwhile. Returns whether the log is empty: another program may be reading it.
    """
    connection.execute("PRAGMA temp_store=FILE")  # the copy has the size of the store
    try:
        connection.execute("VACUUM")
    finally:
        connection.execute("PRAGMA temp_store=MEMORY")
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def files_of(path: Path) -> list[Path]:
    """Returns the files of a store that may exist: with its log, lock and tombstones, and the copies of `backup`."""
    fixed = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock", ".erased"))]
    return [*fixed, *copies_of(path)]


def copies_of(path: Path) -> list[Path]:
    """Returns the copies beside a store: from before a migration and from before a restore."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}.before-*"))


def delete_copies(path: Path, before: int) -> int:
    """Deletes copies that `backup` made of the store before a time in epoch milliseconds; returns their number."""
    prefix = f"{path.name}.before-"
    count = 0
    for copy in path.parent.iterdir():
        if copy.name.startswith(prefix) and "-from-" in copy.name and copy.stat().st_mtime * 1000 < before:
            copy.unlink(missing_ok=True)
            count += 1
    return count


class StoreHeld(UsageError):
    """Another process serves the store."""


class StoreLock:
    """Holds `<store>.lock` while open.

    Raises `StoreHeld` when another process holds it, `UsageError` when it cannot be locked, and `StoreUnavailable` when
    the file cannot be made.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._file = -1

    def __enter__(self) -> Self:
        path = self._store.with_name(f"{self._store.name}.lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                make_file(path)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be made: {error.strerror}; see [store] url") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            if isinstance(error, BlockingIOError):
                raise StoreHeld(
                    f"another connector serves {self._store} already; stop it first, or give this one a store of its "
                    "own ([store] url)"
                ) from None
            raise UsageError(
                f"{path} cannot be locked: {error.strerror}; the store must be on a local disk ([store] url)"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
