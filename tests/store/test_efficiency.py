"""No statement of the daily work reads a table from end to end."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from connector.merge import encode, merge
from connector.operations.status import health
from connector.store import claim, leases
from connector.store.schema import interview
from connector.store.status import sinks
from connector.testing import START
from tests.store import operations
from tests.store.explain import explained, scans
from tests.store.kit import reading

TABLES = ("delivery", "event", "interview", "attempt")


@pytest.fixture
def ready(sqlite_connection):
    """A sink with a lease, and an interview."""
    connection = sqlite_connection
    operations.register(connection)
    assert leases.acquire(connection, "chat", "me", START).fence == operations.LEASE.fence
    columns = {"version": 1, "position_id": "", "position_name": "", "stage": "pending", "updated_at": 0}
    connection.execute(insert(interview).values(id="i1", state=encode(merge(None, reading())), **columns))
    return connection


@pytest.mark.parametrize("operation", operations.HOT, ids=lambda one: one.__name__)
def test_hot_statements_scan_no_table(ready, operation):
    """Every step uses an index; small tables (sinks, buckets) may be read as a whole."""
    with explained(ready) as steps:
        operation(ready)
    assert steps
    assert [step for step in scans(steps) if step.split()[1] in TABLES] == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        *operations.CLAIMS,
        (lambda connection: claim.next_due(connection, "chat"), "ix_delivery_due"),
        (lambda connection: claim.count_due(connection, "chat", START, 10), "ix_delivery_due"),
        (operations.settling, "ix_delivery_key"),
    ],
)
def test_claims_use_the_partial_indexes(ready, query, index):
    """Settled rows, which are nearly all, are not read."""
    with explained(ready) as steps:
        query(ready)
    assert any(index in step for step in steps), steps


@pytest.mark.parametrize("search", [claim.due, claim.due_topics])
def test_asking_what_holds_a_key_back_does_not_read_the_key(ready, search):
    """A thousand pending events of one interview need a thousand short reads, not a million rows."""
    with explained(ready) as steps:
        search(ready, "chat", START, 10)
    assert any("ix_delivery_key (key=? AND sink=? AND blocks_key=?)" in step for step in steps)


def test_due_rows_come_in_the_order_of_the_index(ready):
    """A long queue is not sorted to find its first ten."""
    with explained(ready) as steps:
        claim.due(ready, "chat", START, 10)
    assert not [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("look", [sinks, health])
def test_counting_reads_partial_indexes_only(ready, look):
    """Counts that are needed every few seconds do not read the rows of events, interviews and deliveries."""
    with explained(ready) as steps:
        look(ready, START, None)
    read = [step for step in scans(steps) if step.split()[1] in TABLES]
    assert any("ix_delivery_due" in step for step in read)
    assert [step for step in read if "USING COVERING INDEX" not in step] == []
