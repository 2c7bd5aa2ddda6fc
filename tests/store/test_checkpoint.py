"""The log beside the file: copied back in good time, by somebody whom no event waits for."""

from __future__ import annotations

import asyncio
import resource
import shutil
import sqlite3
import threading
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import insert, text
from structlog.testing import capture_logs

from connector.store.schema import meta
from connector.store.sqlite import database
from connector.store.sqlite.checkpoint import PAGE_BYTES, Checkpointer, Gate, LogLimits
from connector.store.sqlite.store import SqliteStore
from tests.store.kit import routing_table, rows

EVERY, LONG = 50, 100
LIMIT = 3 * LONG
"""In pages, like the others."""
LIMITS = LogLimits(every_pages=EVERY, long_pages=LONG, size_bytes=LIMIT * PAGE_BYTES)
GROWS, TRUNCATED = "store log growing", "store log truncated"


@pytest.fixture
def writer(path):
    with closing(database.connect(path)) as connection:
        connection.execute("CREATE TABLE written (content)")
        yield connection


@contextmanager
def checkpointing(path, writer, gate=None):
    checkpointer = Checkpointer(path, writer, gate or Gate(), LIMITS)
    try:
        yield checkpointer
    finally:
        checkpointer.close()


def log_of(path):
    return path.with_name(f"{path.name}-wal")


def pages_of(path):
    return log_of(path).stat().st_size / PAGE_BYTES


def commit(checkpointer, writer, pages=1, told=0):
    """Writes so many pages and more, tells of so many bytes, and waits until nothing is being copied."""
    with writer:
        writer.execute("BEGIN")
        writer.executemany("INSERT INTO written VALUES (zeroblob(?))", [(PAGE_BYTES,)] * pages)
    checkpointer.committed(writer, told)
    if checkpointer.under_way is not None:
        checkpointer.under_way.result()


def copied(path, tmp_path):
    """How many rows the file has by itself, without its log."""
    alone = tmp_path / "alone.db"
    shutil.copy(path, alone)
    return rows(alone, "SELECT count(*) FROM written")[0][0]


def test_the_log_does_not_grow_for_ever(path, writer):
    """It begins again from its start when it is long, however much is written."""
    with checkpointing(path, writer) as checkpointer:
        for _ in range(2_000):
            commit(checkpointer, writer)
    assert LONG < pages_of(path) < 4 * LONG


def test_without_anybody_who_copies_it_grows(path, writer):
    """Which shows that the writer does not copy by itself, and that the fact above is one."""
    with checkpointing(path, writer):
        for _ in range(2_000):
            writer.execute("INSERT INTO written VALUES (zeroblob(?))", (PAGE_BYTES,))
        assert pages_of(path) > 2_000


def test_nothing_is_copied_before_its_time(path, writer):
    """So that a page which changes with every event is copied once for many of them."""
    with checkpointing(path, writer) as checkpointer:
        for _ in range(EVERY - 1):
            commit(checkpointer, writer)
        assert checkpointer.under_way is None
        commit(checkpointer, writer)
        assert checkpointer.under_way is not None


def test_large_bodies_count_by_their_size(path, writer):
    """One row may be many pages of the log."""
    with checkpointing(path, writer) as checkpointer:
        commit(checkpointer, writer, told=(EVERY - 2) * PAGE_BYTES)
        assert checkpointer.under_way is None
        commit(checkpointer, writer)
        assert checkpointer.under_way is not None


def test_what_is_copied_is_in_the_file(path, writer, tmp_path):
    """The file alone holds what was committed before, while the writer still has it open."""
    with checkpointing(path, writer) as checkpointer:
        for _ in range(EVERY):
            commit(checkpointer, writer)
        assert copied(path, tmp_path) == EVERY


def test_a_foreign_reader_makes_the_log_grow_only_while_it_reads(path, writer, tmp_path):
    """Nothing newer than what it reads is copied over it; once it is gone, all is, and the log is truncated."""
    with checkpointing(path, writer) as checkpointer, closing(database.connect(path, read_only=True)) as reader:
        commit(checkpointer, writer)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM written").fetchone() == (1,)
        with capture_logs() as told:
            for _ in range(5 * LONG):
                commit(checkpointer, writer)
        assert pages_of(path) > 5 * LONG
        assert checkpointer.log_bytes == log_of(path).stat().st_size
        assert [line["event"] for line in told] == [GROWS]
        assert reader.execute("SELECT count(*) FROM written").fetchone() == (1,)
        reader.execute("ROLLBACK")
        with capture_logs() as told:
            for _ in range(2 * EVERY):
                commit(checkpointer, writer)
        assert [line["event"] for line in told] == [TRUNCATED]
        assert pages_of(path) < LIMIT
        assert copied(path, tmp_path) > 5 * LONG


async def test_our_own_reads_never_make_the_log_grow(path):
    """Also when one always begins before another ends: those that come wait until the log has begun again."""
    store = SqliteStore(path, routing_table(chat=False), lambda plan: None, intake=10, log_limits=LIMITS)
    committed = threading.Condition()
    total, commits = 20 * LONG, 0

    def until(number):
        def query(connection):
            connection.execute(text("SELECT count(*) FROM event")).scalar()
            with committed:
                committed.wait_for(lambda: commits >= number)

        return query

    async def read(way, offset):
        """Each read lasts for 20 commits; the two ways take turns every 10."""
        for number in range(offset, total, 20):
            await way(until(number))

    reading = [asyncio.create_task(read(store.read, 10)), asyncio.create_task(read(store.query, 20))]
    for number in range(total):
        await store.write(lambda c, n=number: c.execute(insert(meta).values(key=f"k{n}", value="x" * PAGE_BYTES)))
        with committed:
            commits += 1
            committed.notify_all()
    await asyncio.gather(*reading)
    assert pages_of(path) < total / 2
    await store.close()


def test_somebody_else_who_copies_disturbs_nobody(path, writer):
    """As the command line does, which writes to the same file."""
    with checkpointing(path, writer) as checkpointer, closing(sqlite3.connect(path)) as other:
        for _ in range(3 * LONG):
            commit(checkpointer, writer)
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    assert rows(path, "SELECT count(*) FROM written") == [(3 * LONG,)]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@contextmanager
def full_disk(size):
    """No file of this process may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_cannot_grow_is_told_and_loses_nothing(path, writer):
    """The log keeps what does not fit into the file, and it is copied when there is room again."""
    with checkpointing(path, writer) as checkpointer:
        for _ in range(EVERY - 1):
            commit(checkpointer, writer)
        grown = path.stat().st_size
        with writer:
            writer.execute("INSERT INTO written VALUES (zeroblob(?))", (PAGE_BYTES,))
        with full_disk(grown), capture_logs() as told:
            checkpointer.committed(writer, 0)
            checkpointer.under_way.result()
        assert [line["event"] for line in told] == ["store log checkpoint failed"]
        assert "disk" in told[0]["reason"]
        assert path.stat().st_size == grown
        for _ in range(EVERY):
            commit(checkpointer, writer)
        assert path.stat().st_size > grown
    assert rows(path, "SELECT count(*) FROM written") == [(2 * EVERY,)]
