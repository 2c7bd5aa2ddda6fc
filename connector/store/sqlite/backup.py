"""Backs up a SQLite store while it is in use, and restores a backup.

The file of tombstones beside the store lists the erased interviews, so that a restored store erases the same persons
again. It has one line for each: the SHA-256 of the id in hex and the time of the erase in epoch milliseconds.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete
from sqlalchemy.exc import DBAPIError

from connector.errors import StoreUnavailable, UsageError
from connector.formats import counted
from connector.store import audit, decisions, erase
from connector.store.base import require_older
from connector.store.schema import REVISION, AuditAction, process
from connector.store.sqlite import database
from connector.store.sqlite.database import (
    StoreLock,
    connect,
    make_file,
    revision,
    safe_message,
    through_sqlalchemy,
)

UNUSED_IDS = 1_000_000
"""Ids of deliveries that a restore skips at least, also when the clock is wrong."""


def back_up(store: Path, target: Path, *, replace: bool = False) -> int:
    """Copies one consistent state of the store to a new file that only its owner can read; returns its bytes.

    The service may write meanwhile (SQLite, Online Backup API). The file appears when it is complete. Raises
    `UsageError` when it exists and `replace` is false, or when it is the store itself, and `StoreUnavailable`.
    """
    if _is_part_of(store, target):
        raise UsageError(f"{target} belongs to the store itself; name another file")
    if target.exists() and not replace:
        raise UsageError(f"{target} exists; name another file, or add --force to replace it")
    with _complete_copy(store, target.with_name(f"{target.name}.partial")) as copy:
        copy.replace(target)
        _sync_folder(target.parent)
    return target.stat().st_size


@dataclass(frozen=True, slots=True)
class Restored:
    """`previous` is the path of the store that was there before, if there was one. `erased` is the number of interviews
    in the backup that were erased since it was made, and so are erased again.
    """

    previous: Path | None
    erased: int


def restore(store: Path, source: Path, moment: str, *, actor: str) -> Restored:
    """Puts a copy of a backup in the place of the store, without the persons who were erased since.

    The previous store is kept beside it as `<store>.before-restore-<moment>`. `actor` is who asks, for the audit log of
    the restored store, which a backup of an older version does not have. In such a backup persons are erased when the
    store is opened, after its migration. Raises `UsageError` when a service runs on the store or the backup is
    missing, `StoreUnavailable` when the backup is damaged or cannot be copied, and `SchemaMismatch` when it is not of
    this version or an older one.
    """
    if not source.is_file():
        raise UsageError(f"the backup {source} is missing: give the path of a file that `connector store backup` wrote")
    if _is_part_of(store, source):
        raise UsageError(f"{source} belongs to the store itself; name a backup")
    with StoreLock(store):
        partial = store.with_name(f"{store.name}.partial")
        with _complete_copy(source, partial) as copy:
            erased = _require_usable(copy, source, store, actor)
            previous = _keep_aside(store, store.with_name(f"{store.name}.before-restore-{moment}"))
            copy.replace(store)
            _sync_folder(store.parent)
    return Restored(previous, erased)


@contextmanager
def _complete_copy(source: Path, copy: Path) -> Iterator[Path]:
    """Copies a database to a new file without a write-ahead log, on the disk. It is deleted unless it is renamed."""
    try:
        copy.unlink(missing_ok=True)  # of a process that was killed
        make_file(copy)
        with closing(connect(source, read_only=True)) as reader, closing(sqlite3.connect(copy)) as writer:
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=DELETE")  # all content is in this one file
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        yield copy
    except OSError as error:
        raise StoreUnavailable(f"{copy} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{source} cannot be copied: {safe_message(error)}") from error
    finally:
        with suppress(OSError):
            copy.unlink(missing_ok=True)


def _require_usable(copy: Path, source: Path, store: Path, actor: str) -> int:
    """Checks a copy of a backup, and erases in it who was erased since. Returns the number of those interviews."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        found = revision(connection)
        if found is None:
            raise StoreUnavailable(f"{source} is not a store of the connector; nothing changed")
        if found != REVISION:
            require_older(found, REVISION)
        (result,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise StoreUnavailable(f"{source} is damaged; use another backup; nothing changed")
        now = time.time_ns() // 1_000_000
        _skip_used_ids(connection, now)
        if found != REVISION:
            return 0
        erased = apply_tombstones(store, connection)
        detail = f"{counted(erased, 'interview', 'interviews')} erased again" if erased else ""
        with through_sqlalchemy(connection) as view:
            view.exec_driver_sql("BEGIN IMMEDIATE")
            decisions.after_restore(view)
            view.execute(delete(process))  # those that ran when the backup was made
            audit.record(view, actor, AuditAction.RESTORE, source.name, detail, now=now)
            view.exec_driver_sql("COMMIT")
        return erased


def _skip_used_ids(connection: sqlite3.Connection, now: int) -> None:
    """Lets the ids of new deliveries begin after those that were used since the backup.

    A destination that received a delivery with the same id would take a new one for a repeat and drop it. The number of
    used ids is unknown, so the next id is `now` in epoch milliseconds, which no store reaches by counting.
    """
    (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'delivery'").fetchone()
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'delivery'")
    next_id = max(now, last + UNUSED_IDS)
    connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('delivery', ?)", (next_id,))


def _keep_aside(store: Path, kept: Path) -> Path | None:
    """Gives the store a second name. It keeps its own until the backup replaces it, so that a process that is killed
    meanwhile leaves a store with all commits.
    """
    if not store.exists():
        return None
    if kept.exists():
        raise UsageError(f"{kept} exists; move it away first")
    with suppress(sqlite3.Error), closing(sqlite3.connect(store)) as connection:  # a damaged store is kept as it is
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        kept.hardlink_to(store)
    except OSError:  # a file system without hard links
        store.rename(kept)
    with suppress(FileNotFoundError):
        _beside(store, "-wal").rename(_beside(kept, "-wal"))
    _beside(store, "-shm").unlink(missing_ok=True)
    return kept


def _is_part_of(store: Path, file: Path) -> bool:
    own = [store, *(_beside(store, suffix) for suffix in ("-wal", "-shm", ".lock", ".erased"))]
    return file.resolve() in {path.resolve() for path in own}


def _beside(store: Path, suffix: str) -> Path:
    return store.with_name(f"{store.name}{suffix}")


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable (fsync(2): the entry of the folder needs an fsync of its own)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_LINE = re.compile(r"([0-9a-f]{64}) (\d{1,15})")


def tombstone_file(store: Path) -> Path:
    """Returns the path of the file beside a store."""
    return store.with_name(f"{store.name}.erased")


def read_tombstones(store: Path) -> dict[str, int]:
    """Returns the tombstones of the file. Other lines are ignored. Raises `StoreUnavailable`."""
    found = (_LINE.fullmatch(line) for line in _tombstone_text(store).splitlines())
    return {line[1]: int(line[2]) for line in found if line}


def _tombstone_text(store: Path) -> str:
    try:
        return tombstone_file(store).read_text("ascii", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreUnavailable(f"{tombstone_file(store)} cannot be read: {error.strerror}") from error


def add_tombstones(store: Path, hashes: Mapping[str, int]) -> None:
    """Appends tombstones, and returns when they are on the disk. Raises `StoreUnavailable`."""
    known, text = read_tombstones(store), _tombstone_text(store)
    lines = "".join(f"{hash_} {at}\n" for hash_, at in hashes.items() if hash_ not in known)
    if text and not text.endswith("\n"):  # a full disk or a power failure cut the last line
        lines = f"\n{lines}"
    try:
        with suppress(FileExistsError):
            make_file(tombstone_file(store))
        descriptor = os.open(tombstone_file(store), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(lines)
            file.flush()
            os.fsync(descriptor)
        _sync_folder(store.parent)
    except OSError as error:
        raise StoreUnavailable(f"{tombstone_file(store)} cannot be written: {error.strerror}") from error


def apply_tombstones(store: Path, connection: sqlite3.Connection) -> int:
    """Erases who is in the file beside `store` and in the database of the connection, which is a restored backup then.

    Returns the number of interviews that were erased again. Raises `StoreUnavailable`.
    """
    hashes = read_tombstones(store)
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
