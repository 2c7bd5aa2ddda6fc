"""The write-ahead log is copied into the file in time, without a delay of events."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import insert, text
from structlog.testing import capture_logs

from connector.store.schema import meta
from connector.store.sqlite import database
from connector.store.sqlite.store import FileConnection, LogLimits, SqliteStore
from tests.full_disk import full_disk
from tests.store.kit import routing_table, rows

PAGE_BYTES = 4_096
EVERY, LONG = 50, 100
LIMIT = 10 * LONG
"""In pages, like the others."""
LIMITS = LogLimits(copy_rows=EVERY, long_pages=LONG, large_bytes=LIMIT * PAGE_BYTES)
GROWS, TRUNCATED = "store log growing", "store log truncated"


@pytest.fixture
def file(path):
    raw = database.connect(path)
    raw.execute("CREATE TABLE written (content)")
    opened = FileConnection(path, raw, LIMITS)
    yield opened
    opened.close()


def log_of(path):
    return path.with_name(f"{path.name}-wal")


def pages_of(path):
    return log_of(path).stat().st_size / PAGE_BYTES


def commit(file, pages=1):
    """Writes at least this number of pages, and waits until no checkpoint runs."""
    with file.begin() as connection:
        for _ in range(pages):
            connection.exec_driver_sql("INSERT INTO written VALUES (zeroblob(?))", (PAGE_BYTES,))
    if file._copying is not None:
        file._copying.result()


def copied(path, tmp_path):
    """The number of rows in the file without its log."""
    alone = tmp_path / "alone.db"
    shutil.copy(path, alone)
    return rows(alone, "SELECT count(*) FROM written")[0][0]


def test_the_log_has_a_limit(path, file):
    """A long log starts again at its beginning, however much is written."""
    for _ in range(2_000):
        commit(file)
    assert LONG < pages_of(path) < 4 * LONG


def test_nothing_is_copied_before_its_time(path, file, tmp_path):
    """A page that changes with every event is then copied once for many events."""
    for _ in range(EVERY - 1):
        commit(file)
    assert file._copying is None
    commit(file)
    assert copied(path, tmp_path) == EVERY


def test_large_rows_are_copied_earlier(path, file, tmp_path):
    """One row may need many pages of the log."""
    with file.begin() as connection:
        connection.exec_driver_sql("INSERT INTO written VALUES (zeroblob(?))", (LIMIT * PAGE_BYTES,))
    file._copying.result()
    assert copied(path, tmp_path) == 1


def test_a_foreign_reader_makes_the_log_grow_only_while_it_reads(path, file, tmp_path):
    """Pages newer than its snapshot are not copied. After it ends all are copied, and the log is truncated."""
    with closing(database.connect(path, read_only=True)) as reader:
        commit(file)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM written").fetchone() == (1,)
        with capture_logs() as logs:
            for _ in range(5 * LONG):
                commit(file)
        assert pages_of(path) > 5 * LONG
        assert file.log_bytes == log_of(path).stat().st_size
        assert [line["event"] for line in logs] == [GROWS]
        assert reader.execute("SELECT count(*) FROM written").fetchone() == (1,)
        reader.execute("ROLLBACK")
        with capture_logs() as logs:
            for _ in range(2 * EVERY):
                commit(file)
        assert [line["event"] for line in logs] == [TRUNCATED]
        assert pages_of(path) < LIMIT
        assert copied(path, tmp_path) > 5 * LONG


async def test_our_own_reads_never_make_the_log_grow(path):
    """Also when reads always overlap: those that begin after a checkpoint do not use the log."""
    long = LONG // 4  # each write costs many reads
    limits = LogLimits(copy_rows=EVERY // 4, long_pages=long, large_bytes=LIMIT * PAGE_BYTES // 4)
    store = SqliteStore(path, routing_table(chat=False), lambda plan: None, intake=10, log_limits=limits)
    begun, ended, changed = [0, 0], False, threading.Condition()

    def read(mine, connection):
        connection.execute(text("SELECT count(*) FROM meta")).scalar()
        with changed:
            begun[mine] += 1
            changed.notify_all()
            others = begun[1 - mine]
            changed.wait_for(lambda: begun[1 - mine] > others or ended)

    async def reads(way, mine):
        while not ended:
            await way(lambda connection: read(mine, connection))

    reading = [asyncio.create_task(reads(store.read, 0)), asyncio.create_task(reads(store.query, 1))]
    total = 20 * long
    for number in range(total):
        await store.write(
            lambda connection, n=number: connection.execute(insert(meta).values(key=f"k{n}", value="x" * PAGE_BYTES))
        )
    ended = True
    with changed:
        changed.notify_all()
    await asyncio.gather(*reading)
    assert pages_of(path) < total / 2
    await store.close()


def test_a_checkpoint_by_another_process_loses_nothing(path, file):
    """A command that writes to the same file makes one."""
    with closing(sqlite3.connect(path)) as other:
        for _ in range(3 * LONG):
            commit(file)
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert rows(path, "SELECT count(*) FROM written") == [(3 * LONG,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_a_file_that_cannot_grow_is_reported_and_loses_nothing(path, file):
    """The log keeps the pages that do not fit, and they are copied when there is room again."""
    commit(file, 10 * EVERY)  # the log has pages enough, so that only the file has to grow
    for _ in range(EVERY - 1):
        commit(file)
    grown = path.stat().st_size
    with full_disk(grown), capture_logs() as logs:
        commit(file)
    assert [line["event"] for line in logs] == ["store log checkpoint failed"]
    assert "disk" in logs[0]["reason"]
    for _ in range(EVERY):
        commit(file)
    assert path.stat().st_size > grown
    assert rows(path, "SELECT count(*) FROM written") == [(12 * EVERY,)]


def test_a_commit_counts_although_its_checkpoint_cannot_start(file, path, monkeypatch):
    """The machine may have no free thread. An exception would run the jobs of the transaction again."""

    def no_thread(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("connector.store.sqlite.store.ThreadPoolExecutor.submit", no_thread)
    with capture_logs() as logs:
        commit(file, EVERY)
    assert rows(path, "SELECT count(*) FROM written") == [(EVERY,)]
    assert [log["event"] for log in logs] == ["store log checkpoint failed"]
