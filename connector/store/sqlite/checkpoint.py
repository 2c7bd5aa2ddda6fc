"""Copies the write-ahead log back into the file, beside the writer instead of in the middle of a commit.

Left to itself SQLite does it in the commit that makes the log long, while everybody waits for that commit. A passive
checkpoint on another connection lets the writer go on; but while it goes on, something is always left to copy, and only
when nothing is left does the log begin again from its start (SQLite, Write-Ahead Logging, Checkpointing). So when the
log has become long the writer's thread copies the rest, which is little then.
"""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog

from connector.store.sqlite import database

PAGE = 4_096
"""Bytes of a page."""
EVERY = 4_000
"""Pages written between two checkpoints: one for each changed row, which is a little much, and those of the bodies."""
LONG = 8_000
"""Pages in the log from which on it is to begin again."""
AGAIN = 3
"""Times that a long log is copied once more: the first of them also waits for the disk, some 30 ms, and what comes in
such a time would hold the writer up for 10 ms.
"""

log = structlog.get_logger("connector.store")


class Checkpointer:
    """Sees to the log of one writer, whose connection no longer does so by itself. Raises `StoreUnavailable`.

    `every` and `long` are numbers of pages. `under_way`: the latest copying, which may be done.
    """

    def __init__(self, path: Path, writer: sqlite3.Connection, *, every: int = EVERY, long: int = LONG) -> None:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        self.under_way: Future[None] | None = None
        self._raw = database.connect(path)
        self._every = every
        self._long = long
        self._changes = writer.total_changes
        self._written = 0
        self._is_long = False
        self._thread = ThreadPoolExecutor(1, "store-checkpoint")

    def committed(self, writer: sqlite3.Connection, size: int) -> None:
        """Called after each commit of so many bytes, by the thread that made it; never waits for the other one."""
        if self._is_long:
            self._is_long = False
            checkpoint(writer)
        changes = writer.total_changes
        self._written += changes - self._changes + size // PAGE
        self._changes = changes
        if self._written >= self._every and (self.under_way is None or self.under_way.done()):
            self._written = 0
            self.under_way = self._thread.submit(self._copy)

    def close(self) -> None:
        """Lets the running one end; the last connection to the file copies the rest when it is closed."""
        self._thread.shutdown()
        self._raw.close()

    def _copy(self) -> None:
        if checkpoint(self._raw) >= self._long:
            for _ in range(AGAIN):
                checkpoint(self._raw)
            self._is_long = True


def checkpoint(connection: sqlite3.Connection) -> int:
    """Copies what can be copied without waiting for anybody; gives how many pages the log has had since it began."""
    try:
        _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    except sqlite3.Error as error:  # a full disk: the next commit tells it to whom it concerns
        log.warning("the log of the store could not be copied into its file", reason=database.words_of(error))
        return 0
    return int(pages)
