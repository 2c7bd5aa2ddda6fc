"""The PostgreSQL store as the service sees it: opening, jobs, queries, errors."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
from sqlalchemy import make_url, select, text, update
from sqlalchemy.exc import DBAPIError

from connector.errors import SchemaMismatch, StoreUnavailable, UsageError
from connector.store.migrate import migrate
from connector.store.postgres import database
from connector.store.postgres.database import connect, connect_async
from connector.store.postgres.errors import is_conflict, is_unavailable, safe_message
from connector.store.postgres.store import TRIES, PostgresStore
from connector.store.schema import REVISION, meta
from connector.testing import START
from tests import postgres
from tests.postgres import rows
from tests.store.bench import writes
from tests.store.kit import arrival, routing_table

SHEET = routing_table(chat=False, sheet=True)


def marked(url):
    return rows(url, "SELECT value FROM meta WHERE key = 'written'")[0][0]


# --- opening


async def test_all_processes_know_the_store_by_one_name(store, worker):
    """So each process sends a delivery under the same id."""
    assert store.instance == worker.instance != ""
    assert store.shared


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DELETE FROM alembic_version", "empty: run `connector migrate`"),
        ("UPDATE alembic_version SET version_num = '0000'", "run `connector migrate`, it brings"),
        ("UPDATE alembic_version SET version_num = '9999'", "run the newest connector"),
    ],
)
async def test_a_schema_of_another_version_is_refused(postgres_url, change, message):
    """The message names the command to run."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(change)
        with pytest.raises(SchemaMismatch, match=message):
            await PostgresStore.open(postgres_url, SHEET, lambda plan: None, intake=1)
        connection.execute("DELETE FROM alembic_version")
        connection.execute("INSERT INTO alembic_version VALUES (%s)", (REVISION,))


async def test_a_database_without_a_schema_is_refused():
    """A start of the service creates nothing."""
    with postgres.empty_database() as url:
        with pytest.raises(SchemaMismatch, match="connector migrate"):
            await PostgresStore.open(url, SHEET, lambda plan: None, intake=1)
        assert rows(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


async def test_a_store_of_a_version_in_development_is_refused():
    """It has the number of the schema, and not all of its tables."""
    with postgres.empty_database() as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP TABLE process")
        with pytest.raises(SchemaMismatch, match="in development"):
            await PostgresStore.open(url, SHEET, lambda plan: None, intake=1)


async def test_tables_of_something_else_are_refused():
    """A database of another program is not changed."""
    with postgres.empty_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE event (id int)")
        with pytest.raises(SchemaMismatch, match="something else"):
            await PostgresStore.open(url, SHEET, lambda plan: None, intake=1)


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("postgresql://zoe:secret@127.0.0.1:1/store", StoreUnavailable, "no server answers at that address"),
        ("postgresql://zoe:sec%ret@[half/store", UsageError, "special characters of the password as %XX"),
        ("postgresql://zoe:secret@127.0.0.1/store?nonsense=1", UsageError, "not the address of a PostgreSQL database"),
    ],
)
async def test_an_error_about_an_address_does_not_contain_it(url, kind, message):
    """It contains a password."""
    with pytest.raises(kind, match=message) as caught:
        await PostgresStore.open(url, SHEET, lambda plan: None, intake=1)
    assert not any(word in str(caught.value) for word in ("zoe", "secret", "sec%ret", "127.0.0.1"))


async def test_a_missing_database_is_reported(postgres_url):
    with pytest.raises(StoreUnavailable, match="the database or the user is missing"):
        await PostgresStore.open(postgres_url.replace("connector_test", "nothing"), SHEET, print, intake=1)


@pytest.mark.parametrize("form", ["postgresql+psycopg", "postgresql"])
def test_an_address_may_have_sqlalchemys_form(postgres_url, form):
    """Both mean the same. Parameters of the address precede our settings."""
    url = make_url(postgres_url.replace("postgresql", form, 1)).update_query_dict({"application_name": "mine"})
    with database.connect(url.render_as_string(hide_password=False)) as connection:
        assert connection.info.get_parameters()["application_name"] == "mine"


