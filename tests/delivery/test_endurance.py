"""A lane outlives whatever its sink, its store or its clock does, and never calls in a hurry."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from connector.capabilities import Debounce
from connector.errors import RateLimited, SinkBroken
from connector.sink import Delivered, FollowUp, Rejected, Result, RetryLater, Token
from connector.store import leases
from connector.store.base import Load
from tests.delivery.rig import Gathering, One, Scripted, State

PENDING, DELIVERED = 0, 1


def answering(result):
    return lambda batch, context: result


def raising(error):
    def act(batch, context):
        raise error

    return act


def all_of(outcome):
    return lambda batch, context: Result([outcome for _ in batch.deliveries])


def hot(rig):
    """The receiver has so much to do that it takes long to cool down."""
    rig.store._writer.load = Load(1e30, asyncio.get_running_loop().time())


def cold(rig):
    """The events of this test came long ago."""
    rig.store._writer.load = Load()


async def test_something_cancelled_inside_a_sink_does_not_end_its_lane(rig_of):
    """A library that cancels its own future looks like the end of the task, and is a failure like any other."""
    rig = await rig_of()

    async def cancelled(batch, context):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    rig.sinks[0].script = [cancelled]
    await rig.event()
    await rig.lane.step()
    assert await rig.attempts() == [("unclear", "exception CancelledError", 1)]


@pytest.mark.parametrize(
    "result",
    [
        Result([None]),
        Result([Delivered]),
        Result([Rejected(None)]),
        Result([Delivered(object())]),
        Result([RetryLater("x", after=float("inf"))]),
        Result([RetryLater("x", after=1e300)]),
        Result([Delivered()], notes={"n": {"at": object()}}),
        Result([Delivered()], notes=[1]),
        Result([Delivered()], follow_ups=[5]),
    ],
    ids=["no outcome", "class", "no reason", "reference", "infinite", "huge", "note", "notes", "follow-ups"],
)
async def test_an_answer_that_cannot_be_kept_is_a_failure_with_backoff(rig_of, result):
    """A sink that breaks the contract in a small thing must not send its message again every few seconds."""
    rig = await rig_of()
    rig.sinks[0].script = [answering(result)]
    await rig.event()
    await rig.lane.step()
    (row,) = await rig.rows()
    assert (row.state, row.attempts, row.reason) == (PENDING, 1, "unusable result")
    assert row.not_before > rig.clock.now()
    assert row.batch is not None


async def test_outcomes_without_a_length_are_a_failure(rig_of):
    """A generator of outcomes can be counted by nobody."""
    rig = await rig_of()
    rig.sinks[0].script = [answering(Result(iter([Delivered()])))]
    await rig.event()
    await rig.lane.step()
    assert await rig.attempts() == [("unclear", "wrong number of outcomes", 1)]


async def test_a_wait_of_the_sinks_own_is_waited_for(rig_of):
    """A bucket that nobody ever used would be open at once, and the lane would call as fast as it can."""
    rig = await rig_of()
    rig.sinks[0].script = [raising(RateLimited("its own", 5))]
    await rig.event()
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 5000
    assert len(rig.sinks[0].batches) == 1


async def test_no_call_is_started_after_stop_not_even_one_that_was_gathered_for(rig_of):
    """A lane that waits for company when the service stops leaves the burst for the next start."""
    rig = await rig_of(Gathering())
    for number in range(5):
        await rig.event(interview=f"i{number}")
    running = asyncio.create_task(rig.lane.run())
    while not rig.clock.waiting:  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)
    rig.lane.stop()
    await running
    assert rig.sinks[0].batches == []


async def test_a_batch_that_was_full_is_followed_by_the_next_without_gathering(rig_of):
    """There is company enough: waiting would only delay."""

    class Small(State):
        max_batch = 10
        debounce = Debounce(above=3, idle=0.5, max_wait=2.0)

    rig = await rig_of(Small())
    for number in range(30):
        await rig.event(interview=f"i{number}")
    cold(rig)
    first = asyncio.create_task(rig.lane.step())
    while not rig.clock.waiting:  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)
    rig.clock.advance(0.5)
    await first
    await rig.lane.step()
    assert [len(batch.deliveries) for batch in rig.sinks[0].batches] == [10, 10]


async def test_a_call_in_hot_times_is_followed_by_a_rest_that_no_event_shortens(rig_of):
    """While the receiver is busy each event wakes the lane, and yet it calls four times a second at most."""
    rig = await rig_of(One())
    for number in range(3):
        await rig.event(interview=f"i{number}")
    hot(rig)
    await rig.lane.step()
    for _ in range(5):
        rig.lane.wake()
        assert await rig.lane.step() == rig.clock.now() + 250
    rig.clock.advance(0.25)
    await rig.lane.step()
    assert len(rig.sinks[0].batches) == 2


async def test_a_look_in_vain_in_hot_times_is_followed_by_a_rest(rig_of):
    """A paused lane does not search the store for each group of events."""
    rig = await rig_of()
    await rig.store.write(lambda c: leases.pause(c, "scripted", leases.Pause("person", "paused")))
    hot(rig)
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 250


async def test_a_batch_that_is_not_full_is_followed_by_a_rest_in_hot_times_too(rig_of):
    """Small batches cost most for each delivery; what comes meanwhile goes out together."""
    rig = await rig_of()
    await rig.event(interview="i1")
    hot(rig)
    await rig.lane.step()
    await rig.event(interview="i2")
    assert await rig.lane.step() == rig.clock.now() + 250
    assert len(rig.sinks[0].batches) == 1


async def test_a_person_ends_the_rest_of_a_lane(rig_of):
    """`resume` reaches a sink that rests for a quarter of an hour as it reaches one that is paused."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(RetryLater("down", after=900, pause_sink=True))]
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.event(interview="i2")
    assert await rig.lane.step() == rig.clock.now() + 900_000
    await rig.store.write(lambda c: leases.resume(c, "scripted"))
    await rig.lane.step()
    assert [one.key for one in rig.sinks[0].batches[1].deliveries] == ["i2"]


