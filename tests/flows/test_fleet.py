"""Real receivers and workers on one PostgreSQL. Some of them are killed or stopped, and so is the server."""

from __future__ import annotations

import signal

import pytest

from tests.flows.fleet import HOOKS, Fleet

HOOK = HOOKS[0]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        made.open()
        made.start("receiver", "receiver", "worker", "worker")
        yield made
    finally:
        made.close()


def backlog(fleet, least):
    """Whether at least this number of deliveries of the hook is pending, and a running worker has its lease."""
    waiting = fleet.rows(f"SELECT count(*) FROM delivery WHERE sink = '{HOOK}' AND state = 0")[0][0]
    return waiting >= least and fleet.owner_of(HOOK)


@pytest.mark.timeout(180)
def test_killed_and_stopped_processes_lose_nothing(fleet):
    """Everything acknowledged is delivered in order, and the sheet has each row once."""
    with fleet.recorder.held():
        posting = fleet.posting(range(50))
        fleet.until(lambda: backlog(fleet, 15))
        killed = fleet.owner_of(HOOK)
        killed.kill()
        fleet.alive("receiver")[0].kill()
    fleet.until(lambda: fleet.owner_of(HOOK))
    other, _ = fleet.start("worker", "receiver")
    posting.join()
    with fleet.recorder.held():
        posting = fleet.posting(range(80, 105))
        fleet.until(lambda: backlog(fleet, 8))
        still = fleet.owner_of(HOOK)
        still.send(signal.SIGSTOP)
    fleet.until(lambda: fleet.owner_of(HOOK) not in {None, still})
    still.send(signal.SIGCONT)
    posting.join()
    fleet.until(fleet.settled)
    assert other.process.poll() is None
    fleet.assert_right()


def kill_the_server(fleet, interviews):
    """Kills the server during intake and delivery. Returns the number of acknowledged events, when all of them are
    delivered.
    """
    before = len(fleet.acknowledged)
    with fleet.recorder.held():
        posting = fleet.posting(interviews)
        fleet.until(lambda: backlog(fleet, 5))
        fleet.server.kill()
    fleet.server.start()
    posting.join()
    fleet.until(fleet.settled)
    fleet.assert_right()
    return len(fleet.acknowledged) - before


@pytest.mark.timeout(180)
def test_the_server_is_killed_while_events_come_in_and_go_out(fleet):
    """Receivers refuse events, workers wait, and all of them continue automatically."""
    assert kill_the_server(fleet, range(200, 225)) == 50


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_the_server_is_killed_five_times(fleet):
    for number in range(1, 6):
        assert kill_the_server(fleet, range(number * 1000, number * 1000 + 200)) == 400


@pytest.mark.timeout(180)
def test_a_graceful_stop_leaves_nothing_behind(fleet):
    """Neither a lease nor a name in the list of processes."""
    assert [member.stop() for role in ("receiver", "worker") for member in fleet.alive(role)] == [0] * 4
    assert fleet.rows("SELECT 1 FROM sink WHERE lease_owner IS NOT NULL") == []
    listed = {key.split(":")[2] for (key,) in fleet.rows("SELECT key FROM meta WHERE key LIKE 'process:%'")}
    assert listed <= {str(member.process.pid) for member in fleet.members if member.process.returncode != 0}


def holder_of_tasks(fleet):
    """The running worker that runs the periodic tasks."""
    rows = fleet.rows("SELECT lease_owner FROM lease WHERE name = 'periodic tasks'")
    return fleet.worker_named(rows[0][0]) if rows else None


WITH_CALLS_AT_SET_TIMES = """
[sinks.chat]
type = "slack"
token = "xoxb-unused"
channel = "C0123456789"
weekly_summary = {}
"""


def test_the_periodic_tasks_of_a_killed_worker_are_continued_and_not_repeated(tmp_path):
    """One of two workers runs them; the other one takes over, and runs a task when it is due and not before."""
    fleet = Fleet(tmp_path, more_config=WITH_CALLS_AT_SET_TIMES)
    try:
        fleet.open()
        fleet.start("worker", "worker")
        fleet.until(lambda: fleet.rows("SELECT 1 FROM periodic_task"))
        first = holder_of_tasks(fleet)
        before = {name: times for name, *times in fleet.rows("SELECT name, started_at, next_at FROM periodic_task")}
        first.kill()
        fleet.until(lambda: holder_of_tasks(fleet) not in {None, first})
        after = {name: times for name, *times in fleet.rows("SELECT name, started_at, next_at FROM periodic_task")}
        assert before.keys() <= after.keys()
        for name, (started_at, next_at) in before.items():
            assert after[name] == [started_at, next_at] or after[name][0] >= next_at
    finally:
        fleet.close()
