"""All lanes together: leases at the start, filling, renaming, stopping."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from connector.delivery.dispatcher import Dispatcher
from connector.delivery.lane import DeliveryRuntime
from connector.errors import StoreUnavailable
from connector.logging import with_exception
from connector.routing import Route, Routes
from connector.sink import Delivered, Result, RetryLater
from connector.store import leases, notes, queries
from connector.store.queries import ListingFilter
from connector.store.rename import rename
from tests.delivery.rig import One, Scripted, State, dispatcher_of, run_until, until

DELIVERED = 1


async def test_a_new_state_sink_is_filled_from_the_store(rig_of):
    """Interviews that were stored before the sink was configured get a row."""
    rig = await rig_of(One("chat"))
    for number in range(3):
        await rig.event(interview=f"i{number}")
    sheet = State("sheet")
    await run_until(dispatcher_of(rig, sheet), rig.clock, lambda: sum(len(b.deliveries) for b in sheet.batches) >= 3)
    assert {one.key for batch in sheet.batches for one in batch.deliveries} == {"i0", "i1", "i2"}


async def test_a_new_message_sink_is_not_filled(rig_of):
    """A new channel gets no messages about old events."""
    rig = await rig_of(State("sheet"))
    await rig.event()
    chat, sheet = One("chat"), State("sheet")
    await run_until(dispatcher_of(rig, chat, sheet), rig.clock, lambda: sheet.batches)
    assert chat.batches == []


async def test_only_interviews_whose_state_meets_a_route_are_filled_in(rig_of):
    """Conditions on events count as met; the others are checked."""
    rig = await rig_of(One("chat"))
    await rig.event("interview.score-updated", "high", score={"value": 5})
    await rig.event("interview.score-updated", "low", score={"value": 1})
    sheet = State("sheet")
    routes = Routes((Route(("sheet",), events=("interview.finish",), min_score=4),), {"sheet": True})
    await run_until(dispatcher_of(rig, sheet, routes=routes), rig.clock, lambda: sheet.batches)
    assert [one.key for batch in sheet.batches for one in batch.deliveries] == ["high"]


async def test_a_filled_sink_is_not_filled_again_at_the_next_start(rig_of):
    """Only a new destination or other routes fill it again."""
    rig = await rig_of(State("sheet"))
    await rig.event()
    first, second = State("sheet"), State("sheet")
    done = dispatcher_of(rig, first)
    await run_until(done, rig.clock, lambda: first.batches)
    await done.fill()
    before = len(await rig.rows())
    other = dispatcher_of(rig, second)
    await other.fill()
    assert len(await rig.rows()) == before


async def test_a_moved_sink_is_filled_again_with_empty_notes(rig_of):
    """The notes of the old destination stay with it."""

    class Moved(State):
        @property
        def destination(self):
            return "elsewhere"

    rig = await rig_of(State("sheet"))
    await rig.event()
    first, second = State("sheet"), Moved("sheet")
    first.always = lambda batch, context: Result([Delivered()], notes={"row:i1": {"at": 7}})
    await run_until(dispatcher_of(rig, first), rig.clock, lambda: first.batches)
    await run_until(dispatcher_of(rig, second), rig.clock, lambda: second.batches)
    assert second.batches[0].notes == {}
    assert [one.key for one in second.batches[0].deliveries] == ["i1"]


async def test_a_renamed_sink_takes_queue_and_notes_along(rig_of):
    """`renamed_from` is the old name."""
    rig = await rig_of(Scripted("old"))
    rig.sinks[0].always = lambda batch, context: Result(
        [Delivered()], notes={f"row:{batch.deliveries[0].key}": {"n": 1}}
    )
    await rig.event(interview="i1")
    await rig.lane.step()
    await rig.event(interview="i2")

    class SamePlace(Scripted):
        @property
        def destination(self):
            return "old"

    new = SamePlace("new")
    new.wanted_keys = ["row:i1"]
    await run_until(dispatcher_of(rig, new, renamed_from={"new": "old"}), rig.clock, lambda: new.batches)
    assert [one.key for one in new.batches[0].deliveries] == ["i2"]
    assert new.batches[0].notes == {"row:i1": {"n": 1}}


async def test_what_a_receiver_with_the_old_name_adds_later_is_delivered(rig_of):
    """Processes are restarted one after the other; a receiver still knows the old name."""
    rig = await rig_of(Scripted("old"))
    new = Scripted("new")
    dispatcher = dispatcher_of(rig, new, renamed_from={"new": "old"})
    await dispatcher.start()
    await rig.event(interview="late")
    while not new.batches:
        rig.clock.advance(0.01)
        await asyncio.sleep(0)
    await dispatcher.stop(1)
    assert [one.key for one in new.batches[0].deliveries] == ["late"]


async def test_a_sink_that_cannot_be_merged_with_its_old_name_is_paused(rig_of):
    """With the reason and what to do; the other sinks work."""
    rig = await rig_of(Scripted("old"), Scripted("new"), Scripted("other"))
    for name, ts in (("old", 1), ("new", 2)):
        await rig.store.write(
            lambda connection, name=name, ts=ts: notes.write(connection, name, "here", {"parent:i1": {"ts": ts}})
        )
    new, other = Scripted("new"), Scripted("other")
    await rig.event()
    await run_until(dispatcher_of(rig, new, other, renamed_from={"new": "old"}), rig.clock, lambda: other.batches)
    row = await rig.store.query(lambda connection: leases.row(connection, "new"))
    assert (row.paused, "remove `renamed_from`" in row.fix) == ("until_person", True)
    assert new.batches == []


async def test_a_start_takes_over_leases_and_probes_broken_sinks_at_once(rig_of):
    """Leases of another process are taken over, and sinks that were broken are called."""
    rig = await rig_of(Scripted("chat"))
    pause = leases.Pause("broken", "channel gone", "invite", rig.clock.now() + 300_000)
    await rig.store.write(lambda connection: leases.acquire(connection, "chat", "dead process", rig.clock.now()))
    await rig.store.write(lambda connection: leases.pause(connection, "chat", pause))
    await rig.event()
    chat = Scripted("chat")
    await run_until(dispatcher_of(rig, chat), rig.clock, lambda: chat.batches)
    assert (await rig.sink_row()).paused is None


async def test_a_pause_until_a_time_ends_by_itself_at_that_time(rig_of):
    rig = await rig_of(Scripted("chat"))
    until = rig.clock.now() + 5_000
    await rig.store.write(
        lambda connection: leases.pause(connection, "chat", leases.Pause("person", "busy", until=until))
    )
    await rig.event()
    chat = Scripted("chat")
    called_at = []
    chat.always = lambda batch, context: called_at.append(context.now()) or Result([Delivered()])
    await run_until(dispatcher_of(rig, chat), rig.clock, lambda: called_at)
    row = await rig.sink_row()
    assert called_at[0] >= until
    assert (row.paused, row.paused_until) == (None, None)
    changes = await rig.store.query(lambda connection: queries.audit_entries(connection, ListingFilter(), 5))
    assert [(row.actor, row.action, row.target) for row in changes] == [("connector", "resume", "chat")]


async def test_a_stop_lets_the_call_under_way_end_and_settles_it(rig_of):
    """Nothing that was delivered is delivered again after a graceful stop; the leases are free."""
    rig = await rig_of(Scripted("chat"))
    chat = Scripted("chat")
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(batch, context):
        started.set()
        await go_on.wait()
        return Result([Delivered()])

    chat.script = [slow]
    await rig.event()
    dispatcher = dispatcher_of(rig, chat)
    await dispatcher.start()
    await started.wait()
    stopping = asyncio.create_task(dispatcher.stop(30))
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert await rig.states() == [DELIVERED]
    assert chat.closed
    assert (await rig.sink_row()).lease_owner is None


async def test_the_wait_of_a_stop_is_limited(rig_of):
    """A call that hangs is cancelled. Its batch is called again with `maybe_sent`."""
    rig = await rig_of(Scripted("chat"))
    chat = Scripted("chat")
    started = asyncio.Event()

    async def hangs(batch, context):
        started.set()
        await asyncio.Event().wait()

    chat.script = [hangs]
    await rig.event()
    dispatcher = dispatcher_of(rig, chat)
    await dispatcher.start()
    await started.wait()
    await dispatcher.stop(0)
    (row,) = await rig.rows()
    assert row.state == 0
    assert row.batch is not None


async def test_a_wake_delivers_at_once(rig_of):
    """No sweep is needed when the receiver wakes the lane."""
    rig = await rig_of(Scripted("chat"))
    chat = Scripted("chat")
    dispatcher = dispatcher_of(rig, chat)
    await dispatcher.start()
    await rig.event()
    dispatcher.wake({"chat", "unknown"})
    await until(lambda: chat.batches)
    await dispatcher.stop(5)
    assert await rig.states() == [DELIVERED]


async def test_an_interview_that_meets_no_route_any_more_is_delivered_with_that_mark(rig_of):
    """A state sink still gets its subscribed interviews, and may remove them."""
    rig = await rig_of(One("chat"))
    await rig.event("interview.score-updated", "high", score={"value": 5})
    await rig.event("interview.score-updated", "low", score={"value": 1})
    sheet = State("sheet")
    routes = Routes((Route(("sheet",)),), {"sheet": True})
    await run_until(dispatcher_of(rig, sheet, routes=routes), rig.clock, lambda: sheet.batches)
    later = State("sheet")
    routes = Routes((Route(("sheet",), min_score=4),), {"sheet": True})
    await run_until(dispatcher_of(rig, later, routes=routes), rig.clock, lambda: later.batches)
    assert {one.key: one.unrouted for batch in later.batches for one in batch.deliveries} == {
        "high": False,
        "low": True,
    }


async def test_a_state_sink_reads_its_interviews_a_part_at_a_time(rig_of):
    """In the order of ids, with marks for pending interviews and for those that no route matches."""
    rig = await rig_of(One("chat"))
    for number in range(5):
        await rig.event(interview=f"i{number}")
    sheet, read = State("sheet"), []

    async def look(batch, context):
        after = ""
        while part := await context.interviews(after, 2):
            read.append([(each.interview.id, each.pending, each.unrouted) for each in part])
            after = part[-1].interview.id
        read.append(await context.get_notes(["row:i1", "nothing"]))
        return Result([Delivered() for _ in batch.deliveries], notes={"row:i1": {"x": 1}})

    sheet.script = [look]
    await run_until(dispatcher_of(rig, sheet), rig.clock, lambda: read)
    assert read[:3] == [[(f"i{n}", True, False) for n in part] for part in ((0, 1), (2, 3), (4,))]
    assert read[3] == {}


async def test_a_state_sink_that_is_late_for_long_is_logged_once(rig_of):
    """After ten minutes, whatever the reason."""
    rig = await rig_of(State("sheet"))
    await rig.event()
    sheet = State("sheet")
    sheet.always = lambda batch, context: Result([RetryLater("rows moved", after=1, counts=False)])
    dispatcher = dispatcher_of(rig, sheet)
    with capture_logs() as logs:
        await dispatcher.start()
        for _ in range(4):
            rig.clock.advance(400)
            await dispatcher._log_overdue()
        await dispatcher.stop(5)
    assert [log["event"] for log in logs].count("sink overdue") == 1


async def test_a_clock_that_is_set_back_hides_no_state_sink_that_is_late(rig_of):
    rig = await rig_of(State("sheet"))
    sheet = State("sheet")
    sheet.always = lambda batch, context: Result([RetryLater("rows moved", after=1, counts=False)])
    dispatcher = dispatcher_of(rig, sheet)
    await dispatcher.start()
    await dispatcher._log_overdue()
    rig.clock.set_back(3600)
    await rig.event()
    with capture_logs() as logs:
        rig.clock.advance(700)
        await dispatcher._log_overdue()
        await dispatcher.stop(5)
    assert [log["event"] for log in logs].count("sink overdue") == 1


@pytest.mark.parametrize("kind", [Scripted, State])
async def test_a_sink_that_a_newer_process_renames_is_left_to_it(rig_of, kind):
    """Workers are upgraded one after the other. The older one logs no failure."""
    rig = await rig_of(kind("sheet"))
    sheet = kind("sheet")
    dispatcher = dispatcher_of(rig, sheet)
    lane = dispatcher.lanes["sheet"]
    with capture_logs() as logs:
        await dispatcher.start()
        await until(lambda: is_asleep(lane))
        now = rig.clock.now()
        await rig.store.write(lambda connection: rename(connection, "sheet", "graduates", now, is_state=sheet.state))
        await rig.event()
        lane.wake()
        await until(lambda: not is_asleep(lane))
        await until(lambda: is_asleep(lane))
        await dispatcher._fill_one(sheet)
        await dispatcher.stop(5)
    assert sheet.batches == []
    assert logs == []


def is_asleep(lane):
    """Whether the lane waits for a wake-up, so that it does not search for an event."""
    return bool(lane._wake._waiters)


async def test_a_delivery_whose_wake_up_was_lost_is_found_by_the_sweep(rig_of):
    """Within a second, by any process that has a lane for its sink."""
    rig = await rig_of(Scripted("chat"))
    chat = Scripted("chat")
    runtime = DeliveryRuntime(rig.store, rig.clock, rig.meters, "me", rig.runtime.policy)
    dispatcher = Dispatcher([chat], Routes((), {"chat": False}), runtime, types={"chat": "scripted"}, renamed_from={})
    await dispatcher.start()
    await until(lambda: rig.clock.waiting and is_asleep(dispatcher.lanes["chat"]))
    await rig.event()
    rig.clock.advance(1)
    await until(lambda: chat.batches)
    await dispatcher.stop(5)
    assert await rig.states() == [DELIVERED]


async def test_a_failed_sweep_is_logged_and_repeated(rig_of):
    """With any error, because without sweeps the deliveries of stopped processes would not be found."""

    odd = [KeyError("a note of another version")]

    class Alarmed(Dispatcher):
        async def _log_overdue(self):
            if odd:
                raise odd.pop()

    rig = await rig_of(Scripted("chat"))
    chat = Scripted("chat")
    runtime = DeliveryRuntime(rig.store, rig.clock, rig.meters, "me", rig.runtime.policy)
    dispatcher = Alarmed([chat], Routes((), {"chat": False}), runtime, types={"chat": "scripted"}, renamed_from={})
    with capture_logs() as logs:
        await dispatcher.start()
        await until(lambda: rig.clock.waiting)
        rig.clock.advance(1)
        await until(lambda: logs)
        await rig.event()
        while not chat.batches:
            await until(lambda: rig.clock.waiting)
            rig.clock.advance(1)
            await asyncio.sleep(0)
        await dispatcher.stop(5)
    assert {log["event"] for log in logs} == {"sweep failed"}
    assert "another version" not in str([with_exception(None, "critical", dict(log)) for log in logs])


async def test_an_unavailable_store_is_logged_once(rig_of):
    """Also when it lasts long, and once more when the store is back."""
    rig = await rig_of(Scripted("chat"))
    dispatcher = dispatcher_of(rig, Scripted("chat"))
    real, is_away = rig.store.read, [True]

    async def read(query):
        if is_away:
            raise StoreUnavailable("no server")
        return await real(query)

    with capture_logs() as logs:
        await dispatcher.start()
        rig.store.read = read
        for _ in range(3):
            await until(lambda: rig.clock.waiting)
            rig.clock.advance(1)
            await asyncio.sleep(0)
        await until(lambda: logs)
        is_away.clear()
        while len(logs) < 2:
            rig.clock.advance(1)
            await asyncio.sleep(0)
        await dispatcher.stop(5)
    assert [log["event"] for log in logs] == ["store unavailable", "store available"]
