"""Users edit the spreadsheet at any moment, also exactly between a read and a write."""

import random

import pytest

from connector.emulators.google import Area, Formula, once

START = [["Name", "Score"], ["Cid", 3], ["Ann", 1], ["Bob", 2]]


@pytest.fixture
def person(api):
    api.person.write("Sheet1", START)
    return api.person


def names(api):
    return [row[0] for row in api.rows()[1:]]


def test_sorting_leaves_the_header_on_top(api, person):
    person.sort("Sheet1", 1)
    assert api.rows() == [START[0], START[2], START[3], START[1]]
    person.sort("Sheet1", 0, descending=True)
    assert names(api) == ["Cid", "Bob", "Ann"]


def test_sorting_a_block_tears_rows_apart(api, person):
    person.sort("Sheet1", 0, area=Area(1, 4, 0, 1))
    assert api.rows()[1] == ["Ann", 3]


def test_shuffling_keeps_every_row(api, person):
    person.shuffle("Sheet1", random.Random(1), height=3)
    assert sorted(names(api)) == ["Ann", "Bob", "Cid"]
    assert {row[0]: row[1] for row in api.rows()[1:]} == {"Ann": 1, "Bob": 2, "Cid": 3}


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda person: person.insert_rows("Sheet1", 2), ["Cid", None, "Ann", "Bob"]),
        (lambda person: person.delete_rows("Sheet1", 1, 2), ["Bob"]),
        (lambda person: person.move_rows("Sheet1", 3, 1), ["Bob", "Cid", "Ann"]),
        (lambda person: person.copy_row("Sheet1", 1, 4), ["Cid", "Ann", "Bob", "Cid"]),
        (lambda person: person.edit("Sheet1", 1, 0, "Eve"), ["Eve", "Ann", "Bob"]),
        (lambda person: person.clear("Sheet1", Area(1, 3, 0, 1)), [None, None, "Bob"]),
    ],
)
def test_rows_are_changed_by_hand(api, person, act, expected):
    act(person)
    assert names(api) == expected


def test_columns_are_changed_by_hand(api, person):
    person.insert_columns("Sheet1", 1)
    assert api.emulator.header(api.id, "Sheet1") == ["Name", None, "Score"]
    person.move_columns("Sheet1", 2, 0)
    person.delete_columns("Sheet1", 2)
    assert api.emulator.header(api.id, "Sheet1") == ["Score", "Name"]
    person.rename_header("Sheet1", "Score", "Points")
    assert api.emulator.records(api.id, "Sheet1")[0] == {"Points": 3, "Name": "Cid"}


def test_tabs_are_changed_by_hand(api, person):
    person.add_tab("Notes")
    person.rename_tab("Sheet1", "Interviews")
    assert api.emulator.titles(api.id) == ["Interviews", "Notes"]
    copy = person.copy_tab("Interviews")
    person.delete_tab("Interviews")
    assert api.rows(copy) == START
    with pytest.raises(KeyError, match="Interviews"):
        api.rows("Interviews")


def test_a_time_zone_is_changed_by_hand(api, person):
    person.set_timezone("Asia/Tokyo")
    assert api.get(fields="properties.timeZone").json() == {"properties": {"timeZone": "Asia/Tokyo"}}


def test_what_begins_with_an_equals_sign_is_typed_as_a_formula(api, person):
    person.edit("Sheet1", 0, 3, "=COUNTA(A:A)")
    assert isinstance(api.rows()[0][3], Formula)


def test_an_edit_keeps_the_format_of_the_cell(api, person):
    look = {"cell": {"userEnteredFormat": {"textFormat": {"bold": True}}}, "fields": "userEnteredFormat"}
    api.done({"repeatCell": {"range": {"endRowIndex": 1, "endColumnIndex": 1}, **look}})
    person.edit("Sheet1", 0, 0, "")
    assert api.emulator.cell(api.id, "Sheet1", 0, 0)["userEnteredFormat"] == {"textFormat": {"bold": True}}


def write(row):
    cell = {"userEnteredValue": {"stringValue": "written"}}
    start = {"rowIndex": row, "columnIndex": 1}
    return {"updateCells": {"start": start, "fields": "userEnteredValue", "rows": [{"values": [cell]}]}}


def test_a_user_acts_exactly_before_a_write(api, google, person):
    google.before_write = once(lambda: person.insert_rows("Sheet1", 1))
    api.done(write(1))
    assert api.rows()[:3] == [["Name", "Score"], [None, "written"], ["Cid", 3]]
    api.done(write(2))
    assert api.rows()[2] == ["Cid", "written"]


def test_a_user_acts_exactly_after_a_read(api, google, person):
    google.after_read = once(lambda: person.delete_rows("Sheet1", 1))
    assert api.get("/values/Sheet1!A2").json()["values"] == [["Cid"]]
    assert api.get("/values/Sheet1!A2").json()["values"] == [["Ann"]]


def test_no_user_acts_after_a_refused_read(api, google, person):
    google.after_read = lambda: person.delete_rows("Sheet1", 1)
    assert api.get("/values/Gone!A2").status_code == 400
    assert names(api) == ["Cid", "Ann", "Bob"]
