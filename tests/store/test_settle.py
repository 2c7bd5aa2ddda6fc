"""The result of one call, written in one transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from connector.capabilities import DECIDED, ERASE
from connector.errors import LeaseLost
from connector.store import claim, leases, notes
from connector.store.erase import erase
from connector.store.ingest import FOLLOW_UP_PRIORITY
from connector.store.leases import Pause
from connector.store.schema import DeliveryState, attempt, delivery, sink
from connector.store.settle import (
    Attempt,
    PlannedFollowUp,
    Retry,
    Settlement,
    WaitingRow,
    move,
    release_waiting,
    settle,
)
from connector.testing import START
from tests.store.kit import DEAD, DELIVERED, PENDING, SUPERSEDED, add, lease_of, row_of

END = START + 250
LATER = START + 60_000


@pytest.fixture
def settled(connection):
    """Settles with a valid lease. The keyword arguments are the result of the call."""
    lease = lease_of(connection)

    def run(**what):
        settle(connection, lease, "place", replace(Settlement("b1", START, END), **what))

    return run


def sink_row(connection):
    return connection.execute(select(sink).where(sink.c.name == "chat")).one()


def in_flight(connection, key="i1", **columns):
    """A delivery as `mark` leaves it before the call."""
    return add(connection, key, **{"batch": "b1", "batch_started_at": START, "blocks_key": 1, **columns})


# --- done


def test_delivered(connection, settled):
    """It is settled with its time, and holds nothing back."""
    id_ = in_flight(connection, bucket="channel")
    settled(delivered=[(id_, None)])
    row = row_of(connection, id_)
    assert (row.state, row.done_at, row.blocks_key, row.bucket, row.reference) == (DELIVERED, END, 0, None, None)


def test_references_are_kept_row_by_row(connection, settled):
    """The destination's own name for a message, beside others that have none."""
    ids = [in_flight(connection, f"i{number}") for number in range(3)]
    settled(delivered=[(ids[0], "ts-1"), (ids[1], None), (ids[2], "ts-3")])
    assert [row_of(connection, id_).reference for id_ in ids] == ["ts-1", None, "ts-3"]
    assert [row_of(connection, id_).state for id_ in ids] == [DELIVERED] * 3


def test_rejected_rows_are_dead_letters_with_their_reasons(connection, settled):
    """Each keeps its own reason, and is pending no more."""
    ids = [in_flight(connection, f"i{number}") for number in range(2)]
    settled(dead=[(ids[0], "channel gone"), (ids[1], "too long")])
    assert [(row_of(connection, id_).state, row_of(connection, id_).reason) for id_ in ids] == [
        (DEAD, "channel gone"),
        (DEAD, "too long"),
    ]
    assert claim.next_due(connection, "chat") is None


def test_a_reason_may_hold_anything(connection, settled):
    """It may be an answer of the destination. Characters that a database refuses are replaced."""
    hostile = "a\0b\ud800c"
    dead, late, sent = (in_flight(connection, f"i{number}") for number in range(3))
    settled(
        dead=[(dead, hostile)],
        retries=[Retry(late, 1, LATER, hostile, keeps_batch=False)],
        delivered=[(sent, hostile)],
        attempts=[Attempt("rejected", hostile, 1)],
        pause=Pause("broken", hostile, hostile),
    )
    texts = [row_of(connection, id_).reason for id_ in (dead, late)] + [row_of(connection, sent).reference]
    texts += [connection.execute(select(attempt.c.reason)).scalar(), sink_row(connection).reason]
    assert texts == ["a\ufffdb\ufffdc"] * 5


def test_superseded_rows_settle_with_the_newest(connection, settled):
    """They are done, but not counted as delivered."""
    older, newest = add(connection), add(connection)
    settled(delivered=[(newest, None)], superseded=[older])
    assert row_of(connection, older).state == SUPERSEDED
    assert sink_row(connection).delivered == 1


def test_a_regular_call_that_found_nothing_leaves_no_row(connection, settled):
    id_ = in_flight(connection, "", purpose="read")
    settled(idle=[id_])
    assert connection.execute(select(delivery).where(delivery.c.id == id_)).first() is None


