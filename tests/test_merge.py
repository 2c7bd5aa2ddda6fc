"""Merging: any order and repetition of the events gives the same interview."""

from __future__ import annotations

import json
import random
from functools import reduce
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import NewerDocument
from connector.hireflix import DELETE, EVENT_NAMES, FINISH, STATUS_CHANGE
from connector.hireflix.payload import read
from connector.interview import FIELDS, Stage
from connector.merge import decode, encode, event_of, interview_of, merge, stage_of, stamp_of

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parent / "samples").glob("*.json"))]
T = 1761566424499
NOW = T + 3_600_000


def event(name, date=T, **data):
    return read(json.dumps({"event": name, "data": {"id": "i1", **data}, "date": date}).encode(), NOW)


def fold(readings):
    return reduce(merge, readings, None)


def values(*readings):
    return fold(readings).values


def stage(*readings):
    return stage_of(values(*readings))


# --- the algebra

marks = st.none() | st.booleans() | st.integers(T - 2, T + 2)
texts = st.none() | st.sampled_from(["", "a", "b"])
groups = st.none() | st.fixed_dictionaries({}, optional={"id": texts, "name": texts, "private": texts, "phone": texts})
payloads = st.fixed_dictionaries(
    {},
    optional={
        "status": st.none() | st.sampled_from(["pending", "completed", "discarded", "odd"]),
        "position": groups,
        "candidate": groups,
        "url": groups,
        "score": st.none() | st.fixed_dictionaries({"value": st.none() | st.sampled_from([1, 4.5])}),
        "completed": marks,
        "deleted": marks,
        "archived": marks,
        "finalist": marks,
        "answered": st.none() | st.booleans(),
        "thumbnail": texts,
        "unknown": texts,
    },
)
readings = st.builds(
    lambda name, date, data: event(name, date, **data),
    st.sampled_from(sorted(EVENT_NAMES)),
    st.integers(T, T + 3),
    payloads,
)
histories = st.lists(readings, min_size=1, max_size=6, unique_by=lambda reading: reading.identity)


@settings(max_examples=200)
@given(histories, st.data())
def test_any_order_and_repetition_gives_the_same_state(history, data):
    again = data.draw(st.lists(st.sampled_from(history), max_size=6))
    shuffled = data.draw(st.permutations(history + again))
    assert encode(fold(shuffled)) == encode(fold(history))


@given(histories, readings, readings)
def test_the_merge_is_commutative(history, one, other):
    known = fold(history)
    if one.identity != other.identity:
        assert merge(merge(known, one), other) == merge(merge(known, other), one)


@given(histories)
def test_the_merge_is_idempotent(history):
    state = fold(history)
    assert all(merge(state, reading) is state for reading in history)


@given(histories, readings)
def test_a_merge_changes_nothing_in_place(history, reading):
    state = fold(history)
    before, fields = encode(state), dict(reading.fields)
    merge(state, reading)
    assert (encode(state), reading.fields) == (before, fields)


def contribution(reading):
    """The fields that an event contributes, implemented independently."""
    contribution = {**reading.fields, "last_event": reading.name}
    if reading.name == FINISH:
        contribution = {name: value for name, value in contribution.items() if name != "status"}
        contribution["finished_at"] = reading.occurred_at
    if reading.name == DELETE and reading.fields.get("deleted") in (None, True):
        contribution["deleted"] = reading.occurred_at
    return contribution


@settings(max_examples=200)
@given(histories)
def test_each_field_has_the_value_of_the_greatest_version_that_contains_it(history):
    ascending = sorted(history, key=stamp_of)
    expected, dates = {}, {}
    for reading in ascending:
        expected.update(contribution(reading))
        dates.update(dict.fromkeys(contribution(reading), reading.occurred_at))
    interview = interview_of("i1", fold(history))
    assert (interview.values, interview.dates) == (expected, dates)
    assert interview.updated_at == ascending[-1].occurred_at


@given(histories)
def test_a_state_survives_its_encoding(history):
    state = fold(history)
    assert decode(encode(state)) == state
    assert encode(decode(encode(state).encode())) == encode(state)


@given(histories)
def test_a_state_holds_only_known_fields(history):
    assert set(fold(history).values) <= set(FIELDS)


@given(histories, readings.filter(lambda reading: reading.name == DELETE or reading.fields.get("deleted")), readings)
def test_no_event_brings_a_deleted_interview_back(history, deletion, last):
    assert stage(*history, deletion, last) is Stage.DELETED


# --- what events mean


