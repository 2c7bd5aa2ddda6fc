"""What a lane does with the answers of its sink, on a real store."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from connector.decision import Decision, DecisionRequest, Via
from connector.delivery.outcomes import ATTEMPTS_MIN, unconfirmed
from connector.errors import LeaseLost, RateLimited, SinkBroken, StoreUnavailable
from connector.sink import Delivered, FollowUp, Rejected, Result, RetryLater, Token
from connector.store import decisions, leases
from connector.store.replay import revive
from connector.store.settle import Settlement
from connector.web.metrics import Metrics
from tests.delivery.rig import Gathering, One, Scripted, State

PENDING, DELIVERED, SUPERSEDED, DEAD = range(4)


class Counting(Scripted):
    """Counts its calls, and makes none."""

    counts_calls = True


class Died(BaseException):
    """The process ends in the middle of a call."""


def all_of(outcome):
    return lambda batch, context: Result([outcome for _ in batch.deliveries])


def raising(error):
    def act(batch, context):
        raise error

    return act


async def until(condition):
    """Runs the event loop until a condition holds, at most until the time limit of the test."""
    while not (await condition() if asyncio.iscoroutinefunction(condition) else condition()):  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)


async def test_nothing_due_makes_no_call(rig_of):
    """An idle lane does not call the sink, and has no time for the next search."""
    rig = await rig_of()
    assert await rig.lane.step() is None
    assert rig.sinks[0].batches == []


async def test_an_event_reaches_its_sink_once(rig_of):
    """A delivered event is settled and never called again."""
    rig = await rig_of()
    await rig.event(candidate={"name": "Zoë"})
    await rig.lane.step()
    await rig.lane.step()
    (batch,) = rig.sinks[0].batches
    (delivery,) = batch.deliveries
    assert delivery.event.name == "interview.finish"
    assert delivery.interview.candidate_name == "Zoë"
    assert delivery.attempt == 1
    assert not batch.maybe_sent
    assert await rig.states() == [DELIVERED]


async def test_first_try_success_is_counted_but_not_recorded(rig_of):
    """Only failed first attempts are recorded."""
    rig = await rig_of()
    await rig.event()
    await rig.lane.step()
    assert await rig.attempts() == []
    row = await rig.sink_row()
    assert (row.delivered, row.last_delivered_at) == (1, rig.clock.now())


async def test_deliveries_come_by_priority_then_arrival(rig_of):
    """A finish goes before earlier events of other interviews."""
    rig = await rig_of(One())
    await rig.event("interview.create", "i1")
    await rig.event("interview.create", "i2")
    await rig.event("interview.finish", "i3")
    for _ in range(3):
        await rig.lane.step()
    assert rig.sinks[0].called_with == [["interview.finish"], ["interview.create"], ["interview.create"]]
    assert [batch.deliveries[0].key for batch in rig.sinks[0].batches] == ["i3", "i1", "i2"]


async def test_one_delivery_per_key_in_a_batch(rig_of):
    """Two events of an interview are never in the same call of a message sink."""
    rig = await rig_of()
    await rig.event("interview.create", "i1")
    await rig.event("interview.create", "i2")
    await rig.event("interview.score-updated", "i1", score={"value": 3})
    await rig.lane.step()
    await rig.lane.step()
    assert rig.sinks[0].called_with == [["interview.create", "interview.create"], ["interview.score-updated"]]


async def test_a_failed_delivery_holds_back_its_key_only(rig_of):
    """Later and earlier events of the interview wait; other interviews do not."""
    rig = await rig_of(One())
    rig.sinks[0].script = [all_of(RetryLater("busy"))]
    await rig.event("interview.finish", "i1")
    await rig.lane.step()
    await rig.event("interview.finish", "i1")
    await rig.event("interview.create", "i2")
    await rig.lane.step()
    assert rig.sinks[0].batches[-1].deliveries[0].key == "i2"
    at = await rig.lane.step()
    assert len(rig.sinks[0].batches) == 2
    assert at == rig.clock.now() + 1000


async def test_a_retry_keeps_its_id_and_counts(rig_of):
    """The idempotency key stays the same; the attempt number grows."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(RetryLater("busy"))]
    await rig.event()
    await rig.lane.step()
    rig.clock.advance(2)
    await rig.lane.step()
    first, second = (batch.deliveries[0] for batch in rig.sinks[0].batches)
    assert first.id == second.id
    assert (first.attempt, second.attempt) == (1, 2)
    assert not rig.sinks[0].batches[1].maybe_sent
    assert rig.sinks[0].batches[0].id != rig.sinks[0].batches[1].id
    assert await rig.attempts() == [("retry later", "busy", 1), ("delivered", "", 1)]


