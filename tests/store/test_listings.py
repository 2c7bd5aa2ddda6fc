"""Listings of a store with 100,000 events: no page, filter or total reads or sorts a whole table."""

from __future__ import annotations

import itertools
import json
import re
import sqlite3
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from connector.interview import Stage
from connector.operations.status import health
from connector.store import queries, rollup
from connector.store.postgres.database import make_engine
from connector.store.queries import TOTAL_MAX, ListingFilter, place_of
from connector.store.schema import DeliveryState, metadata
from connector.store.sqlite import database
from connector.testing import START
from tests.postgres import empty_store
from tests.store.explain import steps_of

EVENTS = 100_000
INTERVIEWS = 20_000
ROWS_MAX = 3000
"""Most rows that PostgreSQL may expect to sort: what a listing reads by ids is at most 1000 interviews."""
BIG = {"event", "interview", "delivery", "attempt", "interview_word", "subscription"}
LISTINGS = {
    "events": queries.events,
    "interviews": queries.interviews,
    "deliveries": queries.deliveries,
    "attempts": queries.attempts,
}
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
STATE = '{"base":[1,2,"12ab12ab12ab12ab"],"values":{"candidate_name":"Ann"},"exceptions":{}}'
FILL = (
    (
        "INSERT INTO sink (name, type, destination, routes)"
        " VALUES ('sheet', 'console', '', ''), ('rare', 'console', '', '')"
    ),
    (
        "INSERT INTO interview (id, state, version, position_id, position_name, stage, updated_at) "
        f"{NUMBERS.format(count=INTERVIEWS)} SELECT 'i' || i, '{STATE}', 1, 'p' || (i % 40), 'Position ' || (i % 40),"
        f" CASE WHEN i % 5000 = 0 THEN 'unknown' ELSE 'pending' END, {START} + i FROM n"
    ),
    (
        "INSERT INTO interview_word (word, interview_id) "
        f"{NUMBERS.format(count=INTERVIEWS)} SELECT 'ann' || i, 'i' || i FROM n"
    ),
    (
        "INSERT INTO subscription (sink, interview_id) "
        f"{NUMBERS.format(count=INTERVIEWS)} SELECT 'sheet', 'i' || i FROM n"
    ),
    (
        "INSERT INTO event (seq, identity, sha256, kind, name, interview_id, occurred_at, received_at, mark, reason) "
        f"{NUMBERS.format(count=EVENTS)} SELECT i, 'e' || i, '',"
        " CASE WHEN i % 9999 = 0 THEN 'unknown' ELSE 'event' END,"
        f" 'interview.' || (i % 5), 'i' || (1 + i % {INTERVIEWS}), {START} + i, {START} + i, '', '' FROM n"
    ),
    (
        "INSERT INTO delivery (sink, key, interview_id, event_seq, priority, since, state, done_at) "
        f"{NUMBERS.format(count=EVENTS)} SELECT CASE WHEN i % 5000 = 0 THEN 'rare' ELSE 'sheet' END,"
        f" 'i' || (1 + i % {INTERVIEWS}), 'i' || (1 + i % {INTERVIEWS}), i, 100, {START} + i,"
        f" CASE WHEN i % 9000 = 0 THEN 3 WHEN i % 9001 = 0 THEN 5 WHEN i > {EVENTS - 500} THEN 0 ELSE 1 END,"
        f" {START} + i FROM n"
    ),
    (
        "INSERT INTO attempt (sink, batch, started_at, duration_ms, outcome, reason, count) "
        f"{NUMBERS.format(count=20_000)} SELECT CASE WHEN i % 5000 = 0 THEN 'rare' ELSE 'sheet' END, 'b', {START} + i,"
        " 1, 'retry later', 'busy', 1 FROM n"
    ),
)
"""Every combination of rare and frequent values."""


@contextmanager
def on_sqlite(folder):
    raw = sqlite3.connect(folder / "store.db", isolation_level=None)
    with closing(raw), database.through_sqlalchemy(raw) as connection:
        metadata.create_all(connection)
        raw.execute("BEGIN")
        for statement in FILL:
            raw.execute(statement)
        raw.execute("COMMIT")
        yield connection


