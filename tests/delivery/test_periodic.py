"""Periodic tasks run once per installation, at their times, also after restarts and with several processes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import insert, select

from connector.delivery.periodic import LEASE, PeriodicTask, PeriodicTasks
from connector.errors import ConnectorError, LeaseLost, StoreUnavailable
from connector.store import processes
from connector.store.postgres.store import PostgresStore
from connector.store.schema import lease as lease_table
from connector.store.schema import meta
from connector.store.sqlite.store import SqliteStore
from connector.testing import START
from tests.delivery.crew import Crew, Gate
from tests.delivery.rig import Scripted, WaitingClock, until
from tests.postgres import empty_store
from tests.stores import make_store_file

INTERVAL = 60
LONG_LEASE = 10_000.0
"""For tests in which no lease ends."""


class Process:
    """One process with a task that records its runs, a clock, and its own connection to the store."""

    def __init__(self, name, store, clock, *, lease=LONG_LEASE, script=None):
        self.name, self.clock, self.gate = name, clock, Gate(store)
        self.gate.shared = store.shared
        self.starts, self.stored = [], []
        self.script = script
        task = PeriodicTask("count", INTERVAL, self._run)
        self.tasks = PeriodicTasks([task], self.gate, clock, name, on_run=self.stored.append, lease_seconds=lease)
        self.tasks.start()

    async def _run(self, turn):
        self.starts.append(turn.now)
        return {"done": len(self.starts)} if self.script is None else await self.script(turn)

    async def has_run(self, times):
        await until(lambda: len(self.stored) == times)

    async def waits(self):
        await until(lambda: self.clock.waiting)


@pytest.fixture
async def opened():
    """Opens stores and stops processes at the end."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request, opened, tmp_path):
    if request.param == "sqlite":
        path = make_store_file(tmp_path / "store.db")
        found = SqliteStore(path, Crew.routing_table(Scripted), lambda plan: None, intake=10)
    else:
        found = await PostgresStore.open(
            opened.enter_context(empty_store()), Crew.routing_table(Scripted), lambda plan: None, intake=10
        )
    opened.push_async_callback(found.close)
    return found


@pytest.fixture
async def two_stores(opened):
    """The stores of two processes on one database."""
    url = opened.enter_context(empty_store())
    found = []
    for _ in range(2):
        found.append(await PostgresStore.open(url, Crew.routing_table(Scripted), lambda plan: None, intake=10))
        opened.push_async_callback(found[-1].close)
    return found


def start(opened, *arguments, **options):
    process = Process(*arguments, **options)
    opened.push_async_callback(process.tasks.stop)
    return process


async def test_on_a_file_the_lease_of_a_killed_process_delays_nothing(opened, tmp_path):
    path = make_store_file(tmp_path / "store.db")
    found = SqliteStore(path, Crew.routing_table(Scripted), lambda plan: None, intake=10)
    opened.push_async_callback(found.close)
    row = {"name": LEASE, "lease_owner": "killed", "lease_until": START + 1_000_000, "fence": 1}
    await found.write(lambda connection: connection.execute(insert(lease_table).values(row)))

    process = start(opened, "next", found, WaitingClock())

    await process.has_run(1)
    assert process.starts == [START]


async def test_a_task_runs_at_its_interval_and_its_last_run_is_stored(opened, store):
    clock = WaitingClock()
    process = start(opened, "one", store, clock)
    await process.has_run(1)
    await process.waits()
    clock.advance(INTERVAL)
    await process.has_run(2)
    assert process.starts == [START, START + INTERVAL * 1000]
    run = (await store.query(processes.task_runs))["count"]
    assert (run.started_at, run.next_at, run.error, run.counts) == (
        START + INTERVAL * 1000,
        START + 2 * INTERVAL * 1000,
        "",
        {"done": 2},
    )


async def test_a_clock_that_was_years_ahead_delays_the_next_run_by_the_interval_at_most(opened, store):
    """A machine may start with a wrong clock, which is corrected later."""
    ahead = WaitingClock()
    ahead.advance(10 * 365 * 86_400)
    first = start(opened, "one", store, ahead)
    await first.has_run(1)
    await first.tasks.stop()
    clock = WaitingClock()
    second = start(opened, "two", store, clock)
    await second.waits()
    clock.advance(INTERVAL)
    await second.has_run(1)
    assert second.starts == [START + INTERVAL * 1000]