@pytest.mark.parametrize(("configured", "ours"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_a_commit_that_returned_is_on_the_disk(store, postgres_url, configured, ours):
    """Also in a database that was set up to be faster; stronger settings stay."""
    name = rows(postgres_url, "SELECT current_database()")[0][0]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {configured}")
    postgres.end_all(postgres_url)
    assert await store.write(lambda connection: connection.execute(text("SHOW synchronous_commit")).scalar()) == ours
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} RESET synchronous_commit")


# --- jobs


async def test_a_job_is_committed_when_it_returns(store, postgres_url):
    await store.write(writes("done"))
    assert marked(postgres_url) == "done"


async def test_a_job_that_raises_is_undone(store, postgres_url):
    """The caller gets the exception itself."""

    def failing(connection):
        writes("half")(connection)
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        await store.write(failing)
    assert marked(postgres_url) == "0"


async def test_a_mistake_in_a_job_is_not_taken_for_a_lack_of_the_store(store):
    """A wrong value must not look like a full disk, because it would be tried again without end. It is not in the
    message.
    """
    with pytest.raises(DBAPIError) as caught:
        await store.write(lambda connection: connection.execute(text("SELECT CAST(:x AS int)"), {"x": "Zoë"}).all())
    assert not isinstance(caught.value, StoreUnavailable)
    assert "Zoë" not in str(caught.value)
    assert "InvalidTextRepresentation (22P02)" in str(caught.value)


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
async def test_a_job_with_a_conflict_is_repeated(store, postgres_url, sqlstate):
    """After a deadlock or a conflict it is rolled back and runs again as a whole."""
    runs = []

    def job(connection):
        runs.append(1)
        connection.execute(update(meta).where(meta.c.key == "written").values(value=meta.c.value + "x"))
        if len(runs) < 3:
            connection.execute(text(f"DO $$ BEGIN RAISE 'by the test' USING ERRCODE = '{sqlstate}'; END $$"))

    await store.write(job)
    assert (len(runs), marked(postgres_url)) == (3, "0x")


async def test_a_conflict_that_does_not_end_is_raised(store):
    """A conflict that repeats is raised."""
    runs = []

    def taken(connection):
        runs.append(1)
        connection.execute(meta.insert().values(key="written", value="Zoë"))

    with pytest.raises(DBAPIError, match="UniqueViolation") as caught:
        await store.write(taken)
    assert len(runs) == TRIES
    assert "Zoë" not in str(caught.value)


async def test_a_deadlock_that_does_not_end_is_the_stores_trouble(store):
    """The caller may try again later, because the job is not the cause."""

    def in_the_way(connection):
        connection.execute(text("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$"))

    with pytest.raises(StoreUnavailable, match="conflicts with other transactions"):
        await store.write(in_the_way)


LET_IN = b"R\x00\x00\x00\x08\x00\x00\x00\x00" + b"Z\x00\x00\x00\x05I"
"""What a server says to who may come in, and that it is ready (PostgreSQL, Message Formats)."""


@pytest.fixture
async def silent():
    """The address of a server that accepts connections and then does not answer."""

    async def welcome(reader, writer):
        await reader.read(1000)
        writer.write(LET_IN)
        await reader.read()  # until they go
        await reader.read()
        writer.close()

    server = await asyncio.start_server(welcome, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield f"postgresql://connector@127.0.0.1:{port}/connector?sslmode=disable&gssencmode=disable"
    server.close()


async def test_the_wait_for_a_server_that_does_not_answer_is_limited(silent):
    """A pooler without its server behaves like this."""
    with pytest.raises(psycopg.OperationalError):
        await connect_async(silent, silence=0.01)
    with pytest.raises(psycopg.OperationalError):
        await asyncio.to_thread(connect, silent, 0.01)


async def test_a_job_whose_connection_died_before_is_done(store, postgres_url):
    """A restart of the server while the store is idle is not noticed."""
    await store.write(writes("before"))
    await store.read(lambda connection: connection.execute(select(meta)).all())
    postgres.end_all(postgres_url)
    await store.write(writes("after"))
    assert marked(postgres_url) == "after"
    assert (
        await store.read(
            lambda connection: connection.execute(select(meta.c.value).where(meta.c.key == "written")).scalar()
        )
        == "after"
    )


async def test_the_wait_for_a_lock_is_limited(store, postgres_url):
    """The store counts as unavailable then."""
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE meta")

        def hasty(connection):
            connection.execute(text("SET LOCAL lock_timeout = '20ms'"))
            writes("x")(connection)

        with pytest.raises(StoreUnavailable, match=r"takes no writes: .*lock timeout.*55P03"):
            await store.write(hasty)


async def test_a_probe_writes(store, postgres_url):
    await store.probe(START)
    assert marked(postgres_url) == str(START)


# --- queries


@pytest.mark.parametrize("way", ["read", "query"])
async def test_a_query_sees_one_commit(store, postgres_url, way):
    """What is committed between its statements is not seen, what was committed before is."""
    mine = select(meta.c.value).where(meta.c.key == "written")

    def query(connection):
        first = connection.execute(mine).scalar()
        rows(postgres_url, "UPDATE meta SET value = 'later' WHERE key = 'written' RETURNING 1")
        return first, connection.execute(mine).scalar()

    await store.write(writes("before"))
    assert await getattr(store, way)(query) == ("before", "before")
    assert await getattr(store, way)(lambda connection: connection.execute(mine).scalar()) == "later"


@pytest.mark.parametrize("way", ["read", "query"])
async def test_a_query_cannot_write(store, way):
    """A connection for queries refuses writes."""
    with pytest.raises(StoreUnavailable, match=r"cannot be read: .*read-only.*25006"):
        await getattr(store, way)(writes("harm"))


async def test_queries_of_users_do_not_delay_lanes(store):
    """Also when there are many of them."""
    go_on = threading.Event()
    looks = [asyncio.create_task(store.query(lambda _: go_on.wait(30))) for _ in range(10)]
    assert await store.read(lambda connection: connection.execute(select(1)).scalar()) == 1
    await store.write(writes("meanwhile"))
    go_on.set()
    assert await asyncio.gather(*looks) == [True] * 10


async def test_close_finishes_what_waits(postgres_url):
    """Jobs and events that were taken are done."""
    store = await PostgresStore.open(postgres_url, SHEET, lambda plan: None, intake=100)
    answer = store.offer(*arrival())
    job = asyncio.create_task(store.write(writes("settled")))
    await asyncio.sleep(0)
    await store.close()
    assert answer.result() == (1, False)
    await job
    assert marked(postgres_url) == "settled"


# --- what errors mean


@pytest.mark.parametrize(
    ("sqlstate", "trouble", "conflict"),
    [
        ("08006", True, False),
        ("53100", True, False),
        ("53300", True, False),
        ("57P01", True, False),
        ("57P03", True, False),
        ("25006", True, False),
        ("55P03", True, False),
        ("42501", True, False),
        ("3D000", True, False),
        ("40001", False, True),
        ("40P01", False, True),
        ("23505", False, True),
        ("22P02", False, False),
        ("42601", False, False),
        ("23502", False, False),
    ],
)
def test_an_error_is_about_the_store_or_about_a_statement(sqlstate, trouble, conflict):
    """Another attempt helps with the first and not with the second."""
    error = psycopg.errors.lookup(sqlstate)("Zoë")
    assert (is_unavailable(error), is_conflict(error)) == (trouble, conflict)
    assert "Zoë" not in safe_message(error)
    assert sqlstate in safe_message(error)


def test_a_network_that_fails_is_the_stores_trouble():
    """Some failures are reported by the operating system, not by the driver."""
    assert is_unavailable(ConnectionResetError())
    assert "ConnectionResetError" in safe_message(ConnectionResetError())


def test_other_errors_are_no_trouble_of_the_store():
    """Their text may hold values."""
    assert safe_message(ValueError("Jane Doe")) == "ValueError"
    assert not is_unavailable(ValueError())
    assert not is_conflict(psycopg.errors.DivisionByZero())
