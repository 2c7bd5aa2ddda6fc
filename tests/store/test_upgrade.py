"""A store of the first schema, with rows as that version wrote them, becomes one of this version."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from connector.store.migrate import migrate
from tests.postgres import empty_database
from tests.store.kit import DEAD, DELIVERED, PENDING

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


@pytest.fixture(params=KINDS)
def upgraded(request, tmp_path):
    """A connection to a store that was made at the first revision, filled, and upgraded."""
    from sqlalchemy import create_engine

    def make(url):
        migrate(url, to="0001")
        engine = create_engine(url)
        with engine.begin() as connection:
            _fill(connection)
        migrate(url)
        return engine

    if request.param == "sqlite":
        engine = make(f"sqlite:///{tmp_path / 'store.db'}")
        with engine.connect() as connection:
            yield connection
        engine.dispose()
    else:
        with empty_database() as url:
            engine = make(url)
            with engine.connect() as connection:
                yield connection
            engine.dispose()


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
    connection.execute(
        text("INSERT INTO sink (name, type, destination, routes) VALUES (:name, :type, '', '')"),
        [{"name": "chat", "type": "slack"}, {"name": "console", "type": "console"}],
    )
    connection.execute(
        text(
            "INSERT INTO interview (id, state, version, position_id, position_name, stage, updated_at, entered)"
            " VALUES (:id, '{}', 1, '', '', '', 0, :entered)"
        ),
        [{"id": ID, "entered": "sheet"}, *({"id": each, "entered": ""} for each in (OTHER, "i3", "i4"))],
    )
    connection.execute(
        text("INSERT INTO note (sink, destination, key, value) VALUES ('chat', 'C1', :key, '{\"ts\":\"1.2\"}')"),
        [{"key": f"parent:{ID}"}, {"key": f"digest:{POSITION}"}],
    )


def test_follow_ups_are_about_what_their_keys_said(upgraded):
    """Not about the interview of the delivery that asked; those of other sinks keep their word."""
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
    rows = upgraded.execute(text("SELECT id, entered, version FROM interview ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [(ID, "chat,sheet", 2), (OTHER, "", 1), ("i3", "chat", 2), ("i4", "", 1)]
