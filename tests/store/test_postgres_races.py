"""Several processes use one PostgreSQL store, and two of them do the same at the same time."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import select, update

from connector.merge import encode, merge
from connector.operations.store_access_postgres import PostgresAccess
from connector.sink import Token
from connector.store import erase, leases, rate_limit, replay, retention, subscriptions
from connector.store.ingest import hashes_of
from connector.store.leases import Lease
from connector.store.postgres.database import make_engine
from connector.store.postgres.store import PostgresStore
from connector.store.replay import ReadAgain
from connector.store.retention import RetentionKind
from connector.store.schema import DeliveryState, delivery, event, interview
from connector.testing import START
from tests.postgres import rows
from tests.store.kit import CREATE, DELIVERED, FINISH, add, arrival, reading, routing_table
from tests.store.receivers import waits_for_a_lock

SHEET = routing_table(chat=False, sheet=True)


async def both(store, worker, job):
    """The same job in two processes at the same time; `job` takes a connection and the process's name."""
    return await asyncio.gather(
        *(
            one.write(lambda connection, name=name: job(connection, name))
            for name, one in (("a", store), ("b", worker))
        ),
        return_exceptions=True,
    )


async def test_one_of_two_gets_the_lease(store, worker):
    """The first one gets it, and the other one is refused."""
    await store.write(lambda connection: leases.register(connection, {"chat": "slack"}))
    found = await both(store, worker, lambda connection, name: leases.acquire(connection, "chat", name, START))
    assert [type(lease) for lease in found].count(Lease) == 1


async def test_a_lease_that_changed_hands_since_the_look_is_not_given(store, worker):
    """The owner in between may have delivered the rows that were found."""
    await store.write(lambda connection: leases.register(connection, {"chat": "slack"}))
    seen = (await store.read(lambda connection: leases.row(connection, "chat"))).fence
    theirs = await worker.write(lambda connection: leases.acquire(connection, "chat", "b", START))
    await worker.write(lambda connection: leases.release(connection, theirs))
    assert await store.write(lambda connection: leases.acquire(connection, "chat", "a", START, seen_fence=seen)) is None
    assert (
        await store.write(lambda connection: leases.acquire(connection, "chat", "a", START, seen_fence=theirs.fence))
        is not None
    )


async def test_one_of_two_gets_the_first_token(store, worker):
    """An unused bucket is full for one of them only."""
    found = await both(
        store, worker, lambda connection, _: rate_limit.take(connection, [Token("b", 1, 1), Token("a", 1, 1)], START)
    )
    assert sorted(type(each).__name__ for each in found) == ["NoneType", "RateLimited"]


async def test_two_that_fill_the_same_sink_share_the_work(store, worker, postgres_url):
    """Each interview is delivered once."""
    ids = [f"i{number:04d}" for number in range(2 * subscriptions.CHUNK + 10)]
    columns = {"state": "{}", "version": 1, "position_id": "", "position_name": "", "stage": "pending", "updated_at": 0}
    await store.write(
        lambda connection: connection.execute(interview.insert(), [{"id": id_, **columns} for id_ in ids])
    )
    await store.write(lambda connection: subscriptions.subscribe(connection, [("sheet", id_) for id_ in ids]))
    await store.write(lambda connection: leases.register(connection, {"sheet": "workbook"}))

    async def to_the_end(one):
        count = 0
        while await one.write(
            lambda connection: subscriptions.fill_chunk(connection, "sheet", "here", SHEET.routes, START)
        ):
            count += 1
        return count

    assert sum(await asyncio.gather(to_the_end(store), to_the_end(worker))) == 3
    assert [key for (key,) in rows(postgres_url, "SELECT key FROM delivery ORDER BY id")] == ids
    assert rows(postgres_url, "SELECT destination, filled_to FROM sink") == [("here", None)]


async def test_a_receiver_and_a_fill_do_not_undo_each_others_entries(store, worker, postgres_url):
    """The receiver plans again when the fill was faster; the fill waits for the receiver's commit."""
    chats = await PostgresStore.open(postgres_url, routing_table(chat=False), lambda plan: None, intake=1000)
    await asyncio.gather(*(chats.offer(*arrival(name=CREATE, interview=f"i{n}", at=START)) for n in range(50)))
    await worker.write(lambda connection: leases.register(connection, {"sheet": "workbook"}))
    events = [arrival(interview=f"i{n}", at=START + at) for at in range(1, 4) for n in range(50)]

    async def offers():
        for at in range(0, len(events), 25):
            await asyncio.gather(*(chats.offer(*one) for one in events[at : at + 25]))

    filling = worker.write(
        lambda connection: subscriptions.fill_chunk(connection, "sheet", "here", SHEET.routes, START)
    )
    await asyncio.gather(offers(), filling)
    await chats.close()
    assert rows(postgres_url, "SELECT sink, count(*) FROM subscription GROUP BY sink") == [("sheet", 50)]
    assert rows(postgres_url, "SELECT DISTINCT updated_at FROM interview") == [(START + 3,)]


async def test_two_replays_of_the_same_repeat_it_once(store, worker, postgres_url):
    """The second one sees that it waits already."""
    await store.write(lambda connection: leases.register(connection, {"chat": "slack"}))
    id_ = await store.write(lambda connection: add(connection, state=DELIVERED))
    found = await both(store, worker, lambda connection, _: replay.repeat(connection, [id_], START))
    assert sorted(found) == [0, 1]
    assert rows(postgres_url, "SELECT count(*) FROM delivery WHERE state = 0") == [(1,)]


