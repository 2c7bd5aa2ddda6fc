"""After any failure of a call nothing is lost or repeated, and the next flush finds out whether it was applied."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault, FaultKind
from connector.emulators.google import once
from connector.sink import Delivered, LeaseLost, RetryLater
from connector.testing import interview_id
from tests.sinks.google_sheets.conftest import person_of, scored

EVERY = {
    "refuse": faults.REFUSE,
    "drop": faults.DROP,
    "hang": faults.HANG,
    "apply-hang": faults.APPLY_HANG,
    "truncate": faults.TRUNCATE,
    "broken-json": faults.BROKEN_JSON,
    "html-503": faults.HTML_503,
    "apply-503": faults.APPLY_503,
    "500": Fault(FaultKind.STATUS, status=500, body='{"error": {"code": 500, "status": "INTERNAL"}}'),
    "429": Fault(FaultKind.STATUS, status=429, body='{"error": {"status": "RESOURCE_EXHAUSTED"}}'),
    "429 with Retry-After": Fault(FaultKind.STATUS, status=429, headers={"Retry-After": "7"}),
    "302": Fault(FaultKind.STATUS, status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "error is a word": Fault(FaultKind.STATUS, status=500, body='{"error": "backend"}'),
    "empty 200": Fault(FaultKind.APPLY_STATUS, status=200, body="{}", content_type="application/json"),
}
APPLIED = ["drop", "apply-hang", "truncate", "broken-json", "apply-503", "empty 200"]


READ = ["refuse", "hang", "truncate", "broken-json", "html-503", "429", "302", "error is a word", "empty 200"]
TOKEN = ["refuse", "hang", "broken-json", "302", "empty 200", "429"]


def at(call, name):
    return replace(EVERY[name], match=call)


async def add_fault(harness, call, name):
    if "hang" in name:
        await harness.hurry()
    harness.google.faults.add(at(call, name))


async def add_late_write(harness):
    """The next write gets no answer, and is applied later."""
    await harness.hurry()
    harness.google.faults.add(Fault(FaultKind.LATE, "write"))


@pytest.mark.parametrize(
    ("call", "name"),
    [("read", name) for name in READ] + [("write", name) for name in EVERY] + [("token", name) for name in TOKEN],
)
async def test_the_sheet_is_right_after_any_fault_of_any_call(harness, name, call):
    people = [person_of(number) for number in range(1, 6)]
    if call != "token":
        await harness.show(*people[:2])
    await add_fault(harness, call, name)
    await harness.settle(scored(people[0], 4), *people[1:])
    assert harness.google.faults.pending == 0
    assert [record["Score"] for record in harness.records().values()] == [4, None, None, None, None]


@pytest.mark.parametrize("name", APPLIED)
async def test_a_tab_whose_making_was_not_answered_is_made_once(harness, name):
    await add_fault(harness, "write", name)
    await harness.settle(person_of(1), person_of(2))
    assert harness.google.titles(harness.id) == ["Sheet1", "Interviews"]
    assert len(harness.records()) == 2


@pytest.mark.parametrize("name", APPLIED)
async def test_an_answer_that_was_lost_costs_one_read_more_and_overwrites_no_correction(harness, name):
    await harness.show(person_of(1))
    harness.person.edit("Interviews", 1, 0, "Corrected")
    await add_fault(harness, "write", name)
    await harness.settle(scored(person_of(1), 4))
    assert harness.records()[interview_id(1)]["Candidate"] == "Corrected"


async def test_an_unanswered_write_is_reported_as_unclear(harness):
    harness.google.faults.add(at("write", "drop"))
    result = await harness.deliver(person_of(1))
    [outcome] = result.outcomes
    assert isinstance(outcome, RetryLater)
    assert outcome.unclear
    assert outcome.reason.startswith("no answer from Google (")  # the kind of error depends on the time that it takes
    assert "intent" in harness.context.notes


async def test_a_read_that_failed_is_repeated_at_once(harness):
    harness.google.faults.add(at("read", "refuse"))
    await harness.show(person_of(1))
    assert len(harness.records()) == 1


async def test_a_write_is_never_repeated_in_a_call(harness):
    harness.google.faults.add(at("write", "refuse"))
    await harness.deliver(person_of(1))
    assert harness.google.titles(harness.id) == ["Sheet1"]


@pytest.mark.parametrize("crash_restart", [True, False])
async def test_a_request_that_arrives_after_its_retry_is_refused(harness, crash_restart):
    await harness.show(person_of(1))
    await add_late_write(harness)
    await harness.deliver(scored(person_of(1), 2), person_of(2))
    if crash_restart:
        await harness.restart()
    await harness.settle(scored(person_of(1), 4), person_of(2))
    harness.google.faults.release()
    await harness.settle(person_of(3))  # the server takes this one after the one that was let go
    assert harness.records()[interview_id(1)]["Score"] == 4
    assert len(harness.records()) == 3


async def test_a_late_request_that_lands_first_is_noticed_by_its_guard(harness):
    await harness.show(person_of(1))
    await add_late_write(harness)
    await harness.deliver(scored(person_of(1), 2), person_of(2))
    harness.google.after_read = harness.google.faults.release
    await harness.settle(scored(person_of(1), 4), person_of(2))
    assert harness.records()[interview_id(1)]["Score"] == 4
    assert len(harness.records()) == 2


async def test_a_late_request_that_hits_moved_rows_is_made_good(harness):
    people = [person_of(number) for number in range(1, 6)]
    await harness.show(*people)
    await add_late_write(harness)
    await harness.deliver(scored(people[0], 2))
    await harness.restart()
    harness.google.after_read = once(lambda: _sorted_then_late(harness))
    await harness.settle(scored(people[0], 4))
    assert [harness.records()[each.id]["Score"] for each in people] == [4, None, None, None, None]


def _sorted_then_late(harness):
    harness.person.sort("Interviews", 0, descending=True)
    harness.google.faults.release()


async def test_a_crash_between_the_call_and_the_commit_doubles_nothing(harness):
    await harness.show(person_of(1))
    for number in range(2, 6):
        kept = dict(harness.context.notes)
        result = await harness.deliver(scored(person_of(1), number), person_of(number))
        assert result.outcomes == [Delivered(), Delivered()]
        harness.context.notes = {**kept, "intent": harness.context.saved[-1]["intent"]}
        await harness.restart()
        await harness.settle(scored(person_of(1), number), person_of(number))
    assert len(harness.records()) == 5
    assert harness.records()[interview_id(1)]["Score"] == 5


async def test_the_intent_is_noted_before_the_call(harness):
    seen = []
    harness.google.before_write = lambda: seen.append("intent" in harness.context.notes)
    await harness.show(person_of(1))
    assert seen == [True]
    assert "intent" not in harness.context.notes


async def test_a_lost_lease_sends_nothing(harness):
    await harness.show(person_of(1))
    harness.google.forget_calls()
    harness.context.clock.advance(60)
    harness.context.lose_lease(after=1)
    with pytest.raises(LeaseLost):
        await harness.deliver(person_of(2))
    assert harness.counts() == {"read": 1}


async def test_no_answer_is_believed_without_the_sheet_in_it(harness):
    harness.google.faults.add(at("write", "empty 200"))
    result = await harness.deliver(person_of(1))
    assert result.outcomes == [RetryLater("an answer of Google could not be read", unclear=True)]
