"""The file of tombstones beside a SQLite store: a store that is restored from a backup erases the same persons again.

One line for each erased interview: the SHA-256 of its id in hex and the time of the erase in epoch milliseconds.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable
from connector.store import erase
from connector.store.sqlite import database

_LINE = re.compile(r"([0-9a-f]{64}) (\d{1,15})")


def path_of(store: Path) -> Path:
    """Returns the path of the file beside a store."""
    return store.with_name(f"{store.name}.erased")


def read(store: Path) -> dict[str, int]:
    """Returns the tombstones of the file. Other lines are ignored. Raises `StoreUnavailable`."""
    try:
        text = path_of(store).read_text("ascii", errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StoreUnavailable(f"{path_of(store)} cannot be read: {error.strerror}") from error
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {line[1]: int(line[2]) for line in found if line}


def add(store: Path, hashes: Mapping[str, int]) -> None:
    """Appends tombstones, and returns when they are on the disk. Raises `StoreUnavailable`."""
    known = read(store)
    lines = "".join(f"{hash_} {at}\n" for hash_, at in hashes.items() if hash_ not in known)
    try:
        descriptor = os.open(path_of(store), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(lines)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise StoreUnavailable(f"{path_of(store)} cannot be written: {error.strerror}") from error


def apply(store: Path, connection: sqlite3.Connection) -> int:
    """Erases who is in the file beside `store` and in the database of the connection, which is a restored backup then.

    Returns the number of interviews that were erased again. Raises `StoreUnavailable`.
    """
    hashes = read(store)
    if not hashes:
        return 0
    try:
        with database.through_sqlalchemy(connection) as view:
            view.exec_driver_sql("BEGIN IMMEDIATE")
            count = erase.apply_tombstones(view, hashes)
            view.exec_driver_sql("COMMIT")
        if count:
            database.compact(connection)
    except (sqlite3.Error, DBAPIError) as error:
        raise StoreUnavailable(f"the store takes no writes: {database.safe_message(error)}") from error
    return count
