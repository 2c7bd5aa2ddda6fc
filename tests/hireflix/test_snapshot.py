"""Values of the API are compared with the store, and differences become events that merge like webhooks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.emulators.hireflix.account import Account, row_of
from connector.hireflix.payload import fields_of, read
from connector.hireflix.snapshot import (
    Origin,
    Position,
    changed_at,
    deletion_of,
    differences,
    event_for,
    interview_object,
)
from connector.interview import Stage
from connector.merge import merge, stage_of
from connector.testing import START, ManualClock

MINUTE = 60_000
BAKER = Position("p-1", "Baker")


def merged(readings):
    state = None
    for reading in readings:
        state = merge(state, reading)
    return state


def webhooks(account, found, steps, clock):
    """Yields the bodies of webhooks of changes a minute apart."""
    acts = {
        "complete": lambda: account.complete(found),
        "shortlist": lambda: account.shortlist(found),
        "back": lambda: account.shortlist(found, wanted=False),
        "discard": lambda: account.discard(found),
        "restore": lambda: account.discard(found, wanted=False),
        "rate": lambda: account.rate(found, 4.5),
        "rate unseen": lambda: account.rate(found, 2.0, touch=False),
        "unrate": lambda: account.rate(found, None),
    }
    for step in steps:
        clock.advance(60)
        yield acts[step]()


STEPS = st.lists(
    st.sampled_from(("complete", "shortlist", "back", "discard", "restore", "rate", "rate unseen", "unrate")),
    max_size=7,
)


@settings(max_examples=50)
@given(steps=STEPS, seed=st.integers(0, 10_000), kept_share=st.sampled_from((0.0, 0.5, 0.9)))
def test_real_and_synthetic_events_in_any_order_give_the_interview_of_hireflix(steps, seed, kept_share):
    rng = random.Random(seed)
    clock = ManualClock()
    account = Account(clock.now)
    position = account.add_position("Baker")
    found, invited = account.invite(position, "Ana García")
    bodies = [invited, *webhooks(account, found, steps, clock)]
    clock.advance(60)
    received = [read(body, clock.now()) for body in bodies if rng.random() < kept_share]
    rng.shuffle(received)
    known = merged(received)

    made = event_for(
        known,
        row_of(found),
        Position(position.id, position.name),
        at=clock.now(),
        received_at=clock.now(),
        origin=Origin.RECONCILE,
    )
    everything = [*received, *(read(body, clock.now()) for body in bodies), *([made.reading] if made else [])]
    rng.shuffle(everything)

    state = merged(everything)
    assert stage_of(state.values) is Stage(found.stage)
    assert state.values.get("score") == found.score
    assert state == merged(sorted(everything, key=lambda reading: reading.identity))


@settings(max_examples=30)
@given(steps=STEPS)
def test_a_second_comparison_finds_nothing(steps):
    clock = ManualClock()
    account = Account(clock.now)
    found, _ = account.invite(account.add_position("Baker"), "Ana García")
    list(webhooks(account, found, steps, clock))
    options = {"at": clock.now(), "received_at": clock.now(), "origin": Origin.BACKFILL}
    first = event_for(None, row_of(found), BAKER, **options)

    assert event_for(merge(None, first.reading), row_of(found), BAKER, **options) is None


def test_the_same_difference_has_the_same_identity_whatever_found_it_and_when():
    account = Account(lambda: START)
    found, _ = account.invite(account.add_position("Baker"), "Ana García")
    one, other = (
        event_for(None, row_of(found), BAKER, at=at, received_at=at, origin=origin).reading
        for at, origin in ((START + 5, Origin.BACKFILL), (START + 9, Origin.RECONCILE))
    )

    assert one.identity == other.identity


def test_the_identity_says_nothing_about_the_person():
    account = Account(lambda: START)
    found, _ = account.invite(account.add_position("Baker"), "Ana García")
    options = {"at": START, "received_at": START, "origin": Origin.BACKFILL}
    one = event_for(None, row_of(found), BAKER, **options).reading
    found.first_name, found.email = "Zoë", "zoe@example.com"
    other = event_for(None, row_of(found), BAKER, **options).reading

    assert one.identity == other.identity


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"updatedAt": START}, START),
        ({"updatedAt": "2025-10-27T12:00:24Z"}, 1_761_566_424_000),
        ({"createdAt": START, "completedAt": START + 1}, START + 1),
        ({}, None),
    ],
)
def test_the_date_is_that_of_the_last_known_change(row, expected):
    assert changed_at(row) == expected


def test_a_row_without_any_date_has_the_time_at_which_it_was_read():
    made = event_for(None, {"id": "i"}, BAKER, at=START, received_at=START + 1, origin=Origin.BACKFILL)

    assert made.reading.occurred_at == START


def test_newer_names_of_the_api_are_used_like_those_of_webhooks():
    row = {"id": "i", "completedAt": START, "discardedAt": START + 1, "shortlistedAt": None}

    assert interview_object(row, BAKER) == {
        "id": "i",
        "position": {"id": "p-1", "name": "Baker"},
        "completed": START,
        "archived": START + 1,
        "finalist": None,
    }


@pytest.mark.parametrize("stage", [Stage.PENDING, Stage.TO_EVALUATE, Stage.SHORTLISTED, Stage.DISCARDED])
def test_the_stage_of_a_filter_is_the_stage_of_the_interview(stage):
    row = {"id": "i", "status": "completed"}

    fields, _ = fields_of({}, interview_object(row, BAKER, stage))

    assert stage_of(fields) is stage


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ({"candidate_phone": ""}, {"candidate_phone": None}),
        ({"completed": True}, {"completed": START}),
        ({"review_url": "https://admin.hireflix.com/en/x"}, {"review_url": "https://admin.hireflix.com/x"}),
        ({"candidate_name": "Ana  García"}, {"candidate_name": "Ana García"}),
        ({"score": 4}, {"score": 4.0}),
        ({"status": "to_evaluate"}, {"status": "completed"}),
    ],
    ids=["empty", "flag", "address", "full name", "number", "status"],
)
def test_two_ways_to_write_one_value_are_no_difference(stored, found):
    assert differences(stored, found) == ()


def test_nothing_of_a_deleted_interview_differs():
    assert differences({"deleted": START, "score": 1}, {"score": 2, "status": "completed"}) == ()


def test_a_deletion_is_final_and_has_no_data_of_the_candidate():
    made = deletion_of("i", BAKER, at=START, received_at=START, origin=Origin.RECONCILE)

    assert stage_of(merge(None, made.reading).values) is Stage.DELETED
    assert set(made.reading.fields) == {"position_id", "position_name"}


def test_a_row_with_an_unusable_id_is_unreadable_and_not_used():
    made = event_for(None, {"id": "x" * 300}, BAKER, at=START, received_at=START, origin=Origin.BACKFILL)

    assert made.reading.kind == "unreadable"
