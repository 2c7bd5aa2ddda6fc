"""What happened to the stored rows, by the rows and the number of the file."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.testing import interview_id
from sinks.workbook.state import FileDiff, TableState, changed_notes

keys = st.sets(st.sampled_from("abcdefg"))
rows = st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 5))


def remembered(rows, deleted):
    return TableState(flush=max(rows.values(), default=0), rows=rows, deleted=frozenset(deleted & rows.keys()))


@given(rows, keys, keys, st.none() | st.integers(0, 6))
def test_every_row_that_is_not_there_is_either_lost_or_deleted(rows, deleted, present, number):
    seen = remembered(rows, deleted).compare(present, number)
    assert not seen.lost & seen.deleted
    assert rows.keys() - present <= seen.lost | seen.deleted
    assert not seen.deleted & present
    assert seen.newly_deleted <= seen.deleted


@given(rows, keys, keys)
def test_without_a_number_no_row_counts_as_deleted(rows, deleted, present):
    state = remembered(rows, deleted)
    seen = state.compare(present, None)
    assert seen.newly_deleted == frozenset()
    assert seen.deleted <= state.deleted


@given(rows, keys)
def test_in_our_newest_version_nothing_is_lost(rows, present):
    state = remembered(rows, set())
    seen = state.compare(present, state.flush)
    assert seen.lost == frozenset()
    assert seen.deleted == rows.keys() - present


@given(rows, keys, keys)
def test_what_is_lost_stays_so_until_it_is_written(rows, present, others):
    """Also when other rows are written first."""
    state = remembered(rows, set())
    lost = state.compare(present, 0).lost
    number = state.flush + 1
    later = TableState(flush=number, rows=state.rows_after(number, others - rows.keys(), lost))
    assert lost <= later.compare(present | others - rows.keys(), number).lost


@settings(max_examples=50)
@given(rows, keys)
def test_the_notes_keep_everything(rows, deleted):
    state = remembered(rows, deleted)
    assert TableState.from_notes(state.to_notes()) == TableState(state.flush, "", [], state.rows, state.deleted)


@settings(max_examples=50)
@given(rows, keys, rows, keys)
def test_the_changed_notes_over_the_former_ones_give_the_new_state(rows, deleted, later_rows, later_deleted):
    former, later = remembered(rows, deleted), remembered(later_rows, later_deleted)
    notes = {**former.to_notes(), **changed_notes(former.to_notes(), later)}
    kept = {name: note for name, note in notes.items() if note is not None}
    assert kept == later.to_notes()


def test_a_change_of_one_row_among_thousands_changes_two_small_notes():
    state = TableState(flush=7, rows={interview_id(number): 7 for number in range(9_000)})
    later = replace(state, flush=8, rows=state.rows_after(8, {interview_id(5)}, ()))
    changed = changed_notes(state.to_notes(), later)
    assert len(changed) == 2
    assert sum(len(json.dumps(note)) for note in changed.values()) < 8_000


def test_the_note_of_the_former_version_is_read_and_replaced():
    former = {"table": {"version": 1, "flush": 2, "columns": ["stage"], "rows": {"a": 1, "b": 2}, "deleted": ["b"]}}
    state = TableState.from_notes(former)
    assert (state.rows, state.deleted, state.columns) == ({"a": 1, "b": 2}, {"b"}, ["stage"])
    assert changed_notes(former, state) == state.to_notes()


def test_a_few_rows_or_a_few_of_many_are_tidying_up():
    few, many = frozenset(map(str, range(10))), frozenset(map(str, range(11)))
    assert not FileDiff(frozenset(), few, few).is_mass_deletion(10)
    assert FileDiff(frozenset(), many, many).is_mass_deletion(54)
    assert not FileDiff(frozenset(), many, many).is_mass_deletion(55)
