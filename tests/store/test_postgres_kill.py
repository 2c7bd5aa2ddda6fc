"""After a kill during writes PostgreSQL has everything that was acknowledged, and the store continues."""

from __future__ import annotations

import asyncio

import pytest

from connector.errors import StoreUnavailable
from connector.store.postgres.store import PostgresStore
from connector.testing import START
from tests.postgres import Server, make_tables, rows
from tests.store.kit import arrival, routing_table

CLIENTS = 16
MANY = 300


@pytest.fixture
def server():
    one = Server("fsync=on")
    one.start()
    yield one
    one.remove()


class Senders:
    """Clients that send one event after the other, and again what was refused."""

    def __init__(self, store):
        self._store = store
        self.acknowledged = set()
        self.refused = 0

    async def run(self, client, stop):
        number = 0
        while not stop.is_set():
            one = arrival(interview=f"i{client}", at=START + number)
            try:
                await self._store.offer(*one)
            except StoreUnavailable:
                self.refused += 1
                await asyncio.sleep(0)
            else:
                self.acknowledged.add(one.reading.identity)
                number += 1

    async def more(self, count):
        """Waits until this number of further events was acknowledged."""
        enough = len(self.acknowledged) + count
        while len(self.acknowledged) < enough:  # noqa: ASYNC110 - the clients' progress has no event of its own
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.chaos)])
async def test_every_acknowledged_event_survives_a_kill_of_the_server(server, rounds):
    """While the server is down every event is refused. Then the same store accepts events again, and none is stored
    twice.
    """
    await asyncio.to_thread(make_tables, server.url)
    store = await PostgresStore.open(server.url, routing_table(chat=False, sheet=True), lambda plan: None, intake=1000)
    senders, stop = Senders(store), asyncio.Event()
    clients = [asyncio.create_task(senders.run(client, stop)) for client in range(CLIENTS)]
    for number in range(rounds):
        await senders.more(MANY)
        refused = senders.refused
        server.kill()
        with pytest.raises(StoreUnavailable):
            await store.probe(number)
        while senders.refused == refused:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        server.launch()
        await asyncio.to_thread(server.wait_ready)
    await senders.more(MANY)
    stop.set()
    await asyncio.gather(*clients)
    await store.probe(rounds)
    await store.close()
    stored = {identity for (identity,) in rows(server.url, "SELECT identity FROM event")}
    assert senders.acknowledged <= stored
    assert len(stored) - len(senders.acknowledged) <= CLIENTS * rounds
    assert rows(server.url, "SELECT sink, count(DISTINCT event_seq), count(*) FROM delivery GROUP BY 1 ORDER BY 1") == [
        ("chat", len(stored), len(stored)),
        ("sheet", len(stored), len(stored)),
    ]
    assert rows(server.url, "SELECT version, updated_at FROM interview WHERE id = 'i0'")[0][1] > START
