"""Cells: types, what a write clears and what it leaves, what is shown, and the limits."""

import pytest

from connector.emulators.google import Formula


def update(*data, row=0, column=0, fields="userEnteredValue"):
    start = {"rowIndex": row, "columnIndex": column}
    return {"updateCells": {"start": start, "fields": fields, "rows": [{"values": list(data)}]}}


def value(kind, content):
    return {"userEnteredValue": {kind: content}}


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("stringValue", "=1+1"),
        ("stringValue", "00123"),
        ("numberValue", 45980.5),
        ("numberValue", 0),
        ("boolValue", False),
    ],
)
def test_a_value_keeps_its_type(api, kind, content):
    api.done(update(value(kind, content)))
    assert api.rows() == [[content]]
    assert type(api.rows()[0][0]) is type(content)
    assert api.emulator.cell(api.id, "Sheet1", 0, 0)["userEnteredValue"] == {kind: content}


def test_a_formula_is_kept_as_one(api):
    api.done(update(value("formulaValue", "=A2")))
    assert isinstance(api.rows()[0][0], Formula)
    assert "Formula" in api.refused(update(value("formulaValue", "A2")))


def test_an_empty_cell_data_clears_the_listed_fields(api):
    api.done(update(value("stringValue", "a"), value("stringValue", "b")), update({}))
    assert api.rows() == [[None, "b"]]


def test_an_empty_text_empties_the_cell(api):
    api.done(update(value("stringValue", "a")), update(value("stringValue", "")))
    assert api.rows() == []


def test_a_link_stays_through_a_later_value(api):
    link = {"userEnteredFormat": {"textFormat": {"link": {"uri": "https://example.com/1"}}}}
    fields = "userEnteredValue,userEnteredFormat.textFormat.link"
    api.done(update({**value("stringValue", "Open"), **link}, fields=fields), update(value("stringValue", "Again")))
    cell = api.emulator.cell(api.id, "Sheet1", 0, 0)
    assert (cell["formattedValue"], cell["hyperlink"]) == ("Again", "https://example.com/1")


def test_a_write_through_the_link_mask_takes_a_link_away(api):
    api.done(
        update({"userEnteredFormat": {"textFormat": {"link": {"uri": "https://e.com"}, "bold": True}}}, fields="*")
    )
    api.done(update(value("stringValue", "x"), fields="userEnteredValue,userEnteredFormat.textFormat.link"))
    assert api.emulator.cell(api.id, "Sheet1", 0, 0)["userEnteredFormat"] == {"textFormat": {"bold": True}}


def test_a_new_value_erases_the_runs_of_the_old_text(api):
    runs = {"textFormatRuns": [{"startIndex": 0, "format": {"bold": True}}]}
    api.done(update({**value("stringValue", "abc"), **runs}, fields="userEnteredValue,textFormatRuns"))
    assert "textFormatRuns" in api.emulator.cell(api.id, "Sheet1", 0, 0)
    api.done(update(value("stringValue", "d")))
    assert "textFormatRuns" not in api.emulator.cell(api.id, "Sheet1", 0, 0)


def test_a_date_is_shown_by_its_number_format(api):
    pattern = {"userEnteredFormat": {"numberFormat": {"type": "DATE_TIME", "pattern": "yyyy-mm-dd hh:mm"}}}
    fields = "userEnteredValue,userEnteredFormat.numberFormat"
    api.done(update({**value("numberValue", 43831.5), **pattern}, fields=fields))
    assert api.emulator.cell(api.id, "Sheet1", 0, 0)["formattedValue"] == "2020-01-01 12:00"


@pytest.mark.parametrize("text", ["x" * 50_001, "😀" * 25_001])
def test_more_than_50000_utf_16_units_are_refused(api, text):
    assert api.refused(update(value("stringValue", text))) == (
        "Invalid requests[0].updateCells: Your input contains more than the maximum of 50000 characters "
        "in a single cell."
    )


def test_50000_characters_are_taken(api):
    api.done(update(value("stringValue", "x" * 50_000)))
    assert len(api.rows()[0][0]) == 50_000


def test_a_start_outside_of_the_grid_is_refused(api):
    message = api.refused(update({}, {}, {}, row=1000))
    assert message == (
        "Invalid requests[0].updateCells: Range (Sheet1!A1001:C1001) exceeds grid limits. "
        "Max rows: 1000, max columns: 26"
    )


