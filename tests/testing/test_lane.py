"""The lane in memory calls a message sink as the dispatcher does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from connector.sink import (
    Batch,
    Context,
    Delivered,
    FollowUp,
    Rejected,
    Result,
    RetryLater,
    Sink,
    SinkBroken,
    SinkConfig,
    Token,
)
from connector.testing import FakeContext, MessageLane, make_event, make_interview


class Scripted(Sink[SinkConfig]):
    """Does what the script says, else delivers; remembers its batches."""

    Config = SinkConfig
    priority = {"interview.finish": 0}  # noqa: RUF012 - never changed

    def __init__(self, *script: Callable[[Batch, Context], Any]) -> None:
        super().__init__("scripted", SinkConfig())
        self.script = list(script)
        self.batches: list[Batch] = []

    @property
    def max_age(self) -> float:
        return 60

    async def deliver(self, batch: Batch, context: Context) -> Result:
        self.batches.append(batch)
        answer = self.script.pop(0)(batch, context) if self.script else None
        answer = await answer if hasattr(answer, "__await__") else answer
        return answer if isinstance(answer, Result) else Result([answer or Delivered()])

    @property
    def told(self) -> list[str]:
        return [one.event.name.split(".")[1] if (one := b.deliveries[0]).event else one.purpose for b in self.batches]


def lane_of(*script: Callable[[Batch, Context], Any]) -> MessageLane:
    return MessageLane(Scripted(*script), FakeContext())


def add(lane: MessageLane, name: str, number: int = 1, **when: int) -> None:
    lane.add(make_event(f"interview.{name}", number=number), make_interview(number=number), **when)


def told(lane: MessageLane) -> list[str]:
    assert isinstance(lane.sink, Scripted)
    return lane.sink.told


async def test_the_best_priority_goes_first() -> None:
    lane = lane_of()
    add(lane, "create")
    add(lane, "finish", 2)
    await lane.run()
    assert told(lane) == ["finish", "create"]


async def test_what_failed_holds_back_its_key_and_nothing_else() -> None:
    lane = lane_of(lambda *_: RetryLater("down", after=5))
    add(lane, "score-updated")
    add(lane, "finish", 2)
    await lane.step()
    add(lane, "status-change", 2)
    add(lane, "create", 3)
    await lane.run()
    assert told(lane) == ["finish", "score-updated", "create", "finish", "status-change"]


async def test_a_wait_for_a_token_holds_back_nothing() -> None:
    lane = lane_of(lambda _b, context: context.take(Token("b", 1)))
    lane.context.refuse("b", 5)
    add(lane, "finish")
    add(lane, "create")
    await lane.run()
    assert told(lane) == ["finish", "create", "finish"]


async def test_an_answer_that_dies_with_the_process_brings_the_same_batch_back_in_doubt() -> None:
    lane = lane_of(lambda batch, _: Result([Delivered()], {"n": {"k": 1}}))
    add(lane, "finish")
    await lane.step(dies=True)
    await lane.run()
    assert isinstance(lane.sink, Scripted)
    first, second = lane.sink.batches
    assert (first.id, first.started_at, first.maybe_sent) == (second.id, second.started_at, False)
    assert second.maybe_sent
    assert lane.context.notes == {}


async def test_a_doubt_stays_until_the_delivery_settles() -> None:
    lane = lane_of(lambda *_: RetryLater("lost", unclear=True), lambda *_: RetryLater("throttled", after=1))
    add(lane, "finish")
    await lane.run()
    assert isinstance(lane.sink, Scripted)
    assert [batch.maybe_sent for batch in lane.sink.batches] == [False, True, True]


async def test_the_same_follow_up_is_called_once_at_the_earlier_time() -> None:
    later, sooner = ([FollowUp("edit", timedelta(seconds=seconds))] for seconds in (60, 3))
    lane = lane_of(
        *(lambda *_, asked=asked: Result([Delivered()], follow_ups=asked) for asked in (later, sooner, later))
    )
    start = lane.context.now()
    for number in (1, 2, 3):
        add(lane, "finish", number)
    await lane.run()
    assert told(lane)[3:] == ["edit"]
    assert lane.context.now() - start == 3_000


async def test_a_broken_destination_is_probed_and_counts_no_attempt() -> None:
    def broken(*_: object) -> None:
        raise SinkBroken("gone", "mend it")

    lane = lane_of(broken)
    add(lane, "finish")
    await lane.run()
    assert isinstance(lane.sink, Scripted)
    assert [batch.deliveries[0].attempt for batch in lane.sink.batches] == [1, 1]
    assert len(lane.broken) == 1


async def test_what_is_rejected_is_dead_and_what_is_old_is_late() -> None:
    lane = lane_of(lambda *_: Rejected("bad"))
    add(lane, "finish", received_at=lane.context.now() - 61_000)
    await lane.run()
    assert isinstance(lane.sink, Scripted)
    assert (lane.dead, lane.sink.batches[0].deliveries[0].late) == (["bad"], True)


async def test_a_sink_that_never_settles_is_told_apart() -> None:
    lane = lane_of(*[lambda *_: RetryLater("down")] * 9)
    add(lane, "finish")
    with pytest.raises(AssertionError, match="not settled after 5 steps"):
        await lane.run(most=5)
