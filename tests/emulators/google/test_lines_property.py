"""After any inserts, deletions and moves rows, columns and tags are those of a plain list."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from connector.emulators.google.calls import apply_all
from connector.emulators.google.errors import GoogleError
from connector.emulators.google.model import Book, Tab

SIZE = 6
STEPS = st.lists(
    st.tuples(st.sampled_from(["insert", "delete", "move"]), st.integers(0, 8), st.integers(1, 3), st.integers(0, 8)),
    max_size=10,
)
DIMENSIONS = st.sampled_from(["ROWS", "COLUMNS"])


def book(dimension):
    """A spreadsheet whose lines are numbered in their first cell and by a tag."""
    tab = Tab.blank(0, "T", SIZE, SIZE)
    number = [(index, index) for index in range(SIZE)]
    tab.rows = [(index,) for index, _ in number] if dimension == "ROWS" else [tuple(range(SIZE)), *tab.rows[1:]]
    made = Book("id", "t", "UTC", set(), tabs=[tab])
    for index in range(SIZE):
        place = {"dimensionRange": {"dimension": dimension, "startIndex": index, "endIndex": index + 1}}
        metadata = {"metadataId": index + 1, "metadataKey": "n", "visibility": "DOCUMENT", "location": place}
        apply_all(made, [{"createDeveloperMetadata": {"developerMetadata": metadata}}])
    return made


def request(step, dimension):
    kind, at, count, to = step
    span = {"dimension": dimension, "startIndex": at, "endIndex": at + count}
    if kind == "insert":
        return {"insertDimension": {"range": span, "inheritFromBefore": at > 0}}
    if kind == "delete":
        return {"deleteDimension": {"range": span}}
    return {"moveDimension": {"source": span, "destinationIndex": to}}


NEW = itertools.count(1000)


def on_list(items, step):
    """The same on a list of distinct items, inserted ones from 1000 on; `None` when it cannot be done."""
    kind, at, count, to = step
    end, size = at + count, len(items)
    if kind == "insert":
        return [*items[:at], *itertools.islice(NEW, count), *items[at:]] if at <= size else None
    if end > size:
        return None
    rest = [*items[:at], *items[end:]]
    if kind == "delete":
        return rest or None
    if to > size:
        return None
    where = at if at <= to < end else rest.index(items[to]) if to < size else len(rest)
    return [*rest[:where], *items[at:end], *rest[where:]]


def applied(made, *requests):
    """A copy with the requests applied, `None` when they are refused."""
    draft = made.copy()
    try:
        apply_all(draft, list(requests))
    except GoogleError:
        return None
    return draft


@settings(max_examples=60, deadline=None)
@given(STEPS, DIMENSIONS)
def test_lines_follow_a_plain_list(steps, dimension):
    made, expected = book(dimension), list(range(SIZE))
    for step in steps:
        wanted, draft = on_list(expected, step), applied(made, request(step, dimension))
        assert (draft is None) == (wanted is None)
        if draft is not None and wanted is not None:
            made, expected = draft, wanted
    tab = made.tabs[0]
    count = len(tab.lines(dimension))
    shown = [tab.at(index, 0) if dimension == "ROWS" else tab.at(0, index) for index in range(count)]
    assert shown == [item if item < 1000 else None for item in expected]
    places = {tab.index_of(dimension, tag.line): tag.id - 1 for tag in made.tags.values()}
    assert places == {index: item for index, item in enumerate(expected) if item < 1000}


@settings(max_examples=40, deadline=None)
@given(STEPS, DIMENSIONS)
def test_work_on_a_copy_leaves_the_original_alone(steps, dimension):
    made = book(dimension)
    before = (list(made.tabs[0].rows), dict(made.tags), list(made.tabs[0].lines(dimension)))
    for step in steps:
        applied(made, request(step, dimension))
    assert (made.tabs[0].rows, made.tags, made.tabs[0].lines(dimension)) == before
