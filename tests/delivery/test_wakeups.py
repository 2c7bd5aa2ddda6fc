"""Wake-ups between processes: immediate, combined when there are many, and restored after a lost connection."""

from __future__ import annotations

import psycopg
import pytest

from connector.delivery.cluster import Listener, Waker
from connector.store.dialects import CHANNEL
from connector.store.ingest import RoutingTable
from connector.store.postgres.store import PostgresStore
from tests import postgres
from tests.delivery.rig import until
from tests.store.kit import arrival, routing_table

LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"


@pytest.fixture
async def store(postgres_url):
    """A receiver with a chat and a sheet."""
    names: RoutingTable = routing_table(chat=False, sheet=True)
    opened = await PostgresStore.open(postgres_url, names, lambda plan: None, intake=100)
    yield opened
    await opened.close()


@pytest.fixture
async def woken(postgres_url):
    """The sinks that a worker was woken for, in order."""
    names = []
    listener = Listener(postgres_url, names.extend)
    listener.start()
    await until(lambda: listens(postgres_url))
    yield names
    await listener.stop()


def listens(url):
    return postgres.rows(url, LISTENING) == [(1,)]


async def test_a_committed_event_wakes_the_workers_of_its_sinks(store, woken):
    await store.offer(*arrival())
    await until(lambda: len(woken) == 2)
    assert sorted(woken) == ["chat", "sheet"]


async def test_a_duplicate_wakes_no_worker(store, postgres_url):
    """It adds no delivery."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as listening:
        await listening.execute(f"LISTEN {CHANNEL}")
        for interview in ("i1", "i1", "i2"):
            await store.offer(*arrival(interview=interview))
        postgres.rows(postgres_url, "SELECT pg_notify(%s, 'end')", CHANNEL)
        received = [notification.payload async for notification in listening.notifies(stop_after=3)]
    assert received == ["chat,sheet", "chat,sheet", "end"]


async def test_a_lost_connection_is_opened_again(store, woken, postgres_url):
    """Wake-ups arrive again. The sweep finds what was committed meanwhile."""
    postgres.end_all(postgres_url)
    await until(lambda: listens(postgres_url))
    await store.offer(*arrival())
    await until(lambda: len(woken) == 2)
    assert sorted(woken) == ["chat", "sheet"]


async def test_many_wake_ups_within_the_gap_become_two():
    """The first is sent at once, the others together at the end of the gap. Another sink does not wait."""
    names = []
    waker = Waker(names.extend, gap=0.01)
    for _ in range(100):
        waker.wake(["chat"])
    waker.wake(["sheet"])
    assert names == ["chat", "sheet"]
    await until(lambda: len(names) == 3)
    assert names == ["chat", "sheet", "chat"]
