"""The database's clock as a process tells it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import StoreUnavailable
from connector.store.postgres.clock import SAMPLES, DatabaseClock
from connector.store.postgres.store import PostgresStore
from tests.postgres import rows
from tests.store.kit import routing_table


class Way:
    """A way to a database whose clock is `ahead` of ours; each question takes so long there, and so long back."""

    def __init__(self, ahead=1000.0, delays=()):
        self.here = 0.0
        self.ahead = ahead
        self.delays = list(delays)
        self.is_gone = False

    def monotonic(self):
        return self.here

    async def ask(self, query):
        if self.is_gone:
            raise StoreUnavailable("gone")
        there, back = self.delays.pop(0) if self.delays else (0.0, 0.0)
        self.here += there
        told = self.here + self.ahead
        self.here += back
        return told

    def clock(self):
        return DatabaseClock(self.ask, self.monotonic)


seconds = st.floats(0, 2)
delays = st.lists(st.tuples(seconds, seconds), min_size=SAMPLES, max_size=SAMPLES)


@given(delays, st.floats(-1e6, 1e6))
def test_it_is_right_to_half_of_the_shortest_way(ways, ahead):
    """Whatever the delays on the way there and back."""
    way = Way(ahead, ways)
    clock = way.clock()
    asyncio.run(clock.measure())
    wrong = abs(clock.now() / 1000 - (way.here + ahead))
    assert wrong <= min(there + back for there, back in ways) / 2 + 0.002


@given(delays, delays)
def test_it_does_not_tremble(first, later):
    """A second look on a slower way moves nothing that is still possible."""
    way = Way(delays=[(0.0, 0.0)] * SAMPLES)
    clock = way.clock()
    asyncio.run(clock.measure())
    exact = clock._ahead
    way.delays = [*first, *later]
    asyncio.run(clock.measure())
    asyncio.run(clock.measure())
    assert clock._ahead == pytest.approx(exact, abs=1e-6)


async def test_a_step_of_the_databases_clock_is_followed():
    """All processes follow it, so they go on agreeing."""
    way = Way(ahead=1000.0)
    clock = way.clock()
    await clock.measure()
    way.ahead += 3600
    await clock.measure()
    assert clock.now() == round((way.here + 4600) * 1000)


async def test_the_time_goes_on_while_the_database_is_gone():
    """By this machine's quartz."""
    way = Way()
    clock = way.clock()
    await clock.measure()
    way.is_gone = True
    way.here += 60
    with pytest.raises(StoreUnavailable):
        await clock.measure()
    assert clock.now() == round((way.here + way.ahead) * 1000)


async def test_without_the_database_it_does_not_start():
    """A process that knows no time would take leases that are not free."""
    way = Way()
    way.is_gone = True
    with pytest.raises(StoreUnavailable):
        await way.clock().start()


async def test_it_tells_the_servers_time(postgres_url):
    """As the server itself tells it, before and after."""
    store = await PostgresStore.open(postgres_url, routing_table(), lambda plan: None, intake=1, receiver=False)
    clock = DatabaseClock(store.read)
    await clock.start()
    before, told, after = servers(postgres_url), clock.now(), servers(postgres_url)
    await clock.stop()
    await store.close()
    assert before - 500 < told < after + 500


def servers(url):
    return rows(url, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")[0][0]
