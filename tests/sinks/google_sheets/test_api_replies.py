"""A key column is read correctly with any content, by the fast decoder and by the slow one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.google_sheets.api_replies import Spreadsheet
from sinks.google_sheets.sheet_view import NOT_TEXT, read_view

OPENS, CLOSES = '{"values":[{"userEnteredValue":{"stringValue":', '"}}]}'
texts = st.one_of(
    st.text(min_size=1, max_size=6),
    st.text('ab"\\{}[]:,', min_size=1, max_size=8),
    st.sampled_from([OPENS, CLOSES, CLOSES[1:], f"x{CLOSES}", "}", '"', "\\"]),
).filter(lambda text: text.strip() != "")


def cell(kind, value):
    return {"values": [{"userEnteredValue": {kind: value}}]}


rows = st.lists(
    st.one_of(
        texts.map(lambda text: (cell("stringValue", text), text)),
        texts.map(lambda text: (cell("formulaValue", f"={text}"), f"{NOT_TEXT}={text}")),
        st.integers(0, 99).map(lambda number: (cell("numberValue", number), f"{NOT_TEXT}{float(number)}")),
        st.just(({}, "")),
        st.just(({"values": [{}]}, "")),
    ),
    max_size=12,
)


def view_of(rows):
    """A tab whose reply holds these rows of the key column below the header."""
    grid = {"startColumn": 1, "columnMetadata": [{}], "rowData": [{}, *rows]}
    size = {"rowCount": 50, "columnCount": 2}
    tab = {"properties": {"sheetId": 7, "gridProperties": size}, "data": [{"columnMetadata": [{}, {}]}, grid]}
    book = msgspec.json.decode(msgspec.json.encode({"properties": {}, "sheets": [tab]}), type=Spreadsheet)
    view = read_view(book, 7)
    assert view is not None
    return view


@given(rows)
def test_every_key_is_the_text_of_its_cell(rows):
    wanted = [key for _, key in rows]
    while wanted and not wanted[-1]:
        wanted.pop()
    assert view_of([row for row, _ in rows]).keys[1:] == wanted


@pytest.mark.parametrize("broken", [cell("stringValue", 7), {"values": 1}])
def test_what_is_no_reply_of_google_is_none_of_its_cells(broken):
    with pytest.raises(msgspec.ValidationError):
        view_of([broken, cell("stringValue", "a")])


@given(st.lists(st.sampled_from(["a", "b", " a", "b ", "", " "]), max_size=8))
def test_of_rows_with_one_key_the_first_is_its_row(keys):
    rows = [cell("stringValue", key) if key else {} for key in keys]
    found = {}
    for row, key in enumerate(keys, 1):
        if key.strip():
            found.setdefault(key.strip(), row)
    assert view_of(rows).key_rows == found
