"""Tabs and polish: ids in use, titles, and what is kept."""

import pytest

RANGE = {"sheetId": 0, "startRowIndex": 0}
CHART = {"position": {"overlayPosition": {"anchorCell": {"sheetId": 0}}}, "spec": {"title": "t"}}
RULE = {"booleanRule": {"condition": {"type": "TEXT_EQ", "values": [{"userEnteredValue": "Done"}]}}}


def test_an_added_tab_has_what_was_asked_for(api):
    grid = {"rowCount": 2, "columnCount": 3, "frozenRowCount": 1}
    properties = {"sheetId": 7, "title": "Interviews", "gridProperties": grid}
    [reply] = api.done({"addSheet": {"properties": properties}})["replies"]
    assert reply["addSheet"]["properties"] == {**properties, "index": 1, "sheetType": "GRID"}


def test_a_title_in_use_is_refused_in_any_case(api):
    assert api.refused({"addSheet": {"properties": {"title": "sheet1"}}}) == (
        'Invalid requests[0].addSheet: A sheet with the name "sheet1" already exists. Please enter another name.'
    )


def test_a_sheet_id_in_use_is_refused(api):
    assert "a sheet with that ID already exists" in api.refused({"addSheet": {"properties": {"sheetId": 0}}})


def test_without_title_and_id_google_chooses(api):
    api.done({"addSheet": {}})
    assert api.emulator.titles(api.id) == ["Sheet1", "Sheet2"]


def test_the_last_tab_cannot_go(api):
    assert api.refused({"deleteSheet": {"sheetId": 0}}) == (
        "Invalid requests[0].deleteSheet: You can't remove all the sheets in a document."
    )


def test_a_tab_is_renamed_moved_and_hidden(api):
    properties = {"sheetId": 7, "title": "First", "index": 0, "hidden": True}
    update = {"properties": properties, "fields": "title,index,hidden"}
    api.done({"addSheet": {"properties": {"sheetId": 7}}}, {"updateSheetProperties": update})
    assert api.emulator.titles(api.id) == ["First", "Sheet1"]
    assert api.get().json()["sheets"][0]["properties"]["hidden"] is True


def test_freezing_all_rows_is_refused(api):
    grid = {"gridProperties": {"frozenRowCount": 1000}}
    update = {"updateSheetProperties": {"properties": grid, "fields": "gridProperties.frozenRowCount"}}
    assert "freeze all" in api.refused(update)


def test_a_time_zone_that_is_none_is_refused(api):
    update = {"properties": {"timeZone": "Mars/Olympus"}, "fields": "timeZone"}
    assert "Invalid time zone" in api.refused({"updateSpreadsheetProperties": update})


@pytest.mark.parametrize(
    ("kind", "field", "body"),
    [
        ("addFilterView", "filter", {"filterViewId": 7001, "range": RANGE}),
        ("addProtectedRange", "protectedRange", {"protectedRangeId": 7002, "range": RANGE, "warningOnly": True}),
        ("addChart", "chart", {"chartId": 8001, **CHART}),
        ("addBanding", "bandedRange", {"bandedRangeId": 9, "range": RANGE}),
        ("addNamedRange", "namedRange", {"namedRangeId": "n", "name": "x", "range": RANGE}),
    ],
)
def test_an_object_is_shown_and_its_id_taken_once(api, kind, field, body):
    [reply] = api.done({kind: {field: body}})["replies"]
    assert reply[kind][field] == body
    assert "already exists" in api.refused({kind: {field: body}})
    shown = api.get().json()
    assert body in [
        each
        for part in (shown, shown["sheets"][0])
        for items in part.values()
        if isinstance(items, list)
        for each in items
    ]


def test_set_up_twice_is_refused_as_a_whole(api):
    rule = {"addConditionalFormatRule": {"index": 0, "rule": {"ranges": [RANGE], **RULE}}}
    protect = {"addProtectedRange": {"protectedRange": {"protectedRangeId": 7002, "range": RANGE}}}
    api.done(rule, protect)
    assert "already exists" in api.refused(rule, protect)
    assert len(api.emulator.objects(api.id, "Sheet1", "conditionalFormats")) == 1


def test_rules_validations_and_filters_are_kept(api):
    api.done(
        {"addConditionalFormatRule": {"rule": {"ranges": [RANGE], **RULE}}},
        {"setDataValidation": {"range": RANGE, "rule": {"condition": {"type": "BOOLEAN"}}}},
        {"setBasicFilter": {"filter": {"range": RANGE}}},
        {"autoResizeDimensions": {"dimensions": {"dimension": "COLUMNS", "endIndex": 3}}},
    )
    counts = {name: len(api.emulator.objects(api.id, "Sheet1", name)) for name in ("conditionalFormats", "basicFilter")}
    assert counts == {"conditionalFormats": 1, "basicFilter": 1}
    assert api.get().json()["sheets"][0]["basicFilter"] == {"range": RANGE}
    api.done({"deleteConditionalFormatRule": {"index": 0}}, {"clearBasicFilter": {}})
    assert api.emulator.objects(api.id, "Sheet1", "conditionalFormats") == []


@pytest.mark.parametrize("kind", ["setDataValidation", "setBasicFilter", "addFilterView", "addConditionalFormatRule"])
def test_polish_of_an_unknown_tab_is_refused(api, kind):
    there = {"sheetId": 9}
    bodies = {"setDataValidation": {"range": there}, "addConditionalFormatRule": {"rule": {"ranges": [there]}}}
    message = api.refused({kind: bodies.get(kind, {"filter": {"range": there}})})
    assert message == f"Invalid requests[0].{kind}: No grid with id: 9"