async def test_a_fault_of_the_lane_itself_is_not_repeated_by_every_event(rig_of):
    """A sink that cannot even say how old is late rests the lane, whoever wakes it."""
    looks = []

    class Faulty(Scripted):
        @property
        def max_age(self):
            looks.append(1)
            raise RuntimeError

    rig = await rig_of(Faulty())
    await rig.event()
    running = asyncio.create_task(rig.lane.run())
    while not rig.clock.waiting:  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)
    rig.lane.wake()
    while rig.clock.waiting < 2:  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)
    rig.lane.stop()
    await running
    assert len(looks) == 1


async def test_each_reason_is_logged_once_and_again_after_a_restart(rig_of):
    """An operator who restarts a broken service is told again what is broken."""
    rig = await rig_of()
    rig.sinks[0].always = raising(SinkBroken("gone", "invite the bot"))
    await rig.event()
    with capture_logs() as told:
        for _ in range(3):
            await rig.lane.step()
            rig.clock.advance(301)
        before = [entry["reason"] for entry in told]
        await rig.restarted()
        await rig.lane.step()
    assert before == ["gone"]
    assert [entry["reason"] for entry in told] == ["gone", "gone"]


async def test_a_clock_that_is_set_back_does_not_prolong_a_rest(rig_of):
    """A lane that rests for two seconds does not rest for an hour because somebody corrected the clock."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(RetryLater("down", after=2, pause_sink=True))]
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.event(interview="i2")
    rig.clock.set_back(3600)
    await rig.lane.step()
    assert [one.key for one in rig.sinks[0].batches[-1].deliveries] == ["i2"]


async def test_a_lane_that_waits_for_tokens_is_not_in_a_hurry(rig_of):
    """Each row learns its bucket by one call; after that nothing is called before the bucket opens."""
    rig = await rig_of(One())

    async def limited(batch, context):
        await context.take(Token("channel", rate=1))
        return Result([Delivered()], follow_ups=[FollowUp("tick", timedelta(hours=1))])

    rig.sinks[0].always = limited
    for number in range(3):
        await rig.event(interview=f"i{number}")
    for _ in range(10):
        await rig.lane.step()
    assert len(rig.sinks[0].batches) == 3
    assert (await rig.states()).count(DELIVERED) == 1


def toil():
    """Works for a moment that counts as long."""
    end = time.thread_time() + 0.06
    while time.thread_time() < end:
        pass


class Toilsome:
    """A connection to a store where each statement is hard work."""

    def __init__(self, connection):
        self._connection = connection
        self.dialect = connection.dialect

    def execute(self, *statement):
        toil()
        return self._connection.execute(*statement)


async def test_a_dear_look_in_vain_leaves_the_store_to_the_other_lanes(rig_of):
    """A queue of thousands that wait for tokens is not searched again by each event."""
    rig = await rig_of(One())
    real = rig.store.read
    rig.store.read = lambda query: real(lambda connection: query(Toilsome(connection)))
    await rig.lane.step()
    assert 240 <= await rig.lane.step() - rig.clock.now() <= 5000
