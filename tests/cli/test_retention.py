"""Retention deletes what is old and settled, and nothing that is still needed."""

import asyncio
import os
from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery.retention import Retention
from connector.store import retention
from connector.store.retention import DAY_MS, START, Kind
from connector.store.schema import DeliveryState, attempt, delivery, event
from tests.cli.world import NOON, ON_BOTH, body
from tests.store.explain import explained, scans

LATER = NOON + 100 * DAY_MS
SETTLED = [DeliveryState.DELIVERED, DeliveryState.SUPERSEDED, DeliveryState.DISMISSED]
OPEN = [DeliveryState.PENDING, DeliveryState.WAITING, DeliveryState.DEAD]
KEPT = ("seq", "identity", "sha256", "name", "interview_id", "occurred_at", "received_at")


def apply(world, kind, cutoff=LATER, rows=2):
    deleted, place = 0, START
    while place is not None:
        done = retention.delete_slice(world.connection, kind, cutoff, place, rows)
        deleted, place = deleted + done.deleted, done.next
    return deleted


@ON_BOTH
@pytest.mark.parametrize("state", SETTLED)
def test_personal_fields_of_a_settled_event_go_and_its_identity_stays(world, state):
    world.receive(*(body(number=number) for number in range(5)))
    world.settle_all(state)
    before = world.rows(event)
    assert apply(world, Kind.BODIES) == 5
    after = world.rows(event)
    assert all(row.body is None and row.parsed is None for row in after)
    assert [[row._mapping[name] for name in KEPT] for row in after] == [
        [row._mapping[name] for name in KEPT] for row in before
    ]


@ON_BOTH
@pytest.mark.parametrize("state", OPEN)
def test_an_event_with_one_open_delivery_keeps_its_body(world, state):
    world.receive(*(body(number=number) for number in range(5)))
    world.settle_all()
    world.settle(state, world.ids("chat")[1])
    assert apply(world, Kind.BODIES) == 4
    assert [row.seq for row in world.rows(event) if row.body is not None] == [2]


@ON_BOTH
def test_events_that_are_young_enough_keep_their_bodies(world):
    world.receive(body(number=1), at=NOON)
    world.receive(body(number=2), at=NOON + DAY_MS)
    world.settle_all()
    apply(world, Kind.BODIES, NOON + DAY_MS)
    assert [row.body is None for row in world.rows(event)] == [True, False]


@ON_BOTH
@pytest.mark.parametrize("state", DeliveryState)
def test_only_settled_deliveries_are_deleted(world, state):
    world.receive(*(body(number=number) for number in range(3)))
    world.settle_all(state)
    assert apply(world, Kind.DELIVERIES) == (6 if state in SETTLED else 0)
    assert len(world.rows(delivery)) == (0 if state in SETTLED else 6)


@ON_BOTH
def test_attempts_are_deleted_by_their_age(world):
    for day in range(4):
        world.try_once("chat", NOON + day * DAY_MS)
    assert apply(world, Kind.ATTEMPTS, NOON + 2 * DAY_MS, rows=1) == 2
    assert [row.started_at for row in world.rows(attempt)] == [NOON + 2 * DAY_MS, NOON + 3 * DAY_MS]


@ON_BOTH
def test_a_slice_changes_no_more_rows_than_it_may(world):
    world.receive(*(body(number=number) for number in range(5)))
    world.settle_all()
    assert retention.delete_slice(world.connection, Kind.BODIES, LATER, START, 3).deleted == 3


def test_zero_days_keep_everything():
    assert retention.cutoffs({Kind.BODIES: 0, Kind.ATTEMPTS: 30}, NOON) == {Kind.ATTEMPTS: NOON - 30 * DAY_MS}


@given(st.integers(1, retention.ROWS_MAX), st.floats(0, 100_000))
def test_the_next_slice_would_fit_into_the_limit_at_the_measured_speed(rows, elapsed):
    following = retention.next_rows(rows, elapsed)
    assert 1 <= following <= retention.ROWS_MAX
    assert following == 1 or following * elapsed / rows <= retention.SLICE_MS


@ON_BOTH
def test_one_process_runs_at_a_time(world):
    assert retention.hold(world.connection, "a", NOON)
    assert not retention.hold(world.connection, "b", NOON)
    assert retention.hold(world.connection, "b", NOON + retention.LEASE_MS + 1)


