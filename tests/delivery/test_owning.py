"""Several workers on one store: which one delivers for a sink, when its lease changes, what a slow one may do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest

from connector.errors import LeaseLost, StoreUnavailable
from connector.sink import Delivered, FollowUp, Result, RetryLater
from connector.store import claim
from connector.store.postgres.store import PostgresStore
from tests import postgres
from tests.delivery.crew import Crew, SharedFile, frozen_call
from tests.delivery.rig import Gathering, One, Scripted, State, WaitingClock, until
from tests.stores import make_store_file

PENDING, DELIVERED, SUPERSEDED = 0, 1, 2
LEASE = 15.0


class Died(BaseException):
    """The process ends in the middle of a call."""


@pytest.fixture(params=["file", "postgresql"])
async def crew_of(request, tmp_path):
    """Makes a crew on a store of either kind, for a kind of sink."""
    opened = []
    database = postgres.empty_store() if request.param == "postgresql" else None
    url = database.__enter__() if database else ""

    async def make(kind=Scripted):
        routing_table = Crew.routing_table(kind)
        if database:
            store = await PostgresStore.open(url, routing_table, lambda plan: None, intake=1000)
        else:
            store = SharedFile(make_store_file(tmp_path / "store.db"), routing_table, lambda plan: None, intake=1000)
        opened.append(store)
        crew = Crew(store, WaitingClock())
        await crew.register()
        return crew

    yield make
    for store in opened:
        await store.close()
    if database:
        database.__exit__(None, None, None)


async def dies(batch, context):
    raise Died


async def away():
    raise StoreUnavailable("no server")


def later(batch, context):
    return Result([RetryLater("busy") for _ in batch.deliveries])


async def test_a_sink_is_given_back_when_nothing_is_due_soon(crew_of):
    """So any worker can deliver the next events at once."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    await crew.event(interview="i1")
    await one.works_off()
    assert (await crew.row()).lease_owner is None
    await crew.event(interview="i2")
    await other.works_off()
    assert (one.keys, other.keys) == ([["i1"]], [["i2"]])


async def test_a_sink_that_another_worker_has_is_left_alone(crew_of):
    """No call, and no time for the next search, because its owner delivers."""
    crew = await crew_of(One)
    one, other = crew.worker("one", One), crew.worker("other", One)
    await crew.event(interview="i1")
    one.sink.script = [later]
    await one.lane.step()
    await crew.event(interview="i2")
    assert await other.lane.step() is None
    assert other.keys == []


async def test_an_owner_keeps_what_is_due_soon_and_searches_without_a_wake_up(crew_of):
    """A wake-up may have reached a worker without the lease."""
    crew = await crew_of(One)
    one, other = crew.worker("one", One), crew.worker("other", One)
    await crew.event(interview="i1")
    one.sink.script = [later]
    await one.lane.step()
    assert await one.lane.step() == crew.clock.now() + 250
    await crew.event(interview="i2")
    await other.lane.step()
    await one.lane.step()
    assert one.keys == [["i1"], ["i2"]]


async def test_an_owner_keeps_its_lease_while_it_waits(crew_of):
    """Its searches renew the lease, also for longer than the lease lasts."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    await crew.event()
    ask = lambda batch, context: Result([Delivered()], follow_ups=[FollowUp("tick", timedelta(seconds=4))])  # noqa: E731
    one.sink.always = ask
    for _ in range(12):
        await one.lane.step()
        crew.clock.advance(2)
        assert await other.lane.step() is None
    assert (await crew.row()).lease_owner == "one"


async def test_what_is_due_in_a_minute_is_owned_by_no_worker(crew_of):
    """Any worker that is woken then delivers it."""
    crew = await crew_of()
    one = crew.worker("one")
    one.sink.script = [
        lambda batch, context: Result([Delivered()], follow_ups=[FollowUp("tick", timedelta(seconds=60))])
    ]
    await crew.event()
    await one.works_off()
    assert (await crew.row()).lease_owner is None
    assert await one.lane.step() == crew.clock.now() + 60_000


async def test_a_hint_that_came_while_the_sink_was_given_back_is_not_lost(crew_of):
    """The other worker did not get the lease, so the owner searches once more after it released the lease."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    await crew.event(interview="i1")
    await one.lane.step()

    async def meanwhile():
        await crew.event(interview="i2")
        assert await other.lane.step() is None

    one.gate.before_write = [meanwhile]
    await one.works_off()
    assert one.keys == [["i1"], ["i2"]]


