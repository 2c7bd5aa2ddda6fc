"""Copies the write-ahead log back into the file and begins it again, so that it stays small.

Left to itself SQLite copies in the commit that makes the log long, while everybody waits for that commit. A passive
checkpoint on another connection lets the writer go on, but the log begins again only when all of it is copied and no
reader uses it (SQLite, Write-Ahead Logging, "Checkpointing" and "Avoiding Excessively Large WAL Files"). Lanes read all
the time, so that this moment would never come. So when the log is long, new reads of this process wait until those that
run have ended, and the thread of the writer copies the little that is left after its next commit.

Another program that reads the file, a backup for example, cannot be made to wait. The log grows meanwhile, which is
logged once, and is truncated when that program is done.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from connector.store.sqlite import database

PAGE_BYTES = 4_096
AGAIN_PAGES = 500
"""Pages written until a log that another program holds is looked at again."""
PASSES = 3
"""Times that a long log is copied once more: the first of them also waits for the disk, some 30 ms, and what comes in
such a time would hold the writer up for 10 ms.
"""
DRAIN_SECONDS = 2.0
"""Reads of this process take less; one that takes longer is waited for at the next attempt."""
COMMIT_SECONDS = 0.05
"""How long the next commit is waited for. Without one the log begins again all the same."""

log = structlog.get_logger("connector.store")


@dataclass(frozen=True, slots=True)
class LogLimits:
    """When to do something about the log."""

    every_pages: int = 4_000
    """Pages written between two checkpoints: at most one for each changed row, and those of the bodies."""
    long_pages: int = 8_000
    """Pages in the log from which on it is to begin again."""
    size_bytes: int = 64 * 1024 * 1024
    """A larger log is truncated as soon as nobody reads it; until then a warning is logged once."""


class Gate:
    """Lets reads of this process through, except while the log begins again."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reads = 0
        self._is_closed = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Waits while the gate is closed, then counts as a read."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._reads += 1
        try:
            yield
        finally:
            with self._changed:
                self._reads -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self, seconds: float) -> Iterator[bool]:
        """Lets no read begin; gives whether those that ran have ended, which is waited for at most so long."""
        with self._changed:
            self._is_closed = True
            is_empty = self._changed.wait_for(lambda: not self._reads, seconds)
        try:
            yield is_empty
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()


class Checkpointer:
    """Sees to the log of one writer, whose connection no longer does so by itself. Raises `StoreUnavailable`.

    Reads of this process go through `gate`. `under_way`: the latest copying, which may be done.
    """

    def __init__(
        self,
        path: Path,
        writer: sqlite3.Connection,
        gate: Gate,
        limits: LogLimits,
    ) -> None:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute(f"PRAGMA journal_size_limit={limits.size_bytes}")
        self.under_way: Future[None] | None = None
        self._path = path.with_name(f"{path.name}-wal")
        self._raw = database.connect(path)
        self._gate = gate
        self._limits = limits
        self._next = limits.every_pages
        self._changes = writer.total_changes
        self._written = 0
        self._wants_commit = threading.Event()
        self._had_commit = threading.Event()
        self._is_growing = False
        self._thread = ThreadPoolExecutor(1, "store-checkpoint")

    @property
    def log_bytes(self) -> int:
        """The size of the log."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def committed(self, writer: sqlite3.Connection, size: int) -> None:
        """Called after each commit of so many bytes, by the thread that made it; never waits for the other one."""
        if self._wants_commit.is_set():
            self._wants_commit.clear()
            self._begin_again(writer)
            self._had_commit.set()
        changes = writer.total_changes
        self._written += changes - self._changes + size // PAGE_BYTES
        self._changes = changes
        if self._written >= self._next and (self.under_way is None or self.under_way.done()):
            self._written = 0
            self.under_way = self._thread.submit(self._copy)

    def close(self) -> None:
        """Lets the running one end; the last connection to the file copies the rest when it is closed."""
        self._thread.shutdown()
        self._raw.close()

    def _copy(self) -> None:
        self._next = self._limits.every_pages
        pages, copied = checkpoint(self._raw)
        if pages < self._limits.long_pages:
            return
        for _ in range(PASSES):
            pages, copied = checkpoint(self._raw)
        if pages - copied >= self._limits.every_pages:
            self._held()
            return
        with self._gate.closed(DRAIN_SECONDS) as is_empty:
            if not is_empty:
                self._next = min(AGAIN_PAGES, self._limits.every_pages)
                return
            self._had_commit.clear()
            self._wants_commit.set()
            if not self._had_commit.wait(COMMIT_SECONDS):
                self._wants_commit.clear()
                self._begin_again(self._raw)

    def _begin_again(self, connection: sqlite3.Connection) -> None:
        """Copies the rest; the next transaction then writes to the start of the log, unless somebody reads it."""
        is_large = self.log_bytes > self._limits.size_bytes
        if not _is_done(connection, "TRUNCATE" if is_large else "RESTART"):
            self._held()
        elif self._is_growing:
            self._is_growing = False
            log.info("store log truncated", bytes=self.log_bytes)

    def _held(self) -> None:
        """Another program reads the log."""
        self._next = min(AGAIN_PAGES, self._limits.every_pages)
        if not self._is_growing and self.log_bytes > self._limits.size_bytes:
            self._is_growing = True
            log.warning("store log growing", bytes=self.log_bytes)


def checkpoint(connection: sqlite3.Connection) -> tuple[int, int]:
    """Copies what can be copied without waiting for anybody; returns the pages of the log, and how many are copied."""
    row = _checkpointed(connection, "PASSIVE")
    return (0, 0) if row is None else (row[1], row[2])


def _is_done(connection: sqlite3.Connection, mode: str) -> bool:
    row = _checkpointed(connection, mode)
    return row is not None and row[0] == 0


def _checkpointed(connection: sqlite3.Connection, mode: str) -> tuple[int, int, int] | None:
    """Whether something stood in the way, the pages of the log, and those of them that are copied."""
    try:
        busy, pages, copied = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    except sqlite3.Error as error:  # a full disk: the next commit meets it too, and refuses its events
        log.warning("store log checkpoint failed", reason=database.safe_message(error))
        return None
    return int(busy), int(pages), int(copied)
