"""A store of the first schema, with rows as that version wrote them, becomes one of this version."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.exc import IntegrityError

from connector.hireflix.payload import read
from connector.store import words
from connector.store.migrate import migrate
from connector.store.parsed import EVENTS, encode, reading_of
from connector.store.schema import attempt, event
from tests.postgres import empty_database
from tests.store.kit import DEAD, DELIVERED, PENDING

BODY = b'{"event": "interview.finish", "date": 1757500000000, "data": {"id": "64a1", "name": "Ann"}}'
ID, OTHER, POSITION = "64a1", "64b2", "68b4"
KINDS = ("sqlite", "postgresql")

FOLLOW_UPS = [
    (f"edit:parent:{ID}", ("edit", ID, ID, "")),
    (f"late:parent:{ID}", ("repeat-edit", ID, ID, "")),
    (f"look:parent:{ID}", ("find-doubles", ID, ID, "")),
    (f"edit:digest:{POSITION}", ("digest", POSITION, "", POSITION)),
    (f"late:digest:{POSITION}", ("repeat-edit", POSITION, "", POSITION)),
    (f"look:digest:{POSITION}", ("find-doubles", POSITION, "", POSITION)),
    ("#verify", ("verify", "", "", "")),
    ("#repair", ("repair", "", "", "")),
    ("tick", ("tick", "", "", "")),
    (OTHER, ("", OTHER, OTHER, "")),
]
"""Key of the old row, whose interview is always `OTHER`, and what becomes of it: purpose, key, interview, subject."""


@pytest.fixture(scope="module", params=KINDS)
def engine(request, tmp_path_factory):
    """A store that was made at the first revision, filled, and upgraded; one for all tests."""

    @contextmanager
    def empty():
        yield f"sqlite:///{tmp_path_factory.mktemp('upgrade') / 'store.db'}"

    with empty_database() if request.param == "postgresql" else empty() as url:
        migrate(url, to="0001")
        engine = create_engine(url)
        with engine.begin() as connection:
            _fill(connection)
        migrate(url)
        yield engine
        engine.dispose()


@pytest.fixture
def upgraded(engine):
    """A connection to the store; what a test changes is rolled back."""
    with engine.connect() as connection:
        yield connection


STATE = (
    '{"base":[1757500000000,2,"12ab12ab12ab12ab"],'
    '"values":{"candidate_name":"Zo\u00eb Ann","candidate_email":"zoe@example.org"},"exceptions":{}}'
)
"""As the first version stored it."""
LAST_ID = len(FOLLOW_UPS) + 7
"""The last id that the old store used. Its row is deleted."""


def _fill(connection: Connection) -> None:
    insert = text(
        "INSERT INTO delivery (sink, key, interview_id, event_seq, priority, since, state)"
        " VALUES (:sink, :key, :interview, :seq, 100, 0, :state)"
    )
    row = {"sink": "chat", "interview": OTHER, "seq": None, "state": PENDING}
    connection.execute(insert, [{**row, "key": key} for key, _ in FOLLOW_UPS])
    connection.execute(insert, {**row, "key": f"edit:parent:{OTHER}", "state": DEAD})
    connection.execute(insert, {**row, "key": ID, "interview": ID, "seq": 7})
    connection.execute(insert, {**row, "key": "i3", "interview": "i3", "seq": 8, "state": DELIVERED})
    connection.execute(insert, {**row, "sink": "console", "key": "i4", "interview": "i4", "seq": 9, "state": DELIVERED})
    connection.execute(insert, {**row, "key": "gone"})
    connection.execute(text("DELETE FROM delivery WHERE key = 'gone'"))
    connection.execute(
        text("INSERT INTO sink (name, type, destination, routes) VALUES (:name, :type, '', '')"),
        [{"name": "chat", "type": "slack"}, {"name": "console", "type": "console"}],
    )
    connection.execute(
        text(
            "INSERT INTO interview (id, state, version, position_id, position_name, stage, updated_at, entered)"
            " VALUES (:id, :state, 1, '', '', '', 0, :entered)"
        ),
        [
            {"id": ID, "entered": "sheet,tab", "state": STATE},
            *({"id": each, "entered": "", "state": STATE} for each in (OTHER, "i3", "i4")),
        ],
    )
    _fill_other_tables(connection)
    _break_rules(connection)
    connection.execute(
        text("INSERT INTO note (sink, destination, key, value) VALUES ('chat', 'C1', :key, '{\"ts\":\"1.2\"}')"),
        [{"key": f"parent:{ID}"}, {"key": f"digest:{POSITION}"}],
    )


def _fill_other_tables(connection: Connection) -> None:
    connection.execute(text("INSERT INTO meta (key, value) VALUES ('process:one', '{}'), ('instance', 'abc')"))
    connection.execute(text("INSERT INTO bucket (name, full_at, burst_ms) VALUES ('slack', 5, 6)"))
    connection.execute(
        text(
            "INSERT INTO attempt (sink, batch, started_at, duration_ms, outcome, reason, count)"
            " VALUES ('chat', 'b1', 1, 2, 'rejected', 'too long', 3)"
        )
    )
    reading = read(BODY, 5)
    columns = "identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason, body"
    connection.execute(
        text(f"INSERT INTO event ({columns}) VALUES (:identity, :hash, 'event', :name, :id, :at, 5, '', '', :body)"),
        {
            "identity": reading.identity,
            "hash": reading.sha256,
            "name": reading.name,
            "id": ID,
            "at": reading.occurred_at,
            "body": BODY,
        },
    )
    connection.execute(
        text(f"INSERT INTO event (seq, {columns}) VALUES (:seq, :identity, '', 'event', '', '', 0, 5, '', '', NULL)"),
        [{"seq": seq, "identity": f"e{seq}"} for seq in (7, 8, 9)],
    )


def _break_rules(connection: Connection) -> None:
    """Rows that the present schema does not allow."""
    connection.execute(
        text(
            "INSERT INTO delivery (sink, key, interview_id, event_seq, priority, since, state)"
            " VALUES ('chat', 'i9', 'i9', 99, 1, 0, 0), ('chat', 'i9', 'i9', NULL, 1, 0, 9)"
        )
    )
    connection.execute(
        text(
            "INSERT INTO attempt (sink, batch, started_at, duration_ms, outcome, reason, count)"
            " VALUES ('gone', 'b2', 1, -2, 'odd', '', -1)"
        )
    )
    connection.execute(text("UPDATE sink SET paused = 'odd', delivered = -1, fence = -1 WHERE name = 'console'"))
    connection.execute(text("UPDATE interview SET stage = 'odd', version = -1 WHERE id = 'i4'"))
    connection.execute(text("UPDATE event SET kind = 'odd' WHERE seq = 9"))


def test_rows_that_no_constraint_allows_any_more_are_changed(upgraded):
    """Deliveries of events that are missing are deleted; the other rows stay."""
    assert upgraded.execute(text("SELECT kind FROM event WHERE seq = 9")).scalar() == "unknown"
    assert upgraded.execute(text("SELECT stage, version FROM interview WHERE id = 'i4'")).one() == ("unknown", 0)
    found = upgraded.execute(text("SELECT paused, delivered, fence FROM sink WHERE name = 'console'")).one()
    assert found == ("until_person", 0, 0)
    found = upgraded.execute(text("SELECT duration_ms, outcome, count FROM attempt WHERE sink = 'gone'")).one()
    assert found == (0, "retry later", 0)
    assert upgraded.execute(text("SELECT type FROM sink WHERE name = 'gone'")).scalar() == ""
    assert upgraded.execute(text("SELECT count(*) FROM delivery WHERE key = 'i9'")).scalar() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET kind = 'odd'",
        "UPDATE interview SET stage = 'odd'",
        "UPDATE sink SET paused = 'odd'",
        "UPDATE sink SET fence = -1",
        "UPDATE attempt SET outcome = 'odd'",
        "UPDATE attempt SET count = -1",
        "UPDATE delivery SET state = 6",
        "UPDATE delivery SET attempts = -1",
        "UPDATE delivery SET silent = 2",
        "UPDATE bucket SET burst_ms = -1",
        "INSERT INTO process (name, role, started_at, seen_at) VALUES ('p', 'odd', 0, 0)",
        "UPDATE delivery SET event_seq = 99 WHERE event_seq = 7",
        "DELETE FROM event WHERE seq = 7",
        "UPDATE note SET sink = 'nowhere'",
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(upgraded, statement):
    """By the database itself, so that no statement of any version can write it."""
    if upgraded.dialect.name == "sqlite":
        upgraded.exec_driver_sql("PRAGMA foreign_keys=ON")
    with pytest.raises(IntegrityError):
        upgraded.execute(text(statement))


def test_an_event_keeps_its_body_and_is_read_from_it(upgraded):
    """Its fields were parsed once by the migration."""
    row = upgraded.execute(EVENTS.order_by(event.c.seq)).first()
    assert (row.seq, row.body, row.parsed) == (1, BODY, encode(read(BODY, 5)))
    assert reading_of(row) == read(BODY, 5)


def test_attempts_limits_and_notes_stay(upgraded):
    """An earlier attempt has neither status nor answer."""
    (row,) = upgraded.execute(select(attempt).where(attempt.c.sink == "chat")).all()
    assert tuple(row) == (1, "chat", "b1", 1, 2, "rejected", "too long", 3, None, None)
    assert upgraded.execute(text("SELECT name, full_at, burst_ms FROM bucket")).all() == [("slack", 5, 6)]
    notes = upgraded.execute(text("SELECT key, value FROM note ORDER BY key")).all()
    assert notes == [(f"digest:{POSITION}", '{"ts":"1.2"}'), (f"parent:{ID}", '{"ts":"1.2"}')]


def test_the_names_of_interviews_can_be_searched(upgraded):
    assert sorted(words.find_interviews(upgraded, "zoe ann")) == sorted([ID, OTHER, "i3", "i4"])


def test_the_store_keeps_its_name_and_forgets_old_heartbeats(upgraded):
    rows = upgraded.execute(text("SELECT key, value FROM meta WHERE key <> 'written' ORDER BY key")).all()
    assert rows == [("instance", "abc")]
    assert upgraded.execute(text("SELECT count(*) FROM process")).scalar() == 0


def test_ids_of_deleted_deliveries_are_not_used_again(upgraded):
    """The destination may have them as idempotency keys."""
    columns = "sink, key, interview_id, priority, since"
    put = text(f"INSERT INTO delivery ({columns}) VALUES ('chat', '', '', 1, 0) RETURNING id")
    assert upgraded.execute(put).scalar() == LAST_ID + 1


def test_follow_ups_are_about_what_their_keys_said(upgraded):
    """They are not about the interview of the delivery that asked. Those of other sinks keep their purpose."""
    columns = "purpose, key, interview_id, subject"
    rows = upgraded.execute(text(f"SELECT {columns} FROM delivery WHERE event_seq IS NULL AND state = 0 ORDER BY id"))
    assert [tuple(row) for row in rows] == [after for _, after in FOLLOW_UPS]


def test_a_dead_follow_up_can_be_replayed_for_its_own_interview(upgraded):
    rows = upgraded.execute(text("SELECT purpose, interview_id FROM delivery WHERE state = 3")).all()
    assert [tuple(row) for row in rows] == [("edit", OTHER)]


def test_events_stay_as_they_were(upgraded):
    rows = upgraded.execute(text("SELECT key, purpose, silent, wait_group FROM delivery WHERE event_seq = 7")).all()
    assert [tuple(row) for row in rows] == [(ID, "", 0, None)]


def test_interviews_with_a_message_are_subscribed(upgraded):
    """By their note or by what was delivered; a sink that does not edit is not, and state sinks stay."""
    rows = upgraded.execute(text("SELECT sink, interview_id FROM subscription ORDER BY interview_id, sink")).all()
    assert [tuple(row) for row in rows] == [("chat", ID), ("sheet", ID), ("tab", ID), ("chat", "i3")]
