"""Workers that share a store call, die, fail or are late: no delivery is lost, too early, or sent twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connector.sink import Delivered, Result, RetryLater
from tests.delivery.crew import Crew, SharedFile
from tests.delivery.rig import Scripted, State, WaitingClock
from tests.stores import make_store_file

WORKERS = st.integers(0, 2)
ACTS = st.one_of(
    st.tuples(st.just("event"), st.integers(0, 2)),
    st.tuples(st.just("step"), WORKERS),
    st.tuples(st.just("between look and call of"), WORKERS, WORKERS),
    st.tuples(st.just("step between call and outcome of"), WORKERS, WORKERS),
    st.tuples(st.just("dies"), WORKERS),
    st.tuples(st.just("fails"), WORKERS),
    st.tuples(st.just("wait"), st.sampled_from([0.3, 5.0, 16.0])),
)
PENDING = 0


class Died(BaseException):
    """A process ends in the middle of a call."""


class SharedStore:
    """Three workers; `calls` are (key, what, delivery, maybe sent) as the destination saw them."""

    def __init__(self, crew, kind):
        self.crew = crew
        self.kind = kind
        self.calls = []
        self.made = 0
        self.workers = [self.worker() for _ in range(3)]

    def worker(self):
        self.made += 1
        worker = self.crew.worker(f"worker {self.made}", self.kind)
        worker.sink.always = self.delivered
        return worker

    def record(self, batch):
        for each in batch.deliveries:
            what = int(each.event.id) if each.event else each.interview.updated_at
            self.calls.append((each.key, what, each.id, batch.maybe_sent))

    def delivered(self, batch, context):
        self.record(batch)
        return Result([Delivered() for _ in batch.deliveries])

    async def act(self, name, *on):
        if name == "event":
            await self.crew.event(interview=f"i{on[0]}")
        elif name == "wait":
            self.crew.clock.advance(on[0])
        else:
            await self.of_worker(name, *on)

    async def of_worker(self, name, number, other=0):
        worker = self.workers[number]
        if name == "dies":
            worker.sink.script = [self.dying]
        elif name == "fails":
            worker.sink.script = [lambda batch, context: Result([RetryLater("busy") for _ in batch.deliveries])]
        elif name == "between look and call of":
            worker.gate.after_read = [lambda: self.delivers_news(other)] if other != number else []
        elif name == "step between call and outcome of":
            worker.sink.script = [self.interrupted(other)] if other != number else []
        await self.step(number)

    async def step(self, number):
        try:
            await self.workers[number].lane.step()
        except Died:
            self.workers[number] = self.worker()

    async def delivers_news(self, number):
        """Takes the lease, delivers a newer event, too, and releases the lease."""
        await self.crew.event(interview="i0")
        for _ in range(4):
            await self.step(number)

    def interrupted(self, other):
        """The process is stopped for longer than its lease, and notices it afterwards."""

        async def script(batch, context):
            self.record(batch)
            self.crew.clock._at += 16_000  # nothing that waits goes on: the process stands still
            await self.step(other)
            return Result([Delivered() for _ in batch.deliveries])

        return script

    def dying(self, batch, context):
        self.record(batch)
        raise Died

    async def to_the_end(self):
        """Another worker delivers the rest."""
        for _ in range(200):
            if PENDING not in await self.crew.states():
                return
            self.crew.clock.advance(16)
            for number in range(3):
                await self.step(number)
        pytest.fail("it does not come to rest")


async def played(acts, kind, folder):
    store = SharedFile(
        make_store_file(Path(folder) / "store.db"), Crew.routing_table(kind), lambda plan: None, intake=1000
    )
    try:
        shared = SharedStore(Crew(store, WaitingClock()), kind)
        await shared.crew.register()
        for act in acts:
            await shared.act(*act)
        await shared.to_the_end()
        return shared.calls, len(await shared.crew.states())
    finally:
        await store.close()


def play(acts, kind):
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(played(acts, kind, folder))


def check(calls):
    seen, last = set(), defaultdict(int)
    for key, what, id_, maybe_sent in calls:
        if id_ in seen:
            assert maybe_sent
        else:
            assert what >= last[key]
            last[key] = what
        seen.add(id_)
    return seen, last


def check_messages(acts):
    calls, count = play(acts, Scripted)
    seen, _ = check(calls)
    assert len(seen) == count


def check_states(acts):
    calls, _ = play(acts, State)
    _, last = check(calls)
    assert {f"i{act[1]}" for act in acts if act[0] == "event"} <= set(last)


@settings(max_examples=12)
@given(st.lists(ACTS, max_size=30))
def test_messages_come_all_in_order_and_unmarked_only_once(acts):
    check_messages(acts)


@settings(max_examples=12)
@given(st.lists(ACTS, max_size=30))
@example([("event", 1), ("step between call and outcome of", 0, 1), ("fails", 1), ("event", 0), ("step", 1)])
def test_the_newest_state_comes_and_never_an_older_one_after_it(acts):
    check_states(acts)


@pytest.mark.chaos
@settings(max_examples=1500, derandomize=False)
@given(st.lists(ACTS, max_size=80), st.sampled_from([check_messages, check_states]))
def test_long_sequences_of_actions(acts, checked):
    checked(acts)
