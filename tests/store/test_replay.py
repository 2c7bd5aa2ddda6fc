"""Replay: what is sent again, under which id and in which order, and how unreadable events are processed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from connector.store import claim, replay
from connector.store.queries import ListingFilter
from connector.store.replay import ReadAgain
from connector.store.schema import DeliveryState, delivery, event, event_body, interview
from connector.testing import START
from tests.cli.world import DAY, NOON, SINKS, World, body
from tests.store.kit import add, add_events, memory

DEAD, DELIVERED, PENDING = DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.PENDING
LATER = NOON + 3 * DAY
OLD = ListingFilter(states=(DEAD, DELIVERED))


@pytest.fixture
def world(tmp_path):
    """Two events of one interview, sent to a state sink (`sheet`) and a message sink (`chat`)."""
    made = World(tmp_path)
    made.receive(body("interview.create", 1), body("interview.score-updated", 1, NOON + 1, score=3))
    yield made
    made.close()


def found(world, wanted=OLD):
    return replay.find_deliveries(world.connection, wanted, SINKS)


def of(world, sink, state=PENDING):
    return [row for row in world.rows(delivery, sink=sink) if row.state == state]


def follow_up(world, sink="chat", key="interview-1", state=PENDING):
    values = {"sink": sink, "key": key, "interview_id": key, "priority": 1000, "since": NOON, "state": int(state)}
    return world.connection.execute(insert(delivery).values(values)).inserted_primary_key[0]


def test_a_replayed_dead_letter_keeps_its_id(world):
    """Its earlier attempts do not count, and its retry window starts at the replay."""
    first, _ = world.ids("chat")
    world.settle(DEAD, first, reason="gone", batch="b", batch_started_at=1, bucket="slack", blocks_key=1)
    assert replay.revive(world.connection, [first], LATER) == 1
    row = world.rows(delivery, id=first)[0]
    assert (row.state, row.attempts, row.since, row.not_before, row.blocks_key) == (PENDING, 0, LATER, 0, 0)
    assert (row.batch, row.batch_started_at, row.bucket, row.reason, row.done_at) == (None,) * 5


def test_only_dead_letters_are_revived(world):
    first, second = world.ids("chat")
    world.settle(DELIVERED, first)
    assert replay.revive(world.connection, [first, second], LATER) == 0


def test_what_was_delivered_gets_a_new_id_and_the_old_order(world):
    old = world.ids("chat")
    world.settle(DELIVERED, *old)
    assert (
        replay.repeat(world.connection, found(world, ListingFilter(sink="chat", states=(DELIVERED,))).repeat, LATER)
        == 2
    )
    again = of(world, "chat")
    assert [(row.event_seq, row.since, row.attempts) for row in again] == [(1, LATER, 0), (2, LATER, 0)]
    assert min(row.id for row in again) > max(old)


def test_a_state_sink_gets_one_delivery_for_each_interview(world):
    world.receive(body("interview.create", 2))
    world.settle_all()
    chosen = found(world, ListingFilter(sink="sheet", states=(DELIVERED,)))
    assert chosen.counts == {("sheet", "delivered"): 2}
    replay.repeat(world.connection, chosen.repeat, LATER)
    assert sorted(row.key for row in of(world, "sheet")) == ["interview-1", "interview-2"]


def test_an_event_that_waits_already_is_not_repeated(world):
    world.settle_all()
    chosen = found(world, ListingFilter(sink="chat", states=(DELIVERED,)))
    assert replay.repeat(world.connection, chosen.repeat, LATER) == 2
    assert replay.repeat(world.connection, chosen.repeat, LATER) == 0


def test_an_event_that_was_delivered_twice_is_repeated_once(world):
    world.settle_all()
    replay.repeat(world.connection, world.ids("chat"), LATER)
    world.settle_all()
    assert len(found(world, ListingFilter(sink="chat", event=1, states=(DELIVERED,))).repeat) == 1


def test_a_dead_letter_goes_before_an_earlier_delivery_of_the_same_event(world):
    """One event is sent once, under the id that the destination may know."""
    world.settle_all()
    replay.repeat(world.connection, world.ids("chat"), LATER)
    dead = max(row.id for row in of(world, "chat") if row.event_seq == 1)
    world.settle(DEAD, dead)
    chosen = found(world, ListingFilter(sink="chat", event=1, states=(DEAD, DELIVERED)))
    assert (chosen.dead, chosen.repeat) == ([dead], [])


def test_a_delivered_follow_up_is_not_replayed(world):
    follow_up(world, state=DELIVERED)
    assert found(world).repeat == []


def test_a_dead_follow_up_call_stays_dead_while_another_one_waits(world):
    dead = follow_up(world, state=DEAD)
    follow_up(world)
    assert replay.revive(world.connection, [dead], LATER) == 0


def test_a_dead_follow_up_call_is_revived_when_none_waits(world):
    dead = follow_up(world, state=DEAD)
    follow_up(world, key="interview-2")
    assert replay.revive(world.connection, [dead], LATER) == 1


def test_a_sink_that_is_no_longer_configured_gets_nothing(world):
    world.settle_all(DEAD)
    chosen = replay.find_deliveries(world.connection, OLD, {"sheet": True})
    assert {sink for sink, _ in chosen.counts} == {"sheet"}


def test_pending_and_superseded_deliveries_are_left_alone(world):
    world.settle(DeliveryState.SUPERSEDED, world.ids("sheet")[0])
    chosen = found(world, ListingFilter())
    assert (chosen.dead, chosen.repeat) == ([], [])


def read_again(world, kind="unknown"):
    result = ReadAgain()
    seqs = replay.find_events(world.connection, ListingFilter(kind=kind)).ids
    replay.read_again(world.connection, seqs, world.routing_table, LATER, result)
    return result


def test_an_event_this_version_understands_is_merged_and_routed_as_of_now(world):
    world.keep("unknown", body("interview.finish", 7, position={"id": "p", "name": "Graduate"}), 3, name="Finish")
    assert read_again(world) == ReadAgain(applied=1)
    assert world.rows(interview, id="interview-7")[0].stage == "to_evaluate"
    sent = world.rows(delivery, event_seq=3)
    assert sorted(row.sink for row in sent) == ["chat", "graduates", "sheet"]
    assert {row.since for row in sent} == {LATER}


def test_an_event_is_applied_once(world):
    world.keep("unknown", body("interview.finish", 7), 3)
    read_again(world)
    assert read_again(world) == ReadAgain()


def test_an_applied_event_merges_by_its_own_date(world):
    """An event that is applied late does not overwrite newer values."""
    world.keep("unknown", body("interview.score-updated", 1, NOON - DAY, score=1), 3)
    read_again(world)
    assert '"score":3' in world.rows(interview, id="interview-1")[0].state


def test_a_repeat_of_an_applied_event_is_a_duplicate(world):
    """Its identity is what it would have been, had this version received it."""
    late = body("interview.finish", 7)
    world.keep("unreadable", late, 3)
    read_again(world, "unreadable")
    assert world.receive(late).answers == [(3, True)]


def test_a_repeat_of_a_stored_event_is_not_applied(world):
    raw = body("interview.finish", 7)
    world.keep("unreadable", raw, 3)
    world.receive(raw)
    assert read_again(world, "unreadable") == ReadAgain(repeats=1)
    assert [(row.kind, row.reason) for row in world.rows(event, seq=3)] == [("event", "repeats event 4")]


def test_what_is_still_not_understood_stays_as_it_is(world):
    world.keep("unreadable", b"no json", 3)
    assert read_again(world, "unreadable") == ReadAgain(still=1)
    assert world.rows(event, seq=3)[0].kind == "unreadable"


def test_an_event_without_its_body_cannot_be_read_again(world):
    world.keep("unknown", body(), 3)
    world.connection.execute(delete(event_body))
    assert replay.find_events(world.connection, ListingFilter(kind="unknown")).ids == []


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "sink": st.sampled_from(["chat", "sheet"]),
            "key": st.sampled_from(["i1", "i2"]),
            "event_seq": st.sampled_from([None, 1, 2]),
            "purpose": st.sampled_from(["", "digest"]),
            "state": st.sampled_from([each for each in DeliveryState if each is not DeliveryState.WAITING]),
        }
    ),
    max_size=12,
)


@given(ROWS)
def test_a_preview_is_what_a_replay_does(made):
    """However often the same was delivered, rejected or is pending."""
    with memory() as store:
        for seq in (1, 2):
            columns = {"sha256": b"", "kind": "event", "name": "n", "interview_id": "i1", "mark": "", "reason": ""}
            values = {"seq": seq, "identity": str(seq), "occurred_at": 1, "received_at": 1}
            store.execute(insert(event).values(columns | values))
            store.execute(insert(event_body).values(event_seq=seq, received_at=1, body=b"{}"))
        for row in made:
            add(store, **(row | ({"event_seq": None} if row["purpose"] else {})))
        wanted = ListingFilter(states=(DeliveryState.DEAD, DeliveryState.DISMISSED, DeliveryState.DELIVERED))
        found = replay.find_deliveries(store, wanted, {"chat": False, "sheet": True})
        replayed = replay.revive(store, found.dead, START, found.message_sinks)
        replayed += replay.repeat(store, found.repeat, START, found.message_sinks)
        assert replayed == len(found.dead) + len(found.repeat) == found.counts.total()


SETTLED = st.lists(
    st.fixed_dictionaries(
        {
            "sink": st.sampled_from(["chat", "sheet"]),
            "key": st.sampled_from(["i1", "i2"]),
            "event_seq": st.sampled_from([None, 1, 2]),
            "purpose": st.sampled_from(["", "edit"]),
            "silent": st.sampled_from([0, 1]),
            "state": st.sampled_from([DEAD, DeliveryState.DISMISSED, DELIVERED]),
        }
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(SETTLED)
def test_a_preview_counts_the_rows_and_messages_that_the_lanes_claim_after_the_replay(made):
    with memory() as store:
        add_events(store, (1, 2))
        store.execute(insert(event_body), [{"event_seq": seq, "received_at": 1, "body": b"{}"} for seq in (1, 2)])
        for row in made:
            add(store, **(row | ({"event_seq": None} if row["purpose"] else {})))
        wanted = ListingFilter(states=(DEAD, DeliveryState.DISMISSED, DELIVERED))
        found = replay.find_deliveries(store, wanted, {"chat": False, "sheet": True})
        replay.revive(store, found.dead, START, found.message_sinks)
        replay.repeat(store, found.repeat, START, found.message_sinks)
        claimed = claim.newest(store, "sheet", claim.due_topics(store, "sheet", START, 100), START)
        assert found.rows["sheet"] == len(claimed)
        due = claim.due(store, "chat", START, 100)
        assert found.notifying.total() == sum(not row.silent for row in due)
