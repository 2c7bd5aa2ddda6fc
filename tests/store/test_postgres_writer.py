"""The receiver's writer on PostgreSQL: acknowledged events are committed, and it continues after any failure."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager

import psycopg
import pytest
from structlog.testing import capture_logs

from connector.errors import StoreUnavailable
from connector.merge import encode, merge
from connector.store.base import Overloaded
from connector.store.postgres.store import ServerConnection
from connector.store.writer import Writer
from connector.testing import START
from tests.postgres import GIVEN, end_all, rows
from tests.serving import until
from tests.store.bench import until_taken
from tests.store.kit import CREATE, arrival, routing_table
from tests.store.receivers import Receiver, waits_for_a_lock

REFUSES_BAD = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.interview_id LIKE 'bad%' THEN RAISE 'refused by the test: %', NEW.identity; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
async def receiver(postgres_url):
    made = Receiver(postgres_url, routing_table(chat=False, sheet=True))
    yield made
    await made.writer.close()


@pytest.fixture
def picky(postgres_url):
    """A store that refuses events of an interview whose id begins with `bad`."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(REFUSES_BAD)
        yield
        connection.execute("DROP FUNCTION refuse CASCADE")


def fetched(receiver, sql, *parameters):
    return rows(receiver.url, sql, *parameters)


# --- what an answer promises


async def test_an_event_for_very_many_sinks_is_stored(postgres_url):
    """PostgreSQL limits the length of a notification, which has their names."""
    names = [f"{'sheet' * 19}_{number:03}" for number in range(200)]
    made = Receiver(postgres_url, routing_table(**dict.fromkeys(names, True)))
    try:
        await made.offer("i1")
    finally:
        await made.writer.close()
    assert fetched(made, "SELECT count(DISTINCT sink) FROM delivery") == [(200,)]


async def test_deliveries_know_their_events(receiver):
    """In the order of arrival, by the numbers that the server gave."""
    await asyncio.gather(receiver.offer("i2"), receiver.offer("i1"))
    assert fetched(receiver, "SELECT id, sink, key, event_seq FROM delivery ORDER BY id") == [
        (1, "chat", "i2", 1),
        (2, "sheet", "i2", 1),
        (3, "chat", "i1", 2),
        (4, "sheet", "i1", 2),
    ]


async def test_a_repeat_is_answered_with_its_number(receiver):
    """In the same group or a later one; nothing is added."""
    first = await asyncio.gather(*(receiver.offer(id_) for id_ in ("i1", "i2", "i1")))
    assert first == [(1, False), (2, False), (1, True)]
    assert await asyncio.gather(receiver.offer("i3"), receiver.offer("i2")) == [(3, False), (2, True)]
    assert fetched(receiver, "SELECT count(*) FROM event") == [(3,)]


# --- what fails


async def test_one_bad_event_does_not_fail_the_others(picky, receiver):
    """Only it is refused. The log has only the kind of the error."""
    names = ["i1", "bad", "i2", "i3", "bad too", "i4"]
    with capture_logs() as logs:
        results = await asyncio.gather(*(receiver.offer(name) for name in names), return_exceptions=True)
    assert [type(result).__name__ for result in results] == [
        "StoreUnavailable" if "bad" in name else "IngestResult" for name in names
    ]
    assert [interview for _, interview in receiver.stored()] == ["i1", "i2", "i3", "i4"]
    assert [entry["reason"] for entry in logs] == ["RaiseException (P0001)"] * 2


