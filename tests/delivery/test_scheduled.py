"""Calls at set times are added once, also after a stop and after a run that failed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import select, update

from connector.delivery.periodic import PeriodicTasks, TaskContext
from connector.delivery.tasks import ScheduledCalls
from connector.errors import StoreUnavailable
from connector.store import leases
from connector.store.schema import delivery
from connector.store.sqlite.store import SqliteStore
from connector.testing import START
from tests.delivery.crew import Crew
from tests.delivery.rig import Scripted, WaitingClock, until
from tests.stores import make_store_file

MINUTE = 60_000


class Punctual(Scripted):
    """A sink that is called at each full ten minutes after START."""

    schedules = True

    def scheduled(self, after_ms, until_ms):
        return ["greet"] if any(after_ms < START + n * 10 * MINUTE <= until_ms for n in range(1000)) else []


@pytest.fixture
async def store(tmp_path):
    path = make_store_file(tmp_path / "store.db")
    opened = SqliteStore(path, Crew.routing_table(Scripted), lambda plan: None, intake=10)
    await opened.write(lambda connection: leases.register(connection, dict.fromkeys(("chat", "team"), "scripted")))
    yield opened
    await opened.close()


async def planned(store):
    rows = await store.query(lambda connection: connection.execute(select(delivery).order_by(delivery.c.id)).all())
    return [(row.sink, row.purpose, row.interview_id, row.since) for row in rows]


async def run(store, now, *sinks, write=None):
    calls = ScheduledCalls(sinks or [Punctual("chat"), Scripted("other")])
    return await calls.run(TaskContext(now, write or store.write, asyncio.Event()))


async def test_a_call_is_added_when_its_time_has_come(store):
    assert await run(store, START + 8 * MINUTE) == {"calls": 0}
    assert await run(store, START + 9 * MINUTE) == {"calls": 0}
    assert await run(store, START + 10 * MINUTE) == {"calls": 1}
    assert await planned(store) == [("chat", "greet", "", START + 10 * MINUTE)]


async def test_several_missed_times_make_one_call(store):
    await run(store, START + MINUTE)
    await run(store, START + 55 * MINUTE)
    assert len(await planned(store)) == 1


async def test_the_first_run_adds_nothing(store):
    """A new installation has no missed times."""
    assert await run(store, START + 10 * MINUTE) == {"calls": 0}


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
async def test_a_store_that_fails_during_a_run_repeats_no_call(store, lost):
    """Also of the sinks whose calls were added before the failure, and when only the answer of the store was lost."""
    sinks = [Punctual("chat"), Punctual("team")]
    await run(store, START + 9 * MINUTE, *sinks)
    writes = 0

    async def failing(job):
        nonlocal writes
        writes += 1
        if writes == lost:
            raise StoreUnavailable("no server")
        done = await store.write(job)
        if writes + 2 == lost:
            raise StoreUnavailable("no answer")
        return done

    with suppress(StoreUnavailable):
        await run(store, START + 10 * MINUTE, *sinks, write=failing)
    await store.write(lambda connection: connection.execute(update(delivery).values(state=1)))
    await run(store, START + 11 * MINUTE, *sinks)
    assert [sink for sink, *_ in await planned(store)] == ["chat", "team"]


async def test_a_process_that_ends_after_the_calls_were_added_repeats_none(store):
    """The end of the run was not stored, so the next process runs the task again."""
    await run(store, START + 9 * MINUTE)
    await run(store, START + 10 * MINUTE)
    await store.write(lambda connection: connection.execute(update(delivery).values(state=1)))
    assert await run(store, START + 10 * MINUTE) == {"calls": 0}


async def test_a_sink_whose_schedule_fails_keeps_no_other_call_back(store):
    class Faulty(Punctual):
        def scheduled(self, after_ms, until_ms):
            raise ValueError("a fault")

    sinks = [Faulty("faulty"), Punctual("chat")]
    await run(store, START + 9 * MINUTE, *sinks)
    assert await run(store, START + 10 * MINUTE, *sinks) == {"calls": 1}


async def test_a_run_that_failed_and_a_restart_lose_no_call(store):
    clock = WaitingClock()
    calls = ScheduledCalls([Punctual("chat")])
    fails = [False, True, False]
    real = calls.run

    async def unreliable(turn):
        if fails.pop(0):
            raise StoreUnavailable("no server")
        return await real(turn)

    calls.run = unreliable
    runs = []
    first = PeriodicTasks(calls.tasks, store, clock, "one", on_run=runs.append)
    first.start()
    await until(lambda: len(runs) == 1 and clock.waiting)
    clock.advance(600)
    await until(lambda: len(runs) == 2)
    await first.stop()
    second = PeriodicTasks(calls.tasks, store, clock, "two", on_run=runs.append)
    second.start()
    await until(lambda: clock.waiting)
    clock.advance(60)
    await until(lambda: len(runs) == 3)
    await second.stop()
    assert [bool(each.error) for each in runs] == [False, True, False]
    assert len(await planned(store)) == 1


def test_without_a_sink_that_is_called_at_set_times_there_is_no_task():
    assert not ScheduledCalls([Scripted("other")]).tasks
