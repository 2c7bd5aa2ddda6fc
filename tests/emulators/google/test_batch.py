"""A batch is applied as a whole or not at all."""

import msgspec
import pytest

from connector.emulators.google import Tab
from connector.emulators.google.calls import apply_all
from connector.emulators.google.errors import GoogleError

HELLO = {
    "updateCells": {
        "start": {"sheetId": 0, "rowIndex": 0, "columnIndex": 0},
        "fields": "userEnteredValue",
        "rows": [{"values": [{"userEnteredValue": {"stringValue": "hello"}}]}],
    }
}


def cells(*values, row=0, column=0, fields="userEnteredValue"):
    """An `updateCells` of one row of texts and numbers."""
    data = [
        {}
        if value is None
        else {"userEnteredValue": {"stringValue" if isinstance(value, str) else "numberValue": value}}
        for value in values
    ]
    start = {"rowIndex": row, "columnIndex": column}
    return {"updateCells": {"start": start, "fields": fields, "rows": [{"values": data}]}}


def test_requests_are_applied_in_order(api):
    api.done(cells("a"), {"insertDimension": {"range": {"dimension": "ROWS", "endIndex": 1}}}, cells("b"))
    assert api.rows() == [["b"], ["a"]]


def test_every_request_gets_a_reply_and_those_without_one_an_empty_one(api):
    reply = api.done(HELLO, {"addSheet": {"properties": {"sheetId": 7, "title": "Other"}}})
    assert reply["spreadsheetId"] == api.id
    assert reply["replies"][0] == {}
    assert reply["replies"][1]["addSheet"]["properties"]["sheetId"] == 7


def test_a_refused_request_undoes_those_before_it(api):
    message = api.refused(
        HELLO,
        {"insertDimension": {"range": {"dimension": "COLUMNS", "endIndex": 2}}},
        {"addSheet": {"properties": {"sheetId": 7, "title": "Other"}}},
        {"updateSpreadsheetProperties": {"properties": {"timeZone": "Europe/Madrid"}, "fields": "timeZone"}},
        {"deleteSheet": {"sheetId": 99}},
    )
    assert message == "Invalid requests[4].deleteSheet: No sheet with id: 99"
    assert api.rows() == []
    assert api.get(fields="properties.timeZone,sheets.properties(title,gridProperties.columnCount)").json() == {
        "properties": {"timeZone": "Etc/GMT"},
        "sheets": [{"properties": {"title": "Sheet1", "gridProperties": {"columnCount": 26}}}],
    }


def test_a_response_range_that_is_gone_refuses_the_whole_batch(api):
    response = api.batch(HELLO, includeSpreadsheetInResponse=True, responseRanges=["'Gone'!A:A"])
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "Unable to parse range: 'Gone'!A:A"
    assert api.rows() == []


def test_the_reply_shows_the_cells_after_the_write(api):
    fields = (
        "updatedSpreadsheet(sheets(properties(sheetId),data(startRow,startColumn,rowData(values(userEnteredValue)))))"
    )
    api.person.write("Sheet1", [["key"], ["one"]], column=1)
    insert = {
        "insertDimension": {"range": {"dimension": "ROWS", "startIndex": 2, "endIndex": 3}, "inheritFromBefore": True}
    }
    reply = api.done(
        insert,
        cells("two", row=2, column=1),
        fields=fields,
        includeSpreadsheetInResponse=True,
        responseRanges=["Sheet1!B:B"],
    )
    texts = [{"values": [{"userEnteredValue": {"stringValue": text}}]} for text in ("key", "one", "two")]
    [sheet] = reply["updatedSpreadsheet"]["sheets"]
    assert sheet == {"properties": {"sheetId": 0}, "data": [{"startColumn": 1, "rowData": texts}]}


def test_without_a_mask_the_reply_has_cells_only_when_asked(api):
    reply = api.done(HELLO, includeSpreadsheetInResponse=True)
    assert "data" not in reply["updatedSpreadsheet"]["sheets"][0]
    reply = api.done(HELLO, includeSpreadsheetInResponse=True, responseIncludeGridData=True)
    [shown] = reply["updatedSpreadsheet"]["sheets"][0]["data"][0]["rowData"][0]["values"]
    assert shown["formattedValue"] == "hello"


def test_no_request_and_too_many_are_refused(api):
    assert api.refused() == "Must specify at least one request."
    with pytest.raises(GoogleError, match=r"Cannot exceed 100000 requests in a single batch\."):
        apply_all(api.emulator.book(api.id), [{}] * 100_001)


def test_an_empty_request_is_refused(api):
    assert api.refused(HELLO, {}) == "Invalid requests[1]: No request set."


def test_a_kind_that_is_not_emulated_says_so(api):
    response = api.batch({"mergeCells": {"range": {"endRowIndex": 1}}})
    assert (response.status_code, response.json()["error"]["status"]) == (501, "UNIMPLEMENTED")


def test_a_batch_on_a_large_tab_copies_no_rows(google):
    spreadsheet_id = google.add_spreadsheet(tabs=[Tab.blank(5, "Large", 10, 3)])
    google.fill(spreadsheet_id, "Large", [["a", "b", "c"]] * 10)
    book = google.book(spreadsheet_id)
    assert all(one is other for one, other in zip(book.tabs[0].rows, book.copy().tabs[0].rows, strict=True))


def test_ten_million_cells_are_the_limit(api):
    grow = {"appendDimension": {"dimension": "ROWS", "length": 400_000}}
    limit = "This action would increase the number of cells in the workbook above the limit of 10000000 cells."
    assert api.refused(grow) == f"Invalid requests[0].appendDimension: {limit}"
    big = {"addSheet": {"properties": {"gridProperties": {"rowCount": 10_000_000, "columnCount": 1}}}}
    assert api.refused(big) == f"Invalid requests[0].addSheet: {limit}"


@pytest.mark.parametrize("pretty", ["true", "false"])
def test_the_body_is_indented_by_default(api, pretty):
    body = api.get(prettyPrint=pretty).content
    assert (b"\n" in body) == (pretty == "true")
    assert msgspec.json.decode(body)["spreadsheetId"] == api.id


def test_replies_are_json_in_utf_8(api):
    assert api.get().headers["Content-Type"] == "application/json; charset=UTF-8"
