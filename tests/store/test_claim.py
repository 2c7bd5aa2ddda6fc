"""Which deliveries are due, which are sent together, and when the next one is due."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from connector.delivery.batches import claim_messages, claim_states
from connector.errors import LeaseLost
from connector.store import claim, leases, rate_limit
from connector.store.claim import ClaimMoved
from connector.store.schema import delivery, event, sink
from connector.testing import START
from tests.store.kit import DEAD, DELIVERED, SUPERSEDED, add, lease_of, row_of

LATER = START + 60_000


def due(connection, now=START, limit=100):
    return [row.id for row in claim.due(connection, "chat", now, limit)]


def claimed(connection, now=START, limit=100):
    """The ids of the next batch of the message sink, and whether it may have been sent."""
    found = claim_messages(connection, "chat", now, limit)
    return None if found is None else ([work.id for work in found.works], found.maybe_sent)


def claimed_states(connection, now=START, limit=100):
    """Per claimed key of the state sink: the newest row and those it supersedes."""
    row = leases.row(connection, "chat")
    found = claim_states(connection, row, now, limit)
    return [] if found is None else [(work.id, list(work.older)) for work in found.works]


def change(connection, id_, **values):
    connection.execute(update(delivery).where(delivery.c.id == id_).values(values))


# --- what is due


def test_best_first_by_priority_then_arrival(connection):
    """Priority decides between keys, arrival between equals."""
    low, first, second, high = (
        add(connection, f"i{number}", priority=priority) for number, priority in enumerate([200, 100, 100, 1])
    )
    assert due(connection) == [high, first, second, low]


def test_only_pending_rows_of_this_sink(connection):
    """Settled and dead deliveries and those of other sinks are not due."""
    for state in (DELIVERED, SUPERSEDED, DEAD):
        add(connection, state=state)
    add(connection, sink="other")
    mine = add(connection)
    assert due(connection) == [mine]


def test_a_row_is_due_at_its_time(connection):
    """From `not_before` on, to the millisecond."""
    id_ = add(connection, not_before=LATER)
    assert due(connection, LATER - 1) == []
    assert due(connection, LATER) == [id_]


def test_a_held_row_holds_back_its_key_and_nothing_else(connection):
    """Earlier and later rows of the key wait; another key and another sink do not."""
    add(connection, "i1")
    held = add(connection, "i1", blocks_key=1, not_before=LATER)
    add(connection, "i1", priority=1)
    other = add(connection, "i2")
    add(connection, "i1", sink="elsewhere")
    assert due(connection) == [other]
    assert due(connection, LATER) == [held, other]


def test_a_done_row_holds_nothing_back(connection):
    """Only pending deliveries hold others back."""
    add(connection, blocks_key=1, state=DEAD, not_before=LATER)
    add(connection, blocks_key=1, state=DELIVERED)
    free = add(connection)
    assert due(connection) == [free]


def test_a_row_that_waits_for_a_bucket_holds_nothing_back(connection):
    """It is due when the bucket has a token. Others of its key are sent before."""
    rate_limit.block(connection, "channel", 60, START)
    waiting = add(connection, bucket="channel")
    other = add(connection)
    assert due(connection) == [other]
    assert due(connection, LATER) == [waiting, other]


def test_a_missing_bucket_is_open(connection):
    """A row does not wait for a missing bucket."""
    id_ = add(connection, bucket="unheard of")
    assert due(connection) == [id_]


# --- batches of a message sink


def test_one_delivery_per_key(connection):
    """A batch never has two of a key; the one with the better priority is first."""
    second, first, other = add(connection), add(connection, priority=1), add(connection, "i2")
    assert claimed(connection) == ([first, other], False)
    assert second not in claimed(connection)[0]


def test_nothing_due_is_no_claim(connection):
    """Neither kind of sink is called with an empty batch."""
    lease_of(connection)
    add(connection, not_before=LATER)
    assert claimed(connection) is None
    assert claimed_states(connection) == []


def test_a_batch_has_a_limit(connection):
    """No more rows than the sink takes in one call."""
    ids = [add(connection, f"i{number}") for number in range(5)]
    assert claimed(connection, limit=3) == (ids[:3], False)


def test_an_unclear_batch_is_claimed_again_alone_under_its_id(connection):
    """It has all its rows and no other, the time of its first call, and precedes newer rows of the same priority."""
    ids = [add(connection, f"i{number}") for number in range(3)]
    for id_ in ids[:2]:
        change(connection, id_, batch="b1", batch_started_at=START - 5000, blocks_key=1)
    found = claim_messages(connection, "chat", START, 100)
    assert (found.batch, found.started_at, found.maybe_sent) == ("b1", START - 5000, True)
    assert [work.id for work in found.works] == ids[:2]


def test_an_unclear_batch_does_not_join_others(connection):
    """Rows with a better priority are sent without it."""
    unclear = add(connection, "i1", batch="b1", blocks_key=1)
    urgent = add(connection, "i2", priority=1)
    assert claimed(connection) == ([urgent], False)
    change(connection, urgent, state=DELIVERED)
    assert claimed(connection) == ([unclear], True)


def test_what_is_done_of_an_unclear_batch_does_not_come_back(connection):
    """Only the rows that are still pending are called again."""
    add(connection, "i1", batch="b1", state=DELIVERED)
    rest = add(connection, "i2", batch="b1", blocks_key=1)
    assert claimed(connection) == ([rest], True)


def test_rows_of_another_sink_with_the_same_batch_stay(connection):
    """A batch belongs to one sink."""
    mine = add(connection, "i1", batch="b1", blocks_key=1)
    add(connection, "i1", sink="other", batch="b1", blocks_key=1)
    assert claimed(connection) == ([mine], True)


# --- batches of a state sink


def test_the_newest_row_represents_its_interview(connection):
    """The older ones are settled with it as superseded. Each interview is sent once."""
    lease_of(connection)
    first, other, second, third = add(connection), add(connection, "i2"), add(connection), add(connection)
    assert claimed_states(connection) == [(third, [first, second]), (other, [])]


def test_a_key_in_backoff_is_not_due(connection):
    """New events of an interview with a failed row wait, and are sent with it."""
    lease_of(connection)
    failed = add(connection, blocks_key=1, attempts=2, not_before=LATER)
    newer = add(connection)
    other = add(connection, "i2")
    assert claimed_states(connection) == [(other, [])]
    assert claimed_states(connection, LATER) == [(newer, [failed]), (other, [])]


def test_attempts_go_over_to_the_newer_row(connection):
    """A row that supersedes a failed one takes over its attempts and its retry window."""
    lease_of(connection)
    add(connection, blocks_key=1, attempts=3, since=START - 9000)
    add(connection, since=START)
    (work,) = claim.newest(connection, "chat", [("", "i1")], START)
    assert (work.attempts, work.since) == (3, START - 9000)


def test_a_call_asked_for_later_neither_supersedes_nor_is_superseded(connection):
    """It is not due yet, so earlier and later events are sent without it."""
    lease_of(connection)
    before = add(connection)
    asked = add(connection, event_seq=None, not_before=LATER)
    after = add(connection)
    assert claimed_states(connection) == [(after, [before])]
    for id_ in (before, after):
        change(connection, id_, state=DELIVERED)
    assert claimed_states(connection, LATER) == [(asked, [])]


def test_a_call_in_flight_marks_the_next_one(connection):
    """After a crash the rows are pending again, but some may have been sent."""
    lease = lease_of(connection)
    add(connection)
    found = claim_states(connection, leases.row(connection, "chat"), START, 10)
    assert not found.maybe_sent
    claim.mark(connection, lease, found, state_sink=True)
    again = claim_states(connection, leases.row(connection, "chat"), START + 10, 10)
    assert (again.maybe_sent, again.started_at) == (True, START)


# --- when to look again


def test_nothing_pending_is_nothing_to_wait_for(connection):
    """`None`, not a time."""
    add(connection, state=DEAD)
    assert claim.next_due(connection, "chat") is None


def test_the_next_look_is_at_the_first_due_row(connection):
    """It is the later of its own time and that of its bucket."""
    rate_limit.block(connection, "channel", 30, START)
    add(connection, "i1", not_before=LATER)
    assert claim.next_due(connection, "chat") == (LATER, False)
    waiting = add(connection, "i2", bucket="channel")
    assert claim.next_due(connection, "chat") == (START + 30_000, True)
    change(connection, waiting, not_before=START + 40_000)
    assert claim.next_due(connection, "chat") == (START + 40_000, False)


def test_a_held_back_row_is_no_reason_to_look(connection):
    """Its time is that of the row that holds it back. Otherwise the lane would search without a pause."""
    add(connection, blocks_key=1, not_before=LATER)
    add(connection)
    assert due(connection) == []
    assert claim.next_due(connection, "chat") == (LATER, False)


@pytest.mark.parametrize("blocks_key", [0, 1])
def test_at_the_next_look_something_is_due(connection, blocks_key):
    """At the time that `next_due` returns, `due` finds a row."""
    rate_limit.block(connection, "channel", 45, START)
    add(connection, "i1", blocks_key=blocks_key, not_before=LATER)
    add(connection, "i1", bucket="channel")
    add(connection, "i2", blocks_key=1, not_before=LATER + 5, bucket="channel")
    at, _ = claim.next_due(connection, "chat")
    assert due(connection, at - 1) == []
    assert due(connection, at) != []


# --- counting


def test_counting_ends_at_the_limit(connection):
    """This is enough to detect a burst."""
    for number in range(5):
        add(connection, f"i{number}")
    assert claim.count_due(connection, "chat", START, 3) == 3
    assert claim.count_due(connection, "chat", START, 10) == 5


def test_what_is_not_due_yet_is_no_burst(connection):
    """Rows in backoff do not make the lane wait for further rows."""
    add(connection, not_before=LATER)
    assert claim.count_due(connection, "chat", START, 10) == 0


# --- marking


def test_marking_stores_the_batch_before_the_call(connection):
    """The rows have the batch's id and time and are in flight; their bucket is removed."""
    lease = lease_of(connection)
    ids = [add(connection, f"i{number}", bucket="channel") for number in range(2)]
    found = claim_messages(connection, "chat", START, 10)
    claim.mark(connection, lease, found, state_sink=False)
    for id_ in ids:
        row = row_of(connection, id_)
        assert (row.batch, row.batch_started_at, row.blocks_key, row.bucket) == (found.batch, START, 1, None)