async def test_a_dead_worker_is_replaced_when_its_lease_ends(crew_of):
    """Not before. The same rows are called under the same id with `maybe_sent`."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    one.sink.script = [dies]
    await crew.event()
    with pytest.raises(Died):
        await one.lane.step()
    crew.clock.advance(LEASE - 1)
    assert await other.lane.step() is None
    crew.clock.advance(2)
    await other.works_off()
    (first,), (second,) = one.sink.batches, other.sink.batches
    assert second.maybe_sent
    assert second.id == first.id


async def test_the_order_of_a_key_is_kept_after_its_worker_died(crew_of):
    """Unclear deliveries are first, then the later ones."""
    crew = await crew_of(One)
    one, other = crew.worker("one", One), crew.worker("other", One)
    one.sink.script = [dies]
    await crew.event("interview.create")
    with pytest.raises(Died):
        await one.lane.step()
    await crew.event("interview.finish")
    crew.clock.advance(LEASE + 1)
    await other.works_off()
    assert other.sink.called_with == [["interview.create"], ["interview.finish"]]


@pytest.mark.parametrize("kind", [Scripted, State])
async def test_what_was_seen_before_another_had_the_sink_is_not_delivered(crew_of, kind):
    """Another worker delivered a newer event between search and call, so the search is repeated."""
    crew = await crew_of(kind)
    one, other = crew.worker("one", kind), crew.worker("other", kind)
    await crew.event("interview.score-updated", score={"value": 1})

    async def meanwhile():
        await crew.event("interview.score-updated", score={"value": 5})
        await other.works_off()

    one.gate.after_read = [meanwhile]
    await one.lane.step()
    assert one.sink.batches == []
    assert PENDING not in await crew.states()


async def test_what_was_seen_while_a_late_worker_could_still_write_is_looked_at_again(crew_of):
    """The owner of an expired lease can settle until another worker takes it."""
    crew = await crew_of(State)
    one, other = crew.worker("one", State), crew.worker("other", State)
    await crew.event("interview.score-updated", score={"value": 1})
    in_call, go_on = asyncio.Event(), asyncio.Event()

    async def stands_still():
        in_call.set()
        await go_on.wait()

    one.sink.script = [frozen_call(stands_still, Result([Delivered()]))]
    late = asyncio.create_task(one.lane.step())
    await in_call.wait()
    one.gate.before_write = [away]
    crew.clock.advance(LEASE + 1)
    await until(lambda: not one.gate.before_write)

    async def meanwhile():
        go_on.set()
        await late

    other.gate.after_read = [meanwhile]
    await other.works_off()
    assert other.sink.batches == []
    assert await crew.states() == [DELIVERED]


async def test_a_worker_that_stood_still_beyond_its_lease_writes_nothing(crew_of):
    """It writes neither outcomes nor notes nor tokens. The other worker delivers its rows once."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    await crew.event()

    async def meanwhile():
        one.gate.before_write = [away]
        crew.clock.advance(LEASE + 1)
        await until(lambda: not one.gate.before_write)
        await other.works_off()

    one.sink.script = [frozen_call(meanwhile, Result([Delivered("mine")], notes={"mine": {"n": 1}}))]
    await one.lane.step()
    assert len(other.sink.batches) == 1
    assert await crew.states() == [DELIVERED]
    assert await crew.notes() == {}
    assert (await crew.row()).delivered == 1


async def test_a_worker_that_stood_still_before_its_call_does_not_make_it(crew_of):
    """Between the mark and the call the lease ended."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    one.sink.wanted_keys = ["any"]
    await crew.event()

    async def look():
        one.gate.after_read = [stands_still]

    async def stands_still():
        crew.clock.advance(LEASE)

    one.gate.after_read = [look]
    await one.lane.step()
    assert one.sink.batches == []
    crew.clock.advance(1)
    await other.works_off()
    assert await crew.states() == [DELIVERED]


async def test_a_call_whose_lease_cannot_be_renewed_is_ended_before_another_may_begin(crew_of):
    """Only this worker cannot reach the store. It ends the call before the lease ends."""
    crew = await crew_of()
    one = crew.worker("one")
    started, ended = asyncio.Event(), []

    async def long(batch, context):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(crew.clock.now())

    one.sink.script = [long]
    await crew.event()
    begun = crew.clock.now()
    step = asyncio.create_task(one.lane.step())
    await started.wait()
    one.gate.before_write = [away] * 9
    while not step.done():
        await until(lambda: crew.clock.waiting or step.done())
        crew.clock.advance(0.5)
        for _ in range(20):
            await asyncio.sleep(0)
    assert ended[0] < begun + LEASE * 1000
    assert await crew.states() == [PENDING]


@pytest.mark.parametrize("act", ["take", "save_notes", "block"])
async def test_whatever_a_sink_does_through_its_context_checks_the_fence(crew_of, act):
    """Also when it blocks a bucket, which would delay the next owner."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    caught = []

    async def lose(batch, context):
        crew.clock.advance(LEASE + 1)
        await asyncio.shield(asyncio.create_task(other.works_off()))
        acts = {
            "take": context.take,
            "save_notes": partial(context.save_notes, {"a": {}}),
            "block": partial(context.block, "b", 60),
        }
        try:
            await acts[act]()
        except LeaseLost as error:
            caught.append(error)
            raise
        return Result([Delivered()])

    one.sink.script = [lose]
    # its own clock stands still, as that of a stopped process does, so that nothing ends the call before
    one.lane._lease._clock = WaitingClock()
    await crew.event()
    await one.lane.step()
    assert len(caught) == 1


