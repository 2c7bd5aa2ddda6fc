"""How a row without an id is matched to an interview by its content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.google_sheets.repair import MIN_CELLS, best_pairs, similarity
from sinks.spreadsheet.columns import SPECS
from sinks.spreadsheet.comparison import IDENTIFYING_FIELDS

ELAINE = {
    "candidate_name": "Elaine Benes",
    "candidate_email": "elaine@example.com",
    "candidate_phone": None,
    "external_id": "EXT-7",
    "created_at": 45_909.5,
    "position_name": "Copy editor",
    "stage": "To evaluate",
    "score": 4.0,
}
cells = st.dictionaries(st.sampled_from(sorted(ELAINE)), st.sampled_from([None, 1, 2]))


def test_a_row_that_holds_all_that_was_written_is_its_own():
    assert similarity(ELAINE, ELAINE) == 7


def test_a_corrected_address_leaves_a_row_its_own():
    assert similarity(ELAINE, ELAINE | {"candidate_email": "benes@example.com"}) == 6


def test_a_row_with_another_address_and_another_name_does_not_match():
    assert similarity(ELAINE, ELAINE | {"candidate_email": "george@example.com", "candidate_name": "George"}) == 0


def test_the_address_alone_makes_no_row_its_own():
    assert similarity(ELAINE, {"candidate_email": ELAINE["candidate_email"], "position_name": "Copy editor"}) == 0


def test_interviews_of_the_same_day_at_the_same_stage_are_not_taken_for_each_other():
    other = ELAINE | {"candidate_email": "g@example.com", "candidate_name": "George", "external_id": "EXT-8"}
    assert similarity(ELAINE, other) == 0


def test_of_two_interviews_of_one_person_each_gets_its_own_row():
    second = ELAINE | {"created_at": 45_990.5, "stage": "Invited", "score": None}
    assert best_pairs({"a": ELAINE, "b": second}, {1: second, 2: ELAINE}) == {"a": 2, "b": 1}


@given(cells, cells)
def test_likeness_counts_equal_cells_and_never_fewer_than_the_least(written, held):
    same = sum(value is not None and name in held and held[name] == value for name, value in written.items())
    assert similarity(written, held) in {0, same}
    assert not 0 < similarity(written, held) < MIN_CELLS


@given(st.dictionaries(st.text("abc", max_size=2), cells), st.dictionaries(st.integers(0, 5), cells))
def test_no_row_is_given_away_twice_and_only_to_those_it_is_like(lost, rows):
    pairs = best_pairs(lost, rows)
    assert len(set(pairs.values())) == len(pairs)
    assert all(similarity(lost[key], rows[row]) for key, row in pairs.items())
    left = [similarity(lost[key], rows[row]) for key in lost.keys() - pairs for row in rows.keys() - pairs.values()]
    assert not any(left)


def test_the_fields_that_tell_who_it_is_are_fields_of_the_table():
    assert SPECS.keys() >= IDENTIFYING_FIELDS
