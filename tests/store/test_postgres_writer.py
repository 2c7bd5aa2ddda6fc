"""The receiver's writer on PostgreSQL: what was answered is committed, and whatever fails, the writer goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from hashlib import sha256

import psycopg
import pytest
from structlog.testing import capture_logs

from connector.errors import StoreUnavailable
from connector.hireflix.payload import read
from connector.store.base import Overloaded
from connector.store.postgres import ingest
from connector.store.postgres.database import connect_async
from connector.store.postgres.ingest import Ingest
from connector.store.postgres.writer import Writer
from connector.testing import START
from tests.postgres import GIVEN, end_all, rows
from tests.store.kit import CREATE, FINISH, arrival, body, routing_table
from tests.store.receivers import Receiver

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


def told(receiver, sql, *parameters):
    return rows(receiver.url, sql, *parameters)


# --- what stands in which column


async def test_an_event_is_stored_as_it_came(receiver):
    """The raw bytes, the identity and what was read from them stand in one row."""
    sent = body(FINISH, "i1", extra="größe")
    await receiver.writer.offer(*arrival(sent, START + 5))
    reading = read(sent, START + 5)
    columns = "seq, identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason, body"
    assert told(receiver, f"SELECT {columns} FROM event") == [
        (1, reading.identity, reading.sha256, "event", FINISH, "i1", START, START + 5, "", "", sent)
    ]


async def test_a_later_event_of_an_erased_interview_stores_its_identity_and_nothing_else(receiver):
    with psycopg.connect(receiver.url, autocommit=True) as connection:
        connection.execute("INSERT INTO tombstone VALUES (%s, %s)", (sha256(b"i1").hexdigest(), START))
    await receiver.offer(name=FINISH, interview="i1")
    assert told(receiver, "SELECT body IS NULL, parsed IS NULL, length(sha256) FROM event") == [(True, True, 0)]
    assert told(receiver, "SELECT id FROM interview") == []
    assert told(receiver, "SELECT id FROM delivery") == []


async def test_an_interview_is_one_row(receiver):
    """Two groups of events about one interview: one row, its version counted, its columns those of the newest state."""
    await receiver.offer(name=CREATE, position={"id": "p1", "name": "Cook"})
    await receiver.offer(name=FINISH, at=START + 10, position={"id": "p1", "name": "Chef"})
    columns = "id, version, position_id, position_name, stage, updated_at, erased_at"
    assert told(receiver, f"SELECT {columns} FROM interview") == [
        ("i1", 2, "p1", "Chef", "to_evaluate", START + 10, None)
    ]


async def test_deliveries_know_their_events(receiver):
    """In the order of arrival, by the numbers that the server gave."""
    await asyncio.gather(receiver.offer("i2"), receiver.offer("i1"))
    columns = "id, sink, key, interview_id, event_seq, priority, since, state, attempts, not_before, held, batch"
    rest = (100, START, 0, 0, 0, 0, None)
    assert told(receiver, f"SELECT {columns} FROM delivery ORDER BY id") == [
        (1, "chat", "i2", "i2", 1, *rest),
        (2, "sheet", "i2", "i2", 1, *rest),
        (3, "chat", "i1", "i1", 2, *rest),
        (4, "sheet", "i1", "i1", 2, *rest),
    ]


async def test_what_is_not_understood_is_kept_and_goes_nowhere(receiver):
    """StoredInterview with its reason, neither merged nor routed."""
    for sent in (body("interview.vanished", "i1"), b"\xff\xfe not json"):
        await receiver.writer.offer(*arrival(sent))
    assert told(receiver, "SELECT kind, reason FROM event ORDER BY seq") == [
        ("unknown", ""),
        ("unreadable", "the body is not JSON in UTF-8"),
    ]
    assert told(receiver, "SELECT (SELECT count(*) FROM interview), (SELECT count(*) FROM delivery)") == [(0, 0)]


async def test_a_repeat_is_answered_with_its_number(receiver):
    """In the same group or a later one; nothing is added."""
    first = await asyncio.gather(*(receiver.offer(id_) for id_ in ("i1", "i2", "i1")))
    assert first == [(1, False), (2, False), (1, True)]
    assert await asyncio.gather(receiver.offer("i3"), receiver.offer("i2")) == [(3, False), (2, True)]
    assert told(receiver, "SELECT count(*) FROM event") == [(3,)]


async def test_of_several_bodies_with_one_identity_the_first_counts(receiver):
    """The second one is neither stored nor merged."""
    await receiver.offer(position={"id": "p1", "name": "Cook"})
    await receiver.offer(position={"id": "p1", "name": "Chef"})
    assert told(receiver, "SELECT position_name, version FROM interview") == [("Cook", 1)]


async def test_what_waits_is_one_group(receiver):
    """Everything that came while a group was in flight is committed together."""
    await asyncio.gather(*(receiver.offer(f"i{number}") for number in range(20)))
    assert [len(plan.answers) for plan in receiver.plans] == [20]
    assert receiver.writer.load.rate > 0


async def test_those_that_wait_are_halved_for_those_that_come_back(receiver):
    """When a group has just been answered, the next takes half of all, so that server and loop work by turns."""
    await receiver.offer("first")
    await asyncio.gather(*(receiver.offer(f"i{number}") for number in range(63)))
    assert [len(plan.answers) for plan in receiver.plans] == [1, 32, 31]


# --- what fails


async def test_one_bad_event_does_not_fail_the_others(picky, receiver):
    """It alone is refused; nothing of it reaches the log but the kind of the error."""
    names = ["i1", "bad", "i2", "i3", "bad too", "i4"]
    with capture_logs() as logs:
        results = await asyncio.gather(*(receiver.offer(name) for name in names), return_exceptions=True)
    assert [type(result).__name__ for result in results] == [
        "StoreUnavailable" if "bad" in name else "IngestResult" for name in names
    ]
    assert [interview for _, interview in receiver.stored()] == ["i1", "i2", "i3", "i4"]
    assert [entry["reason"] for entry in logs] == ["RaiseException (P0001)"] * 2


async def test_a_connection_that_died_while_idle_is_replaced(receiver):
    """Nobody notices: what waits is committed through a new one."""
    await receiver.offer("i1")
    end_all(receiver.url)
    assert await receiver.offer("i2") == (2, False)
    assert len(receiver.connections) == 2


@pytest.mark.skipif(GIVEN in os.environ, reason="somebody else's server is not to be stopped")
async def test_a_server_that_falls_silent_is_not_waited_for(postgres_url):
    """Its process stands still in the middle of a conversation; with the next one the writer goes on."""
    one = Receiver(postgres_url, silence=0.1)
    await one.offer("i1")
    pid = one.connections[0].info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="connection to the server was lost"):
            await one.offer("i2")
        with pytest.raises(StoreUnavailable, match="server is gone"):
            one.offer("i2")
        await connected(one.writer)
        assert (await one.offer("i2")).duplicate is False
        assert [connection.closed for connection in one.connections] == [True, False]
    finally:
        os.kill(pid, signal.SIGCONT)
    await one.writer.close()
    assert [interview for _, interview in one.stored()] == ["i1", "i2"]


async def connected(writer):
    """Waits until there is a connection again."""
    while writer._link.is_away:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0.01)


async def test_without_a_server_everything_is_refused_at_once():
    """What waits, and what comes until it is time to try again; the log says it once, without the address."""
    gone = Receiver("postgresql://zoe:secret@127.0.0.1:1/store")
    with capture_logs() as logs:
        waiting = [gone.offer(f"i{number}") for number in range(3)]
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(result) for result in results] == ["the store takes no writes: no server answers at that address"] * 3
    with pytest.raises(StoreUnavailable, match="server is gone"):
        gone.offer("later")
    assert [(entry["event"], entry["count"]) for entry in logs] == [("events refused", 3)]
    assert "zoe" not in str(logs)
    assert "secret" not in str(logs)
    await gone.writer.close()


async def test_a_server_that_comes_back_is_found_without_an_event(postgres_url):
    """So that readiness and the first sender find the store open."""
    answers = [psycopg.OperationalError("connection refused")] * 3

    async def connect():
        if answers:
            raise answers.pop()
        return await connect_async(postgres_url)

    one = Writer(connect, Ingest(routing_table(chat=False)), lambda plan: None)
    with pytest.raises(StoreUnavailable):
        await one.offer(*arrival())
    await connected(one)
    assert (await one.offer(*arrival())).duplicate is False
    await one.close()


async def test_a_probe_while_a_receiver_reconnects_opens_no_second_connection(postgres_url):
    """The two attempts are one, so that no connection is left open and unused."""
    attempts = []

    async def connect():
        attempts.append(1)
        if len(attempts) == 1:
            raise psycopg.OperationalError("connection refused")
        return await connect_async(postgres_url)

    one = Writer(connect, Ingest(routing_table(chat=False)), lambda plan: None)
    probe = asyncio.create_task(one.probe())
    await asyncio.sleep(0)  # it waits behind the event
    with pytest.raises(StoreUnavailable):
        await one.offer(*arrival())
    await probe
    await connected(one)
    await one.close()
    assert len(attempts) == 2


async def test_a_table_that_is_locked_refuses_after_a_while(receiver, postgres_url, monkeypatch):
    """The server answers, but not with a commit; afterwards the writer goes on."""
    await receiver.offer("i1")
    monkeypatch.setattr(ingest, "SETTINGS", "SET LOCAL lock_timeout = '50ms'")
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE event")
        with pytest.raises(StoreUnavailable, match="55P03"):
            await receiver.offer("i2")
    assert (await receiver.offer("i2")).duplicate is False


async def test_who_is_told_of_groups_cannot_stop_the_writer(postgres_url):
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
    assert one.connections[0].closed


# --- several receivers


async def test_an_overtaken_group_is_planned_again(receiver, postgres_url):
    """Another receiver commits between the read and the write: nothing of the first plan is committed."""
    other = Receiver(postgres_url, routing_table(chat=False, sheet=True))
    ingest = receiver.writer._ingest
    look, looks = ingest.read, []

    async def slow(connection, arrivals):
        found = await look(connection, arrivals)
        if not looks:
            await other.offer("i1", name=CREATE, at=START - 5, position={"id": "p1", "name": "Cook"})
            await other.offer("i2", at=START)
        looks.append(1)
        return found

    ingest.read = slow
    answers = await asyncio.gather(receiver.offer("i1", at=START), receiver.offer("i2", at=START))
    await other.writer.close()
    assert [answer.duplicate for answer in answers] == [False, True]
    assert len(looks) == 2
    assert told(receiver, "SELECT id, version, position_name, stage FROM interview ORDER BY id") == [
        ("i1", 2, "Cook", "to_evaluate"),
        ("i2", 1, "", "to_evaluate"),
    ]
    assert told(receiver, "SELECT sink, key, count(*) FROM delivery GROUP BY 1, 2 ORDER BY 1, 2") == [
        ("chat", "i1", 2),
        ("chat", "i2", 1),
        ("sheet", "i1", 2),
        ("sheet", "i2", 1),
    ]


async def test_who_is_overtaken_for_ever_gives_up(receiver, postgres_url):
    """After so many tries the sender is asked to come again; the receiver goes on."""
    ingest = receiver.writer._ingest
    look = ingest.read

    async def stale(connection, arrivals):
        known, _, erased = await look(connection, arrivals)
        return known, {}, erased

    await receiver.offer("i1")
    ingest.read = stale
    with pytest.raises(StoreUnavailable, match="other receivers stored the same"):
        await receiver.offer("i1", at=START + 1)
    ingest.read = look
    assert (await receiver.offer("i1", at=START + 1)).duplicate is False
