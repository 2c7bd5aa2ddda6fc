"""The statements of a group: what stands in which column, by which index it is found."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.hireflix.payload import read
from connector.routing import Route
from connector.store.sqlite import database
from connector.store.sqlite.ingest import SIZES, Ingest, portions, sqlite_statements
from connector.testing import START
from tests.store.explain import scans, steps_of
from tests.store.kit import CREATE, FINISH, arrival, body, routing_table, rows


@pytest.fixture
def raw(path):
    connection = database.connect(path)
    yield connection
    connection.close()


def ingest(raw, *arrivals, of=None):
    """Writes one group in a transaction of its own."""
    raw.execute("BEGIN IMMEDIATE")
    plan = Ingest(of or routing_table(chat=False, sheet=True)).write(raw, arrivals)
    raw.execute("COMMIT")
    return plan


def test_an_event_is_stored_as_it_came(raw, path):
    """The raw bytes, the identity and what was read from them stand in one row."""
    sent = body(FINISH, "i1", extra="größe")
    ingest(raw, arrival(sent, START + 5))
    reading = read(sent, START + 5)
    columns = "seq, identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason, body"
    assert rows(path, f"SELECT {columns} FROM event") == [
        (1, reading.identity, reading.sha256, "event", FINISH, "i1", START, START + 5, "", "", sent)
    ]


@pytest.mark.parametrize(
    ("sent", "kind", "reason"),
    [
        (body("interview.vanished", "i1"), "unknown", ""),
        (b"\xff\xfe not json", "unreadable", "the body is not JSON in UTF-8"),
        (b"{}", "unreadable", "the interview id is missing"),
    ],
)
def test_what_is_not_understood_is_kept_and_goes_nowhere(raw, path, sent, kind, reason):
    """StoredInterview with its reason, neither merged nor routed."""
    plan = ingest(raw, arrival(sent))
    assert rows(path, "SELECT kind, reason, body FROM event") == [(kind, reason, sent)]
    assert rows(path, "SELECT count(*) FROM interview") == [(0,)]
    assert rows(path, "SELECT count(*) FROM delivery") == [(0,)]
    assert plan.received == {kind: 1}


def test_a_later_event_of_an_erased_interview_stores_its_identity_and_nothing_else(raw, path):
    raw.execute("INSERT INTO tombstone VALUES (?, ?)", (sha256(b"i1").hexdigest(), START))
    plan = ingest(raw, arrival(body(FINISH, "i1")), arrival(body(FINISH, "i2")))
    assert rows(
        path, "SELECT interview_id, body IS NULL, parsed IS NULL, length(sha256) FROM event ORDER BY interview_id"
    ) == [
        ("i1", 1, 1, 0),
        ("i2", 0, 0, 32),
    ]
    assert rows(path, "SELECT id FROM interview") == [("i2",)]
    assert rows(path, "SELECT DISTINCT interview_id FROM delivery") == [("i2",)]
    assert not any(answer.duplicate for answer in plan.answers)


def test_an_interview_is_one_row(raw, path):
    """Two groups of events about one interview: one row, its version counted, its columns those of the newest state."""
    ingest(raw, arrival(name=CREATE, position={"id": "p1", "name": "Cook"}))
    ingest(raw, arrival(name=FINISH, at=START + 10, position={"id": "p1", "name": "Chef"}))
    columns = "id, version, position_id, position_name, stage, updated_at, erased_at"
    assert rows(path, f"SELECT {columns} FROM interview") == [("i1", 2, "p1", "Chef", "to_evaluate", START + 10, None)]


def test_a_delivery_begins_untried(raw, path):
    """Its retry window runs from receipt; nothing holds it back."""
    ingest(raw, arrival(body(), START + 7), of=routing_table(chat=False, priority={FINISH: 3}))
    columns = "sink, key, interview_id, event_seq, priority, since, state, attempts, not_before, held, batch, bucket"
    assert rows(path, f"SELECT {columns} FROM delivery") == [
        ("chat", "i1", "i1", 1, 3, START + 7, 0, 0, 0, 0, None, None)
    ]


def test_a_known_identity_is_answered_with_its_number(raw, path):
    """A repeat in a later group adds nothing."""
    ingest(raw, arrival(), arrival(interview="i2"))
    plan = ingest(raw, arrival(interview="i2", thumbnail="other bytes"), arrival(interview="i3"))
    assert plan.answers == [(2, True), (3, False)]
    assert rows(path, "SELECT count(*) FROM event") == [(3,)]


def test_numbers_are_taken_back_after_a_rollback(raw):
    """A group that was rolled back leaves no gap."""
    group = Ingest(routing_table(chat=False))
    for end, expected in (("ROLLBACK", 1), ("COMMIT", 1), ("ROLLBACK", 2), ("COMMIT", 2)):
        raw.execute("BEGIN IMMEDIATE")
        plan = group.write(raw, [arrival(interview=f"{end}{expected}")])
        raw.execute(end)
        assert plan.answers == [(expected, False)]
        if end == "ROLLBACK":
            group.reset_sequence()


@pytest.mark.parametrize("hostile", ["i'; DROP TABLE event; --", '"]}', "é☃\U0001f600", "%s ? :id", "1e3"])
def test_ids_are_values_never_statements(raw, path, hostile):
    """Whatever an id looks like, it is found again as it is."""
    for _ in range(2):
        ingest(raw, arrival(interview=hostile))
        ingest(raw, arrival(interview=hostile, at=START + 1, name=CREATE))
    assert rows(path, "SELECT id, version FROM interview") == [(hostile, 2)]
    assert rows(path, "SELECT count(*) FROM event") == [(2,)]


def test_routes_decide_who_gets_it(raw, path):
    """Deliveries follow the routes as they see the merged interview."""
    of = routing_table([Route(("chat",), ("Cook",)), Route(("sheet",), ("Baker",))], chat=False, sheet=True)
    ingest(raw, arrival(interview="i1", position={"id": "1", "name": "cook"}), of=of)
    ingest(raw, arrival(interview="i2", position={"id": "2", "name": "Baker"}), of=of)
    ingest(raw, arrival(interview="i3", position={"id": "3", "name": "Poet"}), of=of)
    assert rows(path, "SELECT sink, key FROM delivery") == [("chat", "i1"), ("sheet", "i2")]


@pytest.mark.parametrize("name", ["known", "states"])
def test_a_group_is_looked_up_by_index(raw, name):
    """Neither read of a group scans a table, however large it is."""
    statement = getattr(sqlite_statements(), name)
    steps = steps_of(raw, statement.sql, (json.dumps(["a", "b"]),))
    assert any(step.startswith("SEARCH") for step in steps)
    assert scans(steps) == []


@given(st.integers(0, 5_000))
def test_any_number_of_rows_is_written_by_few_statements(count):
    """As many rows as there are, each of the smaller sizes once at most."""
    sizes = list(portions(count))
    assert sum(sizes) == count
    assert set(sizes) <= set(SIZES)
    assert len([size for size in sizes if size < max(SIZES)]) < len(SIZES)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 63, 64, 100])
def test_a_group_of_any_size_is_stored_whole_and_in_order(raw, path, count):
    """Each event with its own body, each delivery with its own event, however they were put together."""
    ids = [f"i{number:03}" for number in range(count)]
    sent = [body(interview=id_) for id_ in ids]
    of = routing_table(chat=False, sheet=True)
    ingest(raw, *[arrival(raw_body) for raw_body in sent], of=of)
    assert rows(path, "SELECT seq, body FROM event ORDER BY seq") == list(enumerate(sent, 1))
    assert rows(path, "SELECT sink, interview_id FROM subscription ORDER BY 2") == [("sheet", id_) for id_ in ids]
    assert rows(path, "SELECT event_seq, interview_id, sink FROM delivery ORDER BY id") == [
        (number, id_, sink) for number, id_ in enumerate(ids, 1) for sink in ("chat", "sheet")
    ]
