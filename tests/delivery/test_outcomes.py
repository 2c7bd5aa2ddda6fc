"""The rules for outcomes: nothing is lost, and nothing is settled twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.capabilities import DECIDED
from connector.delivery.outcomes import (
    ATTEMPTS_MIN,
    EMPTY,
    WINDOW_SECONDS,
    CallFailure,
    DestinationHealth,
    Policy,
    Span,
    failures_after,
    has_recovered,
    health_of,
    label_of,
    rest_after,
    settlement_of,
    short,
)
from connector.errors import RateLimited, SinkBroken
from connector.sink import Delivered, FollowUp, Rejected, Result, RetryLater, Superseded, Waiting
from connector.store.claim import Claim, ClaimedDelivery
from connector.store.schema import DeliveryState
from connector.store.settle import PlannedFollowUp

NOW = 1_761_566_424_000
POLICY = Policy(random=lambda low, high: high)

reasons = st.text(max_size=300)
outcomes = st.one_of(
    st.builds(Delivered, st.none() | st.text(max_size=20)),
    st.builds(Rejected, reasons),
    st.builds(
        RetryLater,
        reasons,
        after=st.none() | st.floats(0, 900),
        counts=st.booleans(),
        unclear=st.booleans(),
        pause_sink=st.booleans(),
        destination_works=st.booleans(),
    ),
)


@st.composite
def claims_and_outcomes(draw):
    given_outcomes = draw(st.lists(outcomes, min_size=1, max_size=8))
    works = tuple(
        ClaimedDelivery(
            id=10 * number,
            key=f"i{number}",
            interview_id=f"i{number}",
            event_seq=number,
            attempts=draw(st.integers(0, 50)),
            since=NOW - draw(st.integers(0, 20 * 86400)) * 1000,
            older=tuple(range(10 * number + 1, 10 * number + 1 + draw(st.integers(0, 3)))),
        )
        for number in range(len(given_outcomes))
    )
    return Claim("batch", NOW - 1000, works, draw(st.booleans())), given_outcomes


answers = st.sampled_from([CallFailure("timeout"), RateLimited("bucket", 3), SinkBroken("gone", "fix it")])


@given(claims_and_outcomes())
def test_every_claimed_row_gets_exactly_one_outcome(drawn):
    """Delivered, dead or pending again; older rows of a state sink are superseded."""
    claim, given_outcomes = drawn
    settlement = settlement_of(claim, Result(given_outcomes), NOW - 1000, NOW, POLICY)
    fates = [
        *(id_ for id_, _ in settlement.delivered),
        *(id_ for id_, _ in settlement.dead),
        *(retry.id for retry in settlement.retries),
    ]
    assert sorted(fates) == [work.id for work in claim.works]
    assert sorted(settlement.superseded) == sorted(id_ for work in claim.works for id_ in work.older)
    assert settlement.unsent == []


@given(claims_and_outcomes(), answers)
def test_a_call_without_outcomes_settles_nothing(drawn, answer):
    """A failure, a refused token and a broken destination leave every row pending."""
    claim, _ = drawn
    young = Claim(
        claim.batch,
        claim.started_at,
        tuple(ClaimedDelivery(w.id, w.key, w.interview_id, w.event_seq, w.attempts, NOW, w.older) for w in claim.works),
        claim.maybe_sent,
    )
    settlement = settlement_of(young, answer, NOW - 1000, NOW, POLICY)
    assert settlement.delivered == []
    assert settlement.dead == []
    assert {*settlement.unsent, *(retry.id for retry in settlement.retries)} == {work.id for work in young.works}


@given(claims_and_outcomes())
def test_what_was_unclear_stays_unclear_until_it_settles(drawn):
    """A row keeps its batch when this call was unclear or an earlier one was."""
    claim, given_outcomes = drawn
    settlement = settlement_of(claim, Result(given_outcomes), NOW - 1000, NOW, POLICY)
    by_id = {work.id: outcome for work, outcome in zip(claim.works, given_outcomes, strict=True)}
    for retry in settlement.retries:
        assert retry.keeps_batch == (claim.maybe_sent or by_id[retry.id].unclear)
    assert settlement.maybe_sent == any(retry.keeps_batch for retry in settlement.retries)


@given(claims_and_outcomes())
def test_an_asked_for_delay_is_obeyed_to_the_millisecond(drawn):
    """Otherwise the backoff decides, at most 15 minutes."""
    claim, given_outcomes = drawn
    settlement = settlement_of(claim, Result(given_outcomes), NOW - 1000, NOW, POLICY)
    by_id = {work.id: outcome for work, outcome in zip(claim.works, given_outcomes, strict=True)}
    for retry in settlement.retries:
        after = by_id[retry.id].after
        assert 0 <= retry.not_before - NOW <= 900_000
        if after is not None:
            assert retry.not_before == NOW + int(after * 1000)
        assert retry.counted == int(by_id[retry.id].counts)


@given(claims_and_outcomes())
def test_only_the_window_or_a_rejection_makes_a_dead_letter(drawn):
    """Neither the number of attempts nor age alone does, so deliveries of a paused queue are tried."""
    claim, given_outcomes = drawn
    settlement = settlement_of(claim, Result(given_outcomes), NOW - 1000, NOW, POLICY)
    dead = {id_ for id_, _ in settlement.dead}
    for work, outcome in zip(claim.works, given_outcomes, strict=True):
        tried = isinstance(outcome, RetryLater) and outcome.counts and work.attempts + 1 >= ATTEMPTS_MIN
        expected = isinstance(outcome, Rejected) or (tried and NOW - work.since > WINDOW_SECONDS * 1000)
        assert (work.id in dead) == expected


@given(claims_and_outcomes())
def test_the_record_counts_all_but_first_try_successes(drawn):
    """Nothing is recorded twice."""
    claim, given_outcomes = drawn
    settlement = settlement_of(claim, Result(given_outcomes), NOW - 1000, NOW, POLICY)
    first_tries = sum(
        isinstance(outcome, Delivered) and work.attempts == 0 and not claim.maybe_sent
        for work, outcome in zip(claim.works, given_outcomes, strict=True)
    )
    assert sum(entry.count for entry in settlement.attempts) == len(given_outcomes) - first_tries
    assert len({(entry.outcome, entry.reason) for entry in settlement.attempts}) == len(settlement.attempts)


@given(st.lists(outcomes, min_size=1, max_size=5))
def test_a_destination_is_up_as_soon_as_one_delivery_was_decided(given_outcomes):
    """Or as soon as one only has to wait. A delay that the destination asked for is neither up nor down."""
    health = health_of(Result(given_outcomes))
    if any(not isinstance(outcome, RetryLater) or outcome.destination_works for outcome in given_outcomes):
        assert health is DestinationHealth.UP
    elif any(outcome.counts for outcome in given_outcomes):
        assert health is DestinationHealth.DOWN
    else:
        assert health is DestinationHealth.UNKNOWN


@given(st.integers(0, 10), answers)
def test_only_failures_count_in_a_row(before, answer):
    """A success resets them. A refused token and a broken destination do not change them."""
    assert failures_after(Result([Delivered()]), before) == 0
    assert failures_after(answer, before) == before + isinstance(answer, CallFailure)


@given(st.floats(0.001, 900), st.integers(0, 10**7))
def test_a_rest_is_over_at_its_time_or_when_the_clock_is_set_back(seconds, passed):
    """A rest does not become longer when the clock is corrected."""
    rest = Span.of(NOW, seconds)
    assert rest.contains(NOW + passed) == (passed < int(seconds * 1000))
    assert not rest.contains(NOW - 1 - passed)
    assert Span.of(NOW, 0) == EMPTY


@given(st.integers(0, 100))
def test_the_rest_of_a_lane_grows_to_half_a_minute(failures):
    """None after one failure, then 2, 4, … 30 seconds."""
    rest = rest_after(CallFailure("timeout"), failures)
    assert rest == (0 if failures < 2 else min(30, 2 ** min(failures - 1, 10)))


@pytest.mark.parametrize("answer", [RateLimited("bucket", 3), Result([RetryLater("throttled", after=9, counts=False)])])
def test_only_a_failure_starts_a_rest(answer):
    """The lane has rested since the last failure when it makes another call."""
    assert failures_after(answer, 5) == 5
    assert rest_after(answer, 5) == 0


def test_a_row_of_failures_ends_when_the_destination_answers_that_a_delivery_has_to_wait():
    """Else single failures between such answers would let the lane rest for longer and longer."""
    answer = Result([RetryLater("rows moved", after=1.0, counts=False, destination_works=True)])
    assert failures_after(answer, 5) == 0
    assert rest_after(answer, 0) == 0
    assert has_recovered(answer, reached=True)


def test_a_follow_up_is_about_what_it_names():
    """It does not depend on the delivery that asked for it."""
    works = (ClaimedDelivery(1, "i1", "i1", 1, 0, NOW), ClaimedDelivery(2, "i2", "i2", 2, 0, NOW))
    asked = [FollowUp("edit", timedelta(seconds=1), interview="i2"), FollowUp("digest", subject="p1", group="g")]
    result = Result([Delivered(), Delivered()], follow_ups=asked)
    settlement = settlement_of(Claim("b", NOW, works, maybe_sent=False), result, NOW, NOW, POLICY)
    assert settlement.follow_ups == [
        PlannedFollowUp("edit", "i2", "", None, NOW + 1000),
        PlannedFollowUp("digest", "", "p1", "g", NOW),
    ]


@pytest.mark.parametrize("outcome", [Waiting("g", "digest"), Superseded("nothing new")])
def test_what_made_no_call_is_no_evidence(outcome):
    """An outcome without a call does not show whether the destination works."""
    answer = Result([outcome])
    assert health_of(answer) is DestinationHealth.UNKNOWN
    assert not has_recovered(answer, reached=True)


def test_only_a_regular_call_of_a_state_sink_that_found_nothing_is_idle():
    work = ClaimedDelivery(1, "", "", None, 0, NOW, purpose="read")
    about = ClaimedDelivery(2, "i1", "i1", None, 0, NOW, purpose="edit")
    result = Result([Superseded("nothing new"), Superseded("nothing new")])
    claimed = Claim("b", NOW, (work, about), maybe_sent=False)
    settlement = settlement_of(claimed, result, NOW, NOW, POLICY, state_sink=True)
    assert (settlement.idle, settlement.unneeded) == ([1], [(2, "nothing new")])
    assert settlement_of(claimed, result, NOW, NOW, POLICY).idle == []


def test_the_result_of_a_decision_cures_no_dead_letter():
    work = ClaimedDelivery(1, "i1", "i1", None, 0, NOW, purpose=DECIDED, subject="1-done")
    claimed = Claim("b", NOW, (work,), maybe_sent=False)
    assert settlement_of(claimed, Result([Delivered()]), NOW, NOW, POLICY, state_sink=True).cured == []


def test_a_delivery_without_a_call_does_not_end_a_failure():
    """It does not show whether the destination can be reached."""
    assert not has_recovered(Result([Delivered()]), reached=False)
    assert has_recovered(Result([Delivered()]), reached=True)


def test_a_dead_follow_up_makes_its_group_dead_letters():
    """Also when its retry window ended."""
    work = ClaimedDelivery(1, "p1", "", None, 0, NOW, purpose="digest", subject="p1", group="g")
    settlement = settlement_of(
        Claim("b", NOW, (work,), maybe_sent=False), Result([Rejected("msg_too_long")]), NOW, NOW, POLICY
    )
    assert settlement.groups == {"g": (DeliveryState.DEAD, "msg_too_long")}


def test_a_state_sink_shows_the_newest_state_of_what_was_delivered():
    """So that older dead letters of these interviews, and of no others, are superseded."""
    works = tuple(ClaimedDelivery(number, f"i{number}", f"i{number}", number, 0, NOW) for number in range(3))
    result = Result([Delivered("ts"), RetryLater("busy"), Delivered()])
    settlement = settlement_of(Claim("b", NOW, works, maybe_sent=False), result, NOW, NOW, POLICY, state_sink=True)
    assert settlement.cured == [("", "i0"), ("", "i2")]


@given(reasons)
def test_a_reason_fits_a_label(reason):
    """A label has a limited length."""
    assert len(short(reason)) <= 100
    assert label_of(RetryLater(reason, unclear=True))[0] == "unclear"


def test_a_rejected_follow_up_that_asks_for_another_call_leaves_its_group_waiting():
    """The other call shows the group; it becomes dead letters only when no call is left."""
    work = ClaimedDelivery(1, "p1", "", None, 0, NOW, purpose="digest", subject="p1", group="g")
    again = FollowUp("digest", subject="p1", group="g")
    answer = Result([Rejected("msg_too_long")], follow_ups=[again])
    settlement = settlement_of(Claim("b", NOW, (work,), maybe_sent=False), answer, NOW, NOW, POLICY)
    assert settlement.groups == {}
    assert settlement.touched == {"g"}
