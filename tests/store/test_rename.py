"""A renamed sink: the rows of its old name have the new one, once."""

from __future__ import annotations

from itertools import count

import pytest
from sqlalchemy import insert, select, update

from connector.routing import Route
from connector.store import leases, notes, subscriptions
from connector.store.ingest import RoutingTable, StoredInterview, plan_group
from connector.store.leases import Pause
from connector.store.rename import RenameConflict, has_pending, rename
from connector.store.schema import attempt, delivery, interview, rollup, sink
from connector.testing import START
from tests.store.kit import DELIVERED, FINISH, PENDING, SCORE, SUPERSEDED, add, arrival, routing_table


@pytest.fixture
def store(connection):
    leases.register(connection, {"sheet": "workbook"})
    return connection


def knows(store, id_, sinks=()):
    """An interview that is stored already."""
    columns = {"state": "{}", "version": 1, "position_id": "", "position_name": "", "stage": "pending"}
    store.execute(insert(interview).values(id=id_, updated_at=START, **columns))
    subscriptions.subscribe(store, [(sink, id_) for sink in sinks])


def sinks_of(store):
    return subscriptions.sinks_of(store, store.execute(select(interview.c.id)).scalars().all())


def states(store, *columns):
    """State and further columns of the deliveries, by id."""
    chosen = select(delivery.c.state, *(delivery.c[name] for name in columns)).order_by(delivery.c.id)
    return [tuple(row) for row in store.execute(chosen)]


# --- the new name is free


@pytest.fixture
def renamed(store):
    """A sink `sheet` with a history, renamed to `graduates`."""
    add(store, sink="sheet")
    add(store, sink="sheet", state=1)
    add(store, sink="sheet_2")
    notes.write(store, "sheet", "place", {"row": {"a": 1}})
    store.execute(
        insert(attempt).values(
            sink="sheet", batch="b", started_at=1, duration_ms=1, outcome="rejected", reason="", count=1
        )
    )
    knows(store, "i1", ["sheet"])
    knows(store, "i2", ["a", "sheet", "sheet_2"])
    knows(store, "i3", ["sheet_2"])
    leases.pause(store, "sheet", Pause("person", "holidays"))
    subscriptions.mark_filled(store, "sheet", "file.xlsx", "digest")
    leases.acquire(store, "sheet", "me", START)
    rename(store, "sheet", "graduates", START, is_state=True)
    return store


def test_the_queue_goes_along(renamed):
    """Pending and done deliveries of the sink, and of no other."""
    assert renamed.execute(select(delivery.c.sink).order_by(delivery.c.id)).scalars().all() == [
        "graduates",
        "graduates",
        "sheet_2",
    ]


def test_notes_and_record_go_along(renamed):
    """The notes about its destination and the recorded attempts."""
    assert notes.read(renamed, "graduates", "place", ["row"]) == {"row": {"a": 1}}
    assert renamed.execute(select(attempt.c.sink)).scalars().all() == ["graduates"]


def test_entries_go_along(renamed):
    """Later events are sent under the new name. A similar name does not change."""
    assert sinks_of(renamed) == {"i1": ("graduates",), "i2": ("a", "graduates", "sheet_2"), "i3": ("sheet_2",)}


def test_its_state_goes_along_without_the_lease(renamed):
    """Pause and destination stay. The new name has no lease."""
    row = leases.row(renamed, "graduates")
    assert (row.paused, row.destination, row.lease_owner) == ("person", "file.xlsx", None)
    assert [row.name for row in leases.rows(renamed)] == ["graduates"]


def test_renaming_again_does_nothing(renamed):
    """`formerly` may stay in the configuration for ever."""
    before = [tuple(row) for row in renamed.execute(select(sink))]
    rename(renamed, "sheet", "graduates", START, is_state=True)
    assert [tuple(row) for row in renamed.execute(select(sink))] == before


def test_what_a_receiver_with_the_old_name_adds_later_follows(renamed):
    """While processes are restarted one after the other."""
    id_ = add(renamed, sink="sheet", key="late")
    rename(renamed, "sheet", "graduates", START, is_state=True)
    assert renamed.execute(select(delivery.c.sink).where(delivery.c.id == id_)).scalar_one() == "graduates"


