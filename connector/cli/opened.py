"""The configuration and the store as commands get at them; nothing here ever makes a store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from connector.config import Config
from connector.errors import StoreUnavailable, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

BUSY_MS = 5000
"""How long a command waits for the writer of a running service."""


def sqlite_file(config: Config) -> Path:
    """Where the SQLite store lies or will lie. Raises `UsageError` for a store of another kind."""
    path = config.store.file
    if path is None:
        raise UsageError("store.url: this version works with SQLite stores only; use sqlite:///data/connector.db")
    return path


def store_file(config: Config) -> Path:
    """The file of the store. Raises as `sqlite_file`, and `StoreUnavailable` when there is none yet."""
    path = sqlite_file(config)
    if not path.exists():
        raise StoreUnavailable(f"no store yet at {path}: start `connector serve` once, it makes the store")
    return path


def has_store(config: Config) -> bool:
    """Whether there is a store to look into."""
    path = config.store.file
    return path is not None and path.exists()


@contextmanager
def looking(config: Config) -> Iterator[Connection]:
    """One consistent look at the store, read-only. Raises `StoreUnavailable`, `SchemaMismatch`, `UsageError`."""
    with _connected(store_file(config), read_only=True) as connection:
        connection.exec_driver_sql("BEGIN")
        yield connection
        connection.exec_driver_sql("ROLLBACK")


@contextmanager
def changing(config: Config) -> Iterator[Connection]:
    """A connection for `transaction`; raises as `looking`."""
    with _connected(store_file(config), read_only=False) as connection:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={BUSY_MS}")
        yield connection


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commits at the end, or rolls back. Keep it short: the service's own writes wait meanwhile."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


@contextmanager
def _connected(path: Path, *, read_only: bool) -> Iterator[Connection]:
    from sqlalchemy.exc import DBAPIError

    from connector.store.sqlite import database

    raw = database.connect(path, read_only=read_only)
    try:
        database.require_current(database.revision(raw))
        with database.through_sqlalchemy(raw) as connection:
            yield connection
    except (sqlite3.Error, DBAPIError) as error:
        raise StoreUnavailable(f"the store {path} cannot be used now: {database.words_of(error)}") from error
    finally:
        raw.close()


def require_known(name: str, known: Iterable[str], what: str = "sink") -> str:
    """The name itself, if it is known. Raises `UsageError` with the nearest one."""
    names = sorted(known)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names) or 'none'}"
    raise UsageError(f"no {what} {name!r}; {hint}")


def now() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