def erase_i1(url):
    """What `connector erase i1` does in the store."""

    def job(connection):
        erase.exclude_receivers(connection)
        erase.erase(connection, "i1", [], START)
        erase.finish(connection, "i1")

    with PostgresAccess(url).changing() as opened:
        opened.change(job)


PERSONAL_ROWS = "SELECT count(*) FROM event_body UNION ALL SELECT count(*) FROM interview"


async def test_an_erase_finds_what_a_receiver_writes_that_read_before_it(store, postgres_url):
    """The receiver found no tombstone, and its events are not visible yet."""
    with psycopg.connect(postgres_url) as other:
        other.execute("INSERT INTO interview VALUES ('i1', '{}', 1, '', '', 'pending', 0)")  # delays the receiver
        offered = store.offer(*arrival(name=FINISH, interview="i1", at=START))
        await waits_for_a_lock(postgres_url)
        erasing = asyncio.create_task(asyncio.to_thread(erase_i1, postgres_url))
        await waits_for_a_lock(postgres_url, processes=2)
        other.rollback()
        await offered
        await erasing
    assert rows(postgres_url, "SELECT interview_id FROM event") == [("i1",)]
    assert rows(postgres_url, PERSONAL_ROWS) == [(0,), (0,)]


async def test_a_receiver_waits_for_an_erase_and_stores_the_identity_only(store, postgres_url):
    """Its events are about a person who is erased at the same time."""
    with psycopg.connect(postgres_url) as erasing:
        erasing.execute("LOCK TABLE tombstone IN EXCLUSIVE MODE")
        offered = store.offer(*arrival(name=FINISH, interview="i1", at=START))
        await waits_for_a_lock(postgres_url)
        (hash_,) = hashes_of(["i1"])
        erasing.execute("INSERT INTO tombstone VALUES (%s, 1)", (hash_,))
        erasing.commit()
        await offered
    assert rows(postgres_url, "SELECT interview_id FROM event") == [("i1",)]
    assert rows(postgres_url, PERSONAL_ROWS) == [(0,), (0,)]


@pytest.mark.parametrize("is_new", [True, False])
async def test_reading_again_merges_into_what_a_receiver_writes_meanwhile(store, worker, postgres_url, is_new):
    """The values of both are kept, also when the interview is new to both."""
    late = arrival(name=FINISH, interview="i1", at=START)
    await store.offer(*late)
    await store.write(lambda connection: connection.execute(update(event).values(kind="unknown")))
    state = encode(merge(None, reading(name=CREATE, interview="i1", at=START - 5, candidate={"name": "Ada"})))
    if is_new:
        await store.write(lambda connection: connection.execute(interview.delete()))
    with psycopg.connect(postgres_url) as receiver:
        receiver.execute(
            "INSERT INTO interview VALUES ('i1', %s, 1, '', '', 'pending', 0) ON CONFLICT (id) DO UPDATE"
            " SET state = excluded.state, version = interview.version + 1",
            (state,),
        )
        job = asyncio.create_task(
            worker.write(lambda connection: replay.read_again(connection, [1], SHEET, START, ReadAgain()))
        )
        await waits_for_a_lock(postgres_url)
        receiver.commit()
        await job
    assert rows(postgres_url, "SELECT stage, version, position('Ada' IN state) > 0 FROM interview") == [
        ("to_evaluate", 2 if is_new else 3, True)
    ]


@contextmanager
def connected(url):
    """A connection whose transaction the test commits."""
    engine = make_engine(url, 1)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
async def dismissed(store):
    """The id of a dismissed delivery whose event has a body."""
    await store.write(lambda connection: leases.register(connection, {"chat": "slack"}))
    await store.offer(*arrival(name=FINISH, interview="i1", at=START))
    done = {"state": int(DeliveryState.DISMISSED), "done_at": START}
    await store.write(lambda connection: connection.execute(update(delivery).values(done)))
    return await store.query(
        lambda connection: connection.execute(select(delivery.c.id).where(delivery.c.sink == "chat")).scalar_one()
    )


def deletes(kind):
    """A slice of retention that deletes everything of a kind."""
    return lambda connection: retention.delete_slice(connection, kind, START + 10**9, retention.START, 10)


@pytest.mark.parametrize("kind", [RetentionKind.BODIES, RetentionKind.DELIVERIES])
async def test_retention_keeps_what_a_replay_makes_pending_at_the_same_time(
    store, worker, postgres_url, dismissed, kind
):
    """The replay is not committed yet when the slice of retention begins."""
    with connected(postgres_url) as replaying:
        assert replay.revive(replaying, [dismissed], START, {"chat"}) == 1
        slicing = asyncio.create_task(worker.write(deletes(kind)))
        await waits_for_a_lock(postgres_url)
        replaying.commit()
        await slicing
    assert rows(postgres_url, "SELECT state FROM delivery WHERE sink = 'chat'") == [(0,)]
    assert rows(postgres_url, "SELECT count(*) FROM event_body") == [(1,)]


async def test_a_replay_skips_what_retention_deletes_at_the_same_time(store, worker, postgres_url, dismissed):
    """A chat cannot show an event whose data is gone."""
    with connected(postgres_url) as slicing:
        assert deletes(RetentionKind.BODIES)(slicing).deleted == 1
        reviving = asyncio.create_task(
            worker.write(lambda connection: replay.revive(connection, [dismissed], START, {"chat"}))
        )
        await waits_for_a_lock(postgres_url)
        slicing.commit()
        assert await reviving == 0
