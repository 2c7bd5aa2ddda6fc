"""A store behind a pooler in transaction mode, where settings and prepared statements end with the transaction."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy import text

from connector.errors import StoreUnavailable
from connector.store.migrate import migrate_postgres
from connector.store.postgres.database import LOCK_SECONDS
from connector.store.postgres.store import PostgresStore
from connector.testing import START
from tests.pooler import Pooler, pooled
from tests.postgres import empty_database, rows
from tests.store.bench import writes
from tests.store.kit import arrival, routing_table

SHEET = routing_table(chat=False, sheet=True)


@pytest.fixture
def pooled_url(postgres_url):
    with pooled(postgres_url) as url:
        yield url


@pytest.fixture
async def store(pooled_url):
    opened = await PostgresStore.open(pooled_url, SHEET, lambda plan: None, intake=1000)
    yield opened
    await opened.close()


def test_each_transaction_has_another_connection(pooled_url):
    """Settings and prepared statements of one are missing in the next, so that these tests have a meaning."""
    with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=0) as connection:
        ids = [connection.execute("SELECT pg_backend_pid()", prepare=False).fetchone() for _ in range(2)]
        assert ids[0] != ids[1]
        connection.execute("SET lock_timeout = '5s'", prepare=False)
        assert connection.execute("SHOW lock_timeout", prepare=False).fetchone() == ("0",)
        with pytest.raises(psycopg.errors.InvalidSqlStatementName):
            connection.execute("SELECT 1")


async def test_a_store_is_made_through_a_pooler():
    """Also by two processes at the same time."""
    with empty_database() as direct, pooled(direct) as url:
        await asyncio.gather(*(migrate_postgres(url) for _ in range(2)))
        store = await PostgresStore.open(url, SHEET, lambda plan: None, intake=10)
        await store.offer(*arrival())
        await store.close()
        assert rows(direct, "SELECT count(*) FROM event") == [(1,)]


async def test_every_event_is_taken(store, postgres_url):
    """Also when the same statements run often, and while jobs and queries run."""

    async def work():
        for number in range(20):
            await store.write(writes(str(number)))
            await store.read(lambda connection: connection.execute(text("SELECT 1")).all())

    async def send(interview):
        for at in range(20):
            await store.offer(*arrival(interview=interview, at=at + 1_761_566_424_000))

    await asyncio.gather(work(), work(), *(send(f"i{number}") for number in range(10)))
    await store.probe(1)
    assert rows(postgres_url, "SELECT count(*) FROM event") == [(200,)]
    assert rows(postgres_url, "SELECT count(*) FROM delivery") == [(400,)]


async def test_our_limits_hold_in_every_transaction(store):
    """The wait for a lock is limited on whichever connection a job gets."""

    def limit(connection):
        return connection.execute(text("SHOW lock_timeout")).scalar()

    for _ in range(3):
        assert await store.write(limit) == await store.read(limit) == f"{LOCK_SECONDS}s"


async def test_readiness_fails_whenever_events_are_refused(store, postgres_url):
    """The probe uses the writer of events, so that it notices their failures."""
    await store.probe(1)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for table in ("event", "interview", "delivery"):
            connection.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
            with pytest.raises(StoreUnavailable):
                await store.offer(*arrival(interview=table))
            with pytest.raises(StoreUnavailable):
                await store.probe(1)
            connection.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    await store.probe(1)


async def test_a_group_costs_few_round_trips(postgres_url):
    """Two at the start, one for all reads, one for all rows, and the commit, for a group of any size."""
    pooler = Pooler(postgres_url)
    store = await PostgresStore.open(pooler.url, SHEET, lambda plan: None, intake=100)
    candidate = {"name": "Ana", "email": "ana@example.com"}
    await store.offer(*arrival(interview="i1", candidate=candidate))  # opens the connection
    pooler.round_trips = 0
    offers = [store.offer(*arrival(interview=f"i{n}", candidate=candidate, at=START + n)) for n in range(1, 9)]
    await asyncio.gather(*offers)
    await store.close()
    pooler.close()
    assert pooler.round_trips <= 2 * 5  # the first event may be alone in its group