def test_a_newer_state_cures_dead_letters(connection, settled):
    """Those of the same sink and key: the destination shows their state or a newer one."""
    dead = [
        add(connection, key, sink=name, state=DEAD) for key, name in (("i1", "chat"), ("i2", "chat"), ("i1", "other"))
    ]
    settled(delivered=[(in_flight(connection), None)], cured=[("", "i1")])
    assert [row_of(connection, id_).state for id_ in dead] == [SUPERSEDED, DEAD, DEAD]


@pytest.mark.parametrize("purpose", [DECIDED, ERASE])
def test_a_newer_state_leaves_dead_letters_with_a_purpose(connection, settled, purpose):
    """The result of a decision is not shown yet, and a person is not removed yet."""
    dead = add(connection, "i1", purpose=purpose, state=DEAD)
    settled(delivered=[(in_flight(connection), None)], cured=[("", "i1")])
    assert row_of(connection, dead).state == DEAD


def test_what_is_done_stays_as_it_is(connection, settled):
    """A row that a person replayed or another call settled is not settled again."""
    id_ = add(connection, state=DEAD, reason="by another")
    settled(delivered=[(id_, "late")], retries=[Retry(id_, 1, LATER, "late", keeps_batch=False)], unsent=[id_])
    row = row_of(connection, id_)
    assert (row.state, row.reason, row.reference, row.attempts) == (DEAD, "by another", None, 0)


def test_deliveries_are_counted(connection, settled):
    """The sink knows how many it delivered, and when last; a call without success changes neither."""
    settled(delivered=[(in_flight(connection, "i1"), None), (in_flight(connection, "i2"), "ts")])
    assert (sink_row(connection).delivered, sink_row(connection).last_delivered_at) == (2, END)
    settled(ended_at=LATER, dead=[(in_flight(connection, "i3"), "no")])
    assert (sink_row(connection).delivered, sink_row(connection).last_delivered_at) == (2, END)


# --- open


def test_a_retry_waits_and_holds_back_its_key(connection, settled):
    """Attempts, time, reason; without an unclear outcome it leaves its batch."""
    id_ = in_flight(connection, attempts=2)
    settled(retries=[Retry(id_, 1, LATER, "rate limited", keeps_batch=False)])
    row = row_of(connection, id_)
    assert (row.state, row.attempts, row.not_before, row.reason) == (PENDING, 3, LATER, "rate limited")
    assert (row.blocks_key, row.batch) == (1, None)


def test_an_unclear_retry_keeps_its_batch(connection, settled):
    """It is called again under the same id; the other row is not."""
    unclear, clear = in_flight(connection, "i1"), in_flight(connection, "i2")
    settled(
        retries=[
            Retry(unclear, 1, LATER, "timeout", keeps_batch=True),
            Retry(clear, 0, LATER, "429", keeps_batch=False),
        ],
        maybe_sent=True,
    )
    assert (row_of(connection, unclear).batch, row_of(connection, unclear).batch_started_at) == ("b1", START)
    assert (row_of(connection, clear).batch, row_of(connection, clear).attempts) == (None, 0)


def test_waiting_for_a_token_holds_nothing_back(connection, settled):
    """A row that was not tried waits for the bucket like one that was not claimed."""
    id_, other = in_flight(connection), add(connection)
    settled(unsent=[id_], bucket="channel")
    row = row_of(connection, id_)
    assert (row.state, row.bucket, row.batch, row.blocks_key, row.attempts) == (PENDING, "channel", None, 0, 0)
    assert other in [row.id for row in claim.due(connection, "chat", START, 10)]


def test_a_failed_row_that_waits_for_a_token_still_holds_back_its_key(connection, settled):
    """It was tried, so it still holds back its key."""
    id_ = in_flight(connection, attempts=1)
    settled(unsent=[id_], bucket="channel")
    assert (row_of(connection, id_).blocks_key, row_of(connection, id_).batch) == (1, None)


def test_an_unclear_batch_that_waits_for_a_token_stays_one(connection, settled):
    """Nothing was sent this time, but something may have been before."""
    id_ = in_flight(connection)
    settled(unsent=[id_], bucket="channel", maybe_sent=True)
    row = row_of(connection, id_)
    assert (row.bucket, row.batch, row.blocks_key) == ("channel", "b1", 1)


