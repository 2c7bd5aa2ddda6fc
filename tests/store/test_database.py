"""Opening an SQLite store: its file, its pragmas, the version of its schema, its jobs and queries."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from contextlib import closing

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, StatementError

from connector.errors import SchemaMismatch, StoreUnavailable
from connector.store import base
from connector.store.schema import REVISION, meta
from connector.store.sqlite import database
from connector.store.sqlite.database import is_unavailable
from connector.store.sqlite.store import Reader, SqliteStore
from connector.testing import START
from tests.store.bench import writes
from tests.store.kit import arrival, locked, routing_table, rows
from tests.stores import make_store_file


@pytest.fixture
async def store(path):
    opened = SqliteStore(path, routing_table(chat=False), lambda plan: None, intake=100)
    yield opened
    await opened.close()


def pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


# --- opening


def test_a_writer_is_durable(path):
    """Write-ahead log, full sync, no transaction of the driver's own."""
    with closing(database.connect(path)) as connection:
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "synchronous") == 2
        assert pragma(connection, "foreign_keys") == 1
        assert connection.isolation_level is None


def test_a_reader_cannot_write(path):
    """A connection for queries refuses writes."""
    with (
        closing(database.connect(path, read_only=True)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM meta")


def test_an_error_is_reported_with_its_fix(path):
    """The driver's message is kept, with what the operator can do."""
    with closing(database.connect(path, read_only=True)) as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute("DELETE FROM meta")
    words = database.safe_message(caught.value)
    assert words.startswith("attempt to write a readonly database (the file and its folder must both be writable by")


def test_an_error_that_is_not_the_drivers_is_reported_by_its_type():
    """Its text may hold values."""
    assert database.safe_message(ValueError("Jane Doe")) == "ValueError"


@pytest.mark.parametrize("read_only", [True, False])
def test_opening_makes_no_file(tmp_path, read_only):
    """Commands that only read do not create a store."""
    missing = tmp_path / "missing.db"
    with pytest.raises(StoreUnavailable, match=rf"{tmp_path}/missing\.db cannot be opened: .*\[store\] url"):
        database.connect(missing, read_only=read_only)
    assert not missing.exists()


@pytest.mark.parametrize("name", ["a b.db", "50%.db", "50%41.db", "why?.db", "a#b.db", "größe.db", "a&mode=ro.db"])
def test_any_file_name_is_a_file_name(tmp_path, name):
    """Characters that mean something in a URI are taken as they are."""
    path = tmp_path / name
    path.touch()
    with closing(database.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    assert path.stat().st_size > 0


@pytest.mark.parametrize("read_only", [True, False])
def test_what_is_no_database_is_refused(tmp_path, read_only):
    """With its name and what to look at; the file stays as it is."""
    path = tmp_path / "letter.db"
    path.write_text("Dear Sir or Madam, this is no database at all, " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"not a database.*\[store\] url"):
        database.revision(database.connect(path, read_only=read_only))
    assert path.read_bytes() == before


def test_a_view_of_a_connection_leaves_its_transaction_alone(path):
    """Closing or forgetting SQLAlchemy's side of it neither commits nor rolls back."""
    with closing(database.connect(path)) as raw:
        view = database.through_sqlalchemy(raw)
        raw.execute("BEGIN IMMEDIATE")
        view.execute(meta.insert().values(key="k", value="v"))
        view.close()
        del view
        assert raw.in_transaction
        assert raw.isolation_level is None
        raw.execute("COMMIT")
    assert rows(path, "SELECT * FROM meta") == [("k", "v")]


def test_an_error_shows_no_values(path):
    """The message of a failed statement does not contain its parameters."""
    with closing(database.connect(path)) as raw:
        view = database.through_sqlalchemy(raw)
        with pytest.raises(DBAPIError) as caught:
            view.execute(meta.insert(), [{"key": "Zoë Secret", "value": "a"}, {"key": "Zoë Secret", "value": "b"}])
    assert "Zoë" not in str(caught.value)


# --- what errors mean


def failure(path, sql):
    with closing(database.connect(path)) as connection, pytest.raises(sqlite3.Error) as caught:
        connection.execute(sql)
    return caught.value


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM strangers", "INSERT INTO meta VALUES (NULL, NULL)", "SELEKT", "INSERT INTO meta VALUES (1)"]
)
def test_a_wrong_statement_is_no_trouble_of_the_store(path, sql):
    """Trying again would not help."""
    assert not is_unavailable(failure(path, sql))


def test_a_lock_makes_the_store_unavailable(path):
    """Also by SQLAlchemy, whose exception wraps the driver's."""
    with closing(database.connect(path)) as raw, database.through_sqlalchemy(raw) as connection, locked(path):
        with pytest.raises(sqlite3.OperationalError) as plain:
            raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(DBAPIError) as wrapped:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
    for error in (plain.value, wrapped.value):
        assert is_unavailable(error)


def test_other_errors_are_neither():
    """An error in our code is raised as it is."""
    for error in (ValueError("x"), StatementError("x", None, None, ValueError("y"))):
        assert not is_unavailable(error)


# --- the schema's version


def test_the_revision_of_a_store(path, tmp_path):
    """This version's, none for an empty file and for none at all."""
    empty = tmp_path / "empty.db"
    empty.touch()
    assert database.revision_of(path) == REVISION
    assert database.revision_of(empty) is None
    assert database.revision_of(tmp_path / "missing.db") is None
    assert not (tmp_path / "missing.db").exists()


def test_a_database_of_something_else_is_refused(tmp_path):
    """The tables are not created beside those of another program."""
    path = tmp_path / "accounts.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE accounts (id)")
    with pytest.raises(SchemaMismatch, match="something else"):
        database.revision_of(path)


def test_a_damaged_store_is_not_taken_for_an_empty_one(path):
    """An unreadable file is reported, and not created again."""
    damaged = bytearray(path.read_bytes())
    damaged[100:4096] = b"\xff" * 3996
    path.write_bytes(damaged)
    with pytest.raises(StoreUnavailable, match="malformed"):
        database.revision_of(path)


@pytest.mark.parametrize(("found", "says"), [("0000", "brings the store up to date"), ("9999", "newest connector")])
def test_another_schema_is_refused_with_what_to_do(path, found, says):
    """The fix differs for an older and a newer schema."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (found,))
        with pytest.raises(SchemaMismatch, match=says):
            database.require_current(connection)


def test_an_empty_file_is_refused_with_what_to_do():
    says = "start `connector serve` once, it makes the store"
    with closing(sqlite3.connect(":memory:")) as connection, pytest.raises(SchemaMismatch, match=says):
        database.require_current(connection)


def test_this_versions_schema_is_accepted(path):
    """Nothing is raised, nothing returned."""
    with closing(sqlite3.connect(path)) as connection:
        assert database.require_current(connection) is None
    assert base.require_older("0000") is None


def test_a_store_of_a_version_in_development_is_refused(path):
    """It has the number of this schema, and not all of its tables."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE process")
        with pytest.raises(SchemaMismatch, match=r"in development and has no process\.\w+: name another store"):
            database.require_current(connection)


