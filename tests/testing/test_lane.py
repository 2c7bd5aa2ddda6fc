"""A runner calls a sink by the real lane, on a clock that moves instead of waiting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

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
    Waiting,
)
from connector.store.schema import rollup
from connector.testing import START, LaneRunner, make_event


class Scripted(Sink[SinkConfig]):
    """Follows the script, then delivers. Records its batches."""

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
    def calls(self) -> list[str]:
        return [one.event.name.split(".")[1] if (one := b.deliveries[0]).event else one.purpose for b in self.batches]


def lane_of(*script: Callable[[Batch, Context], Any]) -> LaneRunner:
    sink = Scripted(*script)
    return LaneRunner(lambda: sink)


async def test_a_run_moves_the_clock_over_every_wait() -> None:
    """Here a backoff and a follow-up. A follow-up that is asked for twice is called once, at the earlier time."""
    later, sooner = ([FollowUp("edit", timedelta(seconds=seconds))] for seconds in (60, 3))
    script = [
        lambda *_: RetryLater("down", after=5),
        *(lambda *_, asked=asked: Result([Delivered()], follow_ups=asked) for asked in (later, sooner)),
    ]
    async with lane_of(*script) as lane:
        await lane.add(make_event(), make_event(number=2))
        await lane.run()
        assert [each.state for each in await lane.deliveries()] == ["delivered"] * 3
        assert lane.sink.calls == ["finish", "finish", "finish", "edit"]
        assert lane.clock.now() >= START + 5_000


async def test_a_run_ends_at_the_time_that_is_given() -> None:
    async with lane_of(lambda *_: RetryLater("down", after=60)) as lane:
        await lane.add(make_event())
        await lane.run(until=START + 30_000)
        assert await lane.pending() == [make_event().interview_id]
        assert lane.clock.now() < START + 60_000


async def test_a_crash_brings_the_batch_back_and_keeps_nothing_but_saved_notes() -> None:
    async def save(batch: Batch, context: Context) -> Result:
        await context.save_notes({"saved": {"n": 1}})
        return Result([Delivered()], {"returned": {"n": 1}})

    async with lane_of(save) as lane:
        await lane.add(make_event())
        await lane.crash()
        assert await lane.notes() == {"saved": {"n": 1}}
        await lane.run()
        first, second = lane.sink.batches
        assert (first.id, first.started_at, first.maybe_sent) == (second.id, second.started_at, False)
        assert second.maybe_sent


async def test_a_crash_begins_with_a_new_sink() -> None:
    made: list[Scripted] = []

    def make_sink() -> Scripted:
        made.append(Scripted())
        return made[-1]

    async with LaneRunner(make_sink) as lane:
        await lane.add(make_event())
        await lane.crash()
        await lane.run()
    assert [len(sink.batches) for sink in made] == [1, 1]


async def test_a_blocked_bucket_delays_the_call() -> None:
    async with lane_of(lambda _batch, context: context.take(Token("b", 1))) as lane:
        await lane.block("b", 5)
        await lane.add(make_event())
        await lane.run()
        assert lane.clock.now() == START + 5_000


async def test_dead_letters_and_pauses_are_returned() -> None:
    def broken(*_: object) -> None:
        raise SinkBroken("gone", "mend it")

    async with lane_of(broken, lambda *_: Rejected("bad")) as lane:
        await lane.add(make_event())
        await lane.run()
        assert (await lane.dead(), [each.reason for each in lane.broken]) == (["bad"], ["gone"])


async def test_an_old_event_is_late() -> None:
    async with lane_of() as lane:
        await lane.add(make_event(occurred_at=START - 61_000, received_at=START))
        await lane.run()
        assert lane.sink.batches[0].deliveries[0].late


async def test_a_failure_of_the_sink_is_returned() -> None:
    def fail(*_: object) -> None:
        raise KeyError("candidate")

    async with lane_of(fail) as lane:
        await lane.add(make_event())
        await lane.step()
        assert lane.failures == ["exception KeyError"]


async def test_a_sink_that_never_settles_is_an_error() -> None:
    async with lane_of(*[lambda *_: RetryLater("down")] * 9) as lane:
        await lane.add(make_event())
        with pytest.raises(AssertionError, match="not settled after 5 steps"):
            await lane.run(steps=5)


class Counting(Sink[SinkConfig]):
    """Lets events wait until a minute later one call shows their number."""

    Config = SinkConfig

    def __init__(self, shown: list[int]) -> None:
        super().__init__("counting", SinkConfig())
        self.shown = shown

    async def deliver(self, batch: Batch, context: Context) -> Result:
        outcomes: list[Delivered | Waiting] = []
        for each in batch.deliveries:
            if each.purpose:
                self.shown.append(await context.waiting("digest"))
            outcomes.append(Delivered() if each.purpose else Waiting("digest", "digest"))
        if batch.deliveries[0].purpose:
            return Result(outcomes, settles={"digest": Delivered("message 1")})
        return Result(outcomes, follow_ups=[FollowUp("digest", timedelta(minutes=1), group="digest")])


async def test_what_ran_when_a_process_was_killed_is_delivered_after_the_restart_and_a_group_settles_once() -> None:
    """Killed before the deliveries waited, then after the digest was shown and before that was stored, then at rest."""
    shown: list[int] = []
    async with LaneRunner(lambda: Counting(shown)) as lane:
        await lane.add(*(make_event(number=number) for number in (1, 2, 3)))
        await lane.crash()
        await lane.run(until=lane.clock.now())
        assert [(each.state, each.purpose) for each in await lane.deliveries()] == [
            *[("waiting", "")] * 3,
            ("pending", "digest"),
        ]
        await lane.crash()
        await lane.run()
        await lane.crash()
        await lane.run()
        assert [(each.state, each.purpose) for each in await lane.deliveries()] == [
            *[("delivered", "")] * 3,
            ("delivered", "digest"),
        ]
        assert shown == [3, 3]
        counted = select(func.sum(rollup.c.delivered)).where(rollup.c.kind == "interview.finish")
        assert await lane.store.query(lambda connection: connection.execute(counted).scalar_one()) == 3