async def test_an_asked_for_delay_is_obeyed_and_not_counted(rig_of):
    """A 429 with Retry-After does not count as an attempt."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(RetryLater("throttled", after=30, counts=False))]
    await rig.event()
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 30_000
    rig.clock.advance(30)
    await rig.lane.step()
    assert rig.sinks[0].batches[1].deliveries[0].attempt == 1


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(raising(ValueError("Wayne")), id="an exception"),
        pytest.param(lambda batch, context: Result([]), id="too few outcomes"),
        pytest.param(lambda batch, context: "nonsense", id="no result"),
        pytest.param(all_of(RetryLater("lost", unclear=True)), id="unclear"),
        pytest.param(raising(TimeoutError()), id="a timeout"),
    ],
)
async def test_an_unclear_batch_is_called_again_alone_under_its_id(rig_of, answer):
    """The same rows with the same id and start, marked, without further rows."""
    rig = await rig_of()
    rig.sinks[0].script = [answer]
    await rig.event(interview="i1")
    await rig.event(interview="i2")
    await rig.lane.step()
    started_at = rig.clock.now()
    await rig.event(interview="i3")
    await rig.lane.step()
    rig.clock.advance(5)
    await rig.lane.step()
    first, other, again = rig.sinks[0].batches
    assert [one.key for one in other.deliveries] == ["i3"]
    assert again.id == first.id
    assert again.maybe_sent
    assert again.started_at == started_at
    assert [one.id for one in again.deliveries] == [one.id for one in first.deliveries]
    assert await rig.states() == [DELIVERED] * 3


async def test_maybe_sent_stays_until_the_batch_settles(rig_of):
    """A definite refusal after an unclear one does not make it clear."""
    rig = await rig_of()
    rig.sinks[0].script = [
        all_of(RetryLater("lost", unclear=True)),
        all_of(RetryLater("throttled", after=1, counts=False)),
        raising(RateLimited("b", 1)),
    ]
    await rig.event()
    for _ in range(4):
        await rig.lane.step()
        rig.clock.advance(5)
    assert [batch.maybe_sent for batch in rig.sinks[0].batches] == [False, True, True, True]
    assert len({batch.id for batch in rig.sinks[0].batches}) == 1


async def test_a_crash_between_call_and_settling_marks_the_batch(rig_of):
    """The next process gets the same rows under the same id, with `maybe_sent`."""
    rig = await rig_of()

    async def crash(batch, context):
        raise Died

    rig.sinks[0].script = [crash]
    await rig.event()
    with pytest.raises(Died):
        await rig.lane.step()
    await rig.restarted()
    await rig.lane.step()
    first, second = rig.sinks[0].batches
    assert second.id == first.id
    assert second.maybe_sent


async def test_partly_delivered_batches_keep_only_the_rest(rig_of):
    """Each delivery has its own outcome."""
    rig = await rig_of()
    rig.sinks[0].script = [
        lambda batch, context: Result([Delivered("ts1"), RetryLater("busy"), Rejected("payload bad")])
    ]
    for interview in ("i1", "i2", "i3"):
        await rig.event(interview=interview)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED, PENDING, DEAD]
    assert [row.reference for row in await rig.rows()] == ["ts1", None, None]
    assert [row.reason for row in await rig.rows()] == [None, "busy", "payload bad"]


async def test_dead_letters_leave_one_line_for_each_call(rig_of):
    """The line has number and reason, without personal data."""
    rig = await rig_of()
    rig.sinks[0].script = [lambda batch, context: Result([Rejected("bad"), Rejected("bad"), Rejected("too long")])]
    for interview in ("i1", "i2", "i3"):
        await rig.event(interview=interview)
    with capture_logs() as logs:
        await rig.lane.step()
    assert logs == [
        {"event": "dead letters", "sink": rig.lane.name, "count": 3, "reason": "bad; too long", "log_level": "warning"}
    ]


async def test_a_dead_letter_lets_its_key_go_on(rig_of):
    """A rejected delivery holds nothing back."""
    rig = await rig_of(One())
    rig.sinks[0].script = [all_of(Rejected("no"))]
    await rig.event("interview.finish", "i1")
    await rig.event("interview.delete", "i1")
    await rig.lane.step()
    await rig.lane.step()
    assert await rig.states() == [DEAD, DELIVERED]


async def test_the_retry_window_ends_in_a_dead_letter(rig_of):
    """A delivery that fails for longer than the window is not tried again automatically."""
    rig = await rig_of()
    rig.sinks[0].always = all_of(RetryLater("busy"))
    await rig.event()
    for _ in range(ATTEMPTS_MIN):
        assert await rig.states() == [PENDING]
        rig.clock.advance(2 * 86400)
        await rig.lane.step()
    (row,) = await rig.rows()
    assert row.state == DEAD
    assert row.reason == "retry window ended: busy"


async def test_what_waited_longer_than_the_window_in_a_paused_queue_is_tried_all_the_same(rig_of):
    """One failure after a long pause loses nothing."""
    rig = await rig_of()
    rig.sinks[0].script = [raising(SinkBroken("gone", "fix")), all_of(RetryLater("busy"))]
    await rig.event()
    await rig.lane.step()
    rig.clock.advance(20 * 86400)
    await rig.lane.step()
    rig.clock.advance(1)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED]


async def test_state_sinks_get_the_newest_state_once(rig_of):
    """Older deliveries of the interview are superseded by the newest."""
    rig = await rig_of(State())
    await rig.event("interview.create", "i1")
    rig.clock.advance(1)
    await rig.event("interview.score-updated", "i1", score={"value": 4})
    await rig.event("interview.create", "i2")
    await rig.lane.step()
    (batch,) = rig.sinks[0].batches
    assert [one.key for one in batch.deliveries] == ["i1", "i2"]
    assert batch.deliveries[0].event is None
    assert batch.deliveries[0].interview.score == 4
    assert await rig.states() == [SUPERSEDED, DELIVERED, DELIVERED]


async def test_a_newer_delivery_cures_a_dead_letter_of_a_state_sink(rig_of):
    """The row shows the newest state, so the older failure is superseded; other interviews' dead letters stay."""
    rig = await rig_of(State())
    rig.sinks[0].script = [all_of(Rejected("bad"))]
    await rig.event("interview.create", "i1")
    await rig.event("interview.create", "i2")
    await rig.lane.step()
    assert await rig.states() == [DEAD, DEAD]
    await rig.event("interview.finish", "i1")
    await rig.lane.step()
    assert await rig.states() == [SUPERSEDED, DEAD, DELIVERED]