async def test_a_rest_that_another_worker_began_is_kept(crew_of):
    """The destination is down for the next owner, too."""
    crew = await crew_of()
    one, other = crew.worker("one"), crew.worker("other")
    one.sink.script = [lambda batch, context: Result([RetryLater("down", after=60, counts=False, pause_sink=True)])]
    await crew.event()
    await one.lane.step()
    rest_until = (await crew.row()).rest_until
    crew.clock.advance(LEASE + 1)
    assert await other.lane.step() == rest_until
    assert other.sink.batches == []


async def test_a_sink_is_kept_through_a_short_rest_and_given_back_for_a_long_one(crew_of):
    crew = await crew_of()
    one = crew.worker("one")
    for seconds, owner in ((20, "one"), (60, None)):
        down = RetryLater("down", after=seconds, counts=False, pause_sink=True)
        one.sink.script = [lambda batch, context, outcome=down: Result([outcome] * len(batch.deliveries))]
        await crew.event(interview=f"i{seconds}")
        await one.lane.step()
        await one.lane.step()
        assert (await crew.row()).lease_owner == owner
        crew.clock.advance(seconds + 1)


async def test_failures_that_another_worker_saw_count(crew_of):
    """The successor of a dead worker makes one call, and rests longer when that fails, too."""
    crew = await crew_of(One)
    one, other = crew.worker("one", One), crew.worker("other", One)
    one.sink.always = other.sink.always = later
    for number in range(3):
        await crew.event(interview=f"i{number}")
    await one.lane.step()
    await one.lane.step()
    crew.clock.advance(LEASE + 1)
    await other.lane.step()
    await other.lane.step()
    assert len(other.sink.batches) == 1
    assert (await crew.row()).rest_until == crew.clock.now() + 4000


async def test_one_worker_gathers_a_burst(crew_of):
    """It keeps the lease, and counts the deliveries in the store, because it may not be woken."""
    crew = await crew_of(Gathering)
    one, other = crew.worker("one", Gathering), crew.worker("other", Gathering)
    for number in range(4):
        await crew.event(interview=f"i{number}")
    step = asyncio.create_task(one.lane.step())
    await until(lambda: crew.clock.waiting)
    await crew.event(interview="i9")
    assert await other.lane.step() is None
    crew.clock.advance(0.5)
    await until(lambda: crew.clock.waiting)
    crew.clock.advance(0.5)
    await step
    assert [len(keys) for keys in one.keys] == [5]
    assert other.keys == []


async def test_a_stop_gives_the_sink_back(crew_of):
    """The next worker need not wait for the lease to end."""
    crew = await crew_of()
    one = crew.worker("one")
    one.sink.script = [later]
    await crew.event()
    await one.lane.step()
    await one.lane.close()
    assert (await crew.row()).lease_owner is None


@pytest.mark.parametrize("cut", [True, False], ids=["cut off", "not closed"])
async def test_a_stop_that_leaves_something_running_leaves_the_lease_to_run_out(crew_of, cut):
    """A thread of the sink may still write, so the next owner has to wait, and to search again."""
    crew = await crew_of()
    one = crew.worker("one")
    one.sink.script = [later]
    await crew.event()
    await one.lane.step()
    if not cut:
        one.sink.close = never_closes
    with suppress(RuntimeError):
        await one.lane.close(at_rest=not cut)
    assert (await crew.row()).lease_owner == "one"


async def never_closes():
    raise RuntimeError("it does not close")


class TestWhatTheSweepFinds:
    """Sinks with due deliveries that no worker delivers."""

    async def found(self, crew, name="me"):
        return await crew.store.read(lambda connection: claim.due_sinks(connection, name, crew.clock.now()))

    async def test_nothing_pending(self, crew_of):
        crew = await crew_of()
        assert await self.found(crew) == []

    async def test_something_due(self, crew_of):
        crew = await crew_of()
        await crew.event()
        assert await self.found(crew) == ["chat"]

    async def test_in_backoff(self, crew_of):
        """They are not found before the backoff is over, and the owner's lease has ended."""
        crew = await crew_of()
        one = crew.worker("one")
        one.sink.script = [later]
        await crew.event()
        await one.lane.step()
        await one.lane.close()
        assert await self.found(crew) == []
        crew.clock.advance(2)
        assert await self.found(crew) == ["chat"]

    async def test_in_other_hands(self, crew_of):
        """They are not found, unless the lease was released or is our own."""
        crew = await crew_of(One)
        one = crew.worker("one", One)
        one.sink.script = [later]
        await crew.event(interview="i1")
        await one.lane.step()
        await crew.event(interview="i2")
        assert await self.found(crew) == []
        assert await self.found(crew, "one") == ["chat"]
        crew.clock.advance(LEASE + 1)
        assert await self.found(crew) == ["chat"]
