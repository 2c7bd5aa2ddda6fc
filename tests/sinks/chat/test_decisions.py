"""The rules for decisions in a chat: buttons by stage, stamps, and the request of a click."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.capabilities import Known, StoredDecision
from connector.decision import Decision, DecisionRequest
from connector.languages import language
from connector.sink import Interview, Stage
from connector.testing import START, make_interview
from sinks.chat.decisions import (
    OFFERED,
    UNDO_MS,
    Choice,
    Click,
    ClickPlace,
    DecisionRecord,
    Refusal,
    Stamp,
    already_taken,
    failure_text,
    is_about,
    panel,
    request_of,
    value_of,
)
from sinks.chat.record import InterviewRecord
from sinks.chat.wording import moment

ENGLISH = language("en")
MESSAGE = "1761566424.000100"
NOW = START + 60_000
ANA = DecisionRecord("", 7, "shortlist", "UANA", "to_evaluate", "shortlisted", NOW, START)
"""What is noted after Ana shortlisted the interview."""


def interview(stage: Stage = Stage.TO_EVALUATE, **values: Any) -> Interview:
    return make_interview(stage=stage, **{"completed": START, **values})


def click(choice: Choice = Choice.SHORTLIST, **values: Any) -> Click:
    known = interview()
    made = Click("click-1", "slack", "UBOB", MESSAGE, choice, 0, known.id)
    return replace(made, **values)


def known(about: Interview, decided: DecisionRecord | None = None, now: int = NOW) -> Known:
    notes: dict[str, Any] = {InterviewRecord(about.id).key: {"v": 2, "message_id": MESSAGE}}
    if decided is not None:
        record = replace(decided, id=about.id)
        notes[record.key] = record.note()
    return Known(about, notes, now)


def asked(made: Click, about: Interview, decided: DecisionRecord | None = None, now: int = NOW) -> Any:
    return request_of(made, "hiring", known(about, decided, now), ENGLISH)


def labels(about: Interview, decided: DecisionRecord | None = None, now: int = NOW) -> list[str]:
    shown = panel(about, decided or DecisionRecord(about.id), now, ENGLISH)
    return [button.label for button in shown.buttons]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (Stage.PENDING, []),
        (Stage.TO_EVALUATE, ["Shortlist", "Discard…"]),
        (Stage.SHORTLISTED, ["Discard…", "Back to evaluation"]),
        (Stage.DISCARDED, ["Shortlist", "Back to evaluation"]),
        (Stage.DELETED, []),
        (Stage.UNKNOWN, []),
    ],
)
def test_a_message_offers_what_is_not_done_yet(stage: Stage, expected: list[str]) -> None:
    assert labels(interview(stage)) == expected


def test_an_interview_that_is_not_completed_cannot_go_back_to_review() -> None:
    assert labels(interview(Stage.DISCARDED, completed=None)) == ["Shortlist"]


def test_labels_are_in_the_language_of_the_chat() -> None:
    shown = panel(interview(), DecisionRecord("1"), NOW, language("es"))
    assert [button.label for button in shown.buttons] == ["Preseleccionar", "Descartar…"]


def test_a_decision_leaves_a_stamp_that_can_be_undone_for_ten_minutes() -> None:
    about = interview()
    shown = panel(about, ANA, NOW + UNDO_MS - 1, ENGLISH)
    assert (shown.stamp.text, shown.stamp.user) == ("Shortlisted by {user}", "UANA")
    assert labels(about, ANA, NOW + UNDO_MS - 1) == ["Undo"]
    assert labels(about, ANA, NOW + UNDO_MS) == ["Discard…", "Back to evaluation"]


def test_the_stamp_stays_when_hireflix_reports_the_same_stage() -> None:
    about = interview(Stage.SHORTLISTED, updated_at=NOW + 100)
    assert panel(about, ANA, NOW + 200, ENGLISH).stamp is not None


def test_the_stamp_disappears_when_hireflix_reports_another_stage() -> None:
    about = interview(Stage.DISCARDED, updated_at=NOW + 100)
    assert panel(about, ANA, NOW + 200, ENGLISH).stamp is None
    assert labels(about, ANA, NOW + 200) == ["Shortlist", "Back to evaluation"]


def test_the_stamp_does_not_depend_on_the_clock_of_hireflix() -> None:
    """The newest event has a date after the decision, because the clock of Hireflix is ahead."""
    ahead = interview(updated_at=NOW + 5_000)
    result = {"state": "done", "changed": True, "decision": "shortlist", "actor": "slack:UANA", "stage": "shortlisted"}
    result |= {"at": NOW, "place": str(ClickPlace(Choice.SHORTLIST, "to_evaluate", "c"))}
    after = DecisionRecord(ahead.id).with_result(8, result, ahead)
    assert labels(ahead, after) == ["Undo"]


def test_an_undo_leaves_no_stamp() -> None:
    result = {"state": "done", "changed": True, "decision": "back", "actor": "slack:UBOB", "stage": "to_evaluate"}
    result |= {"at": NOW + 5, "place": str(ClickPlace(Choice.UNDO, "shortlisted", "c"))}
    after = ANA.with_result(8, result, interview(Stage.SHORTLISTED))
    assert after.number == 8
    assert panel(interview(Stage.SHORTLISTED), after, NOW + 6, ENGLISH).stamp is None
    assert labels(interview(Stage.SHORTLISTED), after, NOW + 6) == ["Shortlist", "Discard…"]


def test_a_request_that_changed_nothing_leaves_no_stamp() -> None:
    result = {"state": "refused", "changed": False, "decision": "back", "actor": "slack:UBOB", "stage": None, "at": NOW}
    result |= {"place": str(ClickPlace(Choice.BACK, "discarded", "c"))}
    after = DecisionRecord("1").with_result(3, result, interview())
    assert after == DecisionRecord("1", 3)


def test_a_click_asks_for_its_decision() -> None:
    request = asked(click(), interview())
    assert (request.decision, request.actor, request.value) == (Decision.SHORTLIST, "slack:UBOB", None)


@pytest.mark.parametrize(("given_reason", "value"), [(" No permit ", "No permit"), ("  ", None), (None, None)])
def test_the_reason_of_a_discard_is_its_value(given_reason: str | None, value: str | None) -> None:
    assert asked(click(Choice.DISCARD, reason=given_reason), interview()).value == value


@pytest.mark.parametrize(
    ("before", "decision"),
    [("to_evaluate", Decision.BACK), ("discarded", Decision.DISCARD), ("shortlisted", Decision.SHORTLIST)],
)
def test_undo_asks_for_the_stage_before(before: str, decision: Decision) -> None:
    made = replace(ANA, before=before)
    about = interview(Stage.SHORTLISTED, updated_at=NOW + 1)
    assert asked(click(Choice.UNDO, number=7), about, made).decision is decision


def test_undo_is_refused_after_ten_minutes() -> None:
    refusal = asked(click(Choice.UNDO, number=7), interview(), ANA, NOW + UNDO_MS)
    assert refusal == Refusal("It is too late to undo this. Use the other buttons.")


def test_a_click_on_an_older_state_says_who_was_first() -> None:
    assert asked(click(number=0), interview(), ANA) == Refusal("Already done: Shortlisted by {user}", "UANA")


def test_of_two_requests_of_one_state_the_stored_one_counts() -> None:
    first, second = asked(click(user="UANA"), interview()), asked(click(id="click-2"), interview())
    assert first.key == second.key
    done = StoredDecision(first, "done", NOW)
    assert already_taken(second, done, ENGLISH) == Refusal("Already done: Shortlisted by {user}", "UANA")


def test_a_click_after_one_that_waits_for_hireflix_says_who_asked_since_when_and_what_happens() -> None:
    first, second = asked(click(user="UANA"), interview()), asked(click(id="click-2"), interview())
    refusal = already_taken(second, StoredDecision(first, "waiting", NOW), ENGLISH)
    assert refusal is not None
    assert refusal.text == (
        f"Shortlist, requested by {{user}}, waits for Hireflix since {moment(NOW)}. It is tried again automatically, "
        "for a day at most; then this message shows the result."
    )
    assert refusal.user == "UANA"


def test_a_decision_that_waits_for_hireflix_is_in_the_message_until_its_result() -> None:
    place = str(ClickPlace(Choice.DISCARD, "to_evaluate", "c"))
    waits = {"state": "waiting", "actor": "slack:UBOB", "place": place, "at": NOW}
    waiting = DecisionRecord("1").with_result(9, waits, interview())
    shown = panel(interview(), waiting, NOW, ENGLISH)
    assert shown.stamp == Stamp("Discard, requested by {user}, waits for Hireflix", "UBOB")

    refused = waiting.with_result(9, {**waits, "state": "refused", "changed": False}, interview())
    assert panel(interview(), refused, NOW, ENGLISH).stamp is None


def test_a_click_that_is_reported_again_is_its_own_request() -> None:
    request = asked(click(), interview())
    assert already_taken(asked(click(), interview()), StoredDecision(request, "waiting", NOW), ENGLISH) is None


@given(st.sampled_from(Stage), st.sampled_from(Choice), st.integers(0, 9))
def test_whatever_a_click_says_only_what_the_message_offers_is_asked(stage: Stage, choice: Choice, number: int) -> None:
    found = asked(click(choice, number=number), interview(stage))
    is_offered = number == 0 and choice in OFFERED.get(stage, ())
    assert isinstance(found, DecisionRequest) is is_offered


@pytest.mark.parametrize("message", ["1761566424.000999", ""])
def test_a_click_on_another_message_is_not_about_the_interview(message: str) -> None:
    assert not is_about(click(message_id=message), known(interview()))


@pytest.mark.parametrize("value", ["", "7", "x abc", "-1 abc", "٣ abc", "7 "])
def test_a_foreign_value_of_a_button_is_refused(value: str) -> None:
    assert value_of(value) is None


@pytest.mark.parametrize(
    ("state", "changed", "text"),
    [
        ("done", True, ""),
        ("done", False, "Nothing to do: Hireflix shows this already."),
        ("refused", False, "This did not work: no interview"),
        ("unclear", False, "It is not clear whether this reached Hireflix, and an operator must look: no interview"),
        ("dropped", False, "Not done: an operator dropped your decision."),
        ("waiting", False, "Your decision is kept, and tried again automatically for a day: no interview"),
    ],
)
def test_a_user_reads_why_a_request_changed_nothing(state: str, changed: bool, text: str) -> None:
    assert failure_text({"state": state, "changed": changed, "reason": "no interview"}, ENGLISH) == text
