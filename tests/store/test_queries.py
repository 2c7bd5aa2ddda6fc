"""Queries: what is listed, in which order, and what each filter leaves out."""

import pytest

from connector.interview import Stage
from connector.store import queries
from connector.store.queries import ListingFilter
from connector.store.schema import DeliveryState
from tests.cli.world import DAY, NOON, World, body

ANY = ListingFilter()


@pytest.fixture
def world(tmp_path):
    """Three interviews at three positions: one finished, one invited, one shortlisted a day later."""
    made = World(tmp_path)
    made.receive(body("interview.finish", 1, position={"id": "p-1", "name": "Graduate Program Zürich"}, completed=NOON))
    made.receive(body("interview.create", 2, position={"id": "p-2", "name": "Baker [night]"}), at=NOON + 1)
    made.receive(
        body("interview.status-change", 3, NOON + DAY, position={"id": "p-3", "name": "Cook"}, finalist=NOON + DAY),
        at=NOON + DAY,
    )
    yield made
    made.close()


def test_events_come_newest_first_with_who_and_where(world):
    rows = queries.events(world.connection, ANY, 10)
    assert [(row.id, row.name, row.candidate_name, row.position_name) for row in rows] == [
        (3, "interview.status-change", "Candidate 3", "Cook"),
        (2, "interview.create", "Candidate 2", "Baker [night]"),
        (1, "interview.finish", "Candidate 1", "Graduate Program Zürich"),
    ]


def test_interviews_come_by_their_newest_event(world):
    world.receive(body("interview.score-updated", 1, NOON + 2 * DAY, score={"value": 4.5}), at=NOON + 2 * DAY)
    first, *_ = queries.interviews(world.connection, ANY, 10)
    assert (first.id, first.score, first.completed_at, first.last_event, first.sinks) == (
        "interview-1",
        4.5,
        NOON,
        "interview.score-updated",
        ["sheet"],
    )


def test_deliveries_tell_state_event_and_reason(world):
    world.settle(DeliveryState.DEAD, 1, reason="channel is gone", reference="msg-1")
    row = queries.deliveries(world.connection, ListingFilter(ids=(1,)), 10)[0]
    assert (row.state, row.event_id, row.event_name, row.attempts, row.reason, row.reference, row.done_at) == (
        "dead",
        1,
        "interview.finish",
        2,
        "channel is gone",
        "msg-1",
        NOON + 1000,
    )


def test_a_delivery_without_an_event_has_no_name(world):
    world.connection.exec_driver_sql("UPDATE delivery SET event_seq = NULL WHERE id = 1")
    row = queries.deliveries(world.connection, ListingFilter(ids=(1,)), 10)[0]
    assert (row.event_id, row.event_name, row.interview_id) == (None, "", "interview-1")


def test_attempts_come_newest_first(world):
    world.try_once("chat")
    world.try_once("sheet", reason="timeout", count=3)
    assert [(row.sink, row.reason, row.count) for row in queries.attempts(world.connection, ANY, 10)] == [
        ("sheet", "timeout", 3),
        ("chat", "http 503", 1),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ListingFilter(event=2), {2}),
        (ListingFilter(name="interview.create"), {2}),
        (ListingFilter(kind="event"), {1, 2, 3}),
        (ListingFilter(kind="unreadable"), {4}),
        (ListingFilter(interview="interview-3"), {3}),
        (ListingFilter(position="p-1"), {1}),
        (ListingFilter(position="graduate*ZÜRICH"), {1}),
        (ListingFilter(position="Baker [night]"), {2}),
        (ListingFilter(position="ba?er*"), {2}),
        (ListingFilter(position="unknown"), set()),
        (ListingFilter(stage=Stage.SHORTLISTED), {3}),
        (ListingFilter(since=NOON + 1), {2, 3}),
        (ListingFilter(until=NOON + 1), {1, 4}),
        (ListingFilter(since=NOON + 1, until=NOON + DAY), {2}),
    ],
)
def test_each_filter_of_events(world, wanted, expected):
    world.keep("unreadable", b"no json", 4)
    assert {row.id for row in queries.events(world.connection, wanted, 10)} == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ListingFilter(interview="interview-2"), {2}),
        (ListingFilter(position="p-2"), {2}),
        (ListingFilter(stage=Stage.TO_EVALUATE), {1}),
        (ListingFilter(sink="sheet"), {1, 2, 3}),
        (ListingFilter(sink="shee"), set()),
        (ListingFilter(sink="s_eet"), set()),
        (ListingFilter(since=NOON + DAY), {3}),
        (ListingFilter(until=NOON + DAY), {1, 2}),
    ],
)
def test_each_filter_of_interviews(world, wanted, expected):
    rows = queries.interviews(world.connection, wanted, 10)
    assert {int(row.id.removeprefix("interview-")) for row in rows} == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ListingFilter(sink="graduates"), [1]),
        (ListingFilter(sink="chat"), [3, 2, 1]),
        (ListingFilter(sink="chat", states=(DeliveryState.PENDING,)), [3, 2]),
        (ListingFilter(sink="chat", states=(DeliveryState.PENDING, DeliveryState.DELIVERED)), [3, 2, 1]),
        (ListingFilter(sink="chat", interview="interview-2"), [2]),
        (ListingFilter(sink="chat", event=3), [3]),
        (ListingFilter(sink="chat", name="interview.create"), [2]),
        (ListingFilter(sink="chat", position="cook"), [3]),
        (ListingFilter(sink="chat", stage=Stage.PENDING), [2]),
        (ListingFilter(sink="chat", since=NOON + 1), [3, 2]),
        (ListingFilter(sink="chat", until=NOON + 1), [1]),
        (ListingFilter(sink="unknown"), []),
    ],
)
def test_each_filter_of_deliveries(world, wanted, expected):
    world.settle(DeliveryState.DELIVERED, world.ids("chat")[0])
    assert [row.event_id for row in queries.deliveries(world.connection, wanted, 10)] == expected
    assert queries.count_deliveries(world.connection, wanted) == len(expected)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [(ListingFilter(sink="chat"), 1), (ListingFilter(since=NOON + 1), 1), (ListingFilter(until=NOON), 0)],
)
def test_each_filter_of_attempts(world, wanted, expected):
    world.try_once("chat")
    world.try_once("sheet", at=NOON + 1)
    assert len(queries.attempts(world.connection, wanted, 10)) == expected


@pytest.mark.parametrize("look", [queries.events, queries.interviews, queries.deliveries])
def test_a_limit_keeps_the_newest(world, look):
    assert look(world.connection, ANY, 2) == look(world.connection, ANY, 10)[:2]


def test_positions_are_listed_once(world):
    world.receive(body("interview.create", 9, position={"id": "p-2", "name": "Baker [night]"}))
    assert queries.positions(world.connection) == [
        ("p-1", "Graduate Program Zürich"),
        ("p-2", "Baker [night]"),
        ("p-3", "Cook"),
    ]


def test_the_names_of_all_sinks_are_listed(world):
    assert queries.sink_names(world.connection) == ["chat", "graduates", "sheet"]


@pytest.mark.parametrize("id_", [10**15, 2**63, 10**25, -1, -(10**25)])
def test_an_id_that_no_row_can_have_finds_nothing(world, id_):
    assert queries.events(world.connection, ListingFilter(event=id_), 10) == []
    assert queries.deliveries(world.connection, ListingFilter(event=id_), 10) == []
    assert queries.deliveries(world.connection, ListingFilter(ids=(id_,)), 10) == []