@ON_BOTH
def test_the_result_of_a_run_is_stored_and_the_lease_released(world):
    retention.hold(world.connection, "a", NOON)
    retention.finish(world.connection, "a", NOON + 5, {Kind.BODIES: 3})
    run = retention.last_run(world.connection)
    assert (run.ended_at, run.deleted) == (NOON + 5, {"bodies": 3})
    assert retention.hold(world.connection, "b", NOON + 6)


@ON_BOTH
def test_a_process_that_lost_the_lease_stores_no_result(world):
    retention.hold(world.connection, "a", NOON)
    retention.hold(world.connection, "b", NOON + retention.LEASE_MS + 1)
    retention.finish(world.connection, "a", NOON, {Kind.BODIES: 3})
    assert retention.last_run(world.connection).owner == "b"


class DirectStore:
    """The writer of a store, without a service: each job is done at once."""

    def __init__(self, world):
        self.connection = world.connection

    async def write(self, job):
        return job(self.connection)


class FixedClock:
    """A clock at one time, whose waits end at once."""

    def now(self):
        return LATER

    async def wait(self, event, seconds):
        return event.is_set()


def loop_of(world, owner="a", **more):
    counts, runs = Counter(), []
    days = {Kind.BODIES: 90, Kind.DELIVERIES: 30, Kind.ATTEMPTS: 30}
    made = Retention(
        DirectStore(world),
        FixedClock(),
        owner,
        days,
        on_run=runs.append,
        **({"timer": lambda: 0.0, "on_deleted": lambda kind, rows: counts.update({kind: rows})} | more),
    )
    return made, counts, runs


@ON_BOTH
def test_a_run_deletes_each_kind_and_is_counted_and_shown(run, world):
    world.receive(*(body(number=number) for number in range(3)))
    world.settle_all()
    world.try_once("chat")
    made, counts, runs = loop_of(world)
    assert asyncio.run(made.run_once())
    assert counts == {"bodies": 3, "deliveries": 6, "attempts": 1}
    assert runs == [LATER]
    assert "Retention: 3 bodies, 6 deliveries, 1 attempts deleted" in run("status").stdout


@ON_BOTH
def test_a_run_stops_while_another_process_has_the_lease(world):
    world.receive(body())
    world.settle_all()
    retention.hold(world.connection, "b", LATER)
    made, counts, _ = loop_of(world)
    assert not asyncio.run(made.run_once())
    assert not counts


def test_a_slow_store_gets_smaller_slices(world):
    """Each row of this store takes a second: after the first slice they are deleted one by one."""
    world.receive(*(body(number=number) for number in range(150)))
    world.settle_all()
    sizes, times = [], count(0, 50)
    made, _, _ = loop_of(world, timer=lambda: float(next(times)), on_deleted=lambda _, rows: sizes.append(rows))
    asyncio.run(made.run_once())
    assert sizes[:3] == [100, 1, 1]


def test_copies_of_migrations_expire_and_backups_stay(world):
    old, young, backup = (
        world.file.with_name(f"connector.db.{name}")
        for name in ("before-0002-from-0001", "before-0003-from-0002", "before-restore-20260801T120000Z")
    )
    for file, at in ((old, NOON), (young, LATER), (backup, NOON)):
        file.touch()
        os.utime(file, (at / 1000, at / 1000))
    made, _, _ = loop_of(world, file=world.file)
    asyncio.run(made.run_once())
    assert (old.exists(), young.exists(), backup.exists(), world.file.exists()) == (False, True, True, True)


@ON_BOTH
def test_replay_says_what_cannot_be_replayed(run, world):
    world.receive(body())
    world.settle_all()
    apply(world, Kind.BODIES)
    result = run("replay", "--state", "delivered", "--interview", "interview-1", "--yes")
    assert "chat: 1 cannot be replayed: the data of the events was deleted" in result.stdout
    pending = world.rows(delivery, state=int(DeliveryState.PENDING))
    assert {row.sink for row in pending} == {"sheet"}


@pytest.mark.parametrize(("kind", "index"), [
    (Kind.BODIES, "ix_event_body"), (Kind.DELIVERIES, "ix_delivery_done"), (Kind.ATTEMPTS, "ix_attempt_started"),
])  # fmt: skip
def test_a_slice_finds_its_rows_by_an_index_and_sorts_no_more_than_equal_times(world, kind, index):
    """Rows that were cleared before are not read again: the index of bodies has only rows with a body."""
    world.receive(body())
    with explained(world.connection) as steps:
        retention.delete_slice(world.connection, kind, LATER, START, 1)
    assert index in steps[0]
    assert not scans(steps)