def test_absent_is_not_null():
    later = event(STATUS_CHANGE, T + 1, candidate={"email": None})
    known = values(event("interview.create", candidate={"name": "Ann", "email": "a@b.c"}), later)
    assert (known["candidate_name"], known["candidate_email"]) == ("Ann", None)


def test_a_sparse_finish_takes_nothing_away():
    full = event("interview.create", score=None, candidate={"name": "Ann", "phone": "+1"}, url={"private": "https://r"})
    known = values(full, event(FINISH, T + 9, status="completed", candidate={"name": "Ann"}))
    assert known == {**full.fields, "last_event": FINISH, "finished_at": T + 9}


def test_an_older_event_fills_gaps_only():
    newer = event(STATUS_CHANGE, T + 5, candidate={"name": "Ann"})
    known = values(newer, event("interview.create", T, hash="h", candidate={"name": "Old"}))
    assert (known["candidate_name"], known["hash"], known["last_event"]) == ("Ann", "h", STATUS_CHANGE)


def test_of_two_events_at_one_time_the_fuller_one_counts():
    fuller = event(STATUS_CHANGE, T, status="completed", hash="h", score=None, candidate={"name": "Ann"})
    known = values(fuller, event(FINISH, T, candidate={"name": "A."}))
    assert (known["candidate_name"], known["last_event"]) == ("Ann", STATUS_CHANGE)


def test_a_picture_is_not_taken_away_by_a_later_null():
    known = values(event(FINISH, T, thumbnail="https://t"), event(STATUS_CHANGE, T + 1, thumbnail=None))
    assert known["thumbnail_url"] == "https://t"


def test_a_cleared_score_is_cleared():
    assert values(event(STATUS_CHANGE, T, score={"value": 4}), event(STATUS_CHANGE, T + 1, score=None))["score"] is None


@pytest.mark.parametrize(
    ("data", "deleted"), [({}, T), ({"deleted": None}, T), ({"deleted": True}, T), ({"deleted": T - 53}, T - 53)]
)
def test_a_delete_event_deletes_even_without_saying_when(data, deleted):
    assert values(event(DELETE, T, **data))["deleted"] == deleted


def test_a_late_event_fills_fields_of_a_deleted_interview():
    known = values(event(DELETE, T), event(STATUS_CHANGE, T + 1, deleted=None, candidate={"name": "Ann"}))
    assert (known["deleted"], known["candidate_name"], stage_of(known)) == (T, "Ann", Stage.DELETED)


CREATED = event("interview.create", T - 9, status="pending", completed=None, answered=False)
CHANGED = event(STATUS_CHANGE, T, status="completed", completed=T - 1, answered=True)
FINISHED = event(FINISH, T + 1, status="completed")


@pytest.mark.parametrize("history", [[CREATED, CHANGED], [CREATED, FINISHED], [CREATED, FINISHED, CHANGED], [FINISHED]])
def test_finish_and_status_change_each_complete_an_interview(history):
    assert stage(*history) is Stage.TO_EVALUATE


@pytest.mark.parametrize(
    ("history", "completed_at"),
    [([CHANGED], T - 1), ([FINISHED], T + 1), ([FINISHED, CHANGED], T - 1), ([CREATED], None)],
)
def test_the_time_of_completion_is_the_reported_one_else_that_of_the_finish(history, completed_at):
    assert interview_of("i1", fold(history)).completed_at == completed_at


def test_a_late_finish_does_not_undo_a_decision():
    decided = event(STATUS_CHANGE, T, status="shortlisted")
    assert stage(decided, event(FINISH, T + 60_000, status="completed")) is Stage.SHORTLISTED


