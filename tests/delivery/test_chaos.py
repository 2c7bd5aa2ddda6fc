"""With any answers of a sink and any end of the process nothing is lost, and nothing is sent twice without
`maybe_sent`.
"""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import pytest

from connector.errors import RateLimited, SinkBroken
from connector.sink import Delivered, FollowUp, Rejected, Result, RetryLater, Token
from tests.delivery.rig import Scripted, State

PENDING, DELIVERED, SUPERSEDED, DEAD = range(4)
NAMES = ["interview.create", "interview.finish", "interview.status-change", "interview.score-updated"]
STEPS = 30


class Died(BaseException):
    """The process ends in the middle of a call."""


class Destination:
    """A destination that may fail in any way. `unclear` are the ids of deliveries that may have arrived without an
    answer; for a state sink only the last call counts. `violations` are the promises that the lane broke.
    """

    def __init__(self, chance, *, state):
        self.chance = chance
        self.state = state
        self.is_well = False
        self.unclear = set()
        self.arrived = Counter()
        self.refused = set()
        self.order_by_id = {}
        self.batch_of = {}
        self.violations = []

    async def take(self, batch, context):
        self.examine(batch)
        ways = [self.agree, self.fail, self.vary, self.limit, self.break_down, self.die, self.answer_nonsense]
        way = self.agree if self.is_well else self.chance.choices(ways, [6, 4, 3, 3, 2, 2, 1])[0]
        return await way(batch, context)

    def examine(self, batch):
        """Records a violation when two deliveries of one key are in a call, or an unclear one comes without
        `maybe_sent` or too late.
        """
        if len({self.order_of(one) for one in batch.deliveries}) != len(batch.deliveries):
            self.violations.append("two deliveries of one key")
        announced = batch.maybe_sent or (not self.unclear if self.state else self.unclear.isdisjoint(ids_of(batch)))
        if not announced:
            self.violations.append("without maybe_sent")
        for one in batch.deliveries:
            if not self.state and one.id in self.unclear and self.batch_of[one.id] != batch.id:
                self.violations.append("under another id")
            if not self.state and any(self.order_by_id[id_] == self.order_of(one) for id_ in self.unclear - {one.id}):
                self.violations.append("after a later delivery of its key")
            self.order_by_id[one.id], self.batch_of[one.id] = self.order_of(one), batch.id

    def order_of(self, delivery):
        """The key of the order: the interview for a state sink, the purpose and the key for a message sink."""
        return delivery.key if self.state else (delivery.purpose, delivery.key)

    def arrive(self, delivery):
        self.arrived[delivery.id] += 1
        self.unclear.discard(delivery.id)
        return Delivered()

    def resolve(self):
        """A state sink reads from its notes whether the call before was applied."""
        if self.state:
            self.unclear.clear()

    def doubt(self, batch):
        self.unclear.update(ids_of(batch))

    async def agree(self, batch, context):
        self.resolve()
        outcomes = [self.arrive(one) for one in batch.deliveries]
        asks = not self.is_well and self.chance.random() < 0.2
        first = batch.deliveries[0].interview
        about = [FollowUp("digest", timedelta(seconds=3))]
        if first is not None:
            about.append(FollowUp("edit", timedelta(seconds=3), interview=first.id))
        return Result(outcomes, follow_ups=[self.chance.choice(about)] if asks else [])

    async def fail(self, batch, context):
        self.doubt(batch)
        raise self.chance.choice([OSError(), ValueError(), TimeoutError()])

    async def vary(self, batch, context):
        self.resolve()
        return Result([self.one_of_many(one) for one in batch.deliveries])

    def one_of_many(self, delivery):
        way = self.chance.randrange(5)
        if way == 0:
            return self.arrive(delivery)
        if way == 1:
            self.refused.add(delivery.id)
            self.unclear.discard(delivery.id)
            return Rejected("never")
        if way == 2:
            self.unclear.add(delivery.id)
            return RetryLater("lost", unclear=True)
        return RetryLater("busy") if way == 3 else RetryLater("throttled", after=5, counts=False)

    async def limit(self, batch, context):
        if self.chance.random() < 0.3:
            raise RateLimited("its own", 3)
        await context.take(Token("bucket", 0.5))
        return await self.agree(batch, context)

    async def break_down(self, batch, context):
        raise SinkBroken("gone", "bring it back")

    async def die(self, batch, context):
        self.doubt(batch)
        raise Died

    async def answer_nonsense(self, batch, context):
        self.doubt(batch)
        return Result([None for _ in batch.deliveries])


def ids_of(batch):
    return {one.id for one in batch.deliveries}


async def step(rig, chance):
    """One step: an event, time, a call, or a restart."""
    way = chance.random()
    if way < 0.5:
        rig.clock.advance(0.001)
        await rig.event(chance.choice(NAMES), f"i{chance.randint(1, 4)}", score={"value": chance.randint(1, 5)})
    elif way < 0.6:
        rig.clock.advance(chance.choice([0.5, 3, 30, 400]))
    else:
        try:
            await rig.lane.step()
        except Died:
            await rig.restarted()


async def until_all_is_settled(rig):
    for _ in range(200):
        rig.clock.advance(500)
        await rig.lane.step()
        if PENDING not in await rig.states():
            return


@pytest.mark.parametrize("state", [False, True], ids=["messages", "state"])
@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.chaos) for seed in range(3, 16))])
async def test_nothing_is_lost_doubled_or_overtaken(rig_of, seed, state):
    """Unclear deliveries are called again with `maybe_sent`, under their batch and before others of their key. At the
    end all are settled as the destination answered, and every message arrived once.
    """
    chance = random.Random(seed)
    sink = (State if state else Scripted)()
    sink.max_batch = chance.choice([1, 2, 100])
    rig = await rig_of(sink)
    destination = Destination(chance, state=state)
    sink.always = destination.take
    for _ in range(STEPS):
        await step(rig, chance)
    destination.is_well = True
    await until_all_is_settled(rig)
    rows = {f"{rig.store.instance}-{row.id}": row.state for row in await rig.rows()}
    assert destination.violations == []
    assert PENDING not in rows.values()
    assert {rows[id_] for id_ in destination.refused} <= ({DEAD, SUPERSEDED} if state else {DEAD})
    assert {id_ for id_, found in rows.items() if found == DEAD} <= destination.refused
    assert {id_ for id_, found in rows.items() if found == DELIVERED} <= set(destination.arrived)
    assert state or set(destination.arrived.values()) <= {1}
