"""Rows and columns: inserting, deleting, moving, and the exact refusals."""

import pytest

from connector.emulators.google import Tab


def span(start, end, dimension="ROWS", sheet=0):
    return {"sheetId": sheet, "dimension": dimension, "startIndex": start, "endIndex": end}


def insert(start, end, *, before, dimension="ROWS"):
    return {"insertDimension": {"range": span(start, end, dimension), "inheritFromBefore": before}}


@pytest.fixture
def small(api):
    """A grid of three rows and three columns, filled."""
    tab = api.emulator.tab(api.id, "Sheet1")
    tab.delete("ROWS", 3, 1000)
    tab.delete("COLUMNS", 3, 26)
    api.person.write("Sheet1", [["a1", "b1", "c1"], ["a2", "b2", "c2"], ["a3", "b3", "c3"]])
    return api


def size(api):
    tab = api.emulator.tab(api.id, "Sheet1")
    return tab.row_count, tab.column_count


def test_inserting_behind_the_last_row_needs_inherit_from_before(small):
    assert small.refused(insert(3, 4, before=False)) == (
        "Invalid requests[0].insertDimension: range.startIndex must be less than the grid size (3) "
        "if inheritFromBefore is false."
    )
    small.done(insert(3, 5, before=True))
    assert size(small) == (5, 3)


def test_inserting_beyond_the_grid_is_refused(small):
    assert small.refused(insert(4, 5, before=True)).startswith("Invalid requests[0].insertDimension: range.startIndex")


def test_inheriting_from_before_the_first_row_is_refused(small):
    assert "inheritFromBefore" in small.refused(insert(0, 1, before=True))


def test_an_empty_or_open_span_is_refused(small):
    assert "endIndex" in small.refused(insert(1, 1, before=True))
    assert "endIndex" in small.refused({"insertDimension": {"range": {"dimension": "ROWS", "startIndex": 1}}})


def test_a_missing_dimension_is_refused(small):
    assert "No dimension specified." in small.refused({"insertDimension": {"range": {"endIndex": 1}}})


def test_an_unknown_tab_is_named(small):
    request = {"insertDimension": {"range": span(0, 1, sheet=404)}}
    assert small.refused(request) == "Invalid requests[0].insertDimension: No grid with id: 404"


@pytest.mark.parametrize(("before", "bold"), [(True, True), (False, False)])
def test_new_rows_take_the_look_of_their_neighbour_but_not_its_content(small, before, bold):
    look = {"range": {"endRowIndex": 1}, "cell": {"userEnteredFormat": {"textFormat": {"bold": True}}}}
    small.done({"repeatCell": {**look, "fields": "userEnteredFormat.textFormat.bold"}}, insert(1, 2, before=before))
    data = small.emulator.cell(small.id, "Sheet1", 1, 0)
    assert "userEnteredValue" not in data
    assert ("userEnteredFormat" in data) == bold


def test_a_link_is_content_and_is_not_inherited(small):
    link = {"userEnteredFormat": {"textFormat": {"link": {"uri": "https://example.com"}}}}
    fields = "userEnteredFormat.textFormat.link"
    small.done({"repeatCell": {"range": {"endRowIndex": 1}, "cell": link, "fields": fields}}, insert(1, 2, before=True))
    assert small.emulator.cell(small.id, "Sheet1", 0, 0)["hyperlink"] == "https://example.com"
    assert small.emulator.cell(small.id, "Sheet1", 1, 0) == {}


def test_inserted_columns_push_the_others_right(small):
    small.done(insert(1, 2, before=True, dimension="COLUMNS"))
    assert small.rows()[0] == ["a1", None, "b1", "c1"]


def test_append_dimension_grows_the_grid_at_its_end(small):
    small.done({"appendDimension": {"dimension": "COLUMNS", "length": 2}})
    assert size(small) == (3, 5)


def test_deleting_what_is_not_there_names_the_first_missing_index(small):
    assert small.refused({"deleteDimension": {"range": span(2, 9)}}) == (
        "Invalid requests[0].deleteDimension: Cannot delete a row that doesn't exist. "
        "Tried to delete row index 3 but there are only 3 rows."
    )


def test_the_last_row_and_the_last_column_cannot_go(small):
    start = "Invalid requests[0].deleteDimension: You can't delete all the"
    assert small.refused({"deleteDimension": {"range": span(0, 3)}}) == f"{start} rows on the sheet."
    assert small.refused({"deleteDimension": {"range": span(0, 3, "COLUMNS")}}) == f"{start} columns on the sheet."


def test_all_rows_below_frozen_ones_cannot_go(small):
    grid = {"properties": {"gridProperties": {"frozenRowCount": 1}}, "fields": "gridProperties.frozenRowCount"}
    small.done({"updateSheetProperties": grid})
    assert "non-frozen rows" in small.refused({"deleteDimension": {"range": span(1, 3)}})


def test_move_dimension_counts_as_before_the_move(small):
    small.done({"moveDimension": {"source": span(0, 1), "destinationIndex": 2}})
    assert [row[0] for row in small.rows()] == ["a2", "a1", "a3"]
    small.done({"moveDimension": {"source": span(2, 3, "COLUMNS"), "destinationIndex": 0}})
    assert small.rows()[0] == ["c2", "a2", "b2"]


def test_moving_beyond_the_grid_is_refused(small):
    assert "outside" in small.refused({"moveDimension": {"source": span(0, 1), "destinationIndex": 9}})


def test_sizes_stay_with_a_moved_column(small):
    narrow = {"range": span(0, 1, "COLUMNS"), "properties": {"pixelSize": 42}, "fields": "pixelSize"}
    move = {"moveDimension": {"source": span(0, 1, "COLUMNS"), "destinationIndex": 3}}
    small.done({"updateDimensionProperties": narrow}, move)
    shown = small.get(fields="sheets.data.columnMetadata.pixelSize").json()["sheets"][0]["data"][0]["columnMetadata"]
    assert [column["pixelSize"] for column in shown] == [100, 100, 42]


def test_resizing_by_sheet_properties_cuts_and_grows(small):
    grid = {"properties": {"gridProperties": {"rowCount": 2, "columnCount": 4}}}
    small.done({"updateSheetProperties": {**grid, "fields": "gridProperties(rowCount,columnCount)"}})
    assert size(small) == (2, 4)
    assert small.rows()[-1] == ["a2", "b2", "c2"]


def test_a_tab_with_another_id_is_reached(google, api):
    api.emulator.book(api.id).tabs.append(Tab.blank(7, "Other", 2, 2))
    api.done({"deleteDimension": {"range": span(0, 1, sheet=7)}})
    assert api.emulator.tab(api.id, "Other").row_count == 1
