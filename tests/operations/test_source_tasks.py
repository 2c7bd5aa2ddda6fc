"""A service reads existing interviews once, reconciles regularly, and answers the requests of commands."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import insert

from connector.app import open_event_store
from connector.config import load
from connector.delivery.periodic import TaskContext
from connector.emulators.faults import Fault, FaultKind
from connector.errors import ConnectorError, LeaseLost
from connector.hireflix import EnrichedField
from connector.hireflix.api import HireflixApi, HireflixError
from connector.operations import source_tasks
from connector.operations.backfill import EVERYTHING
from connector.operations.source import put
from connector.operations.source_tasks import COMPLETE_SECONDS, Enriching, SourceTasks, backfill_for_command
from connector.operations.status import health
from connector.role import Secrets
from connector.store import schema
from connector.store import source as documents
from connector.store.source import ASKED_KEY, BACKFILL_KEY, RECONCILE_KEY, Asked, Backfill, Reconcile
from connector.store.sqlite.database import StoreLock
from tests.operations.hireflix_world import DAY, HOUR, at_once, fill, silent, source_at


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


def make_tasks(source):
    key = source.server.key

    def open_api():
        return HireflixApi(key, source.server.api_url, now=source.clock.now, sleep=at_once)

    return SourceTasks(
        open_api,
        source.store,
        Impatient(source.clock),
        HOUR,
        enriching=Enriching([EnrichedField.COMMENTS]),
        on_reconciled=lambda _: None,
    )


@pytest.fixture
async def tasks(source):
    found = make_tasks(source)
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
    at = source.clock.now()
    await put(source.store, ASKED_KEY, Asked(BACKFILL_KEY, at))

    await eventually(lambda: is_ended(source))
    found = await stored(source, BACKFILL_KEY, Backfill)
    assert found.finished_at is not None
    assert found.asked_at == at


async def test_a_request_that_fails_is_answered_with_the_reason(source, tasks):
    tasks.start()
    at = source.clock.now()
    await put(source.store, ASKED_KEY, Asked(RECONCILE_KEY, at))

    async def done():
        found = await stored(source, RECONCILE_KEY, Reconcile)
        return found is not None and found.asked_at == at

    await eventually(done)
    answer = await stored(source, RECONCILE_KEY, Reconcile)
    assert "connector backfill" in answer.error


async def test_a_request_that_a_stop_interrupts_is_answered_by_the_next_service(source, tasks):
    await put(source.store, ASKED_KEY, Asked(BACKFILL_KEY, source.clock.now()))
    source.server.faults.add(Fault(FaultKind.HANG))
    tasks.start()
    await eventually(lambda: is_taken(source))
    await tasks.stop()
    assert await is_taken(source)

    source.server.faults.clear()
    following = make_tasks(source)
    following.start()
    await eventually(lambda: is_ended(source))
    await following.stop()
    assert (await stored(source, BACKFILL_KEY, Backfill)).finished_at is not None


async def test_a_request_from_long_before_the_start_is_dropped(source, tasks):
    """Its user does not expect any more that many deletions are applied."""
    source.clock.advance(2 * HOUR)
    asked = Asked(RECONCILE_KEY, source.clock.now() - 2 * HOUR * 1000, accept=True, taken=True)
    await put(source.store, ASKED_KEY, asked)
    tasks.start()
    await eventually(lambda: is_ended(source))
    assert await stored(source, RECONCILE_KEY, Reconcile) is None


async def test_commands_at_the_same_time_are_answered_one_after_the_other(source, tasks, tmp_path):
    file = tmp_path / "connector.db"
    asking = commands_for(source, tmp_path)
    with StoreLock(file):
        await source.store.write(heartbeat)
        tasks.start()
        done = await asyncio.gather(*(asyncio.to_thread(asking) for _ in range(2)))
    assert [each.read for each in done] == [60, 60]
    assert len({each.asked_at for each in done}) == 2


async def test_a_result_that_its_command_does_not_read_delays_no_other_command_for_long(
    source, tasks, tmp_path, monkeypatch
):
    """The command was ended."""
    monkeypatch.setattr(source_tasks, "UNREAD_SECONDS", 0.0)
    await put(source.store, ASKED_KEY, Asked(RECONCILE_KEY, 7, taken=True, ended=True))
    with StoreLock(tmp_path / "connector.db"):
        await source.store.write(heartbeat)
        tasks.start()
        done = await asyncio.to_thread(commands_for(source, tmp_path))
    assert done.read == 60
    assert await stored(source, ASKED_KEY, Asked) is None


async def test_a_command_ends_when_the_service_stops_before_it_has_a_result(source, tmp_path, monkeypatch):
    """The request was taken, and no process has a heartbeat."""
    monkeypatch.setattr(source_tasks, "TAKEN_SECONDS", 0.0)
    await put(source.store, ASKED_KEY, Asked(BACKFILL_KEY, 7, taken=True))
    with StoreLock(tmp_path / "connector.db"), pytest.raises(ConnectorError, match="run this command again"):
        await asyncio.to_thread(commands_for(source, tmp_path))


def commands_for(source, folder):
    """A function that runs a backfill as a command does, with a store that a service holds."""
    file = folder / "config.toml"
    file.write_text('[store]\nurl = "sqlite:///connector.db"\n[sinks.sheet]\ntype = "console"\n')
    key = {"CONNECTOR_HIREFLIX__API_KEY": source.server.key, "CONNECTOR_HIREFLIX__API_URL": source.server.api_url}
    settings = load(file, environ=key, needs=Secrets.NONE)

    def command():
        return asyncio.run(backfill_for_command(settings, open_event_store, EVERYTHING, silent, actor="cli:ana"))

    return command


def heartbeat(connection):
    """A process that runs, however long the test takes."""
    at = time.time_ns() // 1_000_000 + DAY * 1000
    connection.execute(insert(schema.process).values(name="box:1:a", role="all", started_at=at, seen_at=at))


async def is_taken(source):
    found = await stored(source, ASKED_KEY, Asked)
    return found is not None and found.taken


async def is_ended(source):
    return (await stored(source, ASKED_KEY, Asked)).ended


async def eventually(condition):
    """Reads the store until a condition of the task in the background holds. Each read lets the task continue."""
    while not await condition():
        pass
