"""Who shares a store, and who of them still lives."""

from __future__ import annotations

import pytest

from connector.operations.status import health
from connector.store import leases, processes
from connector.store.processes import Process
from connector.testing import START
from tests.store.kit import memory


@pytest.fixture
def store():
    with memory() as connection:
        yield connection


def told(store, name="one", at=START, role="worker"):
    processes.beat(store, Process(name, role, START, at))


def test_nobody_is_there_at_first(store):
    assert processes.processes(store, START) == []


def test_who_told_is_there_once(store):
    """However often it tells."""
    told(store)
    told(store, at=START + 10_000)
    assert processes.processes(store, START + 10_000) == [Process("one", "worker", START, START + 10_000)]


def test_who_stopped_telling_is_silent(store):
    told(store)
    told(store, "two", START + 31_000)
    assert [each.state for each in processes.processes(store, START + 31_000)] == ["silent", "running"]


def test_who_is_silent_for_long_is_forgotten(store):
    """By the next one who tells."""
    told(store)
    told(store, "two", START + 3_600_001)
    assert [each.name for each in processes.processes(store, START + 3_600_001)] == ["two"]


def test_who_leaves_is_gone(store):
    told(store)
    processes.deregister(store, "one")
    assert processes.processes(store, START) == []


def test_the_status_tells_who_has_which_sink_until_when(store):
    leases.register(store, {"chat": "console"})
    leases.acquire(store, "chat", "one", START)
    told(store)
    found = health(store, START, None)
    assert [each.name for each in found.service.processes] == ["one"]
    assert (found.sinks[0].worker, found.sinks[0].lease_until) == ("one", START + 15_000)


def test_a_lease_that_is_over_is_nobodys(store):
    leases.register(store, {"chat": "console"})
    leases.acquire(store, "chat", "one", START)
    assert health(store, START + 15_001, None).sinks[0].worker is None