def test_an_unknown_old_name_is_no_mistake(store):
    """A new installation with `formerly` in its configuration starts."""
    rename(store, "never_seen", "graduates", START, is_state=True)
    assert [row.name for row in leases.rows(store)] == ["sheet"]


def test_a_running_fill_is_renamed(store):
    """Its progress is in the renamed row."""
    store.execute(update(sink).values(filled_to="i5"))
    rename(store, "sheet", "graduates", START, is_state=True)
    assert leases.row(store, "graduates").filled_to == "i5"


# --- the new name is used already


@pytest.fixture
def both(store):
    """Two names of one sink, both with a row."""
    leases.register(store, {"graduates": "workbook"})
    return store


def merge(store, *, is_state=True):
    rename(store, "sheet", "graduates", START, is_state=is_state)


def test_deliveries_of_both_names_wait_under_the_new_one(both):
    """A receiver with the new settings was started before the worker."""
    add(both, "i1", sink="sheet", event_seq=1)
    add(both, "i2", sink="graduates", event_seq=2)
    merge(both)
    assert states(both, "sink") == [(PENDING, "graduates"), (PENDING, "graduates")]
    assert [row.name for row in leases.rows(both)] == ["graduates"]


def test_subscriptions_of_both_names_are_kept(both):
    knows(both, "i1", ["sheet"])
    knows(both, "i2", ["sheet", "graduates"])
    knows(both, "i3", ["graduates"])
    merge(both)
    assert sinks_of(both) == dict.fromkeys(("i1", "i2", "i3"), ("graduates",))


@pytest.mark.parametrize("state", [PENDING, DELIVERED])
def test_an_event_that_both_names_have_is_sent_once(both, state):
    add(both, sink="graduates", state=state)
    add(both, sink="sheet")
    merge(both)
    assert states(both) == [(state,), (SUPERSEDED,)]


def test_a_delivery_that_may_have_been_sent_is_repeated_under_its_id(both):
    """Only the destination can say whether it was."""
    add(both, sink="graduates")
    id_ = add(both, sink="sheet", batch="b1", blocks_key=1)
    merge(both)
    row = both.execute(select(delivery).where(delivery.c.id == id_)).one()
    assert (row.state, row.batch, row.sink) == (PENDING, "b1", "graduates")


def test_nothing_waits_for_a_follow_up_of_the_old_name_that_is_superseded(both):
    """The equal one of the new name shows another group."""
    follow_up = {"event_seq": None, "purpose": "digest", "subject": "s"}
    add(both, sink="graduates", wait_group="new", **follow_up)
    add(both, sink="sheet", wait_group="old", **follow_up)
    add(both, sink="sheet", key="i2", event_seq=2, state=4, wait_group="old")
    rename(both, "sheet", "graduates", START, is_state=True)
    assert states(both, "wait_group")[-1] == (PENDING, None)


def test_an_equal_follow_up_is_kept_once_at_the_earlier_time(both):
    """A reminder that both names planned is posted once."""
    follow_up = {"event_seq": None, "purpose": "remind", "subject": "s"}
    add(both, sink="graduates", not_before=START + 9, **follow_up)
    add(both, sink="sheet", not_before=START + 5, **follow_up)
    add(both, sink="sheet", not_before=START + 5, event_seq=None, purpose="remind", subject="other")
    merge(both)
    assert states(both, "not_before") == [(PENDING, START + 5), (SUPERSEDED, START + 5), (PENDING, START + 5)]


def test_notes_of_both_names_are_kept_and_the_newer_ones_count(both):
    """Of a state sink: its destination shows the same rows under both names."""
    notes.write(both, "sheet", "place", {"row:i1": {"n": 1}, "row:i2": {"n": 1}})
    notes.write(both, "graduates", "place", {"row:i2": {"n": 2}, "row:i3": {"n": 2}})
    merge(both)
    found = notes.read(both, "graduates", "place", ["row:i1", "row:i2", "row:i3"])
    assert {key: value["n"] for key, value in found.items()} == {"row:i1": 1, "row:i2": 2, "row:i3": 2}


