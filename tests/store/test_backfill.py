"""Filling a state sink from the store."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, update

from connector.capabilities import DECIDED
from connector.interview import Stage
from connector.merge import decode, encode, merge
from connector.routing import Route, Routes
from connector.store import claim, leases, settle, subscriptions
from connector.store.schema import delivery, interview, sink
from connector.store.settle import PlannedFollowUp
from connector.testing import START
from tests.store.kit import CREATE, DELIVERED, FINISH, PENDING, reading

ALL = Routes((), {"sheet": True})


@pytest.fixture
def store(connection):
    leases.register(connection, {"sheet": "workbook"})
    return connection


def knows(store, id_, sinks=(), **data):
    """An interview that is stored already."""
    read = reading(name=data.pop("name", CREATE), interview=id_, **data)
    state = merge(None, read)
    position_id, position_name = (str(state.values.get(name) or "") for name in ("position_id", "position_name"))
    row = {"state": encode(state), "version": 1, "position_id": position_id, "position_name": position_name}
    store.execute(insert(interview).values(id=id_, stage="pending", updated_at=START, **row))
    subscriptions.subscribe(store, [(sink, id_) for sink in sinks])


def filled(store, routes=ALL, name="sheet", destination="file.xlsx"):
    """Fills to the end; returns the keys that were delivered, and how many chunks had something."""
    chunks = 0
    while subscriptions.fill_chunk(store, name, destination, routes, START):
        chunks += 1
    keys = store.execute(select(delivery.c.key).where(delivery.c.sink == name).order_by(delivery.c.id)).scalars().all()
    return keys, chunks


def sinks_of(store):
    return subscriptions.sinks_of(store, store.execute(select(interview.c.id)).scalars().all())


# --- whether


def test_a_sink_needs_filling_when_it_is_new_moved_or_routed_differently(store):
    """It is not filled again for the same destination and routes."""
    row = leases.row(store, "sheet")
    assert subscriptions.needs_filling(row, "file.xlsx", "digest")
    subscriptions.mark_filled(store, "sheet", "file.xlsx", "digest")
    row = leases.row(store, "sheet")
    assert not subscriptions.needs_filling(row, "file.xlsx", "digest")
    assert subscriptions.needs_filling(row, "other.xlsx", "digest")
    assert subscriptions.needs_filling(row, "file.xlsx", "other")


# --- what


def test_every_interview_enters_and_is_delivered(store):
    """Each has one delivery without an event, due at once; the subscription is stored."""
    for id_ in ("i1", "i2"):
        knows(store, id_)
    assert filled(store) == (["i1", "i2"], 1)
    row = store.execute(select(delivery)).first()
    assert (row.interview_id, row.event_seq, row.since, row.not_before, row.state) == ("i1", None, START, 0, PENDING)
    assert sinks_of(store) == {"i1": ("sheet",), "i2": ("sheet",)}


def test_only_what_its_routes_take_enters(store):
    """Its present position, stage and score decide."""
    knows(store, "cook", position={"id": "1", "name": "Cook"}, score={"value": 5})
    knows(store, "poet", position={"id": "2", "name": "Poet"}, score={"value": 5})
    knows(store, "weak", position={"id": "1", "name": "Cook"}, score={"value": 1})
    knows(store, "gone", position={"id": "1", "name": "Cook"}, score={"value": 5}, deleted=START)
    routes = Routes([Route(("sheet",), ("Cook",), stages=(Stage.PENDING,), min_score=4)], {"sheet": True})
    assert filled(store, routes) == (["cook"], 1)
    assert sinks_of(store) == {"cook": ("sheet",)}


def test_conditions_on_events_count_as_met(store):
    """Earlier events will not be sent again for a new sink."""
    knows(store, "i1", name=FINISH)
    routes = Routes([Route(("sheet",), events=(CREATE,))], {"sheet": True})
    assert filled(store, routes) == (["i1"], 1)


def test_subscribed_interviews_are_delivered_whatever_the_routes_are(store):
    """A subscription does not end, so a moved sheet shows those rows, too."""
    knows(store, "i1", ["sheet"], position={"id": "1", "name": "Poet"})
    routes = Routes([Route(("sheet",), ("Cook",))], {"sheet": True})
    assert filled(store, routes) == (["i1"], 1)
    assert sinks_of(store) == {"i1": ("sheet",)}


def test_entries_to_other_sinks_stay(store):
    """A sink whose name contains that of the filled one is another sink."""
    knows(store, "i1", ["a", "sheet_2"])
    filled(store)
    assert sinks_of(store) == {"i1": ("a", "sheet", "sheet_2")}


def test_the_state_itself_is_not_touched(store):
    """A backfill adds subscriptions and deliveries only."""
    knows(store, "i1", candidate={"name": "Zoë"})
    filled(store)
    row = store.execute(select(interview)).one()
    assert decode(row.state).values["candidate_name"] == "Zoë"
    assert row.version == 1


# --- how


def test_a_fill_has_chunks_and_stores_its_progress(store):
    """Each chunk is a short transaction. In the end every interview was delivered once."""
    ids = [f"i{number:05d}" for number in range(subscriptions.CHUNK + 3)]
    for id_ in ids:
        knows(store, id_)
    assert subscriptions.fill_chunk(store, "sheet", "file.xlsx", ALL, START)
    assert leases.row(store, "sheet").filled_to.endswith(ids[subscriptions.CHUNK - 1])
    assert filled(store) == (ids, 1)


def test_the_end_is_remembered(store):
    """A filled sink is not filling any more, and is not filled again for the same."""
    knows(store, "i1")
    filled(store)
    row = leases.row(store, "sheet")
    assert (row.filled_to, row.destination, row.routes) == (None, "file.xlsx", ALL.digest("sheet"))
    assert filled(store) == (["i1"], 0)


def test_an_empty_store_has_nothing_to_fill_with(store):
    """No chunk, no delivery."""
    assert filled(store) == ([], 0)


def interrupted(store):
    """A fill of two chunks of which one is done."""
    ids = [f"i{number:05d}" for number in range(subscriptions.CHUNK + 1)]
    for id_ in ids:
        knows(store, id_)
    subscriptions.fill_chunk(store, "sheet", "file.xlsx", ALL, START)
    return ids


def test_an_interrupted_fill_continues(store):
    """After a restart, or in another process; nothing is delivered twice."""
    ids = interrupted(store)
    assert filled(store) == (ids, 1)


@pytest.mark.parametrize(
    ("destination", "routes"),
    [("other.xlsx", ALL), ("file.xlsx", Routes([Route(("sheet",), ("*",))], {"sheet": True}))],
    ids=["moved", "routed differently"],
)
def test_a_fill_for_something_else_begins_again(store, destination, routes):
    """Subscribed interviews are delivered again, unless such a delivery is pending."""
    ids = interrupted(store)
    store.execute(update(delivery).where(delivery.c.key != ids[0]).values(state=DELIVERED))
    keys, chunks = filled(store, routes, destination=destination)
    assert (keys, chunks) == ([*ids[: subscriptions.CHUNK], *ids[1:]], 2)


def test_a_fill_that_is_no_longer_wanted_is_forgotten(store):
    """A sink whose destination is again the filled one is not filling."""
    filled(store)
    interrupted(store)
    store.execute(update(sink).values(filled_to="another\tgoal\ti3"))
    assert not subscriptions.fill_chunk(store, "sheet", "file.xlsx", ALL, START)
    assert leases.row(store, "sheet").filled_to is None


def test_two_processes_with_different_settings_do_not_repeat_their_fills(store):
    """The older fill ends, and no delivery is pending twice."""
    for number in range(3):
        knows(store, f"i{number}")
    other = Routes((Route(("sheet",), events=(FINISH,)),), {"sheet": True})
    assert subscriptions.fill_chunk(store, "sheet", "file.xlsx", ALL, START)
    assert subscriptions.fill_chunk(store, "sheet", "file.xlsx", other, START)
    with pytest.raises(subscriptions.FillConflict):
        subscriptions.fill_chunk(store, "sheet", "file.xlsx", ALL, START, begun=True)
    assert not subscriptions.fill_chunk(store, "sheet", "file.xlsx", other, START, begun=True)
    assert store.execute(select(delivery.c.key)).scalars().all() == ["i0", "i1", "i2"]


def test_a_second_fill_adds_no_second_delivery(store):
    """A fill that starts again finds its pending deliveries."""
    knows(store, "i1")
    filled(store)
    keys, _ = filled(store, destination="other.xlsx")
    assert keys == ["i1"]


def test_the_result_of_a_decision_that_waits_does_not_replace_the_interview(store):
    knows(store, "i1")
    settle.plan_follow_ups(store, "sheet", [PlannedFollowUp(DECIDED, "i1", "1-done", None, START)])
    assert claim.pending_keys(store, "sheet", ["i1"]) == set()
    assert filled(store)[0] == ["i1", "i1"]
    assert claim.pending_keys(store, "sheet", ["i1"]) == {"i1"}
