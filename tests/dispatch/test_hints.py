"""Hints between processes: quick, coalesced, never in the way, and gone when taken."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from connector.dispatch.hint_queue import HintQueue
from connector.dispatch.hints import Hinter
from connector.store.postgres import hints_schema
from tests import postgres
from tests.dispatch.rig import until


class Sent:
    """Remembers what was sent; answers or fails as told."""

    def __init__(self):
        self.names = []
        self.is_new = True
        self.error = None

    async def __call__(self, name):
        self.names.append(name)
        if self.error is not None:
            raise self.error
        return self.is_new


@pytest.fixture
async def sent():
    return Sent()


@pytest.fixture
async def hinter(sent):
    """One that runs."""
    made = Hinter(sent)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_a_hint_is_sent_at_once(hinter, sent):
    hinter.hint(["chat", "sheet"])
    await until(lambda: sent.names)
    assert sent.names == ["chat", "sheet"]


async def test_many_hints_in_a_row_become_two(hinter, sent):
    """The first at once, the last word after a while, not each of them."""
    hinter.hint(["chat"])
    await until(lambda: sent.names)
    for _ in range(100):
        hinter.hint(["chat"])
    await until(lambda: len(sent.names) > 1)
    hinter.hint(["other"])
    await until(lambda: "other" in sent.names)
    assert sent.names == ["chat", "chat", "other"]


async def test_one_sink_does_not_wait_for_the_other(hinter, sent):
    """Each has its own pace."""
    hinter.hint(["chat"])
    await until(lambda: sent.names)
    hinter.hint(["chat", "sheet"])
    await until(lambda: len(sent.names) > 1)
    assert sent.names[1] == "sheet"


async def test_failures_are_told_once_and_so_is_their_end(hinter, sent):
    """The sweep does the work meanwhile."""
    sent.error = OSError()
    with capture_logs() as logs:
        for name in ("a", "b", "c"):
            hinter.hint([name])
            await until(lambda wanted=name: wanted in sent.names)
        assert hinter.is_failing
        sent.error = None
        hinter.hint(["d"])
        await until(lambda: "d" in sent.names)
    assert [log["log_level"] for log in logs] == ["warning", "info"]
    assert not hinter.is_failing


@pytest.fixture(scope="module")
def url():
    """A database with the tables of the hints."""
    with postgres.empty_database() as made:
        asyncio.run(hints_schema.apply(made))
        yield made


@pytest.fixture
async def queue_of(url):
    """Makes queues and closes them."""
    made = []

    async def make(on_wake=lambda name: None):
        queue = HintQueue(url, "test", on_wake)
        await queue.open()
        made.append(queue)
        return queue

    yield make
    for queue in made:
        await queue.close()
    postgres.rows(url, "DELETE FROM procrastinate_jobs RETURNING id")
    postgres.rows(url, "DELETE FROM procrastinate_workers RETURNING id")


async def test_a_worker_that_fails_while_it_ends_has_ended(url):
    """The library's own failure, when the database is gone, must not hide that it was told to end."""

    class Failing(HintQueue):
        async def _run_worker(self):
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise RuntimeError("the worker could not be unregistered") from None

    started = asyncio.Event()
    working = asyncio.create_task(Failing(url, "test", lambda name: None).work())
    await started.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.done()


async def test_a_hint_wakes_a_worker_and_leaves_nothing(url, queue_of):
    """The job is deleted when it is done."""
    woken = []
    sender, worker = await queue_of(), await queue_of(woken.append)
    working = asyncio.create_task(worker.work())
    assert await sender.send("chat")
    await until(lambda: woken)
    working.cancel()
    await asyncio.wait([working])
    assert woken == ["chat"]
    assert postgres.rows(url, "SELECT * FROM procrastinate_jobs") == []
    assert postgres.rows(url, "SELECT * FROM procrastinate_workers") == []


async def test_a_hint_that_waits_already_is_not_sent_twice(url, queue_of):
    """One for each sink."""
    sender = await queue_of()
    assert [await sender.send(name) for name in ("chat", "chat", "sheet")] == [True, False, True]
    assert postgres.rows(url, "SELECT queueing_lock FROM procrastinate_jobs ORDER BY id") == [
        ("wake:chat",),
        ("wake:sheet",),
    ]


async def test_the_hint_of_a_worker_that_died_is_deleted_even_while_a_new_one_waits(url, queue_of):
    """Trying it again would break on the new one."""
    queue = await queue_of()
    await queue.send("chat")
    postgres.rows(
        url,
        "WITH dead AS (INSERT INTO procrastinate_workers (last_heartbeat)"
        " VALUES (now() - interval '1 hour') RETURNING id)"
        " UPDATE procrastinate_jobs SET status = 'doing', worker_id = dead.id FROM dead RETURNING 1",
    )
    await queue.send("chat")
    assert await queue.clear_stalled() == 1
    assert postgres.rows(url, "SELECT status FROM procrastinate_jobs") == [("todo",)]
