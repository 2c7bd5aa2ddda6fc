"""A service reads existing interviews once, reconciles regularly, and answers the requests of commands."""

from __future__ import annotations

import asyncio

import pytest

from connector.delivery.periodic import TaskContext
from connector.errors import LeaseLost
from connector.hireflix import EnrichedField
from connector.hireflix.api import HireflixApi, HireflixError
from connector.operations.source import put
from connector.operations.source_tasks import COMPLETE_SECONDS, Enriching, SourceTasks
from connector.operations.status import health
from connector.store import schema
from connector.store import source as documents
from connector.store.source import ASKED_KEY, BACKFILL_KEY, RECONCILE_KEY, Asked, Backfill, Reconcile
from tests.operations.hireflix_world import HOUR, at_once, fill, source_at


class Impatient:
    """A clock whose waits are over at once."""

    def __init__(self, clock):
        self.now = clock.now

    async def wait(self, event, _seconds):
        await asyncio.sleep(0)
        return event.is_set()


@pytest.fixture
async def source(tmp_path):
    async with source_at(tmp_path) as one:
        fill(one.account)
        yield one


@pytest.fixture
async def tasks(source):
    key = source.server.key

    def open_api():
        return HireflixApi(key, source.server.api_url, now=source.clock.now, sleep=at_once)

    found = SourceTasks(
        open_api,
        source.store,
        Impatient(source.clock),
        HOUR,
        enriching=Enriching([EnrichedField.COMMENTS]),
        on_reconciled=lambda _: None,
    )
    yield found
    await found.stop()


def turn(source):
    return TaskContext(source.clock.now(), source.store.write, asyncio.Event())


async def run(source, tasks, name):
    [task] = [each for each in tasks.tasks if each.name == name]
    return await task.run(turn(source))


async def stored(source, key, kind):
    return await source.store.query(lambda connection: documents.read(connection, key, kind))


async def test_the_first_run_reads_everything_and_the_next_one_nothing(source, tasks):
    assert await run(source, tasks, "backfill") == {"read": 60, "added": 60}
    calls = source.server.calls.total()

    assert await run(source, tasks, "backfill") == {}
    assert source.server.calls.total() == calls


async def test_before_the_first_backfill_nothing_is_reconciled(source, tasks):
    assert await run(source, tasks, "reconcile") == {}
    assert source.server.calls.total() == 0


async def test_all_pages_are_read_once_a_day_and_else_only_what_differs(source, tasks):
    await run(source, tasks, "backfill")
    pages = []
    for _ in range(3):
        await run(source, tasks, "reconcile")
        pages.append((await stored(source, RECONCILE_KEY, Reconcile)).pages)
        source.clock.advance(COMPLETE_SECONDS / 2)

    assert pages == [2, 0, 2]


async def test_a_stop_keeps_the_progress_for_the_next_start(source, tasks):
    stopping = turn(source)
    stopping.stopping.set()
    assert await tasks.tasks[0].run(stopping) is None

    assert (await run(source, tasks, "backfill"))["read"] == 60


async def test_a_refused_key_is_shown_in_the_status(source, tasks):
    source.server.key = "another"

    with pytest.raises(HireflixError):
        await tasks.tasks[0].run(turn(source))

    found = await source.store.query(lambda connection: health(connection, source.clock.now(), None))
    assert "CONNECTOR_HIREFLIX__API_KEY" in next(
        each.fix for each in found.troubles if each.what.startswith("the API of Hireflix")
    )


@pytest.mark.parametrize("name", ["backfill", "reconcile", "enrichment"])
async def test_a_process_that_lost_the_lease_writes_nothing_about_its_progress(source, tasks, name):
    """The next process has its own progress by then."""

    async def lost(_):
        raise LeaseLost("periodic tasks")

    if name != "backfill":
        await run(source, tasks, "backfill")
    source.clock.advance(COMPLETE_SECONDS)
    before = await source.rows(schema.meta) + await source.rows(schema.enrichment)
    [task] = [each for each in tasks.tasks if each.name == name]
    with pytest.raises(LeaseLost):
        await task.run(TaskContext(source.clock.now(), lost, asyncio.Event()))
    assert await source.rows(schema.meta) + await source.rows(schema.enrichment) == before


async def test_a_request_of_a_command_is_answered(source, tasks):
    tasks.start()
    await put(source.store, ASKED_KEY, Asked(BACKFILL_KEY, 7))

    async def done():
        found = await stored(source, BACKFILL_KEY, Backfill)
        return found is not None and found.finished_at is not None and found.asked_at == 7

    await eventually(done)
    assert await stored(source, ASKED_KEY, Asked) is None


async def test_a_request_that_fails_is_answered_with_the_reason(source, tasks):
    tasks.start()
    await put(source.store, ASKED_KEY, Asked(RECONCILE_KEY, 8))

    async def done():
        found = await stored(source, RECONCILE_KEY, Reconcile)
        return found is not None and found.asked_at == 8

    await eventually(done)
    answer = await stored(source, RECONCILE_KEY, Reconcile)
    assert "connector backfill" in answer.error


async def eventually(condition):
    """Reads the store until a condition of the task in the background holds. Each read lets the task continue."""
    while not await condition():
        pass