# --- notes


def test_notes_come_with_the_outcomes(connection, settled):
    """With any outcome. `None` deletes a note."""
    notes.write(connection, "chat", "place", {"old": {"a": 1}})
    settled(
        retries=[Retry(in_flight(connection), 1, LATER, "no", keeps_batch=False)],
        notes={"new": {"b": [2]}, "old": None},
    )
    assert notes.read(connection, "chat", "place", ["old", "new"]) == {"new": {"b": [2]}}


# --- follow-ups


def follow_up(purpose="edit", interview="i1", subject="", group=None, at=LATER):
    return PlannedFollowUp(purpose, interview, subject, group, at)


def planned(connection):
    rows = connection.execute(select(delivery).where(delivery.c.purpose != "").order_by(delivery.c.id)).all()
    return [(row.purpose, row.interview_id, row.subject, row.not_before) for row in rows if row.state == PENDING]


def test_a_follow_up_comes_after_all_events(connection, settled):
    """It has no attempts, its own time, the last priority, and the interview that it names."""
    settled(follow_ups=[follow_up()])
    (row,) = connection.execute(select(delivery)).all()
    assert (row.purpose, row.key, row.interview_id, row.event_seq) == ("edit", "i1", "i1", None)
    assert (row.priority, row.not_before, row.attempts, row.blocks_key) == (FOLLOW_UP_PRIORITY, LATER, 0, 0)


def test_a_follow_up_is_as_old_as_its_time(connection, settled):
    """A follow-up for the morning is not late because it was made at night."""
    settled(follow_ups=[follow_up()])
    (row,) = connection.execute(select(delivery)).all()
    assert row.since == LATER


def test_a_follow_up_without_an_interview_has_its_subject_as_key(connection, settled):
    settled(follow_ups=[follow_up("digest", "", "p1")])
    (row,) = connection.execute(select(delivery)).all()
    assert (row.key, row.interview_id, row.subject) == ("p1", "", "p1")


@pytest.mark.parametrize("other", [{"purpose": "look"}, {"interview": "i2"}, {"subject": "p1"}])
def test_one_follow_up_per_purpose_interview_and_subject(connection, settled, other):
    """Those that differ in any of them are pending side by side."""
    settled(follow_ups=[follow_up(), follow_up(), follow_up(**other)])
    settled(follow_ups=[follow_up(), follow_up(**other)])
    assert len(planned(connection)) == 2


@pytest.mark.parametrize(("first", "second", "kept"), [(LATER, LATER - 1, LATER - 1), (LATER, LATER + 1, LATER)])
def test_the_same_follow_up_moves_to_the_earlier_time(connection, settled, first, second, kept):
    """While it was never tried, the earlier of two times counts."""
    settled(follow_ups=[follow_up(at=first)])
    settled(follow_ups=[follow_up(at=second)])
    assert planned(connection) == [("edit", "i1", "", kept)]


@pytest.mark.parametrize("tried", [{"attempts": 1}, {"blocks_key": 1}])
def test_a_follow_up_that_was_tried_keeps_its_own_time(connection, settled, tried):
    """Its backoff is not shortened, also when the attempt was not counted."""
    add(connection, "i1", event_seq=None, purpose="edit", not_before=LATER, **tried)
    settled(follow_ups=[follow_up(at=START)])
    assert [at for *_, at in planned(connection)] == [LATER]


def test_a_follow_up_may_ask_for_itself(connection, settled):
    """It is settled before the next one is looked for, so the next one is a new row with a new id."""
    id_ = in_flight(connection, "i1", event_seq=None, purpose="edit")
    settled(delivered=[(id_, None)], follow_ups=[follow_up()])
    assert row_of(connection, id_).state == DELIVERED
    assert planned(connection) == [("edit", "i1", "", LATER)]


def test_follow_ups_of_another_sink_are_not_ours(connection, settled):
    """Each sink has its own."""
    add(connection, "i1", sink="other", event_seq=None, purpose="edit", not_before=START)
    settled(follow_ups=[follow_up()])
    assert sorted(at for *_, at in planned(connection)) == [START, LATER]


