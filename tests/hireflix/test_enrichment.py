"""The text of fields that only the API of Hireflix has, and when they are read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.hireflix import EnrichedField
from connector.hireflix.enrichment import (
    DAY_MS,
    HOUR_MS,
    RENEW_MS,
    REVIEW_MS,
    TEXT_MAX,
    TRANSCRIPT_MS,
    enriched,
    needs_link,
    next_look,
    selection_of,
)

NOW = 1_764_500_000_000
EVERYTHING = frozenset(EnrichedField)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "externalLink": JSON | st.fixed_dictionaries({"url": JSON, "expires": JSON}),
        "comments": JSON | st.lists(st.fixed_dictionaries({"value": JSON, "createdAt": JSON, "author": JSON})),
        "scores": JSON | st.lists(st.fixed_dictionaries({"computedScore": JSON, "overridenScore": JSON})),
        "questions": JSON | st.lists(st.fixed_dictionaries({"title": JSON, "answer": JSON})),
    },
)


def test_comments_have_their_date_and_author():
    rows = [
        {"value": "Clear  answers", "createdAt": NOW, "author": {"name": "Ana"}},
        {"value": "Second look", "createdAt": None, "author": None},
    ]
    found = enriched({"comments": rows}, {EnrichedField.COMMENTS})
    assert found == {"comments": "2025-11-30 Ana: Clear answers | Second look"}


def test_the_score_that_a_reviewer_gave_counts_before_the_average_of_the_answers():
    rows = [
        {"computedScore": 3.25, "overridenScore": {"value": 4}, "scorer": {"name": "Ana"}},
        {"computedScore": 3.25, "overridenScore": None, "scorer": {"name": "Ben"}},
        {"computedScore": None, "overridenScore": None, "scorer": {"name": "Cleo"}},
    ]
    found = enriched({"scores": rows}, {EnrichedField.REVIEWER_SCORES})
    assert found == {"reviewerScores": "Ana 4 | Ben 3.25"}


def test_a_transcript_has_the_questions_and_its_languages():
    rows = [
        {"title": "Why us?", "answer": {"transcription": {"languageCode": "en", "text": "Because."}}},
        {"title": "Not answered", "answer": None},
        {"title": "", "answer": {"transcription": {"languageCode": "en", "text": "More."}}},
    ]
    found = enriched({"questions": rows}, {EnrichedField.TRANSCRIPT})
    assert found == {"transcript": "Why us?: Because. | More.", "transcriptLanguage": "en"}


def test_a_field_that_hireflix_does_not_know_is_left_out():
    assert enriched({"id": "1"}, EVERYTHING) == {}


@given(row=ROWS)
def test_any_answer_gives_text_that_fits_into_a_cell(row):
    for value in enriched(row, EVERYTHING).values():
        assert value is None or isinstance(value, int) or len(value) <= TEXT_MAX + 1


def test_a_query_names_only_the_chosen_fields():
    assert set(selection_of({EnrichedField.COMMENTS})) == {"id", "comments"}


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (None, True),
        ({"url": "https://shared.hireflix.com/1", "expires": NOW + RENEW_MS}, False),
        ({"url": "https://shared.hireflix.com/1", "expires": NOW + RENEW_MS - 1}, True),
        ({"url": "https://shared.hireflix.com/1", "expires": None}, False),
    ],
)
def test_a_link_is_created_when_it_is_missing_or_expires_soon(link, expected):
    assert needs_link({"externalLink": link}, NOW) is expected


@pytest.mark.parametrize(
    ("age", "expected"),
    [(0, HOUR_MS), (DAY_MS, DAY_MS), (TRANSCRIPT_MS, None)],
)
def test_a_missing_transcript_is_read_every_hour_then_daily_then_not_again(age, expected):
    look = next_look({}, {EnrichedField.TRANSCRIPT}, finished_at=NOW - age, now=NOW)
    assert look == (None if expected is None else NOW + expected)


@pytest.mark.parametrize(("age", "expected"), [(0, NOW + DAY_MS), (REVIEW_MS, None)])
def test_comments_are_read_daily_until_the_review_is_long_over(age, expected):
    assert next_look({}, {EnrichedField.COMMENTS}, finished_at=NOW - age, now=NOW) == expected


def test_a_link_is_read_again_before_it_expires():
    values = {"share_expires_at": NOW + 100 * DAY_MS}
    look = next_look(values, {EnrichedField.SHARE_URL}, finished_at=NOW - 365 * DAY_MS, now=NOW)
    assert look == NOW + 100 * DAY_MS - RENEW_MS


@given(
    fields=st.frozensets(st.sampled_from(EnrichedField)),
    age=st.integers(-DAY_MS, 400 * DAY_MS),
    expires=st.none() | st.integers(NOW - DAY_MS, NOW + 400 * DAY_MS),
)
def test_the_next_reading_is_at_least_an_hour_ahead(fields, age, expires):
    look = next_look({"share_expires_at": expires}, fields, finished_at=NOW - age, now=NOW)
    assert look is None or look >= NOW + HOUR_MS