def test_running_out_of_the_grid_is_refused(api):
    assert api.refused(update({}, {}, column=25)) == (
        "Invalid requests[0].updateCells: Attempting to write column: 26, beyond the last requested column of: 25"
    )


def test_a_negative_index_is_refused(api):
    assert "must not be negative" in api.refused(update({}, row=-1))
    clear = {"range": {"startRowIndex": -2}, "cell": {}, "fields": "*"}
    assert "must not be negative" in api.refused({"repeatCell": clear})


def test_a_range_is_cleared_where_the_rows_end(api):
    api.person.write("Sheet1", [["a", "b"], ["c", "d"]])
    block = {"range": {"endRowIndex": 2, "endColumnIndex": 2}, "fields": "userEnteredValue"}
    api.done({"updateCells": {**block, "rows": [{"values": [value("stringValue", "x")]}]}})
    assert api.rows() == [["x"]]


def test_repeat_cell_starts_inside_of_the_grid_and_may_end_outside(api):
    cell = {"cell": value("numberValue", 1), "fields": "userEnteredValue"}
    api.done({"repeatCell": {"range": {"startRowIndex": 999, "endRowIndex": 1005, "endColumnIndex": 1}, **cell}})
    assert len(api.rows()) == 1000
    assert api.refused({"repeatCell": {"range": {"startRowIndex": 1000, "endColumnIndex": 2}, **cell}}) == (
        "Invalid requests[0].repeatCell: Range (Sheet1!A1001:B) exceeds grid limits. Max rows: 1000, max columns: 26"
    )


def test_append_cells_lands_after_the_last_value_of_the_whole_tab(api):
    api.person.edit("Sheet1", 999, 25, False)
    rows = {"rows": [{"values": [value("stringValue", "new")]}], "fields": "userEnteredValue"}
    api.done({"appendCells": {"sheetId": 0, **rows}})
    assert api.rows()[1000][0] == "new"


def test_find_replace_on_entire_cells_hits_these_only(api):
    api.person.write("Sheet1", [["id"], ["ab "], ["ab"], ["AB "], ["xab "]])
    find = {"find": "ab ", "replacement": "ab", "matchEntireCell": True, "matchCase": True}
    reply = api.done({"findReplace": {**find, "range": {"startRowIndex": 1, "endColumnIndex": 1}}})
    assert [row[0] for row in api.rows()] == ["id", "ab", "ab", "AB ", "xab "]
    assert reply["replies"] == [
        {"findReplace": {"valuesChanged": 1, "rowsChanged": 1, "sheetsChanged": 1, "occurrencesChanged": 1}}
    ]


def test_find_replace_takes_its_text_literally(api):
    api.person.write("Sheet1", [["a.c*"], ["abc"]])
    api.done({"findReplace": {"find": ".c*", "replacement": r"\1", "sheetId": 0}})
    assert [row[0] for row in api.rows()] == [r"a\1", "abc"]


def test_find_replace_that_finds_nothing_answers_nothing(api):
    assert api.done({"findReplace": {"find": "x", "allSheets": True}})["replies"] == [{"findReplace": {}}]


def test_sorting_puts_numbers_before_texts_and_blanks_last(api):
    api.person.write("Sheet1", [["b"], [None], [2], ["A"], [True], [1]])
    spec = {"range": {"endColumnIndex": 1}, "sortSpecs": [{"dimensionIndex": 0, "sortOrder": "ASCENDING"}]}
    api.done({"sortRange": spec})
    assert [row[0] for row in api.rows()] == [1, 2, "A", "b", True]
    spec["sortSpecs"][0]["sortOrder"] = "DESCENDING"
    api.done({"sortRange": spec})
    assert [row[0] for row in api.rows()] == [True, "b", "A", 2, 1]


def test_a_protected_column_refuses_the_whole_batch_wherever_it_moved(api):
    api.person.protect_columns("Sheet1", 1)
    api.person.move_columns("Sheet1", 1, 5)
    message = api.refused(update(value("stringValue", "a")), update({}, column=4))
    assert message.startswith("Invalid requests[1].updateCells: You are trying to edit a protected cell or object.")
    assert api.rows() == []
