"""What a read shows: trimmed ends, omitted zeros, blocks and their columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.emulators.google import Tab
from connector.emulators.google.model import Area, Book
from connector.emulators.google.ranges import letters, notation, parse_a1

CELLS = "sheets.data(startRow,startColumn,rowData.values.userEnteredValue)"


def text(value):
    return {"userEnteredValue": {"stringValue": value}}


def block(api, fields, data_filter):
    [sheet] = api.look(fields, data_filter)["sheets"]
    [data] = sheet["data"]
    return data


def test_empty_ends_are_cut_and_gaps_are_empty_objects(api):
    api.person.write("Sheet1", [["a", None, "c", None], [], ["d"]])
    data = block(api, CELLS, {"gridRange": {"endRowIndex": 9, "endColumnIndex": 9}})
    assert data == {"rowData": [{"values": [text("a"), {}, text("c")]}, {}, {"values": [text("d")]}]}


def test_a_start_of_zero_is_left_out(api):
    api.person.edit("Sheet1", 2, 1, "x")
    assert block(api, CELLS, {"gridRange": {"startRowIndex": 2, "startColumnIndex": 1}}) == {
        "startRow": 2,
        "startColumn": 1,
        "rowData": [{"values": [text("x")]}],
    }
    assert "startColumn" not in block(api, CELLS, {"gridRange": {"startRowIndex": 2}})


def test_an_empty_block_is_an_empty_object(api):
    assert block(api, CELLS, {"gridRange": {"endColumnIndex": 1}}) == {}


def test_an_empty_column_still_shows_its_column_metadata(api):
    fields = "sheets.data(rowData.values.userEnteredValue,columnMetadata.developerMetadata.metadataId)"
    assert block(api, fields, {"gridRange": {"endColumnIndex": 1}}) == {"columnMetadata": [{}]}


def test_a_cell_without_the_asked_field_is_an_empty_object(api):
    bold = {"userEnteredFormat": {"textFormat": {"bold": True}}}
    cells = {"range": {"endRowIndex": 1, "endColumnIndex": 1}, "cell": bold, "fields": "userEnteredFormat"}
    api.done({"repeatCell": cells})
    assert block(api, CELLS, {"gridRange": {"endColumnIndex": 1}}) == {"rowData": [{"values": [{}]}]}


def test_blocks_come_in_the_order_of_the_filters(api):
    api.person.write("Sheet1", [["a", "b"]])
    second, first = {"gridRange": {"startColumnIndex": 1, "endColumnIndex": 2}}, {"a1Range": "Sheet1!A:A"}
    [sheet] = api.look(CELLS, second, first)["sheets"]
    assert [data["rowData"][0]["values"][0] for data in sheet["data"]] == [text("b"), text("a")]


def test_only_tabs_with_a_matching_block_are_shown(api):
    api.emulator.book(api.id).tabs.append(Tab.blank(7, "Other"))
    found = api.look("sheets.properties.title", {"gridRange": {"sheetId": 7}})
    assert found == {"sheets": [{"properties": {"title": "Other"}}]}


def test_filters_that_match_nothing_at_all_show_every_tab(api):
    api.emulator.book(api.id).tabs.append(Tab.blank(7, "Other"))
    nothing = {"developerMetadataLookup": {"metadataId": 404}}
    assert len(api.look("sheets.properties.title", nothing)["sheets"]) == 2
    assert len(api.look("sheets.properties.title", nothing, {"gridRange": {"sheetId": 7}})["sheets"]) == 1


def test_a_filter_with_an_unknown_tab_is_refused(api):
    response = api.post(":getByDataFilter", {"dataFilters": [{"gridRange": {"sheetId": 9}}]})
    assert response.json()["error"]["message"] == "Invalid dataFilters[0]: No grid with id: 9"


def test_a_filter_that_starts_outside_of_the_grid_is_refused(api):
    response = api.post(":getByDataFilter", {"dataFilters": [{"gridRange": {"startColumnIndex": 26}}]})
    assert "exceeds grid limits" in response.json()["error"]["message"]


def test_cells_come_without_a_mask_only_when_asked(api):
    api.person.edit("Sheet1", 0, 0, "x")
    assert "data" not in api.get().json()["sheets"][0]
    data = api.get(includeGridData="true", ranges="A1:B1").json()["sheets"][0]["data"][0]
    assert data["rowMetadata"] == [{"pixelSize": 21}]
    assert data["columnMetadata"] == [{"pixelSize": 100}] * 2
    assert data["rowData"][0]["values"][0]["formattedValue"] == "x"


def test_a_new_spreadsheet_is_as_google_makes_it(api):
    body = api.get().json()
    assert body["spreadsheetId"] == api.id
    assert (body["properties"]["timeZone"], body["properties"]["locale"]) == ("Etc/GMT", "en_US")
    grid = {"rowCount": 1000, "columnCount": 26}
    properties = {"sheetId": 0, "title": "Sheet1", "index": 0, "sheetType": "GRID", "gridProperties": grid}
    assert body["sheets"] == [{"properties": properties}]


@pytest.mark.parametrize("wrong", ["Gone!A1", "Sheet1!", "Sheet1!A0", "Sheet1!A1:B2:C3", "Nothing", "Sheet1!1"])
def test_a_range_that_cannot_be_read_is_refused(api, wrong):
    response = api.get(ranges=wrong)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"Unable to parse range: {wrong}"


@given(st.text(min_size=1, max_size=8), st.tuples(*[st.integers(0, 60)] * 4))
def test_a_notation_is_read_back_as_the_same_block(title, corners):
    top, left, height, width = corners
    book = Book("id", "t", "UTC", set(), tabs=[Tab.blank(1, title, 200, 200), Tab.blank(2, title + "x", 1, 1)])
    area = Area(top, top + height + 1, left, left + width + 1)
    tab, bounds = parse_a1(book, notation(title, area))
    assert (tab.id, bounds.clamp(tab)) == (1, area)


def test_columns_are_counted_in_letters():
    assert [letters(column) for column in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]
