"""The statements of a group on both databases: the content of each column, and the index of each read."""

from __future__ import annotations

from hashlib import sha256

import pytest
from sqlalchemy import insert

from connector.hireflix.payload import read
from connector.routing import Route
from connector.store.dialects import has_row_locks
from connector.store.ingest import write_group
from connector.store.schema import tombstone
from connector.testing import START
from tests.store.explain import explained, explained_by_postgres, scans
from tests.store.kit import CREATE, FINISH, WITH_BODY, arrival, body, routing_table


def ingest(connection, *arrivals, of=None):
    return write_group(connection, arrivals, of or routing_table(chat=False, sheet=True))


def rows(connection, sql):
    return [tuple(row) for row in connection.exec_driver_sql(sql)]


def test_an_event_is_stored_as_it_came(connection):
    """One row has the raw bytes, the identity and the parsed fields."""
    sent = body(FINISH, "i1", extra="größe")
    ingest(connection, arrival(sent, START + 5))
    reading = read(sent, START + 5)
    columns = "seq, identity, sha256, kind, name, interview_id, occurred_at, event.received_at, mark, reason, body"
    assert rows(connection, f"SELECT {columns} FROM {WITH_BODY}") == [
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
def test_what_is_not_understood_is_kept_and_goes_nowhere(connection, sent, kind, reason):
    """It is stored with its reason, and neither merged nor routed."""
    plan = ingest(connection, arrival(sent))
    assert rows(connection, f"SELECT kind, reason, body FROM {WITH_BODY}") == [(kind, reason, sent)]
    assert rows(connection, "SELECT count(*) FROM interview") == [(0,)]
    assert rows(connection, "SELECT count(*) FROM delivery") == [(0,)]
    assert plan.received == {kind: 1}


def test_a_later_event_of_an_erased_interview_stores_its_identity_and_nothing_else(connection):
    connection.execute(insert(tombstone).values(interview_hash=sha256(b"i1").hexdigest(), erased_at=START))
    plan = ingest(connection, arrival(body(FINISH, "i1")), arrival(body(FINISH, "i2")))
    assert rows(
        connection,
        f"SELECT interview_id, body IS NULL, parsed IS NULL, length(sha256) FROM {WITH_BODY} ORDER BY interview_id",
    ) == [
        ("i1", 1, 1, 0),
        ("i2", 0, 0, 32),
    ]
    assert rows(connection, "SELECT id FROM interview") == [("i2",)]
    assert rows(connection, "SELECT DISTINCT interview_id FROM delivery") == [("i2",)]
    assert not any(answer.duplicate for answer in plan.answers)


def test_an_interview_is_one_row(connection):
    """Two groups of events about one interview: one row, its version counted, its columns those of the newest state."""
    ingest(connection, arrival(name=CREATE, position={"id": "p1", "name": "Cook"}))
    ingest(connection, arrival(name=FINISH, at=START + 10, position={"id": "p1", "name": "Chef"}))
    columns = "id, version, position_id, position_name, stage, updated_at, erased_at"
    assert rows(connection, f"SELECT {columns} FROM interview") == [
        ("i1", 2, "p1", "Chef", "to_evaluate", START + 10, None)
    ]


def test_a_delivery_begins_untried(connection):
    """Its retry window starts at receipt; nothing holds it back."""
    ingest(connection, arrival(body(), START + 7), of=routing_table(chat=False, priority={FINISH: 3}))
    columns = "sink, key, interview_id, event_seq, priority, since, state, attempts, not_before, blocks_key, batch"
    assert rows(connection, f"SELECT {columns} FROM delivery") == [
        ("chat", "i1", "i1", 1, 3, START + 7, 0, 0, 0, 0, None)
    ]


def test_a_known_identity_is_answered_with_its_number(connection):
    """A repeat in a later group adds nothing."""
    ingest(connection, arrival(), arrival(interview="i2"))
    plan = ingest(connection, arrival(interview="i2", thumbnail="other bytes"), arrival(interview="i3"))
    assert plan.answers == [(2, True), (3, False)]
    assert rows(connection, "SELECT count(*) FROM event") == [(3,)]


@pytest.mark.parametrize("hostile", ["i'; DROP TABLE event; --", '"]}', "é☃\U0001f600", "%s ? :id", "1e3"])
def test_ids_are_values_never_statements(connection, hostile):
    """Whatever an id looks like, it is found again as it is."""
    for _ in range(2):
        ingest(connection, arrival(interview=hostile))
        ingest(connection, arrival(interview=hostile, at=START + 1, name=CREATE))
    assert rows(connection, "SELECT id, version FROM interview") == [(hostile, 2)]
    assert rows(connection, "SELECT count(*) FROM event") == [(2,)]


def test_routes_decide_who_gets_it(connection):
    """Deliveries follow the routes as they see the merged interview."""
    of = routing_table([Route(("chat",), ("Cook",)), Route(("sheet",), ("Baker",))], chat=False, sheet=True)
    ingest(connection, arrival(interview="i1", position={"id": "1", "name": "cook"}), of=of)
    ingest(connection, arrival(interview="i2", position={"id": "2", "name": "Baker"}), of=of)
    ingest(connection, arrival(interview="i3", position={"id": "3", "name": "Poet"}), of=of)
    assert rows(connection, "SELECT sink, key FROM delivery") == [("chat", "i1"), ("sheet", "i2")]


def test_a_group_is_looked_up_by_index(connection):
    """No statement of a group scans a table, however large it is."""
    explain = explained_by_postgres if has_row_locks(connection) else explained
    ingest(connection, arrival())
    with explain(connection) as steps:
        ingest(connection, arrival(), arrival(at=START + 1))
    assert steps
    assert scans(steps) == []
    assert [step for step in steps if "Seq Scan" in step] == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 31, 32, 33, 63, 64, 100])
def test_a_group_of_any_size_is_stored_whole_and_in_order(connection, count):
    """Each event has its own body and each delivery its own event, however large the group is."""
    ids = [f"i{number:03}" for number in range(count)]
    sent = [body(interview=id_) for id_ in ids]
    of = routing_table(chat=False, sheet=True)
    ingest(connection, *[arrival(raw_body) for raw_body in sent], of=of)
    assert rows(connection, f"SELECT seq, body FROM {WITH_BODY} ORDER BY seq") == list(enumerate(sent, 1))
    assert rows(connection, "SELECT sink, interview_id FROM subscription ORDER BY 2") == [("sheet", id_) for id_ in ids]
    assert rows(connection, "SELECT event_seq, interview_id, sink FROM delivery ORDER BY id") == [
        (number, id_, sink) for number, id_ in enumerate(ids, 1) for sink in ("chat", "sheet")
    ]
