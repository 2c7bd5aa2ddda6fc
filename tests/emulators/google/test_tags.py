"""Developer metadata: what follows columns, and the compare-and-swap that it makes possible."""

import pytest


def column(index, sheet=0):
    span = {"dimension": "COLUMNS", "startIndex": index, "endIndex": index + 1}
    return {"dimensionRange": {**span, "sheetId": sheet} if sheet else span}


def create(number, location, key="hf.col", value=""):
    data = {"metadataId": number, "metadataKey": key, "metadataValue": value, "visibility": "DOCUMENT"}
    return {"createDeveloperMetadata": {"developerMetadata": {**data, "location": location}}}


def delete(**lookup):
    return {"deleteDeveloperMetadata": {"dataFilter": {"developerMetadataLookup": lookup}}}


def held(number, index):
    """The two requests that prove that a column is still where it was read."""
    return [
        delete(metadataId=number, locationMatchingStrategy="EXACT_LOCATION", metadataLocation=column(index)),
        create(number, column(index)),
    ]


@pytest.fixture
def tagged(api):
    """Tags 501 on column 1 and 502 on column 3."""
    api.done(create(501, column(1), value="stage"), create(502, column(3)))
    return api


def places(api):
    return {tag.id: index for index, tags in api.emulator.column_tags(api.id, "Sheet1").items() for tag in tags}


IN_USE = "Cannot add developer metadata with ID [501] because developer metadata with that ID already exists."


def test_an_id_in_use_refuses_the_batch(tagged):
    assert (
        tagged.refused(create(501, {"spreadsheet": True})) == f"Invalid requests[0].createDeveloperMetadata: {IN_USE}"
    )


def test_the_reply_shows_the_metadata_with_its_place_and_without_zeros(api):
    reply = api.done(create(501, column(1), value="stage"))["replies"][0]
    assert reply["createDeveloperMetadata"]["developerMetadata"] == {
        "metadataId": 501,
        "metadataKey": "hf.col",
        "metadataValue": "stage",
        "location": {
            "locationType": "COLUMN",
            "dimensionRange": {"dimension": "COLUMNS", "startIndex": 1, "endIndex": 2},
        },
        "visibility": "DOCUMENT",
    }


def test_without_an_id_google_chooses_one(api):
    [one, other] = [
        reply["createDeveloperMetadata"]["developerMetadata"]["metadataId"]
        for reply in api.done(create(0, column(1)), create(0, column(1)))["replies"]
    ]
    assert one != other


@pytest.mark.parametrize(
    ("act", "places_after"),
    [
        (lambda person: person.insert_columns("Sheet1", 0), {501: 2, 502: 4}),
        (lambda person: person.insert_columns("Sheet1", 2, 2), {501: 1, 502: 5}),
        (lambda person: person.delete_columns("Sheet1", 1), {502: 2}),
        (lambda person: person.move_columns("Sheet1", 1, 5), {501: 4, 502: 2}),
        (lambda person: person.sort("Sheet1", 1), {501: 1, 502: 3}),
        (lambda person: person.clear("Sheet1"), {501: 1, 502: 3}),
    ],
)
def test_tags_follow_their_columns_and_no_cells(tagged, act, places_after):
    tagged.person.write("Sheet1", [["h", "h"], [1, 2], [2, 1]])
    act(tagged.person)
    assert places(tagged) == places_after


def test_an_unmoved_column_is_accepted(tagged):
    tagged.done(*held(501, 1), *held(502, 3))
    assert places(tagged) == {501: 1, 502: 3}


@pytest.mark.parametrize(
    "act",
    [
        lambda person: person.insert_columns("Sheet1", 0),
        lambda person: person.delete_columns("Sheet1", 0),
        lambda person: person.move_columns("Sheet1", 1, 9),
    ],
)
def test_a_column_that_moved_refuses_the_batch(tagged, act):
    act(tagged.person)
    before = places(tagged)
    assert tagged.refused(*held(501, 1)) == f"Invalid requests[1].createDeveloperMetadata: {IN_USE}"
    assert places(tagged) == before


def test_a_deleted_column_passes_the_hold_and_leaves_its_tag_on_the_neighbour(tagged):
    tagged.person.delete_columns("Sheet1", 3)
    tagged.done(*held(502, 3))
    assert places(tagged)[502] == 3


def test_a_tag_beyond_the_last_column_is_refused_so_the_width_can_be_proved(tagged):
    prove = [create(999, column(25)), delete(metadataId=999)]
    tagged.done(*prove)
    tagged.person.delete_columns("Sheet1", 3)
    assert "outside of the grid" in tagged.refused(*prove)


