"""The fields of an interview object: known types are normalised, other values are not used."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.hireflix.payload import as_flag, as_number, as_text, epoch_ms, fields_of

AT = 1761566424331
AFTER_1970 = datetime(1971, 1, 1)  # noqa: DTZ001 - hypothesis wants the bound without a zone


def read(**data):
    return fields_of({}, {"id": "i1", **data})[0]


def unused(**data):
    return fields_of({}, {"id": "i1", **data})[1]


def test_every_documented_field_gets_our_name():
    data = {
        "id": "i1",
        "position": {"id": "p1", "name": "Cook"},
        "externalId": "x1",
        "status": "pending",
        "hash": "h",
        "createdAt": AT,
        "candidate": {"name": "Ann B", "firstName": "Ann", "lastName": "B", "email": "a@b.c", "phone": "+1"},
        "score": {"value": 4.5, "type": "stars"},
        "completed": AT + 1,
        "deleted": AT + 2,
        "archived": AT + 3,
        "finalist": AT + 4,
        "answered": True,
        "thumbnail": "https://t",
        "url": {"short": "https://s", "private": "https://r", "public": "https://c"},
    }
    assert read(**data) == {
        "position_id": "p1",
        "position_name": "Cook",
        "external_id": "x1",
        "status": "pending",
        "hash": "h",
        "created_at": AT,
        "candidate_name": "Ann B",
        "candidate_first_name": "Ann",
        "candidate_last_name": "B",
        "candidate_email": "a@b.c",
        "candidate_phone": "+1",
        "score": 4.5,
        "completed": AT + 1,
        "deleted": AT + 2,
        "archived": AT + 3,
        "finalist": AT + 4,
        "answered": True,
        "thumbnail_url": "https://t",
        "short_url": "https://s",
        "review_url": "https://r",
        "candidate_url": "https://c",
    }


def test_an_absent_key_is_unknown():
    assert read() == {}


@pytest.mark.parametrize("key", ["candidate", "position", "url", "thumbnail", "deleted"])
def test_a_null_that_counts_as_absent_is_not_used(key):
    assert read(**{key: None}) == {}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("externalId", "external_id"),
        ("status", "status"),
        ("createdAt", "created_at"),
        ("score", "score"),
        ("completed", "completed"),
        ("archived", "archived"),
        ("finalist", "finalist"),
        ("answered", "answered"),
    ],
)
def test_any_other_null_is_kept(key, name):
    assert read(**{key: None}) == {name: None}


def test_a_null_in_a_group_is_kept():
    assert read(candidate={"phone": None}, url={"private": None}) == {"candidate_phone": None, "review_url": None}


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (4, 4),
        (4.5, 4.5),
        ("4.5", 4.5),
        (" 4 ", 4),
        ({"value": 0.5}, 0.5),
        ({"value": "4"}, 4),
        ({"value": None}, None),
    ],
)
def test_a_score_is_a_number_or_its_text_bare_or_in_an_object(score, expected):
    assert read(score=score) == {"score": expected}


@pytest.mark.parametrize(
    "score",
    [{}, {"value": "good"}, "", "4,5", "0x4", "४", "1e400", True, [4], -1, "-1", 10**400, float("inf"), {"value": {}}],
)
def test_any_other_score_is_not_used_and_is_named(score):
    assert read(score=score) == {}
    assert unused(score=score) == ["score"]


@pytest.mark.parametrize("key", ["completed", "archived", "finalist"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AT, AT),
        (1761566424, 1761566424000),
        (str(AT), AT),
        ("2025-10-27T12:00:24.331Z", AT),
        (True, True),
        ("true", True),
        (1, True),
        (False, None),
        ("False", None),
        (0, None),
        ("0", None),
    ],
)
def test_a_mark_is_a_time_true_or_not_set(key, value, expected):
    assert read(**{key: value}) == {key: expected}


@pytest.mark.parametrize(
    ("value", "expected"), [(AT, {"deleted": AT}), (True, {"deleted": True}), (False, {}), (0, {})]
)
def test_a_deletion_is_kept_only_when_it_is_set(value, expected):
    assert read(deleted=value) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", True),
        ("hash", ["h"]),
        ("answered", "yes"),
        ("createdAt", "yesterday"),
        ("createdAt", True),
        ("createdAt", 253_402_300_800_000),
        ("archived", ""),
        ("archived", []),
        ("completed", {"at": 1}),
        ("candidate", "Ann"),
        ("position", ["p1"]),
        ("externalId", True),
        ("externalId", 1.5),
        ("externalId", 1e22),
        ("thumbnail", 1),
    ],
)
def test_a_value_of_an_unusable_type_is_not_used_and_is_named(key, value):
    assert read(**{key: value}) == {}
    assert unused(**{key: value}) == [key]


def test_an_unused_value_in_a_group_is_named_with_its_group():
    assert unused(candidate={"phone": [], "name": "Ann"}, url={"private": 7}) == ["candidate.phone", "url.private"]


def test_what_is_absent_null_or_used_is_not_named():
    data = {"candidate": None, "position": {"id": 5, "name": None}, "score": None, "createdAt": str(AT), "new": {}}
    assert unused(**data) == []


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), ("TRUE", True), ("false", False), (1, True), (AT, True)]
)
def test_an_answer_is_a_flag_or_the_time_of_the_answer(value, expected):
    assert read(answered=value) == {"answered": expected}


@given(st.integers())
def test_a_whole_number_and_its_text_are_the_same_text(number):
    assert as_text(number) == as_text(str(number)) == str(number)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_whole_number_with_an_empty_fraction_is_the_same_text(number):
    assert as_text(float(number)) == str(number)


@given(st.floats().filter(lambda number: not number.is_integer() or abs(number) >= 2**53))
def test_a_number_that_may_have_lost_digits_does_not_become_text(number):
    assert type(as_text(number)) is float


@given(st.floats(-1e6, 1e6) | st.integers(-(10**20), 10**20))
def test_a_number_is_read_from_its_json_text(number):
    found = as_number(json.dumps(number))
    assert (found, type(found)) == (number, type(number))


@given(
    st.integers() | st.floats(allow_nan=False) | st.text() | st.none() | st.booleans(),
    st.sampled_from([as_text, as_number, as_flag]),
)
def test_conversion_is_idempotent(value, convert):
    once = convert(value)
    assert (convert(once), type(convert(once))) == (once, type(once))


@given(st.integers(10**8, 10**11 - 1))
def test_a_time_as_text_is_the_time_as_number(seconds):
    for number in (seconds, seconds * 1000):
        assert epoch_ms(str(number)) == epoch_ms(number) == seconds * 1000


def test_eight_digits_are_a_date():
    assert epoch_ms("20251027") == epoch_ms("2025-10-27T00:00:00Z") == 1761523200000


def test_text_is_kept_verbatim_except_nul():
    assert read(candidate={"name": " =1+1\0\n<!channel> "}) == {"candidate_name": " =1+1\n<!channel> "}


@pytest.mark.parametrize(
    ("envelope", "data", "expected"),
    [
        ({"external_id": "out"}, {}, "out"),
        ({"external_id": "out"}, {"external_id": "in"}, "in"),
        ({"external_id": "out"}, {"externalId": "new"}, "new"),
        ({"external_id": "out"}, {"externalId": None}, "out"),
    ],
)
def test_the_nearest_external_id_is_taken(envelope, data, expected):
    assert fields_of(envelope, data) == ({"external_id": expected}, [])


def test_an_old_completion_time_fills_a_missing_one_only():
    old = "2025-10-27T12:00:24.331Z"
    assert read(completed_at=old) == read(completed=None, completed_at=old) == {"completed": AT}
    assert read(completed=AT + 9, completed_at=old) == {"completed": AT + 9}


@given(st.integers(1, 10**11 - 1))
def test_seconds_and_their_milliseconds_are_the_same_time(seconds):
    assert epoch_ms(seconds) == epoch_ms(float(seconds)) == seconds * 1000


@given(st.datetimes(timezones=st.timezones(), min_value=AFTER_1970))
def test_iso_text_is_read_with_its_zone(when):
    assert epoch_ms(when.isoformat()) == pytest.approx(when.timestamp() * 1000, abs=1)


@given(st.integers() | st.floats() | st.text() | st.none() | st.booleans())
def test_a_time_is_whole_and_fits_in_a_database(value):
    at = epoch_ms(value)
    assert at is None or (type(at) is int and 0 < at < 2**63)
