"""All interviews of a position get its newest name, in any order of the events."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from connector.delivery.periodic import TaskContext
from connector.hireflix.payload import RENAMED
from connector.hireflix.snapshot import Position
from connector.merge import decode, encode, interview_of, merge
from connector.operations.position_names import LARGE, REST_SECONDS, RenamedPositions
from connector.routing import Route
from connector.store import erase, position_names
from connector.store.ingest import write_group
from connector.store.schema import event, interview
from connector.store.source import SETTLE_MS
from connector.testing import START
from tests.operations.hireflix_world import source_at
from tests.postgres import empty_store
from tests.store.explain import explained, explained_by_postgres, scans
from tests.store.kit import KINDS, arrival, memory, reading, routing_table

TWO_SHEETS = (Route(("sheet",)), Route(("chat",)))


def webhook(id_, name, at, position="p1", **data):
    """A webhook about an interview of a position with this name."""
    return json.dumps(
        {
            "event": "interview.finish",
            "date": at,
            "data": {"id": id_, "position": {"id": position, "name": name}, **data},
        }
    ).encode()


class StoreInMemory:
    """A store for one task: events and jobs are applied at once."""

    def __init__(self, connection, routing):
        self._connection = connection
        self._routing = routing
        self.now = START

    def offer(self, reading, body):
        write_group(self._connection, [arrival(body)._replace(reading=reading)], self._routing)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def query(self, query):
        return query(self._connection)

    write = query


def run(store, now=None):
    """One run, by default when all events are settled."""
    if now is None:
        now = store.now = store.now + SETTLE_MS * 2
    return RenamedPositions(store).run(TaskContext(now, store.write, asyncio.Event()))


def names(connection):
    """Position and its name of every interview."""
    rows = connection.execute(select(interview.c.id, interview.c.position_id, interview.c.position_name))
    return {row.id: (row.position_id, row.position_name) for row in rows}


@pytest.fixture(params=KINDS)
def connection(request):
    with KINDS[request.param]() as opened:
        yield opened


@pytest.fixture
def store(connection):
    return StoreInMemory(connection, routing_table(TWO_SHEETS, sheet=True, chat=False))


async def received(store, *bodies):
    for body in bodies:
        store.offer(arrival(body).reading, body)


async def test_an_event_with_a_new_name_renames_every_interview_of_its_position(store, connection):
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Cook", START + 1))
    await received(store, webhook("i1", "Chef", START + 2))
    assert await run(store) == {"added": 1}
    assert names(connection) == {"i1": ("p1", "Chef"), "i2": ("p1", "Chef")}
    assert await run(store) == {"added": 0}


async def test_a_late_event_with_the_old_name_renames_nothing_back(store, connection):
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Chef", START + 9))
    await run(store)
    await received(store, webhook("i1", "Cook", START + 5), webhook("i3", "Cook", START + 6))
    await run(store)
    assert set(names(connection).values()) == {("p1", "Chef")}


async def test_two_positions_with_one_name_are_renamed_apart(store, connection):
    await received(store, webhook("i1", "Cook", START, "p1"), webhook("i2", "Cook", START, "p2"))
    await received(store, webhook("i3", "Chef", START + 1, "p1"))
    await run(store)
    assert names(connection) == {"i1": ("p1", "Chef"), "i2": ("p2", "Cook"), "i3": ("p1", "Chef")}


async def test_without_the_id_of_a_position_nothing_is_renamed(store, connection):
    await received(store, webhook("i1", "Cook", START, None), webhook("i2", "Chef", START + 1, None))
    assert await run(store) == {"added": 0}
    assert names(connection) == {"i1": ("", "Cook"), "i2": ("", "Chef")}


async def test_an_event_without_a_name_takes_none_away(store, connection):
    await received(store, webhook("i1", "Cook", START), webhook("i2", "", START + 1), webhook("i3", None, START + 2))
    await run(store)
    assert set(names(connection).values()) == {("p1", "Cook")}


async def test_a_renamed_interview_keeps_the_date_of_its_last_change(store, connection):
    """A list of the latest changes does not fill with the interviews of a renamed position."""
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Chef", START + 9))
    await run(store)
    row = connection.execute(select(interview).where(interview.c.id == "i1")).one()
    shown = interview_of("i1", decode(row.state))
    assert (row.updated_at, shown.updated_at, shown.text("last_event")) == (START, START, "interview.finish")


async def test_an_erased_interview_is_left_alone(store, connection):
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Cook", START))
    erase.erase(connection, "i1", ["sheet"], START)
    await received(store, webhook("i2", "Chef", START + 1))
    assert await run(store) == {"added": 0}


async def test_the_name_in_hireflix_wins_against_all_earlier_events(store, connection):
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Cook", START + 5))
    await run(store)
    position_names.learn(connection, [Position("p1", "Chef")], START + 6)
    assert await run(store) == {"added": 2}
    assert set(names(connection).values()) == {("p1", "Chef")}


async def test_events_that_just_arrived_are_followed_later(store, connection):
    """Their numbers may be greater than that of an event which another receiver has not stored yet."""
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Chef", START + 1))
    assert await run(store, now=START + SETTLE_MS - 1) == {"added": 0}
    assert await run(store, now=START + SETTLE_MS) == {"added": 1}


async def test_a_large_position_whose_events_disagree_about_the_name_is_renamed_once_an_hour(store, connection):
    """Otherwise thousands of rows would be written every minute. The last name wins in the end."""
    await received(store, *(webhook(f"i{n}", "Cook", START) for n in range(LARGE + 2)))
    added = []
    for number in range(1, 4):
        await received(store, webhook("i0", ("Cook", "Chef")[number % 2], START + number))
        added.append((await run(store))["added"])
    assert added == [LARGE + 1, 0, 0]
    await received(store, webhook("i0", "Baker", START + 9))
    await run(store)
    store.now += int(REST_SECONDS * 1000)
    assert await run(store) == {"added": LARGE + 1}
    assert set(names(connection).values()) == {("p1", "Baker")}


async def test_a_name_that_hireflix_shows_during_a_run_is_not_lost(store, connection):
    """A reconcile runs at the same time."""
    await received(store, webhook("i1", "Cook", START), webhook("i2", "Cook", START))

    async def write(job):
        position_names.learn(connection, [Position("p1", "Chef")], START + 9)
        return job(connection)

    store.now += SETTLE_MS * 2
    await RenamedPositions(store).run(TaskContext(store.now, write, asyncio.Event()))
    await run(store)
    assert set(names(connection).values()) == {("p1", "Chef")}


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["i1", "i2", "i3"]),
        st.sampled_from(["Cook", "Chef", "Baker"]),
        st.integers(START, START + 6),
        st.sampled_from(["p1", "p2"]),
    ),
    max_size=9,
    unique_by=lambda one: (one[0], one[2]),
)


@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_events_and_runs_does_not_matter(events, randomness):
    """An interview has the position of its newest event, and the newest name of this position, also when it moved."""
    shuffled = list(events)
    randomness.shuffle(shuffled)
    with memory() as connection:
        store = StoreInMemory(connection, routing_table(TWO_SHEETS, sheet=True, chat=False))

        async def story():
            for one in shuffled:
                await received(store, webhook(*one))
                if randomness.random() < 0.5:
                    await run(store)
            await run(store)

        asyncio.run(story())
        shown = names(connection)
    position = {id_: place for id_, _, _, place in sorted(events, key=lambda one: one[2])}
    newest = {place: name for _, name, _, place in sorted(events, key=lambda one: (one[2], one[1]))}
    assert shown == {id_: (place, newest[place]) for id_, place in position.items()}


def test_the_search_for_old_names_reads_only_those(connection):
    """A position may have 20,000 interviews, which all have the newest name."""
    row = {"version": 1, "position_id": "p1", "position_name": "Chef", "stage": "pending", "updated_at": START}
    state = encode(merge(None, reading()))
    connection.execute(insert(interview), [{"id": f"i{n}", "state": state, **row} for n in range(500)])
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.exec_driver_sql("ANALYZE interview")
    with (explained if is_sqlite else explained_by_postgres)(connection) as steps:
        assert position_names.outdated(connection, "p1", "Chef", 50) == []
    ranges = [step for step in steps if "position_name" in step and "position_id" in step]
    assert len(ranges) == 2, steps
    assert scans(steps) == []


@pytest.fixture(params=["sqlite", "postgresql"])
async def source(request, tmp_path):
    if request.param == "sqlite":
        async with source_at(tmp_path) as one:
            yield one
        return
    with empty_store() as url:
        async with source_at(tmp_path, url=url) as one:
            yield one


async def test_sheets_get_the_new_name_and_chats_no_notification(source):
    start = source.clock.now()
    await source.receive(webhook("i1", "Cook", start), webhook("i2", "Cook", start + 1))
    await source.receive(webhook("i2", "Chef", start + 2))
    source.clock.advance(SETTLE_MS / 1000)
    before = {sink: len(await source.deliveries(sink)) for sink in ("sheet", "chat")}
    received_before = await source.rows(event)

    assert await run(source.store, source.clock.now()) == {"added": 1}

    [renamed] = (await source.rows(event))[len(received_before) :]
    assert renamed.mark == RENAMED
    assert (await source.values("i1"))["position_name"] == "Chef"
    assert len(await source.deliveries("sheet")) == before["sheet"] + 1
    assert [each.silent for each in (await source.deliveries("chat"))[before["chat"] :]] == [1]


async def test_a_killed_run_is_continued(source):
    """What was not renamed before the stop is renamed by the next run, also without another event."""
    start = source.clock.now()
    await source.receive(*(webhook(f"i{n}", "Cook", start) for n in range(60)))
    await source.receive(webhook("i0", "Chef", start + 1))
    source.clock.advance(SETTLE_MS / 1000)
    stopping = asyncio.Event()
    store = source.store

    class StopsAfterOne:
        query, write = store.query, store.write

        @staticmethod
        def offer(reading, body):
            stopping.set()
            return store.offer(reading, body)

    tasks = RenamedPositions(StopsAfterOne)
    assert await tasks.run(TaskContext(source.clock.now(), store.write, stopping)) is None
    assert await run(store, source.clock.now()) == {"added": 9}
    rows = await source.rows(interview)
    assert {row.position_name for row in rows} == {"Chef"}
