"""A lane continues after any failure of its sink, its store or its clock, and never calls without a pause."""

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


def busy(rig):
    """A busy receiver, whose load stays high for long."""
    rig.store._writer.load = Load(1e30, asyncio.get_running_loop().time())


def idle(rig):
    """An idle receiver: the events of this test are old."""
    rig.store._writer.load = Load()


async def test_something_cancelled_inside_a_sink_does_not_end_its_lane(rig_of):
    """A library that cancels its own future looks like the end of the task. It is a failure like any other."""
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
    """A small violation of the contract must not send a message again every few seconds."""
    rig = await rig_of()
    rig.sinks[0].script = [answering(result)]
    await rig.event()
    await rig.lane.step()
    (row,) = await rig.rows()
    assert (row.state, row.attempts, row.reason) == (PENDING, 1, "unusable result")
    assert row.not_before > rig.clock.now()
    assert row.batch is not None


async def test_outcomes_without_a_length_are_a_failure(rig_of):
    """The outcomes of a generator cannot be counted."""
    rig = await rig_of()
    rig.sinks[0].script = [answering(Result(iter([Delivered()])))]
    await rig.event()
    await rig.lane.step()
    assert await rig.attempts() == [("unclear", "wrong number of outcomes", 1)]


async def test_a_wait_of_the_sinks_own_is_waited_for(rig_of):
    """An unused bucket would be open at once, and the lane would call without a pause."""
    rig = await rig_of()
    rig.sinks[0].script = [raising(RateLimited("its own", 5))]
    await rig.event()
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 5000
    assert len(rig.sinks[0].batches) == 1


async def test_no_call_is_started_after_stop_not_even_for_a_gathered_burst(rig_of):
    """A lane that gathers a burst when the service stops leaves it for the next start."""
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
    """A full batch needs no further deliveries."""

    class Small(State):
        max_batch = 10
        debounce = Debounce(above=3, idle=0.5, max_wait=2.0)

    rig = await rig_of(Small())
    for number in range(30):
        await rig.event(interview=f"i{number}")
    idle(rig)
    first = asyncio.create_task(rig.lane.step())
    while not rig.clock.waiting:  # noqa: ASYNC110 - the fact is not ours to signal
        await asyncio.sleep(0)
    rig.clock.advance(0.5)
    await first
    await rig.lane.step()
    assert [len(batch.deliveries) for batch in rig.sinks[0].batches] == [10, 10]


async def test_a_call_under_load_is_followed_by_a_rest_that_no_event_shortens(rig_of):
    """While the receiver is busy each event wakes the lane, which calls four times a second at most."""
    rig = await rig_of(One())
    for number in range(3):
        await rig.event(interview=f"i{number}")
    busy(rig)
    await rig.lane.step()
    for _ in range(5):
        rig.lane.wake()
        assert await rig.lane.step() == rig.clock.now() + 250
    rig.clock.advance(0.25)
    await rig.lane.step()
    assert len(rig.sinks[0].batches) == 2


async def test_a_search_without_result_under_load_is_followed_by_a_rest(rig_of):
    """A paused lane does not search the store for each group of events."""
    rig = await rig_of()
    await rig.store.write(lambda connection: leases.pause(connection, "scripted", leases.Pause("person", "paused")))
    busy(rig)
    await rig.lane.step()
    assert await rig.lane.step() == rig.clock.now() + 250


async def test_a_partial_batch_under_load_is_followed_by_a_rest(rig_of):
    """Small batches are the most expensive; events of the rest are sent together."""
    rig = await rig_of()
    await rig.event(interview="i1")
    busy(rig)
    await rig.lane.step()
    await rig.event(interview="i2")
    assert await rig.lane.step() == rig.clock.now() + 250
    assert len(rig.sinks[0].batches) == 1


async def test_an_operator_ends_the_rest_of_a_lane(rig_of):
    """`resume` ends the rest of a lane like a pause."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(RetryLater("down", after=900, pause_sink=True))]
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.event(interview="i2")
    assert await rig.lane.step() == rig.clock.now() + 900_000
    await rig.store.write(lambda connection: leases.resume(connection, "scripted"))
    await rig.lane.step()
    assert [one.key for one in rig.sinks[0].batches[1].deliveries] == ["i2"]


async def test_a_fault_of_the_lane_itself_is_not_repeated_by_every_event(rig_of):
    """A sink whose `max_age` raises makes the lane rest, also when it is woken."""
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
    """After a restart of a broken service the log shows again what is broken."""
    rig = await rig_of()
    rig.sinks[0].always = raising(SinkBroken("gone", "invite the bot"))
    await rig.event()
    with capture_logs() as logs:
        for _ in range(3):
            await rig.lane.step()
            rig.clock.advance(301)
        before = [entry["reason"] for entry in logs]
        await rig.restarted()
        await rig.lane.step()
    assert before == ["gone"]
    assert [entry["reason"] for entry in logs] == ["gone", "gone"]


async def test_a_clock_that_is_set_back_does_not_prolong_a_rest(rig_of):
    """A rest of two seconds does not become one of an hour when the clock is corrected."""
    rig = await rig_of()
    rig.sinks[0].script = [all_of(RetryLater("down", after=2, pause_sink=True))]
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.event(interview="i2")
    rig.clock.set_back(3600)
    await rig.lane.step()
    assert [one.key for one in rig.sinks[0].batches[-1].deliveries] == ["i2"]


async def test_a_lane_that_waits_for_tokens_does_not_call(rig_of):
    """Each row needs one call to know its bucket. Then nothing is called before the bucket has a token."""
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


def slow():
    """Takes a short time that counts as long."""
    end = time.thread_time() + 0.06
    while time.thread_time() < end:
        pass


class SlowConnection:
    """A connection to a store with slow statements."""

    def __init__(self, connection):
        self._connection = connection
        self.dialect = connection.dialect

    def execute(self, *statement):
        slow()
        return self._connection.execute(*statement)


async def test_a_slow_search_without_result_is_followed_by_a_rest(rig_of):
    """An event does not cause a new search of thousands of rows that wait for tokens."""
    rig = await rig_of(One())
    real = rig.store.read
    rig.store.read = lambda query: real(lambda connection: query(SlowConnection(connection)))
    await rig.lane.step()
    assert 240 <= await rig.lane.step() - rig.clock.now() <= 5000
