"""The planner and the settling, tried on sheets of every shape with people of every habit."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.google_sheets import batch
from sinks.google_sheets.columns import add_columns, find_columns
from sinks.google_sheets.notes import RowNote, read_intent
from sinks.google_sheets.plan import Limits, Wanted, sort_out, take_part
from sinks.google_sheets.settle import close_intent, settle
from sinks.table import KEY, Column
from tests.emulators.google.cell_requests import reorder
from tests.emulators.google.errors import GoogleError
from tests.emulators.google.model import Area
from tests.sinks.google_sheets.paper import Paper

FIELDS = ("candidate_name", "score", "review_url", "created_at", KEY)
COLUMNS = tuple(Column(field=field) for field in FIELDS)
TITLES = {column.field: column.title for column in COLUMNS}
SHOWN = {"review_url": lambda value: None if value is None else "Open"}

keys = st.sampled_from([f"id-{n}" for n in range(9)])
cells = st.fixed_dictionaries(
    {
        "candidate_name": st.sampled_from([None, "Ada", "=1+1", "+34", "007"]),
        "score": st.sampled_from([None, 0.5, 4.0]),
        "review_url": st.sampled_from([None, "https://x.example/1", "https://x.example/2"]),
        "created_at": st.sampled_from([None, 45000.25]),
    }
)
states = st.dictionaries(keys, cells, max_size=9)
some = st.dictionaries(keys, cells, min_size=1, max_size=9)


def wanted_of(states, notes):
    return [Wanted(key, {**values, KEY: key}, notes.get(key)) for key, values in states.items()]


def write_of(view, wanted, limits=None, known=()):
    layout = find_columns(view, COLUMNS, known)
    after, _ = add_columns(view, layout)
    due = sort_out(view, after, wanted)
    return batch.row_write(view, layout, take_part(due, after, limits or Limits()), "nonce"), due


def flush(paper, states, notes, limits=None):
    """Writes until nothing is left; every write must be clean. Gives their number."""
    writes = 0
    left = wanted_of(states, notes)
    while True:
        write, due = write_of(paper.view(), left, limits)
        if not due.changes and not due.inserts:
            return writes
        paper.apply(write.body)
        settled = settle(write, paper.view())
        assert settled.clean
        writes += 1
        done = {each.key for each in settled.proven}
        for each in settled.proven:
            notes[each.key] = RowNote({name: value for name, value in each.cells.items() if name != KEY})
        left = [each for each in left if each.key not in done]


def shown(values):
    return {TITLES[name]: SHOWN.get(name, lambda x: x)(value) for name, value in values.items()}


def ours(record):
    return {title: record.get(title) for field, title in TITLES.items() if field != KEY}


@st.composite
def habits(draw):
    """What people do to a tab: columns of their own, rows in another order, blank rows, notes."""
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("column"), st.integers(0, 5)),
                st.tuples(st.just("shuffle"), st.randoms(use_true_random=False)),
                st.tuples(st.just("blank"), st.integers(1, 8)),
                st.tuples(st.just("note"), st.integers(1, 12)),
                st.tuples(st.just("move"), st.integers(0, 5)),
                st.tuples(st.just("delete"), st.integers(1, 8)),
            ),
            max_size=5,
        )
    )


def act(paper, habit, number):
    kind, what = habit
    tab = paper.tab
    if kind == "column":
        what = min(what, tab.column_count)
        tab.insert("COLUMNS", what, 1)
        tab.put(0, what, [f"Own {number}"])
        for row in range(1, 13):
            tab.put(row, what, [f"own {number}.{row}"])
    elif kind == "shuffle":
        order = list(range(1, 13))
        what.shuffle(order)
        reorder(tab, Area(1, tab.row_count, 0, tab.column_count), order)
    elif kind == "blank":
        tab.insert("ROWS", what, 1)
    elif kind == "move":
        tab.move("COLUMNS", what % tab.column_count, what % tab.column_count + 1, 0)
    elif kind == "delete":
        paper.book.delete_lines(tab, "ROWS", what, what + 1)
    elif kind == "note":
        tab.insert("COLUMNS", tab.column_count, 1)
        tab.put(what, tab.column_count - 1, [f"note {number}"])


def human_cells(paper):
    """Everything that people wrote, with how often; wherever it is."""
    texts = [value for row in paper.cells() for value in row if isinstance(value, str)]
    return Counter(text for text in texts if text.lower().startswith(("own ", "note ")))


@settings(max_examples=60, deadline=None)
@given(some, habits(), states, st.booleans())
def test_rows_are_right_and_people_s_cells_untouched_whatever_they_did_before(first, people, second, forgotten):
    paper, notes = Paper(), {}
    flush(paper, first, notes)
    for number, habit in enumerate(people):
        act(paper, habit, number)
    before = human_cells(paper)
    there = {record["Interview ID"] for record in paper.records()}
    if forgotten:
        notes.clear()
    flush(paper, second, notes)
    found = {record["Interview ID"]: record for record in paper.records() if record["Interview ID"]}
    assert human_cells(paper) == before
    for key, values in second.items():
        if key in there or key not in first or forgotten:
            assert ours(found[key]) == shown(values)
        else:
            assert key not in found  # people deleted it
    ids = Counter(record["Interview ID"] for record in paper.records() if record["Interview ID"])
    assert set(ids.values()) <= {1}


@settings(max_examples=80, deadline=None)
@given(some, habits(), states, habits())
def test_a_write_that_people_got_ahead_of_is_refused_or_every_row_it_hit_is_named(first, before, second, between):
    paper, notes = Paper(), {}
    flush(paper, first, notes)
    for number, habit in enumerate(before):
        act(paper, habit, number)
    write, _ = write_of(paper.view(), wanted_of(second, notes))
    for number, habit in enumerate(between, 10):
        act(paper, habit, number)
    human = human_cells(paper)
    stood = {record["Interview ID"]: ours(record) for record in paper.records() if record["Interview ID"]}
    try:
        paper.apply(write.body)
    except GoogleError as error:
        assert error.code == 400  # noqa: PT017 - one of two good ends
        return
    settled = settle(write, paper.view())
    assert human_cells(paper) == human
    right = {each.key: shown({k: v for k, v in each.cells.items() if k != KEY}) for each in settled.proven}
    suspects = settled.hit | {each.key for each in settled.unproven}
    for record in paper.records():
        key = record["Interview ID"]
        if key and key not in suspects:
            assert ours(record) == right.get(key, stood.get(key))


@given(states, st.integers(1, 4), st.sampled_from([300, 2_000, 1_800_000]))
@settings(max_examples=40, deadline=None)
def test_parts_of_any_size_make_the_same_sheet(first, rows, size):
    whole, notes = Paper(), {}
    flush(whole, first, notes)
    parts, other = Paper(), {}
    flush(parts, first, other, Limits(size=size, rows=rows))
    assert parts.cells() == whole.cells()
    assert other == notes


@given(states)
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_not_written_again(first):
    paper, notes = Paper(), {}
    flush(paper, first, notes)
    assert flush(paper, first, notes) == 0


@given(states, st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_of_two_writes_from_one_view_the_second_is_refused(first, other):
    paper, notes = Paper(), {}
    flush(paper, first, notes)
    view = paper.view()
    one, _ = write_of(view, wanted_of({"new-1": {"score": 1.0}}, {}))
    two, _ = write_of(view, wanted_of({f"new-{other}": {"score": 1.0}}, {}))
    paper.apply(one.body)
    with pytest.raises(GoogleError, match="already exists"):
        paper.apply(two.body)


@given(states, habits())
@settings(max_examples=40, deadline=None)
def test_an_intent_tells_from_the_sheet_alone_whether_it_landed(first, people):
    paper, notes = Paper(), {}
    flush(paper, {"id-0": {"score": 1.0}}, notes)
    write, due = write_of(paper.view(), wanted_of(first, notes))
    intent = read_intent(write.intent.encode())
    assert not close_intent(intent, paper.view()).landed
    paper.apply(write.body)
    closed = close_intent(intent, paper.view())
    assert (closed.landed, closed.moved, closed.force, closed.deleted) == (True, False, frozenset(), frozenset())
    for number, habit in enumerate(people):
        act(paper, habit, number)
    closed = close_intent(intent, paper.view())
    there = {record["Interview ID"] for record in paper.records()}
    assert closed.landed
    assert closed.deleted <= {each.key for each in due.inserts} - there
    if closed.moved:
        assert closed.force >= {change.wanted.key for change in due.changes}
