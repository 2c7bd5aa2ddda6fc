"""Checkpoints: copies the write-ahead log into the database file and restarts the log, so that it stays small.

By default SQLite runs a checkpoint inside the commit that makes the log long, and all requests wait for that commit. A
passive checkpoint on another connection does not delay the writer, but the log restarts only when all of it is copied
and no reader uses it (SQLite, Write-Ahead Logging, "Checkpointing" and "Avoiding Excessively Large WAL Files"). Lanes
read all the time, so this would never happen. When the log is long, new reads of this process therefore wait until the
running ones have ended, and the thread of the writer copies the rest after its next commit.

Another program that reads the file, such as a backup, cannot be delayed. The log grows meanwhile, which is logged once,
and is truncated when that program has finished.
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
"""Pages written before the next checkpoint of a log that another program uses."""
PASSES = 3
"""Further passive checkpoints of a long log. The first one waits about 30 ms for the disk. Without another one, the
writer would need 10 ms for the pages that were written meanwhile.
"""
DRAIN_SECONDS = 2.0
"""The longest wait for the reads of this process. If one takes longer, the next checkpoint waits again."""
COMMIT_SECONDS = 0.05
"""The longest wait for the next commit. Without a commit the checkpoint thread restarts the log."""

log = structlog.get_logger("connector.store")


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Sizes of the log at which a checkpoint or a truncation is due."""

    every_pages: int = 4_000
    """Pages written between two checkpoints, estimated as one per changed row plus those of the bodies."""
    long_pages: int = 8_000
    """A log with this number of pages is restarted."""
    size_bytes: int = 64 * 1024 * 1024
    """A larger log is truncated when no reader uses it; until then a warning is logged once."""


class Gate:
    """Delays the reads of this process while the log restarts."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reads = 0
        self._is_closed = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Waits while the gate is closed, then counts as a running read."""
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
        """Delays new reads. Yields whether the running ones ended within `seconds`."""
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
    """Runs the checkpoints of one writer, whose automatic checkpoints it disables. Raises `StoreUnavailable`.

    Reads of this process use `gate`. `under_way`: the latest checkpoint, which may have finished.
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
        """The size of the log in bytes."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def committed(self, writer: sqlite3.Connection, size: int) -> None:
        """Called after each commit of `size` bytes, in its thread. Never waits for the checkpoint thread."""
        if self._wants_commit.is_set():
            self._wants_commit.clear()
            self._restart_log(writer)
            self._had_commit.set()
        changes = writer.total_changes
        self._written += changes - self._changes + size // PAGE_BYTES
        self._changes = changes
        if self._written >= self._next and (self.under_way is None or self.under_way.done()):
            self._written = 0
            self.under_way = self._thread.submit(self._copy)

    def close(self) -> None:
        """Finishes the running checkpoint. SQLite copies the rest when the last connection is closed."""
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
            self._used_elsewhere()
            return
        with self._gate.closed(DRAIN_SECONDS) as is_empty:
            if not is_empty:
                self._next = min(AGAIN_PAGES, self._limits.every_pages)
                return
            self._had_commit.clear()
            self._wants_commit.set()
            if not self._had_commit.wait(COMMIT_SECONDS):
                self._wants_commit.clear()
                self._restart_log(self._raw)

    def _restart_log(self, connection: sqlite3.Connection) -> None:
        """Copies the rest. The next transaction then writes to the start of the log, unless a reader uses it."""
        is_large = self.log_bytes > self._limits.size_bytes
        if not _is_done(connection, "TRUNCATE" if is_large else "RESTART"):
            self._used_elsewhere()
        elif self._is_growing:
            self._is_growing = False
            log.info("store log truncated", bytes=self.log_bytes)

    def _used_elsewhere(self) -> None:
        """Another program uses the log."""
        self._next = min(AGAIN_PAGES, self._limits.every_pages)
        if not self._is_growing and self.log_bytes > self._limits.size_bytes:
            self._is_growing = True
            log.warning("store log growing", bytes=self.log_bytes)


def checkpoint(connection: sqlite3.Connection) -> tuple[int, int]:
    """Runs a passive checkpoint. Returns the number of pages in the log, and how many of them are copied."""
    row = _checkpointed(connection, "PASSIVE")
    return (0, 0) if row is None else (row[1], row[2])


def _is_done(connection: sqlite3.Connection, mode: str) -> bool:
    row = _checkpointed(connection, mode)
    return row is not None and row[0] == 0


def _checkpointed(connection: sqlite3.Connection, mode: str) -> tuple[int, int, int] | None:
    """Returns whether it was blocked, the pages of the log, and the copied pages; `None` after an error."""
    try:
        busy, pages, copied = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    except sqlite3.Error as error:  # a full disk: the next commit fails as well and refuses its events
        log.warning("store log checkpoint failed", reason=database.safe_message(error))
        return None
    return int(busy), int(pages), int(copied)