# --- waiting


WAITING = DeliveryState.WAITING


def waiting(connection, settled, group="digest", **columns):
    """A delivery that waits in a group, and the follow-up that shows it."""
    id_ = in_flight(connection, **columns)
    settled(
        waiting=[WaitingRow(id_, group, "digest", LATER)],
        follow_ups=[follow_up("digest", "", f"p of {group}", group)],
    )
    return id_


def test_a_waiting_delivery_says_why_and_until_when(connection, settled):
    row = row_of(connection, waiting(connection, settled))
    assert (row.state, row.reason, row.not_before) == (WAITING, "digest", LATER)
    assert (row.blocks_key, row.batch) == (0, None)


def test_a_waiting_delivery_holds_nothing_back_and_is_not_called(connection, settled):
    """Another event of the interview is sent. The waiting one is not sent alone."""
    waiting(connection, settled)
    other = add(connection)
    assert [row.id for row in claim.due(connection, "chat", LATER - 1, 10)] == [other]


def test_a_group_settles_with_the_call_that_shows_it(connection, settled):
    """The whole group, in the transaction of that call, and no other group."""
    ids = [waiting(connection, settled, key=f"i{number}") for number in range(3)]
    other = waiting(connection, settled, "another group", key="i9")
    settled(groups={"digest": (DeliveryState.DELIVERED, "ts")})
    assert [(row_of(connection, id_).state, row_of(connection, id_).reference) for id_ in ids] == [
        (DELIVERED, "ts")
    ] * 3
    assert row_of(connection, other).state == WAITING


def test_a_group_may_be_given_up(connection, settled):
    """Its deliveries become dead letters with the reason."""
    id_ = waiting(connection, settled)
    settled(groups={"digest": (DeliveryState.DEAD, "msg_too_long")})
    assert (row_of(connection, id_).state, row_of(connection, id_).reason) == (DEAD, "msg_too_long")


def test_nothing_waits_for_a_call_that_is_not_pending(connection, settled):
    """A sink that forgot to ask for the call gets its deliveries back, a little later."""
    id_ = in_flight(connection)
    settled(waiting=[WaitingRow(id_, "digest", "soon", LATER)])
    row = row_of(connection, id_)
    assert (row.state, row.wait_group, row.not_before) == (PENDING, None, END + 60_000)


def test_nothing_waits_for_a_call_that_shows_another_group_now(connection, settled):
    """The sink asked for the same call for another group."""
    id_ = in_flight(connection)
    settled(
        waiting=[WaitingRow(id_, "monday", "soon", LATER)], follow_ups=[follow_up("digest", "", "p1", group="monday")]
    )
    other = in_flight(connection, "i2")
    settled(
        waiting=[WaitingRow(other, "tuesday", "soon", LATER)],
        follow_ups=[follow_up("digest", "", "p1", group="tuesday")],
    )
    assert (row_of(connection, id_).state, row_of(connection, id_).not_before) == (PENDING, END + 60_000)
    assert row_of(connection, other).state == WAITING


def test_nothing_waits_for_a_call_about_an_interview_that_was_erased(connection, settled):
    id_ = in_flight(connection)
    call = follow_up("digest", "i2", group="digest")
    settled(waiting=[WaitingRow(id_, "digest", "soon", LATER)], follow_ups=[call])
    erase(connection, "i2", [], END)
    assert (row_of(connection, id_).state, row_of(connection, id_).not_before) == (PENDING, END + 60_000)


def test_what_waited_at_an_old_destination_is_delivered_to_the_new_one(connection, settled):
    """It is delivered like a new one. Settled deliveries stay."""
    move(connection, "chat", "C1")
    id_, done = waiting(connection, settled), add(connection, "i7", state=DELIVERED)
    move(connection, "chat", "C1")
    assert row_of(connection, id_).state == WAITING
    move(connection, "chat", "C2")
    row = row_of(connection, id_)
    assert (row.state, row.wait_group, row.reason, row.not_before) == (PENDING, None, None, 0)
    assert row_of(connection, done).state == DELIVERED