def test_a_state_sink_that_was_filled_under_its_new_name_is_filled_again(both):
    """Its destination may lack interviews that only the old name had."""
    subscriptions.mark_filled(both, "sheet", "old.xlsx", "digest")
    subscriptions.mark_filled(both, "graduates", "new.xlsx", "digest")
    merge(both)
    assert subscriptions.needs_filling(leases.row(both, "graduates"), "new.xlsx", "digest")


def test_a_name_that_was_only_registered_takes_the_filling_of_the_old_one(both):
    """`connector pause` adds the row of a sink before the first start."""
    subscriptions.mark_filled(both, "sheet", "file.xlsx", "digest")
    merge(both)
    assert not subscriptions.needs_filling(leases.row(both, "graduates"), "file.xlsx", "digest")


def test_a_pause_by_an_operator_and_the_counts_stay(both):
    leases.pause(both, "sheet", Pause("person", "holidays"))
    both.execute(update(sink).values(delivered=2, last_delivered_at=START))
    both.execute(
        insert(rollup), [{"sink": name, "kind": FINISH, "hour": 0, "dead": 3} for name in ("sheet", "graduates")]
    )
    merge(both)
    row = leases.row(both, "graduates")
    assert (row.paused, row.reason, row.delivered, row.last_delivered_at) == ("person", "holidays", 4, START)
    assert both.execute(select(rollup.c.sink, rollup.c.dead)).all() == [("graduates", 6)]


@pytest.mark.parametrize("name", ["sheet", "graduates"])
def test_a_lane_that_runs_under_either_name_loses_its_lease(both, name):
    """It knows the notes of one name only."""
    lease = leases.acquire(both, name, "me", START)
    merge(both)
    with pytest.raises(leases.LeaseLost):
        leases.require(both, lease)


def test_an_old_name_that_is_gone_gives_no_lease(store):
    """A worker with the old settings still runs."""
    rename(store, "sheet", "graduates", START, is_state=True)
    assert leases.acquire(store, "sheet", "me", START) is None


def test_chats_that_posted_about_the_same_are_not_merged(both):
    """Either of two messages would never be updated again; an operator decides, and nothing was changed."""
    notes.write(both, "sheet", "C1", {"parent:i1": {"ts": "1"}})
    notes.write(both, "graduates", "C1", {"parent:i1": {"ts": "2"}})
    add(both, sink="sheet")
    with pytest.raises(RenameConflict, match="both posted messages") as conflict:
        merge(both, is_state=False)
    assert "remove `renamed_from`" in conflict.value.fix
    assert states(both, "sink") == [(PENDING, "sheet")]
    assert [row.name for row in leases.rows(both)] == ["graduates", "sheet"]


def test_chats_that_posted_about_different_interviews_are_merged(both):
    notes.write(both, "sheet", "C1", {"parent:i1": {"ts": "1"}})
    notes.write(both, "graduates", "C1", {"parent:i2": {"ts": "2"}})
    merge(both, is_state=False)
    assert notes.read(both, "graduates", "C1", ["parent:i1", "parent:i2"]) == {
        "parent:i1": {"ts": "1"},
        "parent:i2": {"ts": "2"},
    }


def test_names_of_different_types_are_not_merged(store):
    leases.register(store, {"graduates": "slack"})
    with pytest.raises(RenameConflict, match="type workbook, but graduates is of type slack"):
        merge(store)


# --- receivers


def test_a_receiver_with_the_new_name_knows_the_subscriptions_of_the_old_one():
    """An event that no route matches still updates what the sink shows, before a worker moved the subscriptions."""
    table = routing_table([Route(("graduates",), events=(FINISH,))], graduates=True)
    table = RoutingTable(table.routes, table.sinks, {"sheet": "graduates"})
    plan = plan_group([arrival(name=FINISH)], {}, {}, table, count(1))
    ((_, state, *_),) = plan.interviews
    later = plan_group(
        [arrival(name=SCORE, at=START + 1)], {}, {"i1": StoredInterview(state, 1, ("sheet",))}, table, count(2)
    )
    assert [row[0] for row in later.deliveries] == ["graduates"]
    assert later.subscriptions == []


def test_deliveries_for_the_old_name_are_found_while_workers_run(store):
    """They were added by a receiver with the old settings."""
    assert not has_pending(store, "sheet")
    add(store, sink="sheet")
    assert has_pending(store, "sheet")