async def test_a_restart_does_not_repeat_a_run(opened, store):
    clock = WaitingClock()
    first = start(opened, "one", store, clock)
    await first.has_run(1)
    await first.tasks.stop()
    clock.advance(INTERVAL / 2)
    second = start(opened, "two", store, clock)
    await until(lambda: clock.waiting)
    clock.advance(INTERVAL / 2)
    await second.has_run(1)
    assert second.starts == [START + INTERVAL * 1000]


async def test_one_of_two_processes_runs_the_tasks(opened, two_stores):
    clock = WaitingClock()
    processes = [start(opened, name, store, clock) for name, store in zip("ab", two_stores, strict=True)]
    starts = lambda: [at for process in processes for at in process.starts]  # noqa: E731
    for count in range(1, 6):
        await until(lambda count=count: len(starts()) >= count and clock.waiting >= 2)
        clock.advance(INTERVAL)
    await until(lambda: len(starts()) == 6)
    assert starts() == [START + n * INTERVAL * 1000 for n in range(6)]
    assert [] in [process.starts for process in processes]


async def test_another_process_continues_after_the_lease_of_one_that_hangs(opened, two_stores):
    """It cannot write any more, because its run checks the lease in the same transaction."""
    hung, continued, results = asyncio.Event(), asyncio.Event(), []

    async def hang(turn):
        hung.set()
        await continued.wait()
        try:
            await turn.write(lambda connection: connection.execute(insert(meta).values(key="late", value="")))
        except LeaseLost:
            results.append("lost")
            raise

    stopped_clock, clock = WaitingClock(), WaitingClock()
    start(opened, "one", two_stores[0], stopped_clock, lease=15, script=hang)
    await hung.wait()
    other = start(opened, "other", two_stores[1], clock, lease=15)
    await other.waits()
    assert other.starts == []
    clock.advance(16)
    await other.has_run(1)
    continued.set()
    await until(lambda: results)
    assert results == ["lost"]
    assert (
        await two_stores[1].query(lambda connection: connection.execute(select(meta).where(meta.c.key == "late")).all())
        == []
    )


async def test_a_failed_run_is_stored_with_its_place_and_repeated(opened, store):
    async def fail(turn):
        raise ValueError("Ada Lovelace")

    clock = WaitingClock()
    process = start(opened, "one", store, clock, script=fail)
    await process.has_run(1)
    error = (await store.query(processes.task_runs))["count"].error
    assert error.startswith("ValueError at tests.delivery.test_periodic:")
    process.script = None
    await process.waits()
    clock.advance(INTERVAL)
    await process.has_run(2)
    assert (await store.query(processes.task_runs))["count"].error == ""


async def test_an_expected_failure_is_stored_with_its_message_because_it_says_what_to_do(opened, store):
    async def fail(turn):
        raise ConnectorError("the key is refused: set another one")

    process = start(opened, "one", store, WaitingClock(), script=fail)
    await process.has_run(1)
    assert (await store.query(processes.task_runs))["count"].error == "the key is refused: set another one"


async def test_a_run_that_ends_early_at_a_stop_is_due_at_the_next_start(opened, store):
    async def ends_early(turn):
        await turn.stopping.wait()

    clock = WaitingClock()
    process = start(opened, "one", store, clock, script=ends_early)
    await until(lambda: process.starts)
    await process.tasks.stop()
    assert await store.query(processes.task_runs) == {}
    again = start(opened, "two", store, clock)
    await again.has_run(1)


async def test_a_task_waits_for_an_unavailable_store(opened, store):
    async def away():
        raise StoreUnavailable("no server")

    clock = WaitingClock()
    process = Process("one", store, clock)
    opened.push_async_callback(process.tasks.stop)
    process.gate.before_write = [away]
    await process.waits()
    clock.advance(60)
    await process.has_run(1)
    assert process.stored[0].error == ""
