"""Retention deletes what is old and settled, and nothing that is still needed."""

import asyncio
import os
from collections import Counter
from contextlib import ExitStack
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.delivery.periodic import TaskContext
from connector.delivery.tasks import Retention
from connector.store import retention
from connector.store.postgres.store import PostgresStore
from connector.store.retention import DAY_MS, START, RetentionKind
from connector.store.schema import DeliveryState, attempt, delivery, event
from connector.store.sqlite.store import SqliteStore
from tests.cli.world import NOON, PostgresWorld, World, body
from tests.postgres import empty_store
from tests.store.explain import explained, scans

LATER = NOON + 100 * DAY_MS
SETTLED = [DeliveryState.DELIVERED, DeliveryState.SUPERSEDED, DeliveryState.DISMISSED]
OPEN = [DeliveryState.PENDING, DeliveryState.WAITING, DeliveryState.DEAD]
KEPT = ("seq", "identity", "name", "interview_id", "occurred_at", "received_at")


@pytest.fixture
def sqlite_world(tmp_path):
    """A filled store in a file."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def postgres_world():
    """A filled store on PostgreSQL."""
    with ExitStack() as stack:
        made = PostgresWorld(stack.enter_context(empty_store()))
        stack.callback(made.close)
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def world(request):
    """A filled store on each database."""
    return request.getfixturevalue(f"{request.param}_world")


@pytest.fixture
async def store(world):
    """The same store as a service uses it."""
    if isinstance(world, World):
        opened = SqliteStore(world.file, world.routing_table, lambda plan: None, intake=10)
    else:
        opened = await PostgresStore.open(world.url, world.routing_table, lambda plan: None, intake=10)
    yield opened
    await opened.close()


def apply(world, kind, cutoff=LATER, rows=2):
    deleted, place = 0, START
    while place is not None:
        done = retention.delete_slice(world.connection, kind, cutoff, place, rows)
        deleted, place = deleted + done.deleted, done.next
    return deleted


@pytest.mark.parametrize("state", SETTLED)
def test_personal_fields_of_a_settled_event_go_and_its_identity_stays(world, state):
    world.receive(*(body(number=number) for number in range(5)))
    world.settle_all(state)
    before = world.rows(event)
    assert apply(world, RetentionKind.BODIES) == 5
    after = world.rows(event)
    assert all((row.body, row.parsed, row.sha256) == (None, None, b"") for row in after)
    assert [[row._mapping[name] for name in KEPT] for row in after] == [
        [row._mapping[name] for name in KEPT] for row in before
    ]


@pytest.mark.parametrize("state", OPEN)
def test_an_event_with_one_open_delivery_keeps_its_body(world, state):
    world.receive(*(body(number=number) for number in range(5)))
    world.settle_all()
    world.settle(state, world.ids("chat")[1])
    assert apply(world, RetentionKind.BODIES) == 4
    assert [row.seq for row in world.rows(event) if row.body is not None] == [2]


def test_events_that_are_young_enough_keep_their_bodies(world):
    world.receive(body(number=1), at=NOON)
    world.receive(body(number=2), at=NOON + DAY_MS)
    world.settle_all()
    apply(world, RetentionKind.BODIES, NOON + DAY_MS)
    assert [row.body is None for row in world.rows(event)] == [True, False]


@pytest.mark.parametrize("state", DeliveryState)
def test_only_settled_deliveries_are_deleted(world, state):
    world.receive(*(body(number=number) for number in range(3)))
    world.settle_all(state)
    assert apply(world, RetentionKind.DELIVERIES) == (6 if state in SETTLED else 0)
    assert len(world.rows(delivery)) == (0 if state in SETTLED else 6)


def test_attempts_are_deleted_by_their_age(world):
    for day in range(4):
        world.try_once("chat", NOON + day * DAY_MS)
    assert apply(world, RetentionKind.ATTEMPTS, NOON + 2 * DAY_MS, rows=1) == 2
    assert [row.started_at for row in world.rows(attempt)] == [NOON + 2 * DAY_MS, NOON + 3 * DAY_MS]


def test_a_slice_changes_no_more_rows_than_it_may(world):
    world.receive(*(body(number=number) for number in range(5)))
    world.settle_all()
    assert retention.delete_slice(world.connection, RetentionKind.BODIES, LATER, START, 3).deleted == 3


def test_zero_days_keep_everything():
    assert retention.cutoffs({RetentionKind.BODIES: 0, RetentionKind.ATTEMPTS: 30}, NOON) == {
        RetentionKind.ATTEMPTS: NOON - 30 * DAY_MS
    }


@given(st.integers(1, retention.ROWS_MAX), st.floats(0, 100_000))
def test_the_next_slice_would_fit_into_the_limit_at_the_measured_speed(rows, elapsed):
    following = retention.next_rows(rows, elapsed)
    assert 1 <= following <= retention.ROWS_MAX
    assert following == 1 or following * elapsed / rows <= retention.SLICE_MS


class FixedClock:
    """A clock that does not move and whose waits end at once."""

    def now(self):
        return LATER

    in_sql = now

    async def wait(self, event, seconds):
        return event.is_set()


class Runs:
    """Retention of a store; `deleted` are the numbers that it reports."""

    def __init__(self, store, *, timer=lambda: 0.0, file=None):
        self.deleted = []
        self.stopping = asyncio.Event()
        self._store = store
        days = {RetentionKind.BODIES: 90, RetentionKind.DELIVERIES: 30, RetentionKind.ATTEMPTS: 30}
        self._retention = Retention(FixedClock(), days, on_deleted=self._note, file=file, timer=timer)

    async def run(self):
        return await self._retention.run(TaskContext(LATER, self._store.write, self.stopping))

    def _note(self, kind, rows):
        self.deleted.append((kind, rows))


async def test_a_run_deletes_each_kind_and_reports_the_numbers(world, store):
    world.receive(*(body(number=number) for number in range(3)))
    world.settle_all()
    world.try_once("chat")
    runs = Runs(store)
    assert await runs.run() == {"bodies": 3, "deliveries": 6, "attempts": 1}
    assert Counter(dict(runs.deleted)) == {"bodies": 3, "deliveries": 6, "attempts": 1}
    assert (world.rows(delivery), world.rows(attempt)) == ([], [])


async def test_a_run_ends_early_when_the_process_stops(world, store):
    world.receive(*(body(number=number) for number in range(retention.ROWS_FIRST + 1)))
    world.settle_all()
    runs = Runs(store)
    runs.stopping.set()
    assert await runs.run() is None
    assert runs.deleted == [("bodies", retention.ROWS_FIRST)]


async def test_a_slow_store_gets_smaller_slices(world, store):
    """Each row of this store takes a second: after the first slice they are deleted one by one."""
    world.receive(*(body(number=number) for number in range(150)))
    world.settle_all()
    times = count(0, 50)
    runs = Runs(store, timer=lambda: float(next(times)))
    await runs.run()
    assert [rows for _, rows in runs.deleted[:3]] == [100, 1, 1]


async def test_a_slice_of_large_bodies_has_few_rows(world):
    """Bodies with 1 MiB, after small ones that took no time."""
    large = body(filling="x" * (retention.BYTES_MAX // 3))
    world.receive(*(body(number=number) for number in range(3)))
    world.receive(*(large.replace(b"interview-1", b"interview-1%d" % number) for number in range(5)), at=NOON + 1)
    world.settle_all()
    place, sizes = START, []
    while place is not None:
        done = retention.delete_slice(world.connection, RetentionKind.BODIES, LATER, place, 100)
        place = done.next
        sizes.append(done.deleted)
    assert sizes == [5, 2, 1]


async def test_each_kind_starts_with_a_small_slice(world, store):
    """A row of another kind takes another time."""
    world.receive(*(body(number=number) for number in range(2 * retention.ROWS_FIRST)))
    world.settle_all()
    runs = Runs(store)
    await runs.run()
    assert next(deleted for kind, deleted in runs.deleted if kind == "deliveries") == retention.ROWS_FIRST


async def test_copies_of_migrations_expire_and_backups_stay(sqlite_world):
    old, young, backup = (
        sqlite_world.file.with_name(f"connector.db.{name}")
        for name in ("before-0002-from-0001", "before-0003-from-0002", "before-restore-20260801T120000Z")
    )
    for file, at in ((old, NOON), (young, LATER), (backup, NOON)):
        file.touch()
        os.utime(file, (at / 1000, at / 1000))
    store = SqliteStore(sqlite_world.file, sqlite_world.routing_table, lambda plan: None, intake=10)
    await Runs(store, file=sqlite_world.file).run()
    await store.close()
    assert (old.exists(), young.exists(), backup.exists(), sqlite_world.file.exists()) == (False, True, True, True)


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        (RetentionKind.BODIES, "ix_event_body_received"),
        (RetentionKind.DELIVERIES, "ix_delivery_done"),
        (RetentionKind.ATTEMPTS, "ix_attempt_started"),
    ],
)
def test_a_slice_finds_its_rows_by_an_index_and_sorts_no_more_than_equal_times(sqlite_world, kind, index):
    """Rows that were cleared before are not read again: the index of bodies has only rows with a body."""
    sqlite_world.receive(body())
    with explained(sqlite_world.connection) as steps:
        retention.delete_slice(sqlite_world.connection, kind, LATER, START, 1)
    assert index in steps[0]
    assert not scans(steps)