def test_deleting_nothing_is_silent(tagged):
    assert tagged.done(delete(metadataId=404))["replies"] == [{"deleteDeveloperMetadata": {}}]


def test_a_deletion_returns_the_deleted_tags(tagged):
    reply = tagged.done(delete(metadataKey="hf.col"))["replies"][0]["deleteDeveloperMetadata"]
    assert [each["metadataId"] for each in reply["deletedDeveloperMetadata"]] == [501, 502]


def test_a_lookup_by_column_finds_the_column_wherever_it_is(tagged):
    tagged.person.edit("Sheet1", 0, 1, "Stage")
    tagged.person.move_columns("Sheet1", 1, 20)
    fields = "sheets.data(startColumn,rowData.values.userEnteredValue,columnMetadata.developerMetadata.metadataId)"
    [sheet] = tagged.look(fields, {"developerMetadataLookup": {"metadataId": 501}})["sheets"]
    assert sheet["data"] == [
        {
            "startColumn": 19,
            "rowData": [{"values": [{"userEnteredValue": {"stringValue": "Stage"}}]}],
            "columnMetadata": [{"developerMetadata": [{"metadataId": 501}]}],
        }
    ]


def test_a_tag_of_the_tab_is_in_the_tab(api):
    api.done(create(7_000_001, {"sheetId": 0}, key="hf.b", value="nonce"))
    found = api.look("sheets.developerMetadata(metadataId,metadataValue)", {"gridRange": {"endRowIndex": 1}})
    assert found == {"sheets": [{"developerMetadata": [{"metadataId": 7_000_001, "metadataValue": "nonce"}]}]}


def test_a_tag_of_the_spreadsheet_is_in_the_spreadsheet(api):
    api.done(create(5, {"spreadsheet": True}, key="hf.setup"))
    [tag] = api.get().json()["developerMetadata"]
    assert tag["location"] == {"locationType": "SPREADSHEET", "spreadsheet": True}
    assert api.get("/developerMetadata/5").json()["metadataKey"] == "hf.setup"
    assert api.get("/developerMetadata/6").status_code == 404


def test_a_row_tag_stays_when_the_cells_are_sorted(api):
    api.person.write("Sheet1", [["h"], [2], [1]])
    row = {"dimensionRange": {"dimension": "ROWS", "startIndex": 1, "endIndex": 2}}
    api.done(create(9, row))
    api.person.sort("Sheet1", 0)
    [sheet] = api.look("sheets.data(startRow,rowData)", {"developerMetadataLookup": {"metadataId": 9}})["sheets"]
    [data] = sheet["data"]
    assert data["startRow"] == 1
    assert data["rowData"][0]["values"][0]["userEnteredValue"] == {"numberValue": 1}


def test_tags_go_with_their_tab(api):
    api.done({"addSheet": {"properties": {"sheetId": 7}}}, create(1, column(0, sheet=7)), create(2, {"sheetId": 7}))
    api.done({"deleteSheet": {"sheetId": 7}})
    assert api.emulator.tags(api.id) == []


def test_a_copied_tab_has_no_tags(tagged):
    copy = tagged.person.copy_tab("Sheet1")
    assert tagged.emulator.column_tags(tagged.id, copy) == {}


def test_metadata_can_be_updated(tagged):
    update = {
        "dataFilters": [{"developerMetadataLookup": {"metadataId": 501}}],
        "developerMetadata": {"metadataValue": "new", "location": column(8)},
        "fields": "metadataValue,location",
    }
    tagged.done({"updateDeveloperMetadata": update})
    assert places(tagged)[501] == 8
    assert {tag.id: tag.value for tag in tagged.emulator.tags(tagged.id)}[501] == "new"


def test_a_tab_holds_30000_characters_of_metadata(api):
    api.done(create(1, {"sheetId": 0}, key="k", value="v" * 29_990))
    assert "30000" in api.refused(create(2, {"sheetId": 0}, key="k" * 10))
    api.done(create(2, {"spreadsheet": True}, key="k" * 10))


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ({}, "location must be specified"),
        ({"sheetId": 9}, "No sheet with id: 9"),
        ({"dimensionRange": {"dimension": "ROWS", "startIndex": 1, "endIndex": 3}}, "single row or column"),
    ],
)
def test_a_place_that_is_none_is_refused(api, location, reason):
    assert reason in api.refused(create(1, location))


def test_key_and_visibility_are_needed(api):
    start = "Invalid requests[0].createDeveloperMetadata:"
    metadata = {"metadataKey": "k", "location": {"spreadsheet": True}}
    assert api.refused({"createDeveloperMetadata": {"developerMetadata": metadata}}).startswith(f"{start} visibility")
    assert api.refused({"createDeveloperMetadata": {}}).startswith(f"{start} metadataKey")
