"""Processes on one PostgreSQL agree on the time, although the clocks of their machines differ."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery.clock import ServerClock
from connector.delivery.lane import DeliveryRuntime, Lane
from connector.delivery.outcomes import Policy
from connector.hireflix.payload import read
from connector.sink import Result, RetryLater
from connector.store import leases
from connector.store.postgres.store import PostgresStore
from tests import postgres
from tests.delivery.crew import Crew
from tests.delivery.rig import Meters, Scripted

LEASE_SECONDS = 60.0


class Server:
    """A server whose clock is `ahead` seconds ahead of this machine's. `delays` are those of request and answer."""

    def __init__(self, ahead, delays=()):
        self.here = 0.0
        self.ahead = ahead
        self.delays = list(delays)

    def ask(self):
        there, back = self.delays.pop(0) if self.delays else (0.0, 0.0)
        self.here += there
        answer = self.here + self.ahead
        self.here += back
        return answer

    def clock(self, wall=lambda: 0.0):
        return ServerClock(lambda: self.here, wall)


seconds = st.floats(0, 2)
delays = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=5)


@given(delays, st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_the_error_is_at_most_the_shortest_round_trip(ways, ahead, machine):
    server = Server(ahead, ways)
    clock = server.clock(lambda: machine)
    for _ in ways:
        clock.observe(server.ask)
    error = abs(clock.now() / 1000 - (server.here + ahead))
    assert error <= min(there + back for there, back in ways) + 0.002


@given(delays)
def test_slower_round_trips_do_not_move_a_clock_that_is_right(ways):
    server = Server(1000.0)
    clock = server.clock()
    clock.observe(server.ask)
    server.delays = list(ways)
    for _ in ways:
        clock.observe(server.ask)
    assert clock.now() == pytest.approx((server.here + 1000) * 1000, abs=1)


def test_it_follows_a_step_of_the_servers_clock():
    server = Server(1000.0)
    clock = server.clock()
    clock.observe(server.ask)
    server.ahead += 3600
    clock.observe(server.ask)
    assert clock.now() == round((server.here + 4600) * 1000)


class Machine:
    """A process on a machine whose clock is wrong by this number of seconds, with a lane for the sink `chat`."""

    def __init__(self, name, wrong):
        self.name = name
        self.clock = ServerClock(wall=lambda: time.time() + wrong)
        self.sink = Scripted("chat")

    async def open(self, url):
        self.store = await PostgresStore.open(
            url, Crew.routing_table(Scripted), lambda plan: None, intake=10, observe=self.clock.observe
        )
        policy = Policy(lease=LEASE_SECONDS, random=lambda low, high: high)
        self.lane = Lane(self.sink, DeliveryRuntime(self.store, self.clock, Meters(), self.name, policy))

    async def event(self, interview):
        raw = json.dumps({"event": "interview.finish", "data": {"id": interview}, "date": self.clock.now()}).encode()
        await self.store.offer(read(raw, self.clock.now()), raw)

    @property
    def keys(self):
        return [each.key for batch in self.sink.batches for each in batch.deliveries]


@pytest.fixture
async def machines():
    """One machine is ten minutes fast, the other ten minutes slow."""
    with postgres.empty_store() as url:
        made = [Machine("fast", 600.0), Machine("slow", -600.0)]
        for each in made:
            await each.open(url)
        await made[0].store.write(lambda connection: leases.register(connection, {"chat": "scripted"}))
        yield made
        for each in made:
            await each.store.close()


@pytest.mark.parametrize("first", [0, 1])
async def test_wrong_clocks_of_machines_deliver_nothing_early_or_twice(machines, first):
    """The first delivery is due again in five minutes."""
    one, other = machines[first], machines[1 - first]
    one.sink.script = [lambda batch, context: Result([RetryLater("busy", after=300)])]
    await one.event("i1")
    await one.lane.step()
    assert await other.lane.step() is None  # the lease of `one` is valid
    await one.lane.step()  # releases it, because nothing is due soon
    await other.event("i2")
    for each in (other, one, other, one):
        await each.lane.step()

    assert (one.keys, other.keys) == (["i1"], ["i2"])


@pytest.mark.parametrize("first", [0, 1])
async def test_wrong_clocks_of_machines_take_no_valid_lease(machines, first):
    one, other = machines[first], machines[1 - first]

    def acquire(machine):
        now = machine.clock.in_sql()
        return machine.store.write(lambda connection: leases.acquire(connection, "chat", machine.name, now))

    lease = await acquire(one)
    assert await acquire(other) is None
    assert lease.until - one.clock.now() == pytest.approx(leases.LEASE_SECONDS * 1000, abs=10_000)