@contextmanager
def on_postgres(_):
    with empty_store() as url:
        engine = make_engine(url, 1)
        with engine.connect() as connection:
            for statement in FILL:
                connection.execute(text(statement.replace("'', CASE", "''::bytea, CASE")))
            connection.commit()
            for table in BIG:
                connection.execute(text(f"ANALYZE {table}"))
            yield connection
        engine.dispose()


@pytest.fixture(scope="module", params=[on_sqlite, on_postgres], ids=["sqlite", "postgresql"])
def full(request, tmp_path_factory):
    """A store with the events of a large customer in one year."""
    with request.param(tmp_path_factory.mktemp("full")) as connection:
        yield connection


@contextmanager
def full_scans(connection):
    """Collects what the statements in the block would read or sort as a whole."""
    faults = []
    is_sqlite = connection.dialect.name == "sqlite"
    raw = connection.connection.driver_connection

    def explain(*seen):
        statement, parameters = seen[2:4]
        if seen[0] is not connection or not statement.lstrip().upper().startswith(("SELECT", "WITH")):
            return
        if is_sqlite:
            faults.extend(sqlite_faults(steps_of(raw, statement, parameters)))
        else:
            [(plan,)] = raw.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchall()
            faults.extend(postgres_faults(plan if isinstance(plan, list) else json.loads(plan)))

    sqlalchemy_event.listen(connection.engine, "before_cursor_execute", explain)
    try:
        yield faults
    finally:
        sqlalchemy_event.remove(connection.engine, "before_cursor_execute", explain)


def sqlite_faults(steps):
    """A scan in the order of the listing ends with the page; what is sorted is read by ids or by a rare value."""
    big = [step for step in steps if re.match(r"(SCAN|SEARCH) (\w+)", step) and step.split()[1].split("_1")[0] in BIG]
    is_sorted = any("TEMP B-TREE" in step for step in steps)
    return [step for step in big if step.startswith("SCAN") and (is_sorted or "AUTOMATIC" in step)]


def postgres_faults(plan):
    """A scan below a limit, without a sort between them, ends with the page."""

    def visit(node, *, ends):
        kind = node["Node Type"]
        if kind == "Seq Scan" and node["Relation Name"] in BIG and not ends:
            yield f"Seq Scan {node['Relation Name']}"
        if kind == "Sort" and node["Plan Rows"] > ROWS_MAX:
            yield f"Sort of {node['Plan Rows']} rows"
        for child in node.get("Plans", ()):
            yield from visit(child, ends=kind == "Limit" or (ends and kind not in {"Sort", "Hash", "Aggregate"}))

    return list(visit(plan[0]["Plan"], ends=False))


OLD, NEW = {"until": START + 500}, {"since": START + EVENTS - 20}
ABOUT = ({"position": "p3"}, {"position": "p*"}, {"stage": Stage.PENDING}, {"stage": Stage.UNKNOWN}, {"search": "ann7"})
SINKS = ({"sink": "sheet"}, {"sink": "rare"})
NAMES = ({"name": "interview.1"}, {"name": "interview.finish"})
PERIODS = (OLD, NEW, {"since": START + 1000, "until": START + 1100})
OFFERED = {
    "events": (*ABOUT, *NAMES, {"kind": "unknown"}, {"interview": "i7"}, *PERIODS),
    "interviews": (*ABOUT, *SINKS, {"interview": "i7"}, *PERIODS),
    "deliveries": (
        *(*ABOUT, *SINKS, *NAMES, *PERIODS, {"interview": "i7"}, {"event": 7}, {"reason": "busy"}),
        *({"states": (state,)} for state in DeliveryState),
    ),
    "attempts": (*SINKS, *PERIODS),
}
"""Filters by a frequent and by a rare value, of all that commands, pages and the API offer."""
READ_MAX = 30_000
"""Most rows that PostgreSQL may read for a page: those of 1000 interviews, or all interviews once."""
STEPS_MAX = 1_000_000
"""The same for SQLite in steps of its virtual machine; a scan of all deliveries takes more than twice as many."""


def pairs(filters):
    """Two filters together, unless both select the same."""
    for one, other in itertools.combinations(filters, 2):
        if not one.keys() & other.keys():
            yield one | other