def test_marking_again_is_harmless(connection):
    """An unclear batch is marked with the id it has."""
    lease = lease_of(connection)
    id_ = add(connection)
    claim.mark(connection, lease, claim_messages(connection, "chat", START, 10), state_sink=False)
    again = claim_messages(connection, "chat", LATER, 10)
    claim.mark(connection, lease, again, state_sink=False)
    assert (row_of(connection, id_).batch, row_of(connection, id_).batch_started_at) == (again.batch, START)


@pytest.mark.parametrize("changed", [{"state": DELIVERED}, {"state": DEAD}, {"batch": "another"}])
def test_a_row_that_was_changed_meanwhile_is_not_called(connection, changed):
    """Another process settled or claimed it after the search, so the claim is repeated."""
    lease = lease_of(connection)
    id_ = add(connection)
    found = claim_messages(connection, "chat", START, 10)
    change(connection, id_, **changed)
    with pytest.raises(ClaimMoved):
        claim.mark(connection, lease, found, state_sink=False)


@pytest.mark.parametrize("state_sink", [False, True])
def test_marking_needs_the_lease(connection, state_sink):
    """A process without the lease marks nothing."""
    lost = lease_of(connection)
    id_ = add(connection)
    found = claim_messages(connection, "chat", START, 10)
    lease_of(connection, owner="other")
    with pytest.raises(LeaseLost):
        claim.mark(connection, lost, found, state_sink=state_sink)
    assert row_of(connection, id_).batch is None
    assert connection.execute(select(sink.c.batch)).scalar_one() is None


def test_due_rows_are_counted_by_the_name_of_their_event(connection):
    """Silent rows, rows that are not due and those of other sinks do not count."""
    for number, values in enumerate(({}, {}, {"silent": 1}, {"not_before": LATER}, {"sink": "other"})):
        add(connection, f"i{number}", event_seq=1, **values)
    add(connection, "i9", event_seq=2)
    connection.execute(update(event).where(event.c.seq == 1).values(name="interview.finish"))
    names = ("interview.finish",)
    assert claim.count_queued(connection, "chat", names, START, 100) == 2
    assert claim.count_queued(connection, "chat", names, START, 1) == 1
