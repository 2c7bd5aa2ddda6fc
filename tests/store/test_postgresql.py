"""The statements on a real PostgreSQL: each runs, uses the right index, and locks the rows that it relies on."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from connector.merge import encode, merge
from connector.sink import Token
from connector.store import claim, leases, rate_limit, settle
from connector.store.ingest import write_group
from connector.store.postgres.database import make_engine
from connector.store.schema import interview
from connector.store.status import sinks
from connector.testing import START
from tests import postgres
from tests.store import operations
from tests.store.explain import explained_by_postgres
from tests.store.kit import add, arrival, lease_of, reading, routing_table

MANY = """
INSERT INTO delivery (sink, key, interview_id, event_seq, priority, since, state, not_before, blocks_key)
SELECT CASE WHEN i % 2 = 0 THEN 'chat' ELSE 'sheet' END, 'i' || i % 3000, 'i' || i % 3000, i, i % 3 * 50, 0,
  CASE WHEN i % 5 = 0 THEN 0 ELSE 1 END, 0, CASE WHEN i % 1000 = 0 THEN 1 ELSE 0 END
FROM generate_series(1, 20000) AS i
"""
EVENTS = """
INSERT INTO event (identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason)
SELECT 'e' || i, '', 'event', '', 'i' || i, 0, 0, '', '' FROM generate_series(1, 20000) AS i
"""
INTERVIEWS = """
INSERT INTO interview (id, state, version, position_id, position_name, stage, updated_at)
SELECT 'g' || i, '{}', 1, '', '', 'pending', 0 FROM generate_series(1, 20000) AS i
"""
TABLES = ("delivery", "event", "interview", "attempt")


@pytest.fixture(scope="module")
def crowded():
    """A store with a lease, an interview and so many deliveries that a plan that reads them all would be slow."""
    with postgres.rolled_back() as connection:
        assert lease_of(connection).fence == operations.LEASE.fence
        columns = {"version": 1, "position_id": "", "position_name": "", "stage": "pending", "updated_at": 0}
        connection.execute(insert(interview).values(id="i1", state=encode(merge(None, reading())), **columns))
        connection.execute(text(EVENTS))
        connection.execute(text(MANY))
        connection.execute(text("ANALYZE delivery"))
        yield connection


# --- every statement


@pytest.mark.parametrize("operation", operations.ALL, ids=lambda one: one.__name__)
def test_every_statement_runs(crowded, operation):
    """The server accepts each, including its types."""
    lease = leases.row(crowded, "chat")
    with crowded.begin_nested() as undone:
        operation(crowded)
        undone.rollback()
    assert leases.row(crowded, "chat") == lease


@pytest.mark.parametrize(
    ("query", "index"),
    [
        *operations.CLAIMS,
        (lambda connection: claim.pending_keys(connection, "chat", ["i1"]), "ix_delivery_key"),
    ],
)
def test_claims_use_the_partial_indexes(crowded, query, index):
    """Settled rows, which are nearly all, are not read."""
    with explained_by_postgres(crowded) as steps:
        query(crowded)
    assert any(index in step for step in steps)
    assert [step for step in steps if "Seq Scan on delivery" in step] == []


def test_due_rows_come_in_the_order_of_the_index(crowded):
    """A long queue is not sorted to find its first ten."""
    with explained_by_postgres(crowded) as steps:
        claim.due(crowded, "chat", START, 10)
    assert [step for step in steps if "Sort" in step] == []


def test_counting_reads_no_rows_that_are_done(crowded):
    """Counts that are needed every few seconds use the partial indexes."""
    with explained_by_postgres(crowded) as steps:
        sinks(crowded, START, None)
    assert [step for step in steps if any(f"Seq Scan on {table}" in step for table in TABLES)] == []


# --- the receiver's


@pytest.fixture
def grown(crowded):
    """A store that grew by 20,000 events and interviews since these tables were last analyzed."""
    with crowded.begin_nested() as undone:
        crowded.execute(text(INTERVIEWS))
        yield crowded
        undone.rollback()


def test_a_group_is_looked_up_by_index(grown):
    """Also while the server's statistics do not include the rows."""
    with explained_by_postgres(grown) as steps:
        write_group(grown, [arrival(interview="i1"), arrival(interview="i2")], routing_table(chat=False))
    for index in ("uq_event_identity", "pk_interview"):
        assert any(f"using {index}" in step or f"on {index}" in step for step in steps)
    assert [step for step in steps if "Seq Scan" in step] == []


# --- locks


@pytest.fixture
def two():
    """Two processes at one store. The second one does not wait for locks."""
    with postgres.empty_store() as url, ExitStack() as stack:
        engine = make_engine(url, 2)
        first, second = (stack.enter_context(engine.connect()) for _ in range(2))
        add(first)
        lease_of(first)
        rate_limit.take(first, [Token("b", 1, 1)], START - 60_000)
        first.commit()
        second.exec_driver_sql("SET LOCAL lock_timeout = '20ms'")
        yield first, second
        stack.close()
        engine.dispose()


@pytest.mark.parametrize(
    "job",
    [
        lambda connection: leases.require(connection, operations.LEASE),
        lambda connection: leases.acquire(connection, "chat", "me", START),
        lambda connection: settle.ask_to_verify(connection, "chat", START),
        operations.filling,
    ],
    ids=["settling", "taking the lease", "asking to verify", "filling"],
)
def test_a_write_for_a_sink_locks_its_lease(two, job):
    """The fence cannot change between its check and the commit."""
    first, second = two
    job(first)
    with pytest.raises(DBAPIError, match="55P03"):
        leases.acquire(second, "chat", "other", START + 60_000)


def test_a_take_locks_the_bucket(two):
    """Also while the first one has not committed."""
    first, second = two
    rate_limit.take(first, [Token("b", 1, 1)], START)
    with pytest.raises(DBAPIError, match="55P03"):
        rate_limit.take(second, [Token("b", 1, 1)], START)


def test_an_unused_bucket_is_locked_too(two):
    """A missing row cannot be locked, so it is created first."""
    first, second = two
    rate_limit.take(first, [Token("new", 1, 1)], START)
    with pytest.raises(DBAPIError, match="55P03"):
        rate_limit.take(second, [Token("new", 1, 1)], START)
