"""A fill continues after failures, and a stop ends in time with all outcomes settled."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from connector.delivery.dispatcher import STOP_LOG_SECONDS, log_running_calls
from connector.errors import StoreUnavailable
from connector.sink import Delivered, Result
from connector.store import leases
from tests.delivery.rig import One, Scripted, State, WaitingClock, dispatcher_of, run_until, until

PENDING, DELIVERED = 0, 1


def keys_of(sink):
    return {one.key for batch in sink.batches for one in batch.deliveries}


async def test_a_fill_waits_for_a_store_that_is_away(rig_of):
    """A disk that is full for a moment at the start must not leave the sheet empty."""
    rig = await rig_of(One("chat"))
    await rig.event(interview="i1")
    sheet = State("sheet")
    dispatcher = dispatcher_of(rig, sheet)
    real_read, real_write, refusals = rig.store.read, rig.store.write, {"read": 2, "write": 5}

    def sometimes(kind, real):
        async def maybe(job):
            if dispatcher._tasks and refusals[kind]:
                refusals[kind] -= 1
                raise StoreUnavailable("disk full")
            return await real(job)

        return maybe

    rig.store.read, rig.store.write = sometimes("read", real_read), sometimes("write", real_write)
    await run_until(dispatcher, rig.clock, lambda: sheet.batches and not any(refusals.values()))
    await dispatcher.fill()
    assert keys_of(sheet) == {"i1"}


async def test_one_sink_that_cannot_be_filled_delays_no_other(rig_of):
    """A failed fill is repeated at the next start, and the other sheets are filled."""

    class Nowhere(State):
        @property
        def destination(self):
            raise RuntimeError

    rig = await rig_of(One("chat"))
    await rig.event(interview="i1")
    sheet = State("sheet")
    await run_until(dispatcher_of(rig, Nowhere("bad"), sheet), rig.clock, lambda: sheet.batches)
    assert keys_of(sheet) == {"i1"}


async def hanging(rig, sink):
    """A dispatcher whose only call is under way."""
    started = asyncio.Event()

    async def hangs(batch, context):
        started.set()
        await asyncio.Event().wait()

    sink.script = [hangs]
    await rig.event()
    dispatcher = dispatcher_of(rig, sink)
    await dispatcher.start()
    await started.wait()
    return dispatcher


async def test_a_stop_names_the_calls_that_still_run(rig_of):
    """Every few seconds, by sink and kind, so that an operator knows what to look at."""
    rig = await rig_of(Scripted("chat"))
    dispatcher = await hanging(rig, Scripted("chat"))
    assert dispatcher.running_calls() == ["chat: event"]
    clock = WaitingClock()
    with capture_logs() as logs:
        reporting = asyncio.create_task(log_running_calls(dispatcher.running_calls, clock))
        for _ in range(3):
            await until(lambda: clock.waiting)
            clock.advance(STOP_LOG_SECONDS)
        await until(lambda: clock.waiting)
    reporting.cancel()
    assert [entry["calls"] for entry in logs if entry["event"] == "stop waits"] == [["chat: event"]] * 3
    await dispatcher.stop(0)
    assert dispatcher.running_calls() == []


async def test_a_second_signal_ends_the_wait(rig_of):
    """The call is cancelled, and called again with `maybe_sent` after the next start."""
    rig = await rig_of(Scripted("chat"))
    dispatcher = await hanging(rig, Scripted("chat"))
    force = asyncio.Event()
    stopping = asyncio.create_task(dispatcher.stop(3600, force))
    await asyncio.sleep(0)
    force.set()
    await stopping
    (row,) = await rig.rows()
    assert row.state == PENDING
    assert row.batch is not None


async def test_a_sink_that_does_not_close_keeps_neither_its_lease_nor_the_others(rig_of):
    """The next process can continue at once."""

    class Stubborn(Scripted):
        async def close(self):
            raise OSError

    rig = await rig_of(Scripted("bad"), Scripted("good"))
    bad, good = Stubborn("bad"), Scripted("good")
    await rig.event()
    await run_until(dispatcher_of(rig, bad, good), rig.clock, lambda: bad.batches and good.batches)
    rows = await rig.store.query(leases.rows)
    assert good.closed
    assert [row.lease_owner for row in rows] == [None, None]


async def test_outcomes_are_settled_during_a_stop_as_soon_as_the_store_takes_them(rig_of):
    """A posted message stays settled although the disk was full for a moment."""
    rig = await rig_of(Scripted("chat"))
    chat, real, refusals = Scripted("chat"), rig.store.write, []
    dispatcher = dispatcher_of(rig, chat)

    async def refusing(job):
        if chat.batches and len(refusals) < 2:
            refusals.append(1)
            raise StoreUnavailable("disk full")
        return await real(job)

    async def sends(batch, context):
        for lane in dispatcher.lanes.values():
            lane.stop()
        return Result([Delivered()])

    chat.script = [sends]
    await rig.event()
    rig.store.write = refusing
    await dispatcher.start()
    await until(lambda: refusals)
    stopping = asyncio.create_task(dispatcher.stop(3600))
    while not stopping.done():
        rig.clock.advance(0.5)
        await asyncio.sleep(0)
    assert await rig.states() == [DELIVERED]


@pytest.mark.parametrize("call", ["read", "query", "write"])
async def test_a_store_that_was_closed_is_unavailable(rig_of, call):
    """A request or a lane may still use it while the process stops."""
    rig = await rig_of()
    await rig.store.close()
    with pytest.raises(StoreUnavailable):
        await getattr(rig.store, call)(lambda connection: None)