# --- the copy before a change of schema


def test_a_copy_holds_everything_and_is_the_owners(path):
    """Content that is only in the log is copied too. Other users cannot read the copy."""
    with closing(database.connect(path)) as connection:
        connection.execute("INSERT INTO meta VALUES ('k', 'v')")
        copy = database.backup(path, "0000", "0001")
    assert copy.name == "store.db.before-0001-from-0000"
    assert rows(copy, "SELECT * FROM meta") == [("k", "v")]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_copy_replaces_an_earlier_one(path):
    """An interrupted upgrade is copied again."""
    first = database.backup(path, "0000")
    with closing(database.connect(path)) as connection:
        connection.execute("INSERT INTO meta VALUES ('k', 'v')")
    assert database.backup(path, "0000") == first
    assert rows(first, "SELECT * FROM meta") == [("k", "v")]


def test_a_copy_that_cannot_be_made_stops_the_upgrade(path):
    """Without a copy there would be no way back. An incomplete copy is removed."""
    (path.parent / "store.db.before-0002-from-0001").mkdir()
    with pytest.raises(StoreUnavailable, match="could not be copied"):
        database.backup(path, "0001", "0002")


def test_a_new_file_is_its_owners(tmp_path):
    """Its folders are created. Other users can never read it."""
    path = tmp_path / "data" / "deep" / "store.db"
    database.make_empty(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    """The message names the setting to check."""
    (tmp_path / "data").touch()
    with pytest.raises(StoreUnavailable, match=r"cannot be made.*\[store\] url"):
        database.make_empty(tmp_path / "data" / "store.db")


# --- the store as the service sees it


async def test_what_was_answered_is_seen_by_both_readers(store):
    """A query after an answer sees the event."""
    answer = await store.offer(*arrival())
    for look in (store.read, store.query):
        assert await look(lambda connection: connection.exec_driver_sql("SELECT seq FROM event").scalars().all()) == [
            answer.seq
        ]


async def test_a_query_reads_one_snapshot(store):
    """A query does not see what is committed between two of its statements."""
    begun, written = threading.Event(), threading.Event()

    def query(connection):
        count = "SELECT count(*) FROM event"
        first = connection.exec_driver_sql(count).scalar_one()
        begun.set()
        assert written.wait(60)
        return first, connection.exec_driver_sql(count).scalar_one()

    look = asyncio.create_task(store.query(query))
    await asyncio.to_thread(begun.wait)
    await store.offer(*arrival())
    written.set()
    assert await look == (0, 0)
    assert (
        await store.query(lambda connection: connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one()) == 1
    )


async def test_a_failed_query_leaves_the_reader_usable(store):
    """The error is raised as it is, and the next query works."""
    with pytest.raises(DBAPIError, match="no such table"):
        await store.read(lambda connection: connection.exec_driver_sql("SELECT * FROM strangers"))
    assert await store.read(lambda connection: connection.execute(select(meta.c.key)).scalars().all()) != []


async def test_a_reader_reports_a_damaged_file(path):
    """A file that is damaged while the service runs is not an error of the query."""
    reader = Reader(path, "look")
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await reader.run(lambda connection: connection.exec_driver_sql("SELECT * FROM event").all())
    reader.close()


async def test_a_probe_writes(store, path):
    """The readiness probe makes a real write."""
    await store.probe(START)
    assert rows(path, "SELECT value FROM meta WHERE key = 'written'") == [(str(START),)]


async def test_a_store_keeps_its_name(path):
    """So ids of deliveries are unique, also after a restart and between stores."""
    names = []
    for file in (path, path, make_store_file(path.with_name("other.db"))):
        store = SqliteStore(file, routing_table(chat=False), lambda plan: None, intake=10)
        names.append(store.instance)
        await store.close()
    assert names[0] == names[1] != names[2]
    assert len(names[0]) == 8


async def test_a_job_is_committed_when_it_returns(store, path):
    """The result comes after the commit."""
    await store.write(writes("by a job"))
    assert rows(path, "SELECT value FROM meta WHERE key = 'written'") == [("by a job",)]


async def test_a_closed_store_is_one_file(path):
    """Nothing is left in the log, so that copying the file is a backup."""
    store = SqliteStore(path, routing_table(chat=False), lambda plan: None, intake=10)
    await store.offer(*arrival())
    await store.close()
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]


async def test_another_schema_is_not_opened(path):
    """The file is closed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaMismatch):
        SqliteStore(path, routing_table(chat=False), lambda plan: None, intake=10)
    path.unlink()
    assert not path.exists()