async def test_a_dead_letter_of_a_message_sink_stays(rig_of):
    """A later message does not replace the earlier one."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(Rejected("bad"))]
    await rig.event("interview.create", "i1")
    await rig.lane.step()
    await rig.event("interview.finish", "i1")
    await rig.lane.step()
    assert await rig.states() == [DEAD, DELIVERED]


async def test_after_an_unclear_call_a_state_sink_gets_everything_due_marked(rig_of):
    """The rows are pending again. The next batch includes newer ones, too."""
    rig = await rig_of(State())
    rig.sinks[0].script = [raising(OSError("cut"))]
    await rig.event(interview="i1")
    await rig.lane.step()
    started_at = rig.clock.now()
    await rig.event(interview="i2")
    rig.clock.advance(5)
    await rig.lane.step()
    _, second = rig.sinks[0].batches
    assert [one.key for one in second.deliveries] == ["i1", "i2"]
    assert second.maybe_sent
    assert second.started_at == started_at
    rig.clock.advance(5)
    await rig.event(interview="i3")
    await rig.lane.step()
    assert not rig.sinks[0].batches[2].maybe_sent


async def test_notes_are_committed_with_the_outcomes_and_come_back(rig_of):
    """The next call that asks for a note gets it. `None` deletes a note."""
    rig = await rig_of()
    rig.sinks[0].script = [
        lambda batch, context: Result([RetryLater("busy")], notes={"row:i1": {"n": 1}, "other": {"x": "ü"}}),
        lambda batch, context: Result([Delivered()], notes={"row:i1": None}),
    ]
    await rig.event()
    await rig.lane.step()
    rig.clock.advance(5)
    await rig.lane.step()
    assert rig.sinks[0].batches[1].notes == {"row:i1": {"n": 1}}
    assert await rig.notes() == {"other": {"x": "ü"}}


async def test_remembered_notes_survive_a_crash(rig_of):
    """An intent is committed before its call."""
    rig = await rig_of()

    async def remember_and_die(batch, context):
        await context.save_notes({"row:i1": {"intent": 7}})
        raise Died

    rig.sinks[0].script = [remember_and_die]
    await rig.event()
    with pytest.raises(Died):
        await rig.lane.step()
    await rig.restarted()
    await rig.lane.step()
    assert rig.sinks[0].batches[1].notes == {"row:i1": {"intent": 7}}


async def test_a_refused_token_waits_for_the_bucket_and_holds_nothing_back(rig_of):
    """Waiting is neither an attempt nor a failure, and the row goes when the bucket opens."""
    rig = await rig_of(One())

    async def limited(batch, context):
        await context.take(Token("channel", rate=0.1))
        return Result([Delivered()])

    rig.sinks[0].always = limited
    await rig.event("interview.create", "i1")
    await rig.event("interview.create", "i2")
    await rig.lane.step()
    await rig.lane.step()
    at = await rig.lane.step()
    assert at == rig.clock.now() + 10_000
    assert len(rig.sinks[0].batches) == 2
    await rig.event("interview.finish", "i2")
    await rig.lane.step()
    rig.clock.advance(10)
    await rig.lane.step()
    assert rig.sinks[0].batches[-1].deliveries[0].event.name == "interview.finish"
    rig.clock.advance(10)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED, DELIVERED, DELIVERED]
    assert [row.attempts for row in await rig.rows()] == [0, 0, 0]


async def test_a_closed_bucket_stops_all_who_ask(rig_of):
    """After a 429 the bucket gives no token until its time is over."""
    rig = await rig_of(One())

    async def throttled(batch, context):
        await context.block("channel", 60)
        return Result([RetryLater("throttled", after=0, counts=False)])

    async def limited(batch, context):
        await context.take(Token("channel", rate=10, burst=5))
        return Result([Delivered()])

    rig.sinks[0].script = [throttled]
    rig.sinks[0].always = limited
    await rig.event()
    await rig.lane.step()
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 60_000
    rig.clock.advance(60)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED]


async def test_a_state_sink_without_a_token_waits_as_a_lane(rig_of):
    """The lane waits, so that thousands of rows are not rewritten."""
    rig = await rig_of(State())

    async def limited(batch, context):
        await context.take(Token("writes", rate=0.1))
        return Result([Delivered() for _ in batch.deliveries])

    rig.sinks[0].always = limited
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.event(interview="i2")
    await rig.lane.step()
    at = await rig.lane.step()
    assert at == rig.clock.now() + 10_000
    assert len(rig.sinks[0].batches) == 2
    rig.clock.advance(10)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED, DELIVERED]


async def test_a_broken_sink_pauses_itself_and_keeps_its_queue(rig_of):
    """No attempt is counted; the reason and the fix are there to read."""
    rig = await rig_of()
    rig.sinks[0].script = [raising(SinkBroken("channel gone", "invite the bot"))]
    await rig.event()
    await rig.lane.step()
    row = await rig.sink_row()
    assert (row.paused, row.reason, row.fix) == ("broken", "channel gone", "invite the bot")
    assert [(row.attempts, row.blocks_key, row.batch) for row in await rig.rows()] == [(0, 0, None)]
    assert await rig.lane.step() == rig.clock.now() + 300_000
    assert len(rig.sinks[0].batches) == 1
    assert rig.meters.broke == ["scripted"]


async def test_a_broken_sink_probes_and_resumes_by_itself(rig_of):
    """The probe is the head delivery itself."""
    rig = await rig_of()
    broken = raising(SinkBroken("channel gone", "invite the bot"))
    rig.sinks[0].script = [broken, broken]
    await rig.event()
    await rig.lane.step()
    rig.clock.advance(300)
    await rig.lane.step()
    assert (await rig.sink_row()).paused == "broken"
    rig.clock.advance(300)
    await rig.lane.step()
    assert (await rig.sink_row()).paused is None
    assert await rig.states() == [DELIVERED]


@pytest.mark.parametrize("kind", [Scripted, State])
async def test_one_refusal_of_a_sink_that_worked_pauses_nothing(rig_of, kind):
    """The delivery is called again some seconds later, and no attempt is counted."""
    rig = await rig_of(kind())
    rig.sinks[0].script = [all_of(Delivered()), raising(SinkBroken("status 404", "check the address"))]
    for interview in ("i1", "i2"):
        await rig.event(interview=interview)
        await rig.lane.step()
    assert (await rig.sink_row()).paused is None
    assert (await rig.rows())[1].attempts == 0
    assert await rig.lane.step() == rig.clock.now() + 5_000
    rig.clock.advance(5)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED, DELIVERED]
    assert rig.meters.broke == []


@pytest.mark.parametrize("kind", [Scripted, State])
async def test_a_second_refusal_in_a_row_pauses_a_sink_that_worked(rig_of, kind):
    """The refusal is confirmed, so an operator is alerted."""
    rig = await rig_of(kind())
    broken = raising(SinkBroken("status 404", "check the address"))
    rig.sinks[0].script = [all_of(Delivered()), broken, broken]
    for interview in ("i1", "i2"):
        await rig.event(interview=interview)
        await rig.lane.step()
    rig.clock.advance(5)
    await rig.lane.step()
    assert (await rig.sink_row()).paused == "broken"
    assert [row.attempts for row in await rig.rows()] == [0, 0]
    assert rig.meters.broke == ["scripted"]


async def test_a_refusal_of_one_delivery_again_and_again_pauses_the_sink_while_others_pass(rig_of):
    """Otherwise that delivery would be called every few seconds without end and without an alert."""
    rig = await rig_of(One())
    broken = raising(SinkBroken("status 404", "check the address"))
    rig.sinks[0].script = [all_of(Delivered()), broken, all_of(Delivered()), broken]
    for interview in ("i1", "i2"):
        await rig.event("interview.create", interview)
        await rig.lane.step()
    await rig.event("interview.finish", "i3")
    rig.clock.advance(5)
    await rig.lane.step()
    assert await rig.states() == [DELIVERED, PENDING, DELIVERED]
    await rig.lane.step()
    assert (await rig.sink_row()).paused == "broken"


async def test_a_problem_that_an_operator_must_solve_pauses_a_sink_at_once(rig_of):
    """It is a finding about the content of the destination, which a second call would only repeat."""
    rig = await rig_of()
    wiped = raising(SinkBroken("the tab was wiped", "resume", until_resumed=True))
    rig.sinks[0].script = [all_of(Delivered()), wiped]
    for interview in ("i1", "i2"):
        await rig.event(interview=interview)
        await rig.lane.step()
    assert (await rig.sink_row()).paused == "until_person"


async def test_until_person_is_not_probed(rig_of):
    """Only an operator resumes it."""
    rig = await rig_of()
    rig.sinks[0].script = [raising(SinkBroken("the tab was wiped", "resume", until_resumed=True))]
    await rig.event()
    await rig.lane.step()
    rig.clock.advance(86400)
    assert await rig.lane.step() is None
    await rig.store.write(lambda connection: leases.resume(connection, "scripted"))
    await rig.lane.step()
    assert await rig.states() == [DELIVERED]


async def test_a_paused_sink_queues_and_continues_after_it_is_resumed(rig_of):
    """The pause of an operator stops the calls, not the receiver."""
    rig = await rig_of()
    await rig.store.write(lambda connection: leases.pause(connection, "scripted", leases.Pause("person", "holiday")))
    await rig.event(interview="i1")
    await rig.event(interview="i2")
    assert await rig.lane.step() is None
    await rig.store.write(lambda connection: leases.resume(connection, "scripted"))
    await rig.lane.step()
    assert [one.key for one in rig.sinks[0].batches[0].deliveries] == ["i1", "i2"]


async def test_a_lane_rests_after_two_failures_in_a_row(rig_of):
    """2, 4, … seconds with one call each; another event does not shorten it."""
    rig = await rig_of(One())
    rig.sinks[0].always = all_of(RetryLater("down"))
    for number in range(6):
        await rig.event(interview=f"i{number}")
    await rig.lane.step()
    await rig.lane.step()
    await rig.event(interview="i9")
    assert await rig.lane.step() == rig.clock.now() + 2000
    assert len(rig.sinks[0].batches) == 2
    rig.clock.advance(2)
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 4000
    assert len(rig.sinks[0].batches) == 3
    rig.clock.advance(4)
    rig.sinks[0].always = None
    await rig.lane.step()
    await rig.lane.step()
    assert len(rig.sinks[0].batches) == 5


async def test_a_refused_token_is_no_failure_of_the_lane(rig_of):
    """Waiting for tokens never makes the lane rest."""
    rig = await rig_of(One())
    rig.sinks[0].always = raising(RateLimited("channel", 1))
    for number in range(5):
        await rig.event(interview=f"i{number}")
        await rig.lane.step()
    assert len(rig.sinks[0].batches) == 5


@pytest.mark.parametrize("seconds", [0, -5])
async def test_a_rate_limit_without_a_wait_is_not_called_again_at_once(rig_of, seconds):
    """A destination may answer 429 with `Retry-After: 0` for a long time."""
    rig = await rig_of(One())
    rig.sinks[0].always = raising(RateLimited("channel", seconds))
    await rig.event()
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 1000
    assert len(rig.sinks[0].batches) == 1


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e30])
async def test_a_rate_limit_without_a_possible_wait_is_a_failed_call(rig_of, seconds):
    rig = await rig_of(One())
    rig.sinks[0].script = [raising(RateLimited("channel", seconds))]
    await rig.event()
    await rig.lane.step()
    assert [(outcome, count) for outcome, _, count in await rig.attempts()] == [("unclear", 1)]


async def test_a_destination_that_is_down_rests_the_lane(rig_of):
    """`pause_sink=True` claims nothing for the sink until then."""
    rig = await rig_of(One())
    rig.sinks[0].script = [all_of(RetryLater("file open elsewhere", after=10, counts=False, pause_sink=True))]
    await rig.event(interview="i1")
    await rig.event(interview="i2")
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 10_000
    assert (await rig.sink_row()).rest_until == rig.clock.now() + 10_000


async def test_a_follow_up_is_called_later_with_its_interview(rig_of):
    """The follow-up sees the newest interview, no event, and comes after all events."""
    rig = await rig_of(One())
    edit = FollowUp("edit", timedelta(seconds=3), interview="i1")
    rig.sinks[0].script = [lambda batch, context: Result([Delivered()], follow_ups=[edit])]
    await rig.event("interview.create", "i1")
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 3000
    rig.clock.advance(3)
    await rig.event("interview.finish", "i1", score={"value": 2})
    await rig.lane.step()
    await rig.lane.step()
    follow_up = rig.sinks[0].batches[-1].deliveries[0]
    assert follow_up.follow_up == FollowUp("edit", interview="i1")
    assert follow_up.event is None
    assert follow_up.interview.score == 2
    assert not follow_up.late


async def test_a_decision_about_an_interview_that_the_sink_does_not_show_is_ignored(rig_of):
    """Users of a destination can enter any id there."""
    rig = await rig_of(State())
    requests = [
        DecisionRequest(key=id_, interview_id=id_, decision=Decision.DISCARD, actor="sheet", via=Via.SHEET)
        for id_ in ("i1", "other", "none\x00")
    ]
    rig.sinks[0].script = [lambda batch, context: Result([Delivered()], decisions=requests)]
    await rig.event(interview="i1")
    with capture_logs() as logs:
        await rig.lane.step()
    stored = await rig.store.write(lambda connection: decisions.due(connection, rig.clock.now(), 10))
    assert [each.interview_id for each in stored] == ["i1"]
    assert [each["event"] for each in logs].count("decision ignored: the sink does not show the interview") == 2


async def test_the_same_follow_up_is_called_once_at_the_earlier_time(rig_of):
    """Asking twice does not call twice."""
    rig = await rig_of(One())
    rig.sinks[0].script = [
        lambda batch, context: Result([Delivered()], follow_ups=[FollowUp("digest", timedelta(seconds=25))]),
        lambda batch, context: Result([Delivered()], follow_ups=[FollowUp("digest", timedelta(seconds=5))]),
        lambda batch, context: Result([Delivered()], follow_ups=[FollowUp("digest", timedelta(seconds=50))]),
    ]
    for interview in ("i1", "i2", "i3"):
        await rig.event("interview.create", interview)
        await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 5000
    assert sum(row.purpose == "digest" for row in await rig.rows()) == 1


async def test_a_follow_up_may_ask_for_itself(rig_of):
    """The outcome is settled first, then the next call is stored."""
    rig = await rig_of(One())
    rig.sinks[0].always = lambda batch, context: Result(
        [Delivered()], follow_ups=[FollowUp("tick", timedelta(seconds=1))]
    )
    await rig.event()
    for _ in range(4):
        await rig.lane.step()
        rig.clock.advance(1)
    assert [batch.deliveries[0].purpose for batch in rig.sinks[0].batches] == ["", "tick", "tick", "tick"]


async def test_a_follow_up_about_another_interview_sees_that_one(rig_of):
    """A state sink may ask to write a damaged row again."""
    rig = await rig_of(State())
    await rig.event(interview="other", candidate={"name": "Other"})
    await rig.lane.step()
    rig.sinks[0].script = [
        lambda batch, context: Result([Delivered()], follow_ups=[FollowUp("rewrite", interview="other")])
    ]
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.lane.step()
    (delivery,) = rig.sinks[0].batches[-1].deliveries
    assert delivery.key == "other"
    assert delivery.interview.candidate_name == "Other"


async def test_what_was_received_longer_ago_than_the_maximum_age_is_late(rig_of):
    rig = await rig_of(Scripted(max_age=3600))
    await rig.event(interview="i1")
    rig.clock.advance(3601)
    await rig.event(interview="i2")
    await rig.lane.step()
    assert {one.key: one.late for one in rig.sinks[0].batches[0].deliveries} == {"i1": True, "i2": False}


async def test_an_event_that_was_old_at_its_receipt_is_late(rig_of):
    """An old body, such as a signed one that is posted again or existing data, sends no notification."""
    rig = await rig_of(Scripted(max_age=3600))
    await rig.event(interview="i1", at=rig.clock.now() - 3_601_000)
    await rig.event(interview="i2", at=rig.clock.now() - 3_600_000)
    await rig.lane.step()
    assert {one.key: one.late for one in rig.sinks[0].batches[0].deliveries} == {"i1": True, "i2": False}


async def test_an_old_event_that_is_replayed_is_not_late_until_the_maximum_age_has_passed_again(rig_of):
    """A user who replays a delivery wants it to be shown now."""
    rig = await rig_of(Scripted(max_age=3600))
    rig.sinks[0].script = [all_of(Rejected("bad")), all_of(RetryLater("busy", after=3601.0))]
    await rig.event(interview="i1", at=rig.clock.now() - 86_400_000)
    await rig.lane.step()
    rig.clock.advance(1)
    await rig.store.write(lambda connection: revive(connection, [1], rig.clock.now()))
    await rig.lane.step()
    rig.clock.advance(3601)
    await rig.lane.step()
    assert [batch.deliveries[0].late for batch in rig.sinks[0].batches] == [True, False, True]


async def test_a_lost_lease_drops_the_batch_without_outcomes(rig_of):
    """What another worker settles is not settled here."""
    rig = await rig_of()

    async def lose(batch, context):
        await rig.store.write(
            lambda connection: leases.acquire(connection, "scripted", "thief", rig.clock.now(), by_force=True)
        )
        return Result([Delivered()], notes={"row:i1": {"mine": 1}})

    rig.sinks[0].script = [lose]
    await rig.event()
    await rig.lane.step()
    assert await rig.states() == [PENDING]
    assert await rig.notes() == {}
    assert await rig.attempts() == []


@pytest.mark.parametrize("act", ["take", "save_notes"])
async def test_the_context_checks_the_fence(rig_of, act):
    """A worker that lost its lease can neither take tokens nor save notes."""
    rig = await rig_of()
    caught = []

    async def lose(batch, context):
        await rig.store.write(
            lambda connection: leases.acquire(connection, "scripted", "thief", rig.clock.now(), by_force=True)
        )
        try:
            await (context.take(Token("b", 1)) if act == "take" else context.save_notes({"a": {}}))
        except LeaseLost as error:
            caught.append(error)
            raise
        return Result([Delivered()])

    rig.sinks[0].script = [lose]
    await rig.event()
    await rig.lane.step()
    assert len(caught) == 1
    assert await rig.states() == [PENDING]


async def test_the_lease_of_a_killed_process_on_a_file_is_not_waited_for(rig_of):
    """A file has one process, so no other one can write."""
    rig = await rig_of()
    await rig.store.write(lambda connection: leases.acquire(connection, "scripted", "other", rig.clock.now()))
    await rig.event()
    await rig.lane.step()
    assert len(rig.sinks[0].batches) == 1


async def test_the_lease_is_renewed_during_a_long_call(rig_of):
    """A call longer than the lease does not lose it."""
    rig = await rig_of()
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(batch, context):
        started.set()
        await go_on.wait()
        return Result([Delivered()])

    rig.sinks[0].script = [slow]
    await rig.event()
    step = asyncio.create_task(rig.lane.step())
    await started.wait()
    before = (await rig.sink_row()).lease_until
    rig.clock.advance(5)

    async def renewed():
        return (await rig.sink_row()).lease_until != before

    await until(renewed)
    assert (await rig.sink_row()).lease_until == rig.clock.now() + 15_000
    go_on.set()
    await step
    assert await rig.states() == [DELIVERED]


async def test_a_burst_is_gathered_until_it_is_quiet(rig_of):
    """More than `above` deliveries wait for further ones. The call is made when none was added for a while."""
    rig = await rig_of(Gathering())
    for number in range(4):
        await rig.event(interview=f"i{number}")
    step = asyncio.create_task(rig.lane.step())
    await until(lambda: rig.clock.waiting)
    await rig.event(interview="i9")
    rig.lane.wake()
    await asyncio.sleep(0)
    await until(lambda: rig.clock.waiting >= 2)
    rig.clock.advance(0.5)
    await step
    assert [len(batch.deliveries) for batch in rig.sinks[0].batches] == [5]


async def test_a_clock_that_is_set_back_does_not_prolong_the_gathering_of_a_burst(rig_of):
    """Although new deliveries arrive all the time."""
    rig = await rig_of(Gathering())
    for number in range(4):
        await rig.event(interview=f"i{number}")
    step = asyncio.create_task(rig.lane.step())
    await until(lambda: rig.clock.waiting)
    rig.clock.set_back(3600)
    rig.lane.wake()
    await step
    assert [len(batch.deliveries) for batch in rig.sinks[0].batches] == [4]


async def test_few_deliveries_are_not_gathered(rig_of):
    """A few deliveries are sent at once."""
    rig = await rig_of(Gathering())
    for number in range(3):
        await rig.event(interview=f"i{number}")
    await rig.lane.step()
    assert [len(batch.deliveries) for batch in rig.sinks[0].batches] == [3]


async def test_one_sink_that_fails_delays_no_other(rig_of):
    """Each lane has its own rest, queue and pause."""
    rig = await rig_of(One("bad"), One("good"))
    rig.sinks[0].always = raising(OSError())
    for number in range(5):
        await rig.event(interview=f"i{number}")
    for _ in range(5):
        await rig.lanes["bad"].step()
        await rig.lanes["good"].step()
    assert len(rig.sinks[1].batches) == 5


async def test_outcomes_wait_for_a_store_that_takes_no_writes(rig_of):
    """What was delivered is settled when the store is back, not delivered again."""
    rig = await rig_of()
    await rig.event()
    real, failures = rig.store.write, [True]

    async def failing(job):
        if rig.sinks[0].batches and failures:
            failures.pop()
            raise StoreUnavailable("disk full")
        return await real(job)

    rig.store.write = failing
    step = asyncio.create_task(rig.lane.step())
    await until(lambda: rig.clock.waiting and rig.sinks[0].batches and not failures)
    rig.clock.advance(1)
    await step
    assert len(rig.sinks[0].batches) == 1
    assert await rig.states() == [DELIVERED]


async def test_delivery_ids_are_unique_to_the_store(rig_of):
    """Two stores never share an idempotency key."""
    ids = set()
    for _ in range(2):
        rig = await rig_of()
        await rig.event()
        await rig.lane.step()
        ids.add(rig.sinks[0].batches[0].deliveries[0].id)
    assert len(ids) == 2


async def test_an_outcome_without_a_call_does_not_make_a_refusal_doubtful(rig_of):
    """Only a call that the destination answered shows that it worked a minute ago."""
    rig = await rig_of(Counting())
    rig.sinks[0].script = [all_of(Delivered()), raising(SinkBroken("status 404", "check the address"))]
    for interview in ("i1", "i2"):
        await rig.event(interview=interview)
        await rig.lane.step()
    assert (await rig.sink_row()).paused == "broken"


async def test_the_reason_of_a_doubtful_refusal_is_detail_and_not_a_metric_label(rig_of):
    """It may name a tab. A label ends at the first colon."""
    rig = await rig_of()
    refused = raising(SinkBroken('the tab "Ada Lovelace" is gone', "bring it back"))
    rig.sinks[0].script = [all_of(Delivered()), refused]
    for interview in ("i1", "i2"):
        await rig.event(interview=interview)
        await rig.lane.step()
    assert await rig.attempts() == [("retry later", 'refused once: the tab "Ada Lovelace" is gone', 1)]
    metrics = Metrics()
    answer = unconfirmed(SinkBroken('the tab "Ada Lovelace" is gone', "bring it back"), 1)
    metrics.settled("sheet", [], answer, Settlement("b", 0, 0))
    assert 'reason="refused once"' in metrics.text().decode()
    assert "Ada" not in metrics.text().decode()
