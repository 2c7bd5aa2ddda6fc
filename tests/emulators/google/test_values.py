"""The `values` methods: trimming, rendering, filters, and the writes that scripts use."""

import pytest


@pytest.fixture
def filled(api):
    api.person.write("Sheet1", [["a", None, 1.5], [], [None, True]])
    return api


def test_ends_are_cut_gaps_are_empty_texts_and_the_range_is_clamped(filled):
    assert filled.get("/values/Sheet1!A:C").json() == {
        "range": "Sheet1!A1:C1000",
        "majorDimension": "ROWS",
        "values": [["a", "", "1.5"], [], ["", "TRUE"]],
    }


def test_columns_can_be_major(filled):
    answer = filled.get("/values/Sheet1!A1:D3", majorDimension="COLUMNS").json()
    assert answer["values"] == [["a"], ["", "", "TRUE"], ["1.5"]]


def test_an_empty_range_has_no_values(filled):
    assert filled.get("/values/Sheet1!D1:E9").json() == {"range": "Sheet1!D1:E9", "majorDimension": "ROWS"}


def test_unformatted_values_keep_their_type(filled):
    answer = filled.get("/values/Sheet1", valueRenderOption="UNFORMATTED_VALUE").json()
    assert answer["values"] == [["a", "", 1.5], [], ["", True]]


@pytest.mark.parametrize(("option", "shown"), [("SERIAL_NUMBER", 43831), ("FORMATTED_STRING", "2020-01-01")])
def test_dates_are_numbers_or_texts(api, option, shown):
    number_format = {"numberFormat": {"type": "DATE", "pattern": "yyyy-mm-dd"}}
    cell = {"userEnteredValue": {"numberValue": 43831}, "userEnteredFormat": number_format}
    block = {"range": {"endRowIndex": 1, "endColumnIndex": 1}, "cell": cell, "fields": "*"}
    api.done({"repeatCell": block})
    options = {"valueRenderOption": "UNFORMATTED_VALUE", "dateTimeRenderOption": option}
    assert api.get("/values/Sheet1!A1", **options).json()["values"] == [[shown]]


def test_batch_get_answers_in_the_order_of_the_ranges(filled):
    answer = filled.get("/values:batchGet", ranges=["C1", "A1"]).json()
    assert [each["values"] for each in answer["valueRanges"]] == [[["1.5"]], [["a"]]]


def test_titles_are_quoted_where_they_need_it(api):
    api.person.rename_tab("Sheet1", "Data 'Science' 🌵")
    answer = api.get("/values/'Data ''Science'' 🌵'!A1").json()
    assert answer["range"] == "'Data ''Science'' 🌵'!A1"


def test_filters_that_match_one_range_are_named_together(filled):
    column = {"dimensionRange": {"dimension": "COLUMNS", "startIndex": 2, "endIndex": 3}}
    metadata = {"metadataId": 9, "metadataKey": "k", "visibility": "DOCUMENT", "location": column}
    filled.done({"createDeveloperMetadata": {"developerMetadata": metadata}})
    filters = [
        {"developerMetadataLookup": {"metadataId": 9}},
        {"gridRange": {"startColumnIndex": 2, "endColumnIndex": 3}},
    ]
    body = {"dataFilters": filters, "valueRenderOption": "UNFORMATTED_VALUE", "majorDimension": "COLUMNS"}
    [found] = filled.post("/values:batchGetByDataFilter", body).json()["valueRanges"]
    assert found == {
        "valueRange": {"range": "Sheet1!C1:C1000", "majorDimension": "COLUMNS", "values": [[1.5]]},
        "dataFilters": filters,
    }


def test_a_filter_that_matches_nothing_is_silent(filled):
    body = {"dataFilters": [{"developerMetadataLookup": {"metadataId": 9}}]}
    assert filled.post("/values:batchGetByDataFilter", body).json()["valueRanges"] == []


def put(api, path, values, option="RAW"):
    return api.client.put(f"{api.url}/values/{path}", json={"values": values}, params={"valueInputOption": option})


def test_update_counts_what_it_wrote_and_skips_null(filled):
    answer = put(filled, "Sheet1!A1", [["=1", None], ["", "0012"]]).json()
    assert answer == {
        "spreadsheetId": filled.id,
        "updatedRange": "Sheet1!A1:B2",
        "updatedRows": 2,
        "updatedColumns": 2,
        "updatedCells": 3,
    }
    assert filled.rows()[:2] == [["=1", None, 1.5], [None, "0012", None]]


def test_user_entered_values_are_parsed(api):
    put(api, "Sheet1!A1", [["=1+1", "12", "1.5", "true", "x"]], "USER_ENTERED")
    assert api.rows() == [["=1+1", 12, 1.5, True, "x"]]


def test_values_beyond_the_range_or_the_grid_are_refused(api):
    assert put(api, "Sheet1!A1:B1", [[1, 2, 3]]).json()["error"]["message"] == (
        "Requested writing within range [Sheet1!A1:B1], but tried writing to column [C]"
    )
    assert "exceeds grid limits" in put(api, "Sheet1!Z1", [[1, 2]]).json()["error"]["message"]


def test_append_writes_below_the_last_row_and_grows_the_grid(api):
    api.person.edit("Sheet1", 999, 0, "last")
    answer = api.post("/values/Sheet1!A1:append", {"values": [["new"]]}, valueInputOption="RAW").json()
    assert answer["updates"]["updatedRange"] == "Sheet1!A1001"
    assert api.rows()[1000] == ["new"]


def test_batch_update_sums_up(api):
    data = [{"range": "Sheet1!A1", "values": [["a"]]}, {"range": "Sheet1!B2", "values": [["b", "c"]]}]
    answer = api.post("/values:batchUpdate", {"valueInputOption": "RAW", "data": data}).json()
    assert (answer["totalUpdatedCells"], answer["totalUpdatedSheets"], len(answer["responses"])) == (3, 1, 2)
    assert api.rows() == [["a", None, None], [None, "b", "c"]]


def test_batch_update_is_all_or_nothing(api):
    data = [{"range": "Sheet1!A1", "values": [["a"]]}, {"range": "Gone!B2", "values": [["b"]]}]
    assert api.post("/values:batchUpdate", {"valueInputOption": "RAW", "data": data}).status_code == 400
    assert api.rows() == []


def test_clear_empties_a_range(filled):
    assert filled.post("/values/Sheet1!A1:B9:clear", {}).json()["clearedRange"] == "Sheet1!A1:B9"
    assert filled.rows() == [[None, None, 1.5]]
