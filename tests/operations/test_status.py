"""The health model: each problem has its cause, its effect and its fix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, update

from connector.operations import status
from connector.operations.status import TroubleKind, health, remedy
from connector.store import leases, processes, rollup
from connector.store.schema import AttemptOutcome, attempt, sink
from connector.testing import START
from tests.store.kit import add, memory

NOW = START + 60_000
OUTCOMES = ("rejected", "retry later", "unclear", "broken")


@pytest.fixture
def store():
    with memory() as connection:
        leases.register(connection, {"chat": "slack"})
        processes.beat(connection, processes.Process("p", "all", START, NOW))
        yield connection


def fail(store, outcome, status=None, reason="not reachable"):
    values = {"sink": "chat", "batch": "", "started_at": START, "duration_ms": 1, "outcome": outcome, "count": 1}
    store.execute(insert(attempt).values(**values, reason=reason, status=status))


def troubles(store):
    return [each for each in health(store, NOW, ["chat"]).troubles if each.subject == "chat"]


@given(st.none() | st.sampled_from(AttemptOutcome), st.none() | st.integers(100, 599))
def test_every_failure_has_a_remedy(outcome, status):
    assert remedy(outcome, status)


@pytest.mark.parametrize(
    ("outcome", "status", "expected"),
    [
        ("unclear", None, status.NO_REPLY),
        ("retry later", None, status.WAIT),
        ("rejected", None, status.REFUSED),
        ("broken", None, status.REFUSED),
        ("rejected", 200, status.REFUSED),
        ("broken", 401, status.CREDENTIALS),
        ("broken", 403, status.RIGHTS),
        ("broken", 404, status.ADDRESS),
        ("retry later", 301, status.ADDRESS),
        ("rejected", 422, status.REFUSED),
        ("retry later", 429, status.LIMITED),
        ("unclear", 502, status.FAILS),
    ],
)
def test_the_remedy_follows_from_the_status_of_the_destination_and_the_outcome_of_the_call(outcome, status, expected):
    assert remedy(outcome, status) == expected


@pytest.mark.parametrize("reason", ["timeout", "exception ValueError", "no quota left", "status 403"])
def test_the_words_of_a_reason_do_not_decide_on_the_remedy(store, reason):
    fail(store, "retry later", reason=reason)
    (found,) = troubles(store)
    assert (found.kind, found.fix) == (TroubleKind.CALL_FAILED, status.WAIT)


def test_a_pause_by_an_operator_without_a_stored_remedy_says_how_to_end_it(store):
    leases.pause(store, "chat", leases.Pause("person", "maintenance"))
    (found,) = troubles(store)
    assert (found.kind, found.fix) == (TroubleKind.PAUSED_BY_OPERATOR, "connector resume chat")


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("pause", [None, "broken", "until_person", "person"])
def test_no_trouble_of_a_sink_lacks_effect_or_remedy(store, outcome, pause):
    fail(store, outcome)
    if pause is not None:
        leases.pause(store, "chat", leases.Pause(pause, "the channel is gone"))
    found = troubles(store)
    assert found
    assert all(each.what and each.effect and each.fix for each in found)


def test_a_sink_that_named_its_remedy_keeps_it(store):
    leases.pause(store, "chat", leases.Pause("broken", "the channel is gone", "invite the bot"))
    fail(store, "broken")
    (found,) = troubles(store)
    assert found.fix == "invite the bot"


def test_a_pause_until_a_time_says_when_it_ends_and_is_no_problem(store):
    leases.pause(store, "chat", leases.Pause("person", "paused by an operator", "resume it", until=NOW + 7_200_000))
    (found,) = troubles(store)
    assert (found.level, found.effect) == ("warning", "resumes automatically in 2 h; nothing is lost")
    (chat,) = health(store, NOW, ["chat"]).sinks
    assert (chat.state, chat.paused_until, chat.waits_for) == ("paused", NOW + 7_200_000, "the end of the pause")


def test_a_resumed_sink_has_no_end_of_a_pause(store):
    leases.pause(store, "chat", leases.Pause("person", "", until=NOW + 1))
    leases.resume(store, "chat")
    store.execute(update(sink).values(delivered=1))
    assert (troubles(store), leases.row(store, "chat").paused_until) == ([], None)


def test_refused_requests_are_reported_as_not_stored_without_the_promise_of_a_repeat(store):
    rollup.count_refused(store, {"signature": 2}, NOW)
    (found,) = [each for each in health(store, NOW, ["chat"]).troubles if each.subject == "source"]
    assert found.effect == "the last 0 s ago; they are not stored, and Hireflix may not repeat them"


def test_refused_requests_say_whether_webhooks_were_accepted_since(store):
    rollup.count_refused(store, {"signature": 2}, START - 120_000)
    add(store, sink="chat")
    (found,) = [each for each in health(store, NOW, ["chat"]).troubles if each.subject == "source"]
    assert found.effect.startswith("the last 3 min ago, and webhooks were accepted since; they are not stored")