@contextmanager
def counted(connection):
    """Counts the rows that the statements in the block read."""
    raw = connection.connection.driver_connection
    read = [0]

    def step():
        read[0] += 1000

    def analyze(*seen):
        statement, parameters = seen[2:4]
        [(plan,)] = raw.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).fetchall()
        read[0] += rows_read(plan[0]["Plan"])

    if connection.dialect.name == "sqlite":
        raw.set_progress_handler(step, 1000)
        yield read
        raw.set_progress_handler(None, 0)
    else:
        sqlalchemy_event.listen(connection.engine, "before_cursor_execute", analyze)
        yield read
        sqlalchemy_event.remove(connection.engine, "before_cursor_execute", analyze)


def rows_read(node):
    here = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if "Relation Name" in node else 0
    return here * node["Actual Loops"] + sum(rows_read(child) for child in node.get("Plans", ()))


@pytest.mark.parametrize("name", OFFERED)
@pytest.mark.parametrize("every", [pytest.param(2, id="half"), pytest.param(1, id="all", marks=pytest.mark.chaos)])
def test_no_pair_of_filters_reads_far(full, name, every):
    """Whether a value is frequent or rare, and whether rows with both are new, old or missing. Half of the pairs have
    each filter at least once.
    """
    most = STEPS_MAX if full.dialect.name == "sqlite" else READ_MAX
    for filter_ in itertools.islice(pairs(OFFERED[name]), 0, None, every):
        with counted(full) as read:
            LISTINGS[name](full, ListingFilter(**filter_), 51)
        assert read[0] <= most, filter_


TIMES = {"since": START + 1000, "until": START + 90_000}
FILTERS = {
    "events": [
        {},
        {"name": "interview.1"},
        {"name": "interview.finish"},
        {"kind": "unknown"},
        {"interview": "i7"},
        {"event": 7},
        {"position": "p3"},
        {"position": "p*"},
        {"stage": Stage.PENDING},
        {"stage": Stage.UNKNOWN},
        {"search": "ann7"},
        TIMES,
        {"name": "interview.1", **TIMES},
        {"position": "p3", "stage": Stage.PENDING, **TIMES},
    ],
    "interviews": [
        {},
        {"interview": "i7"},
        {"position": "p3"},
        {"position": "Position *"},
        {"stage": Stage.PENDING},
        {"stage": Stage.UNKNOWN},
        {"stage": Stage.DELETED},
        {"search": "ann"},
        {"sink": "sheet"},
        {"sink": "rare"},
        {"position": "p3", "sink": "sheet", **TIMES},
        TIMES,
    ],
    "deliveries": [
        {},
        {"sink": "sheet"},
        {"sink": "rare"},
        *({"states": (state,)} for state in DeliveryState),
        *({"states": (state,), "sink": "rare"} for state in DeliveryState),
        {"interview": "i7"},
        {"event": 7},
        {"ids": (3, 4)},
        {"name": "interview.1"},
        {"position": "p3"},
        {"position": "Position *"},
        {"stage": Stage.UNKNOWN},
        TIMES,
    ],
    "attempts": [{}, {"sink": "sheet"}, {"sink": "rare"}, TIMES, {"sink": "rare", **TIMES}],
}


@pytest.mark.parametrize("name", FILTERS)
def test_no_page_reads_or_sorts_a_whole_table(full, name):
    for filter_ in FILTERS[name]:
        with full_scans(full) as faults:
            rows = LISTINGS[name](full, ListingFilter(**filter_), 51)
            for row in rows[-1:]:
                LISTINGS[name](full, ListingFilter(**filter_, after=place_of(row)), 51)
        assert faults == [], filter_


@pytest.mark.parametrize("name", FILTERS)
def test_a_total_is_counted_up_to_ten_thousand(full, name):
    for filter_ in FILTERS[name]:
        assert 0 <= queries.total(full, name, ListingFilter(**filter_)) <= TOTAL_MAX + 1, filter_


@pytest.mark.parametrize(("name", "expected"), [("events", EVENTS // 5), ("deliveries", EVENTS // 5)])
def test_pages_follow_each_other_without_gap_or_repeat(full, name, expected):
    wanted, seen = {"name": "interview.1"}, []
    place = None
    while rows := LISTINGS[name](full, ListingFilter(**wanted, after=place), 4999):
        seen += [row.id for row in rows]
        place = place_of(rows[-1])
    assert len(seen) == expected
    assert seen == sorted(set(seen), reverse=True)


def test_the_status_reads_no_large_table(full):
    with full_scans(full) as faults:
        health(full, START, ["sheet", "rare"])
        rollup.series(full, START, START + 1)
    assert faults == []
