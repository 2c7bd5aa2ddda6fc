"""The planner and the settlement, on sheets of any shape with any edits of users."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.emulators.google.cell_requests import reorder
from connector.emulators.google.errors import GoogleError
from connector.emulators.google.model import Area
from sinks.google_sheets import write_planner
from sinks.google_sheets.outcomes import close_intent, settle
from sinks.google_sheets.state import RowNote, read_intents, write_intents
from sinks.google_sheets.tabs import add_columns, find_columns
from sinks.google_sheets.write_planner import DueInterview, WriteLimits, plan_rows, take_chunk
from sinks.spreadsheet.columns import KEY, Column
from tests.sinks.google_sheets.tab_model import TabModel

FIELDS = ("candidate_name", "score", "review_url", "created_at", KEY)
COLUMNS = tuple(Column(field=field) for field in FIELDS)
TITLES = {column.field: column.title for column in COLUMNS}
SHOWN = {"review_url": lambda value: None if value is None else "Open"}

keys = st.sampled_from([f"id-{n}" for n in range(6)])
cells = st.fixed_dictionaries(
    {
        "candidate_name": st.sampled_from([None, "Ada", "=1+1", "+34", "007"]),
        "score": st.sampled_from([None, 0.5, 4.0]),
        "review_url": st.sampled_from([None, "https://x.example/1", "https://x.example/2"]),
        "created_at": st.sampled_from([None, 45000.25]),
    }
)
states = st.dictionaries(keys, cells, max_size=6)
some = st.dictionaries(keys, cells, min_size=1, max_size=6)


def person(number):
    return {"candidate_name": f"Person {number}", "score": 0.5, "review_url": None, "created_at": 45000.0 + number}


def wanted_of(states, notes):
    return [DueInterview(key, {**values, KEY: key}, notes.get(key)) for key, values in states.items()]


def write_of(view, wanted, limits=None, known=()):
    layout = find_columns(view, COLUMNS, known)
    after, _ = add_columns(view, layout)
    due = plan_rows(view, after, wanted)
    return write_planner.SheetWrite(
        [write_planner.row_write("", view, layout, take_chunk(due, after, limits or WriteLimits()), "nonce")]
    ), due


def flush(model, states, notes, limits=None):
    """Writes until nothing is due. Every write must be clean. Returns the number of writes."""
    writes = 0
    left = wanted_of(states, notes)
    while True:
        write, due = write_of(model.view(), left, limits)
        if not due.changes and not due.inserts:
            return writes
        model.apply(write.body)
        settled = settle(write.tab_writes[0], model.view())
        assert settled.clean
        writes += 1
        done = {each.key for each in settled.proven}
        for each in settled.proven:
            notes[each.key] = RowNote({name: value for name, value in each.cells.items() if name != KEY})
        left = [each for each in left if each.key not in done]


def shown(values):
    return {TITLES[name]: SHOWN.get(name, lambda x: x)(value) for name, value in values.items()}


def ours(record):
    return {title: record[title] for field, title in TITLES.items() if field != KEY and title in record}


ROWS = st.permutations(range(1, 9))
HABITS = [
    st.tuples(st.just("column"), st.integers(0, 5)),
    st.tuples(st.just("sort"), ROWS),
    st.tuples(st.just("blank"), st.integers(1, 8)),
    st.tuples(st.just("note"), st.integers(1, 12)),
    st.tuples(st.just("move"), st.integers(0, 5)),
    st.tuples(st.just("delete"), st.integers(1, 8)),
]
habits = st.lists(st.one_of(HABITS), max_size=4)
"""What people do to a tab: columns of their own, rows in another order, blank rows, notes, rows deleted."""
drops = st.tuples(st.just("drop"), st.sampled_from(FIELDS[:-1]))
"""A person deletes an owned column, not the key."""
surprises = st.lists(st.one_of(st.tuples(st.just("sort"), ROWS), drops, *HABITS), min_size=1, max_size=2)
scores = st.sampled_from([1.5, 2.5])


def act(model, habit, number):
    kind, what = habit
    _ACTS[kind](model, what, number)


def _own_column(model, at, number):
    at = min(at, model.tab.column_count)
    model.tab.insert("COLUMNS", at, 1)
    for row in range(13):
        model.tab.put(row, at, [f"own {number}.{row}"])


def _note_at_the_right(model, row, number):
    model.tab.insert("COLUMNS", model.tab.column_count, 1)
    model.tab.put(row, model.tab.column_count - 1, [f"note {number}"])


def _sort(model, order, number):
    tab = model.tab
    reorder(tab, Area(1, tab.row_count, 0, tab.column_count), [*order, *range(9, tab.row_count)])


def _move_to_the_left(model, at, number):
    at %= model.tab.column_count
    model.tab.move("COLUMNS", at, at + 1, 0)


def _drop(model, field, number):
    header = model.cells()[0]
    if TITLES[field] in header:
        place = header.index(TITLES[field])
        model.book.delete_lines(model.tab, "COLUMNS", place, place + 1)


_ACTS = {
    "column": _own_column,
    "sort": _sort,
    "blank": lambda model, row, _: model.tab.insert("ROWS", row, 1),
    "note": _note_at_the_right,
    "move": _move_to_the_left,
    "delete": lambda model, row, _: model.book.delete_lines(model.tab, "ROWS", row, row + 1),
    "drop": _drop,
}


def cells_of_users(model):
    """Counts the texts of users in all cells."""
    texts = [value for row in model.cells() for value in row if isinstance(value, str)]
    return Counter(text for text in texts if text.lower().startswith(("own ", "note ")))


@settings(max_examples=60, deadline=None)
@given(some, habits, states, st.booleans())
def test_rows_are_correct_and_cells_of_users_unchanged_after_any_edits(first, people, second, forgotten):
    model, notes = TabModel(COLUMNS), {}
    flush(model, first, notes)
    for number, habit in enumerate(people):
        act(model, habit, number)
    before = cells_of_users(model)
    there = {record["Interview ID"] for record in model.records()}
    if forgotten:
        notes.clear()
    flush(model, second, notes)
    found = {record["Interview ID"]: record for record in model.records() if record["Interview ID"]}
    assert cells_of_users(model) == before
    for key, values in second.items():
        if key in there or key not in first or forgotten:
            assert ours(found[key]) == shown(values)
        else:
            assert key not in found  # people deleted it
    ids = Counter(record["Interview ID"] for record in model.records() if record["Interview ID"])
    assert set(ids.values()) <= {1}


@given(st.integers(2, 6), habits, st.dictionaries(keys, scores, min_size=1), surprises)
def test_a_write_after_edits_of_users_is_refused_or_reports_every_row_that_it_changed(count, before, second, between):
    # the hole that is left: a column of ours deleted and another inserted while one request is on its way
    assume(not {"drop", "column"} <= {habit[0] for habit in between})
    model, notes = TabModel(COLUMNS), {}
    first = {f"id-{number}": person(number) for number in range(count)}
    flush(model, first, notes)
    for number, habit in enumerate(before):
        act(model, habit, number)
    changed = {key: {**first.get(key, person(9)), "score": score} for key, score in second.items()}
    write, _ = write_of(model.view(), wanted_of(changed, notes))
    for number, habit in enumerate(between, 10):
        act(model, habit, number)
    human = cells_of_users(model)
    before = {record["Interview ID"]: ours(record) for record in model.records() if record["Interview ID"]}
    try:
        model.apply(write.body)
    except GoogleError as error:
        assert error.code == 400  # noqa: PT017 - one of two good ends
        return
    settled = settle(write.tab_writes[0], model.view())
    assert cells_of_users(model) == human
    right = {each.key: shown({k: v for k, v in each.cells.items() if k != KEY}) for each in settled.proven}
    stray_values = settled.hit | {each.key for each in settled.unproven}
    for record in model.records():
        key = record["Interview ID"]
        if key and key not in stray_values:
            due = right.get(key, before.get(key))
            assert ours(record) == {title: due[title] for title in ours(record)}


@given(states, st.integers(1, 4), st.sampled_from([300, 2_000, 1_800_000]))
@settings(max_examples=40, deadline=None)
def test_parts_of_any_size_make_the_same_sheet(first, rows, size):
    whole, notes = TabModel(COLUMNS), {}
    flush(whole, first, notes)
    parts, other = TabModel(COLUMNS), {}
    flush(parts, first, other, WriteLimits(size=size, rows=rows))
    assert parts.cells() == whole.cells()
    assert other == notes


@given(states)
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_not_written_again(first):
    model, notes = TabModel(COLUMNS), {}
    flush(model, first, notes)
    assert flush(model, first, notes) == 0


@given(states, st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_of_two_writes_from_one_view_the_second_is_refused(first, other):
    model, notes = TabModel(COLUMNS), {}
    flush(model, first, notes)
    view = model.view()
    one, _ = write_of(view, wanted_of({"new-1": {"score": 1.0}}, {}))
    two, _ = write_of(view, wanted_of({f"new-{other}": {"score": 1.0}}, {}))
    model.apply(one.body)
    with pytest.raises(GoogleError, match="already exists"):
        model.apply(two.body)


@given(states, habits)
@settings(max_examples=40, deadline=None)
def test_the_sheet_alone_shows_whether_an_intent_was_applied(first, people):
    model, notes = TabModel(COLUMNS), {}
    flush(model, {"id-0": {"score": 1.0}}, notes)
    write, due = write_of(model.view(), wanted_of(first, notes))
    [intent] = read_intents(write_intents([write.tab_writes[0].intent]))
    assert close_intent(intent, model.view(), 0).pending
    model.apply(write.body)
    closed = close_intent(intent, model.view(), 0)
    assert (closed.landed, closed.moved, closed.force) == (True, False, frozenset())
    for number, habit in enumerate(people):
        act(model, habit, number)
    closed = close_intent(intent, model.view(), 0)
    assert closed.landed
    assert closed.inserted == {each.key for each in due.inserts}
    if closed.moved:
        assert closed.force >= {change.wanted.key for change in due.changes}
