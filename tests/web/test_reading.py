"""Pages read large tables by index, so that they are as fast with a million events."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from connector.config import load
from connector.languages import ENGLISH, language
from connector.operations.status import health
from connector.store import leases, processes
from connector.testing import START
from connector.web.dashboard.deliveries import DELIVERY_PARAMETERS, delivery_list
from connector.web.dashboard.interviews import interview_list
from connector.web.dashboard.overview import overview
from connector.web.dashboard.pages import Seen, page_tag, verdict
from connector.web.dashboard.sinks import audit_list, one_sink
from connector.web.dashboard.words import Clockface
from tests.store.explain import explained
from tests.store.kit import DELIVERED, add, memory

LARGE = ("event", "event_body", "interview", "interview_word", "subscription", "delivery", "attempt", "audit")
NO_FILTER = dict.fromkeys(DELIVERY_PARAMETERS, "")
NO_INTERVIEW = dict.fromkeys(("position", "stage", "sink", "search"), "")
VIEWS = {
    "tag of a poll": lambda seen: page_tag(seen.connection, "", seen.clock.now),
    "health": lambda seen: health(seen.connection, seen.clock.now, ["console"]),
    "overview": overview,
    "interviews": lambda seen: interview_list(seen, NO_INTERVIEW, None, ""),
    "interviews of a search": lambda seen: interview_list(seen, NO_INTERVIEW, None, "ann"),
    "deliveries": lambda seen: delivery_list(seen, NO_FILTER, None),
    "dead letters": lambda seen: delivery_list(seen, NO_FILTER | {"state": "dead"}, None),
    "one sink": lambda seen: one_sink(seen, "console"),
    "audit": lambda seen: audit_list(seen, None),
}


def whole_tables(steps):
    """The steps that read every row of a large table."""
    return [step for step in steps if step in {f"SCAN {table}" for table in LARGE}]


@pytest.mark.parametrize("name", VIEWS)
def test_a_page_reads_no_whole_table(tmp_path, name):
    config = load(environ={"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["x"]'}, cwd=tmp_path)
    with memory() as connection:
        leases.register(connection, {"console": "console"})
        add(connection, sink="console")
        clock = Clockface(ZoneInfo("UTC"), START, language(ENGLISH))
        seen = Seen(connection, clock, health(connection, START, list(config.sinks)), config)
        with explained(connection, unless="LIMIT") as steps:  # a limit ends the reading
            VIEWS[name](seen)
        assert whole_tables(steps) == []


def test_an_open_page_becomes_red_by_the_time_alone_when_no_process_sends_heartbeats():
    with memory() as connection:
        processes.beat(connection, processes.Process("p", "all", START, START))
        verdicts = [
            verdict(health(connection, START + seconds * 1000, []), language(ENGLISH)).mark for seconds in (0, 29, 31)
        ]
        tags = {page_tag(connection, "", START + seconds * 1000) for seconds in (0, 10, 20, 30)}
    assert (verdicts, len(tags)) == (["ok", "ok", "bad"], 4)


def work_of(name, deliveries):
    """The instructions of SQLite for a view, with this number of settled deliveries."""
    with memory() as connection:
        leases.register(connection, {"console": "console"})
        for number in range(deliveries):
            add(connection, sink="console", state=DELIVERED, done_at=START + number)
        seen = Seen(connection, Clockface(ZoneInfo("UTC"), START, language(ENGLISH)), None, None)
        VIEWS[name](seen)  # the first call also reads the schema
        counted = []
        raw = connection.connection.driver_connection
        raw.set_progress_handler(lambda: counted.append(1), 1)
        VIEWS[name](seen)
        raw.set_progress_handler(None, 1)
        return len(counted)


@pytest.mark.parametrize("name", ["tag of a poll", "health"])
def test_a_poll_does_not_become_slower_with_the_store(name):
    assert work_of(name, 1_000) <= work_of(name, 10) + 50