FULL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON event_body FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def test_a_full_disk_of_the_server_refuses_events_until_there_is_room(receiver, postgres_url):
    """A refused event leaves nothing, so that its repeat is not a duplicate."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(FULL)
        with pytest.raises(StoreUnavailable, match="make room on the server's disk"):
            await receiver.offer("i1")
        with pytest.raises(StoreUnavailable, match="make room on the server's disk"):
            await receiver.writer.probe(START)
        connection.execute("DROP FUNCTION refuse CASCADE")
    assert fetched(receiver, "SELECT count(*) FROM event") == [(0,)]
    assert not (await receiver.offer("i1")).duplicate


async def test_a_connection_that_died_while_idle_is_replaced(receiver):
    """Waiting events are committed by a new one, without an error."""
    await receiver.offer("i1")
    end_all(receiver.url)
    assert await receiver.offer("i2") == (2, False)


@pytest.mark.skipif(GIVEN in os.environ, reason="the server of another user is not stopped")
async def test_a_server_that_falls_silent_is_replaced_by_another_connection(postgres_url):
    """The process of the server stops during a transaction."""
    one = Receiver(postgres_url, silence=0.1)
    await one.offer("i1")
    ((pid,),) = rows(
        postgres_url,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        assert (await one.offer("i2")).duplicate is False
    finally:
        os.kill(pid, signal.SIGCONT)
    await one.writer.close()
    assert [interview for _, interview in one.stored()] == ["i1", "i2"]


class Starting(ServerConnection):
    """A server that is not ready for the first `count` transactions."""

    count = 3

    @contextmanager
    def begin(self):
        if self.count:
            self.count -= 1
            raise psycopg.OperationalError("connection refused")
        with super().begin() as connection:
            yield connection


async def test_a_restarted_server_is_found_without_an_event(postgres_url):
    """So the store is available for the readiness probe and the first sender."""
    one = Writer(Starting(postgres_url), routing_table(chat=False), lambda plan: None)
    with pytest.raises(StoreUnavailable, match="connection to the server"):
        await one.offer(*arrival())
    with pytest.raises(StoreUnavailable, match="connection to the server"):
        one.offer(*arrival())
    assert (await until_taken(lambda: one.offer(*arrival()))).duplicate is False
    await one.close()


async def test_without_a_server_everything_is_refused_at_once():
    """Waiting events are refused, and new ones until the next try. The log has one line, without the address."""
    gone = Receiver("postgresql://zoe:secret@127.0.0.1:1/store")
    with capture_logs() as logs:
        waiting = [gone.offer(f"i{number}") for number in range(3)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(StoreUnavailable, match="no server answers"):
            gone.offer("later")
        await gone.writer.close()
    assert [str(result) for result in results] == ["the store takes no writes: no server answers at that address"] * 3
    assert {entry["event"] for entry in logs} == {"events refused"}
    assert sum(entry["count"] for entry in logs) == 3
    assert "zoe" not in str(logs)
    assert "secret" not in str(logs)


async def test_a_table_that_stays_locked_refuses_after_a_while(receiver, postgres_url):
    """The server answers without a commit. Then the writer continues."""
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE event")
        with pytest.raises(StoreUnavailable, match="55P03"):
            await receiver.offer("i2")
    assert (await receiver.offer("i2")).duplicate is False


async def test_a_failing_listener_of_groups_does_not_stop_the_writer(postgres_url):
    """A fault there is the loop's to report; the events are committed and answered."""
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(type(context["exception"])))
    one = Receiver(postgres_url)
    one.writer._on_group = lambda plan: plan.nonsense
    assert [(await one.offer(id_)).seq for id_ in ("i1", "i2")] == [1, 2]
    await one.writer.close()
    assert reported == [AttributeError] * 2


async def test_beyond_the_limit_events_are_refused_at_once(postgres_url):
    """What waits is bounded; what was taken is answered."""
    small = Receiver(postgres_url, limit=3)
    taken = [small.offer(f"i{number}") for number in range(3)]
    with pytest.raises(Overloaded):
        small.offer("too many")
    assert [answer.seq for answer in await asyncio.gather(*taken)] == [1, 2, 3]
    await small.writer.close()


async def test_close_finishes_what_waits(postgres_url):
    """Everything that was taken is answered, then nothing more is taken."""
    one = Receiver(postgres_url)
    answers = [one.offer(f"i{number}") for number in range(5)]
    await one.writer.close()
    assert [answer.result().seq for answer in answers] == [1, 2, 3, 4, 5]
    with pytest.raises(Overloaded):
        one.offer()
    await until_alone(postgres_url)


async def until_alone(url):
    """Returns when no other connection to the store is left."""
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await until(lambda: not rows(url, others))


# --- several receivers

ANOTHERS_EVENT = """
INSERT INTO event (identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason)
VALUES (%s, '', 'event', '', 'i1', 0, 0, '', '')
"""
NEVER_INSERTED = """
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER skip BEFORE INSERT ON interview FOR EACH ROW WHEN (NEW.id = 'i1') EXECUTE FUNCTION skip();
"""


async def test_an_event_about_an_interview_that_another_receiver_adds_is_merged_into_it(receiver, postgres_url):
    """The other one commits after this one has read."""
    state = encode(merge(None, arrival(name=CREATE, at=START - 5, position={"id": "p1", "name": "Cook"}).reading))
    with psycopg.connect(postgres_url) as other:
        other.execute("INSERT INTO interview VALUES ('i1', %s, 1, 'p1', 'Cook', 'pending', 0)", (state,))
        answer = receiver.offer("i1")
        await waits_for_a_lock(postgres_url)
        other.commit()
    assert (await answer).duplicate is False
    assert fetched(receiver, "SELECT version, position_name, stage FROM interview") == [(2, "Cook", "to_evaluate")]
    assert fetched(receiver, "SELECT sink, key FROM delivery ORDER BY 1") == [("chat", "i1"), ("sheet", "i1")]


async def test_an_event_that_another_receiver_stores_is_answered_with_its_number(receiver, postgres_url):
    """The other one commits after this one has read."""
    with psycopg.connect(postgres_url) as other:
        other.execute(ANOTHERS_EVENT, (arrival(interview="i1").reading.identity,))
        answer = receiver.offer("i1")
        await waits_for_a_lock(postgres_url)
        other.commit()
    assert await answer == (1, True)
    assert fetched(receiver, "SELECT count(*) FROM delivery") == [(0,)]


async def test_repeated_conflicts_refuse_the_event(receiver, postgres_url):
    """After this number of tries the sender gets a 503, and the receiver continues."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(NEVER_INSERTED)
        with pytest.raises(StoreUnavailable, match="other receivers stored the same"):
            await receiver.offer("i1")
        connection.execute("DROP FUNCTION skip CASCADE")
    assert (await receiver.offer("i1")).duplicate is False