def test_an_undone_decision_sets_the_stage_to_evaluate():
    chosen = event(STATUS_CHANGE, T, status="completed", completed=T - 5, finalist=T)
    undone = event(STATUS_CHANGE, T + 1, status="completed", completed=T - 5, finalist=None)
    assert [stage(chosen), stage(chosen, undone)] == [Stage.SHORTLISTED, Stage.TO_EVALUATE]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Stage.PENDING),
        ({"status": None}, Stage.PENDING),
        ({"status": ""}, Stage.PENDING),
        ({"status": "pending"}, Stage.PENDING),
        ({"status": "completed"}, Stage.TO_EVALUATE),
        ({"status": "Completed"}, Stage.TO_EVALUATE),
        ({"status": "pending", "completed": T}, Stage.TO_EVALUATE),
        ({"status": "pending", "completed": True}, Stage.TO_EVALUATE),
        ({"status": "pending", "answered": True}, Stage.TO_EVALUATE),
        ({"status": "pending", "answered": False}, Stage.PENDING),
        ({"finished_at": T}, Stage.TO_EVALUATE),
        ({"status": "to_evaluate"}, Stage.TO_EVALUATE),
        ({"status": "shortlisted"}, Stage.SHORTLISTED),
        ({"status": "discarded", "completed": T}, Stage.DISCARDED),
        ({"status": "in_progress"}, Stage.UNKNOWN),
        ({"status": "in_progress", "completed": T}, Stage.TO_EVALUATE),
        ({"archived": T, "status": "shortlisted"}, Stage.DISCARDED),
        ({"archived": True}, Stage.DISCARDED),
        ({"finalist": T, "status": "discarded"}, Stage.SHORTLISTED),
        ({"finalist": True}, Stage.SHORTLISTED),
        ({"archived": T, "finalist": T + 1}, Stage.SHORTLISTED),
        ({"archived": T + 1, "finalist": T}, Stage.DISCARDED),
        ({"archived": T, "finalist": T}, Stage.DISCARDED),
        ({"archived": True, "finalist": T}, Stage.DISCARDED),
        ({"archived": T, "finalist": True}, Stage.DISCARDED),
        ({"deleted": T, "finalist": T + 1}, Stage.DELETED),
        ({"deleted": True}, Stage.DELETED),
    ],
)
def test_the_first_sign_that_holds_decides_the_stage(fields, expected):
    assert stage_of(fields) is expected


def test_an_unknown_status_is_shown_as_it_came():
    interview = interview_of("i1", fold([event(STATUS_CHANGE, status="In review")]))
    assert (interview.stage, interview.stage_word) == (Stage.UNKNOWN, "In review")


def test_an_event_shows_what_the_payload_carried_and_no_more():
    reading = event(FINISH, T, status="completed", candidate={"name": "Ann", "phone": None})
    told_event = event_of("7", reading)
    assert (told_event.id, told_event.name, told_event.interview_id) == ("7", FINISH, "i1")
    assert (told_event.occurred_at, told_event.received_at) == (T, NOW)
    assert told_event.fields == {"status": "completed", "candidate_name": "Ann", "candidate_phone": None}


# --- the published samples


def interviews(bodies):
    """What is stored after these bodies came in this order, each event once."""
    states, seen = {}, set()
    for body in bodies:
        reading = read(body, NOW)
        if reading.identity not in seen:
            seen.add(reading.identity)
            states[reading.interview_id] = merge(states.get(reading.interview_id), reading)
    return {interview_id: encode(state) for interview_id, state in states.items()}


def with_one_id(body):
    payload = json.loads(body)
    return json.dumps({**payload, "data": {**payload["data"], "id": "i1"}}).encode()


@pytest.mark.parametrize(
    ("bodies", "count"),
    [
        pytest.param(SAMPLES, 3, id="as published"),
        pytest.param([with_one_id(body) for body in SAMPLES], 1, id="one id"),
    ],
)
def test_the_samples_sent_three_times_give_the_same_interviews_in_all_120_orders(bodies, count):
    expected = interviews(bodies)
    shuffle = random.Random(5).sample
    for order in permutations(bodies):
        assert interviews([*order, *shuffle(order * 2, 10)]) == expected
    assert len(expected) == count


def test_the_samples_tell_three_stories():
    stages = {iid: stage_of(decode(text).values) for iid, text in interviews(SAMPLES).items()}
    assert stages == {
        "643e972db7d39e63cf468844": Stage.TO_EVALUATE,
        "68ff5ed8b07cc148bddcae02": Stage.DELETED,
        "68ff63a714e4aab6ada84854": Stage.TO_EVALUATE,
    }


# --- the stored document


def test_a_document_of_the_first_release_has_version_1():
    text = '{"base":[1,2,"12ab12ab12ab12ab"],"values":{"candidate_name":"Ann"},"exceptions":{}}'
    assert decode(text).values == {"candidate_name": "Ann"}
    assert json.loads(encode(decode(text)))["v"] == 1


@pytest.mark.parametrize("text", ['{"v":2,"fields":[]}', '{"v":2,"base":[1,2,"a"],"values":{},"exceptions":{}}'])
def test_a_document_of_a_newer_version_is_an_error_that_says_what_to_do(text):
    """Whether or not its fields look like those of this version."""
    with pytest.raises(NewerDocument, match=r"newer version \(document version 2\); upgrade this process"):
        decode(text)
