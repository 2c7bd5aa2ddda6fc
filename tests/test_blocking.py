"""A thread for a client that blocks: calls in order, results and errors to the caller, and an end on request."""

from __future__ import annotations

import asyncio
import threading

import pytest

from connector.blocking import BlockingThread


async def test_calls_run_one_after_the_other_in_one_daemon_thread():
    thread, order = BlockingThread("one"), []

    def call(number):
        order.append(number)
        return threading.current_thread()

    ran = await asyncio.gather(*(thread.run(lambda number=number: call(number)) for number in range(20)))
    assert order == list(range(20))
    assert len(set(ran)) == 1
    assert ran[0].daemon
    await thread.finish()
    ran[0].join()


async def test_an_error_is_raised_where_the_call_was_asked_for_and_the_next_call_works():
    thread = BlockingThread("one")
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 / 0)
    assert await thread.run(lambda: 1) == 1
    thread.close()


async def test_a_call_that_waits_is_dropped_when_its_caller_is_cancelled():
    thread, release, ran = BlockingThread("one"), threading.Event(), []
    first = asyncio.create_task(thread.run(release.wait))
    second = asyncio.create_task(thread.run(lambda: ran.append(2)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    release.set()
    await first
    await thread.finish()
    assert ran == []


async def test_closing_runs_waiting_calls_and_the_last_call_and_refuses_further_ones():
    thread, ran = BlockingThread("one"), []
    worker = await thread.run(threading.current_thread)
    thread.close(lambda: ran.append("last"))
    worker.join()
    assert ran == ["last"]
    with pytest.raises(RuntimeError):
        await thread.run(lambda: 1)


async def test_a_thread_that_was_never_used_can_be_ended():
    thread = BlockingThread("one")
    await thread.finish()
    thread.close(lambda: pytest.fail("nothing was opened, so nothing is closed"))
    with pytest.raises(RuntimeError):
        await thread.run(lambda: 1)