def test_what_waits_is_due_at_once_when_an_operator_answers(connection, settled):
    id_, other = waiting(connection, settled), waiting(connection, settled, "another group", key="i9")
    release_waiting(connection, "chat")
    rows = [row_of(connection, each) for each in (id_, other)]
    assert [(row.state, row.wait_group, row.not_before) for row in rows] == [(PENDING, None, 0)] * 2


# --- the record


def test_attempts_are_recorded(connection, settled):
    """One row per kind of outcome, with time, duration and number."""
    settled(attempts=[Attempt("rejected", "too long", 2), Attempt("delivered", "", 1)])
    rows = connection.execute(select(attempt).order_by(attempt.c.id)).all()
    assert [row[1:] for row in rows] == [
        ("chat", "b1", START, 250, "rejected", "too long", 2, None, None),
        ("chat", "b1", START, 250, "delivered", "", 1, None, None),
    ]


def test_first_try_successes_leave_no_line(connection, settled):
    """They are only counted, in the sink's row."""
    settled(delivered=[(in_flight(connection), None)])
    assert connection.execute(select(attempt)).all() == []


def test_a_clock_that_went_back_gives_no_negative_duration(connection, settled):
    """The duration is 0."""
    settled(ended_at=START - 10, attempts=[Attempt("unclear", "timeout", 1)])
    assert connection.execute(select(attempt.c.duration_ms)).scalar_one() == 0


# --- the sink itself


def test_a_state_sinks_call_ends(connection, settled):
    """Its batch ends, unless some rows may have been sent."""
    connection.execute(sink.update().values(batch="b1", batch_started_at=START))
    settled(maybe_sent=True)
    assert sink_row(connection).batch == "b1"
    settled()
    assert (sink_row(connection).batch, sink_row(connection).batch_started_at) == (None, None)


def test_the_rest_of_the_lane_is_shown(connection, settled):
    """`status` shows that the destination fails."""
    settled(rest_until=LATER)
    assert sink_row(connection).rest_until == LATER
    settled()
    assert sink_row(connection).rest_until == 0


def test_a_broken_destination_pauses_its_sink(connection, settled):
    """With reason, fix and the time of the next probe; the rows keep everything."""
    id_ = add(connection)
    settled(unsent=[id_], pause=Pause("broken", "no access", "share the sheet", LATER))
    row = sink_row(connection)
    assert (row.paused, row.reason, row.fix, row.probe_at) == ("broken", "no access", "share the sheet", LATER)
    assert (row_of(connection, id_).attempts, row_of(connection, id_).blocks_key) == (0, 0)


def test_a_probe_that_works_ends_the_pause(connection, settled):
    """Reason and fix are gone with it."""
    leases.pause(connection, "chat", Pause("broken", "no access", "share", LATER))
    settled(resumed=True)
    row = sink_row(connection)
    assert (row.paused, row.reason, row.fix, row.probe_at) == (None, None, None, None)


@pytest.mark.parametrize("what", [{"resumed": True}, {"pause": Pause("broken", "no access", "share", LATER)}])
def test_a_pause_of_an_operator_is_kept_after_the_call(connection, settled, what):
    """The pause of an operator during the call stays, with its reason."""
    leases.pause(connection, "chat", Pause("person", "holidays"))
    settled(**what)
    assert (sink_row(connection).paused, sink_row(connection).reason) == ("person", "holidays")


# --- the fence


def test_without_the_lease_nothing_is_written(connection):
    """Outcomes, notes, follow-ups and attempts of a worker that lost its lease are dropped."""
    lost = lease_of(connection)
    id_ = in_flight(connection)
    lease_of(connection, owner="other")
    what = Settlement("b1", START, END, delivered=[(id_, "ts")], follow_ups=[follow_up()])
    what.notes, what.attempts = {"n": {"a": 1}}, [Attempt("rejected", "x", 1)]
    with pytest.raises(LeaseLost):
        settle(connection, lost, "place", what)
    assert row_of(connection, id_).state == PENDING
    assert planned(connection) == []
    assert notes.read(connection, "chat", "place", ["n"]) == {}
    assert connection.execute(select(attempt)).all() == []
