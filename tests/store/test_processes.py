"""The processes that use a store, and which of them still send heartbeats."""

from __future__ import annotations

import pytest

from connector.operations.status import health
from connector.store import leases, processes
from connector.store.processes import Process, TaskRun
from connector.testing import START
from tests.store.kit import memory


@pytest.fixture
def store():
    with memory() as connection:
        yield connection


def beat(store, name="one", at=START, role="worker"):
    processes.beat(store, Process(name, role, START, at))


def test_a_new_store_has_no_processes(store):
    assert processes.processes(store, START) == []


def test_a_process_is_listed_once_after_several_heartbeats(store):
    beat(store)
    beat(store, at=START + 10_000)
    assert processes.processes(store, START + 10_000) == [Process("one", "worker", START, START + 10_000)]


def test_a_process_without_a_heartbeat_for_30_seconds_is_silent(store):
    beat(store)
    beat(store, "two", START + 31_000)
    assert [each.state for each in processes.processes(store, START + 31_000)] == ["silent", "running"]


def test_the_next_heartbeat_removes_a_process_that_was_silent_for_an_hour(store):
    beat(store)
    beat(store, "two", START + 3_600_001)
    assert [each.name for each in processes.processes(store, START + 3_600_001)] == ["two"]


def test_a_process_that_ends_is_removed(store):
    beat(store)
    processes.deregister(store, "one", {}, START)
    assert processes.processes(store, START) == []


def test_the_status_shows_which_process_has_a_sink_and_until_when(store):
    leases.register(store, {"chat": "console"})
    leases.acquire(store, "chat", "one", START)
    beat(store)
    found = health(store, START, None)
    assert [each.name for each in found.service.processes] == ["one"]
    assert (found.sinks[0].worker, found.sinks[0].lease_until) == ("one", START + 15_000)


def test_an_expired_lease_has_no_worker(store):
    leases.register(store, {"chat": "console"})
    leases.acquire(store, "chat", "one", START)
    assert health(store, START + 15_001, None).sinks[0].worker is None


@pytest.mark.parametrize(("hours", "expected"), [(0.5, {"alerts", "scheduled calls"}), (2, {"alerts"})])
def test_the_run_of_a_task_that_no_process_has_any_more_is_removed_after_an_hour(store, hours, expected):
    """Not at once: a process of another version, which has the task, may take over."""
    processes.put_run(store, TaskRun("scheduled calls", START, START, START + 60_000), ["scheduled calls"])
    now = START + 60_000 + int(hours * 3_600_000)
    processes.put_run(store, TaskRun("alerts", now, now, now + 30_000), ["alerts", "reconcile"])
    assert set(processes.task_runs(store)) == expected


def test_the_run_of_a_task_that_is_late_stays(store):
    processes.put_run(store, TaskRun("reconcile", START, START, START + 60_000), ["reconcile"])
    now = START + 7_200_000
    processes.put_run(store, TaskRun("alerts", now, now, now + 30_000), ["alerts", "reconcile"])
    assert set(processes.task_runs(store)) == {"alerts", "reconcile"}
